package host

import (
	"errors"
	"fmt"
	"strings"

	"ocapkernel.dev/kernel"
)

// The damage of one vat costs that vat, and never the kernel. A step of the loop that works for a vat runs in forVat:
// a row of the vat's that cannot be read, a panic, an invariant that is broken hold the vat back, and all others go
// on. The machine computes a whole commit before any of it happens, so that a step which breaks off has changed
// nothing; only where a commit was being applied the kernel ends, since nobody knows how much of it has happened.
//
// A vat that is held back keeps all that it has. It gets no deliveries, and no worker, until a person says so
// ([Shell.Restart]) or the next kernel tries again.

// forVat runs a step of the loop that works for a vat. doing says in a few words what the step does.
func (k *Shell) forVat(v *vat, doing string, step func() error) {
	k.starts.step(v.id)
	err := k.isolated(step) // a panic that ends the kernel leaves the step noted
	k.starts.step("")
	if err != nil {
		k.hold(v, fmt.Errorf("%s: %w", doing, err))
	}
}

// hold gives a vat no more work in this run, and its worker up. What the worker was doing is forgotten: it changed
// nothing.
func (k *Shell) hold(v *vat, why error) {
	first := v.held == ""
	v.held = oneLine(why)
	k.endRehearsals(v, "the vat is held back")
	if w := v.worker; w != nil {
		k.leaving[w] = v.sub
		k.loseWorker(v)
		w.Kill()
	}
	if first {
		k.log.Error("vat held back: the other vats go on; kernel restart tries again, kernel restart --forget starts it from its store, kernel terminate removes it",
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

// giveUpMemory ends the incarnation of a vat whose memory cannot be made again. The vat starts from its durable
// state, and whoever waits for its memory is told VAT_RESTARTED.
func (k *Shell) giveUpMemory(v *vat, why error) error {
	var diverged *kernel.Divergence
	reason := "its memory cannot be made again: " + oneLine(why)
	if errors.As(why, &diverged) {
		reason = "its replay diverged: " + why.Error()
	}
	k.log.Error("the vat starts from its durable state", "vat", v.id, "why", reason)
	if w := v.worker; w != nil {
		k.leaving[w] = v.sub
		w.Kill()
	}
	k.loseWorker(v)
	k.starts.cleared(v.id)
	c, err := k.machine.Diverged(v.id, v.incarnation, reason)
	if err != nil {
		return err
	}
	k.apply(c)
	return nil
}

// unsendable charges a vat's delivery with a frame that cannot be encoded: what was to be sent, or the row that the
// worker asked for. The worker ends, and the delivery is tried again, and poisoned in the end.
func (k *Shell) unsendable(v *vat, why error) error {
	k.log.Error("a frame to a worker cannot be encoded", "vat", v.id, "err", why)
	w := v.worker
	k.leaving[w] = v.sub
	w.Kill()
	return k.over(v, kernel.CauseFault, why.Error())
}

// heldBack lists the vats that are held back, and why.
func (k *Shell) heldBack() map[kernel.VatID]string {
	out := map[kernel.VatID]string{}
	for id, v := range k.vats {
		if v.held != "" {
			out[id] = v.held
		}
	}
	return out
}

// letGo lets a vat go on that was held back.
func (k *Shell) letGo(id kernel.VatID) {
	if v := k.vats[id]; v != nil && v.held != "" {
		k.log.Info("vat is held back no longer", "vat", id)
		v.held = ""
		k.starts.release(id)
		k.wake(id)
	}
}

// forService runs a step of the loop that works for a service object, as forVat does for a vat. What is wrong with the rows
// that the step reads costs the vats of the object's subcluster. What was asked of the object stays as it is stored: a call
// that is begun is for the next kernel, or waits.
func (k *Shell) forService(kref kernel.KRef, doing string, step func() error) {
	if err := k.isolated(step); err != nil {
		k.holdService(kref, fmt.Errorf("%s %s: %w", doing, kref, err))
	}
}

// holdService holds back the vats of the subcluster to which a service object belongs. An object of the kernel's own has
// none: the vats that call it are held back when they do.
func (k *Shell) holdService(kref kernel.KRef, why error) {
	k.log.Error("service object is damaged: what is asked of it waits", "kref", kref, "err", why)
	if sub := k.ownerOf(kref); sub != "" {
		k.holdMembers(sub, why)
	}
}

// serviceInput applies what an input of a service object gave. A refusal changes nothing.
func (k *Shell) serviceInput(kref kernel.KRef, doing string, input func() (kernel.Commit, error)) (done bool) {
	k.forService(kref, doing, func() error {
		c, err := input()
		if refusal := (*kernel.Refusal)(nil); errors.As(err, &refusal) {
			return nil
		}
		if err == nil {
			k.apply(c)
			done = true
		}
		return err
	})
	return done
}

// callFailed says that a call of a service object cannot be answered, since something cannot be read. If that is nothing of
// the object's, it costs the vat that has called.
func (k *Shell) callFailed(id callID, why error) {
	why = fmt.Errorf("answer call %s of a service object: %w", id, why)
	_, _, err := k.machine.Service(id.service)
	o, _, callErr := k.machine.ServiceCall(id.service, id.number)
	switch {
	case err != nil || callErr != nil:
		k.holdService(id.service, why)
	case o.From != "":
		k.hold(k.vat(o.From), why)
	default:
		k.log.Error("a call of a service object cannot be answered", "kref", id.service, "err", why)
	}
}

// ownerOf finds the subcluster of a service object, of which the row may be damaged; it is empty if nothing tells.
func (k *Shell) ownerOf(kref kernel.KRef) kernel.SubID {
	if b := k.services.bound[kref]; b != nil {
		return b.sub
	}
	sub, err := k.machine.ServiceOwner(kref)
	if err != nil {
		return ""
	}
	return sub
}

// holdMembers holds back the vats of a subcluster of which something else than one of them cannot be read.
func (k *Shell) holdMembers(sub kernel.SubID, why error) {
	for _, v := range k.directory.entries[sub].Vats {
		k.hold(k.vat(v.Vat), why)
	}
	for _, v := range k.vats { // in any order; for one whose own row cannot be read
		if v.sub == sub && v.held == "" {
			k.hold(v, why)
		}
	}
}
