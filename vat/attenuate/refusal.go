package attenuate

import (
	"context"
	"fmt"
	"strings"

	"ocapkernel.dev/vat"
)

// refusal is the error of a message that was not forwarded.
type refusal struct {
	text string
	// over is set if no later message will be forwarded, either.
	over bool
}

func (r *refusal) Error() string { return r.text }

// Unwrap makes a refusal for good the same error as that of a revoked object.
func (r *refusal) Unwrap() error {
	if r.over {
		return vat.ErrRevoked
	}
	return nil
}

// maxQuoted bounds, in characters, the text that a refusal quotes: the sender chose the method, and other vats
// may have chosen the names in a rule.
const maxQuoted = 100

// refuse returns the results of Forward for a message that it does not forward.
func (f *Forwarder) refuse(ctx context.Context, m vat.Message, over bool, why string) (vat.Promise, error) {
	name := f.Rule
	if name == times {
		name = fmt.Sprintf("%s(%d)", times, f.Limit)
	}
	text := fmt.Sprintf("%.*q was refused by %s of vat %q: %s", maxQuoted, m.Method(), name, vat.Name(ctx), why)
	return vat.Promise{}, &refusal{text, over}
}

// list returns the forwarded methods, in the words of a refusal.
func list(methods []string) string {
	if len(methods) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%.*s", 3*maxQuoted, strings.Join(methods, ", ")) + " only"
}
