package attenuate

import (
	"context"
	"fmt"
	"strings"

	"ocapkernel.dev/vat"
)

// refusal is why a message was not forwarded.
type refusal struct {
	text string
	// over says that no other message will be, either.
	over bool
}

func (r *refusal) Error() string { return r.text }

// Unwrap makes a refusal for good what the kernel says of a revoked object.
func (r *refusal) Unwrap() error {
	if r.over {
		return vat.ErrRevoked
	}
	return nil
}

// maxQuoted bounds, in characters, what a refusal quotes: the sender chose the method, and perhaps others
// the names in a rule.
const maxQuoted = 100

// refuse returns what Forward returns for a message that it does not forward.
func (f *Forwarder) refuse(ctx context.Context, m vat.Message, over bool, why string) (vat.Promise, error) {
	name := f.Rule
	if name == times {
		name = fmt.Sprintf("%s(%d)", times, f.Limit)
	}
	text := fmt.Sprintf("%.*q was refused by %s of vat %q: %s", maxQuoted, m.Method(), name, vat.Name(ctx), why)
	return vat.Promise{}, &refusal{text, over}
}

// list is the methods that are forwarded, for a refusal.
func list(methods []string) string {
	if len(methods) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%.*s", 3*maxQuoted, strings.Join(methods, ", ")) + " only"
}
