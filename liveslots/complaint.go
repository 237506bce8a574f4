package liveslots

import (
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// maxComplaints bounds what is kept for a test: the log of a program in service has them all.
const maxComplaints = 100

// Complaints returns the mistakes of the program that the vat has met and of which nobody in it hears: object types
// that the module does not know, refused calls of [When], continuations that failed and for whose result nobody
// waits. There are at most 100. Package vattest has a test fail with them.
func (v *Vat) Complaints() []string { return slices.Clone(v.codecs.complaints) }

func (c *codecs) complain(text string) {
	if len(c.complaints) < maxComplaints && !slices.Contains(c.complaints, text) {
		c.complaints = append(c.complaints, text)
	}
}

// lost notes that the answer to a message of this vat was a rejection for which nothing waits. It is looked at when the vat
// is at rest, for until then a turn may come to use it.
func (v *Vat) lost(ref wire.Ref, p *promise) {
	if strings.HasPrefix(string(ref), "p+") && !p.used && len(p.waiters)+len(p.named) == 0 && len(v.losses) < maxComplaints {
		v.losses = append(v.losses, loss{ref, p})
	}
}

type loss struct {
	ref wire.Ref
	p   *promise
}

// Unused returns, once the vat is at rest, the names of answers that were rejected since it was asked last, and that
// nothing in the vat has used since. An answer that was handed on to other vats before the vat was at rest is among
// them: whoever asks has seen that in the syscalls. It is for package vattest.
func (v *Vat) Unused() (refs []wire.Ref) {
	if v.waiting() > 0 {
		return nil
	}
	for _, l := range v.losses {
		if !l.p.used {
			refs = append(refs, l.ref)
		}
	}
	v.losses = nil
	return refs
}
