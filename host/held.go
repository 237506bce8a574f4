package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// The damage of one vat costs that vat, and never the kernel. A step of the loop that works for a vat runs in forVat: an
// unreadable row of the vat, a panic, or a broken invariant holds the vat back, and all others go on. The machine computes
// a whole commit before any of it is applied, so a step that breaks off has changed nothing. If the step breaks off while a
// commit is being applied, the kernel ends, since the commit may be half applied.
//
// A vat that is held back keeps all that it has. It gets no deliveries, and no worker, until the operator restarts it
// ([Shell.Restart]) or the next kernel tries again.

// forVat runs a step of the loop that works for a vat. doing names the step in a few words.
func (vs *vats) forVat(v *vat, doing string, step func() error) {
	vs.starts.step(v.id)
	err := vs.isolated(step) // a panic that ends the kernel leaves the step noted
	vs.starts.step("")
	if err != nil {
		vs.hold(v, fmt.Errorf("%s: %w", doing, err))
	}
}

// hold gives a vat no more work in this run, and ends its worker. The crank under way is dropped: it changed nothing.
func (vs *vats) hold(v *vat, why error) {
	first := v.held == ""
	v.held = oneLine(why)
	vs.endRehearsals(v, "the vat is held back")
	if w := v.worker; w != nil {
		vs.subs.leaves(w, v.sub)
		vs.loseWorker(v)
		w.Kill()
	}
	if first {
		vs.log.Error("vat held back: the other vats go on; kernel restart tries again, kernel restart --forget starts it from its store, kernel terminate removes it",
			"vat", v.id, "why", v.held)
	}
}

// oneLine is an error for people, in one line of a bounded length.
func oneLine(err error) string {
	const most = 1000
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// giveUpMemory ends the incarnation of a vat whose memory cannot be made again. The vat starts from its durable state, and
// callers whose promises lived in the memory are told VAT_RESTARTED.
func (vs *vats) giveUpMemory(v *vat, why error) error {
	var diverged *kernel.Divergence
	reason := "its memory cannot be made again: " + oneLine(why)
	if errors.As(why, &diverged) {
		reason = "its replay diverged: " + why.Error()
	}
	vs.log.Error("the vat starts from its durable state", "vat", v.id, "why", reason)
	if w := v.worker; w != nil {
		vs.subs.leaves(w, v.sub)
		w.Kill()
	}
	vs.loseWorker(v)
	vs.starts.cleared(v.id)
	c, err := vs.machine.Diverged(v.id, v.incarnation, reason)
	if err != nil {
		return err
	}
	vs.apply(c)
	return nil
}

// unsendable charges a vat's delivery with a frame that cannot be encoded: the delivery itself, or the row that the worker
// has read. The worker ends, and the delivery is tried again, and poisoned in the end.
func (vs *vats) unsendable(v *vat, why error) error {
	vs.log.Error("a frame to a worker cannot be encoded", "vat", v.id, "err", why)
	w := v.worker
	vs.subs.leaves(w, v.sub)
	w.Kill()
	return vs.over(v, kernel.CauseFault, why.Error())
}

// heldBack lists the vats that are held back, and why.
func (vs *vats) heldBack() map[kernel.VatID]string {
	out := map[kernel.VatID]string{}
	for id, v := range vs.table {
		if v.held != "" {
			out[id] = v.held
		}
	}
	return out
}

// running lists the vats that have a worker.
func (vs *vats) running() map[kernel.VatID]bool {
	out := map[kernel.VatID]bool{}
	for id, v := range vs.table {
		if v.worker != nil {
			out[id] = true
		}
	}
	return out
}

// letGo lets a vat go on that was held back.
func (vs *vats) letGo(id kernel.VatID) {
	if v := vs.table[id]; v != nil && v.held != "" {
		vs.log.Info("vat is held back no longer", "vat", id)
		v.held = ""
		vs.starts.release(id)
		vs.wake(id)
	}
}

// holdMembers holds back all vats of a subcluster, for damage that is not a single vat's.
func (vs *vats) holdMembers(sub kernel.SubID, why error) {
	for _, v := range vs.names.members(sub) {
		vs.hold(vs.vat(v.Vat), why)
	}
	for _, v := range vs.table { // in any order; for a vat whose own row cannot be read
		if v.sub == sub && v.held == "" {
			vs.hold(v, why)
		}
	}
}

// Restart is [Shell.Restart].
//
// Before a memory is forgotten, the worker program is asked for the vat's module: if no worker could be started, the memory
// stays, and the error says why.
func (vs *vats) Restart(ctx context.Context, id kernel.VatID, forget bool) error {
	if forget {
		if err := vs.checkStartable(ctx, id); err != nil {
			return err
		}
	}
	return change(ctx, vs.core, func() (kernel.Commit, error) {
		fault.Point(fault.MemoryGivenUp)
		c, err := vs.machine.Restart(id, forget)
		if v := vs.table[id]; v != nil && err == nil {
			v.startFailures, v.deaths, v.notBefore, v.startFailure = 0, 0, time.Time{}, ""
			vs.letGo(id)
		}
		return c, err
	})
}
