package liveslots

import (
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// maxComplaints bounds the complaints that are kept for a test. The log has them all.
const maxComplaints = 100

// Complaints returns the mistakes of the program that the vat has met and that it cannot report to a caller:
// object types that the module does not know, refused calls of [When], continuations that failed and for whose
// result no turn or call waits. There are at most 100. Package vattest has a test fail with them.
func (v *Vat) Complaints() []string { return slices.Clone(v.codecs.complaints) }

func (c *codecs) complain(text string) {
	if len(c.complaints) < maxComplaints && !slices.Contains(c.complaints, text) {
		c.complaints = append(c.complaints, text)
	}
}

// noteLoss notes that the answer to a message of this vat was a rejection for which no turn or call waits. It
// is judged when the vat is at rest, for until then a turn may still use it.
func (v *Vat) noteLoss(ref wire.Ref, p *promise) {
	if strings.HasPrefix(string(ref), "p+") && !p.used && len(p.waiters)+len(p.named) == 0 && len(v.losses) < maxComplaints {
		v.losses = append(v.losses, loss{ref, p})
	}
}

type loss struct {
	ref wire.Ref
	p   *promise
}

// Unused returns, once the vat is at rest, the names of answers that were rejected since the last call of
// Unused, and that no turn or call has used since. An answer that was handed on to other vats before the vat
// was at rest is among them: the caller has seen that in the syscalls. It is for package vattest.
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
