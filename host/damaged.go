package host

import (
	"errors"
	"fmt"

	"ocapkernel.dev/kernel"
)

// forService runs a step of the loop that works for a service object, as forVat does for a vat. Damaged rows that the step
// reads cost the vats of the object's subcluster. The calls of the object stay as they are stored: a call that is begun is
// for the next kernel, or waits.
func (obs *objects) forService(kref kernel.KRef, doing string, step func() error) {
	if err := obs.isolated(step); err != nil {
		obs.holdService(kref, fmt.Errorf("%s %s: %w", doing, kref, err))
	}
}

// holdService holds back the vats of the subcluster to which a service object belongs. An object of the kernel's own has
// none: the vats that call it are held back when they do.
func (obs *objects) holdService(kref kernel.KRef, why error) {
	obs.log.Error("service object is damaged: what is asked of it waits", "kref", kref, "err", why)
	if sub := obs.ownerOf(kref); sub != "" {
		obs.vats.holdMembers(sub, why)
	}
}

// serviceInput applies the commit of an input of a service object, and reports whether it did. A refusal changes nothing.
func (obs *objects) serviceInput(kref kernel.KRef, doing string, input func() (kernel.Commit, error)) (done bool) {
	obs.forService(kref, doing, func() error {
		c, err := input()
		if refusal := (*kernel.Refusal)(nil); errors.As(err, &refusal) {
			return nil
		}
		if err == nil {
			obs.apply(c)
			done = true
		}
		return err
	})
	return done
}

// callFailed handles a call of a service object that cannot be answered, since a row cannot be read. If that is no row of
// the object's, it costs the vat that has called.
func (obs *objects) callFailed(id callID, why error) {
	why = fmt.Errorf("answer call %s of a service object: %w", id, why)
	_, _, err := obs.machine.Service(id.Service)
	o, _, callErr := obs.machine.ServiceCall(id)
	switch {
	case err != nil || callErr != nil:
		obs.holdService(id.Service, why)
	case o.From != "":
		obs.vats.hold(obs.vats.vat(o.From), why)
	default:
		obs.log.Error("a call of a service object cannot be answered", "kref", id.Service, "err", why)
	}
}

// ownerOf returns the subcluster of a service object, whose row may be damaged; it is empty if no row tells it.
func (obs *objects) ownerOf(kref kernel.KRef) kernel.SubID {
	if b := obs.bound[kref]; b != nil {
		return b.sub
	}
	sub, err := obs.machine.ServiceOwner(kref)
	if err != nil {
		return ""
	}
	return sub
}
