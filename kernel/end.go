package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// A promise of how a vat ends is decided by that vat as far as the index d. is concerned, only that nothing but the vat's
// removal settles it: the slice that goes through the promises of the dead vat. So it costs no row that others do
// not, is let go of with its last holder, and nobody is told of it twice, or never.

// watch makes the result a promise of how the vat ends that owns the target.
func (c *vatCall) watch(s wire.Watch) error {
	t := c.t
	target, err := c.target(s.Target)
	if err != nil {
		return fmt.Errorf("watch: target: %w", err)
	}
	if target.IsPromise() {
		return fmt.Errorf("watch: target: %s is no object", s.Target)
	}
	k, err := c.result(s.Result)
	if err != nil {
		return fmt.Errorf("watch: result: %w", err)
	}
	t.ownRows += 3
	o := t.objects.look(t, target)
	switch {
	case o == nil, o.owner == "" && !o.service:
		t.settle(k, true, kernelError(capdata.CodeObjectDeleted, "the object does not exist any more, and it is not known how its vat ended"))
	case o.revoked:
		t.settle(k, true, kernelError(capdata.CodeRevoked, "the object was revoked"))
	case o.service:
		t.settle(k, true, kernelError(capdata.CodeBadTarget, "the object is the kernel's, and belongs to no vat"))
	case t.alive(o.owner):
		t.setDecider(k, o.owner, 0)
		t.promise(k).awaitsEnd = true
	default:
		rejected, value := t.exitOf(o.owner)
		t.ownBytes += dataSize(value.Body, len(value.Slots))
		t.settle(k, rejected, value)
	}
	return nil
}

// keepExit notes how a vat ends by itself, for those who are to be told. Each of them gets a copy, so that what is large
// is not told; nor is a promise, which is no value of a promise.
func (t *tx) keepExit(v VatID, rejected bool, value Data) {
	lonePromise := capdata.LoneSlot(value.Body, len(value.Slots)) && value.Slots[0].IsPromise()
	switch size := dataSize(value.Body, len(value.Slots)); {
	case lonePromise:
		rejected, value = true, kernelError(capdata.CodeVatTerminated, fmt.Sprintf("vat %s exited with a promise, which cannot be told", v))
	case size > maxReason:
		rejected, value = true, kernelError(capdata.CodeVatTerminated, fmt.Sprintf("vat %s exited with a value of %d bytes, which is too large to be told", v, size))
	}
	t.holdData(value)
	t.create(keyExit(v), t.m.enc.row(2, func() { t.m.enc.bool(rejected); t.m.enc.data(value) }))
}

// exitOf returns how a dead vat has ended.
func (t *tx) exitOf(v VatID) (rejected bool, value Data) {
	b, ok := t.get(keyExit(v))
	if !ok {
		return true, kernelError(capdata.CodeVatTerminated, fmt.Sprintf("vat %s was terminated", v))
	}
	t.m.dec.open(keyExit(v), b, 2)
	return t.m.dec.bool(), t.m.dec.data()
}

// settleEnd settles a promise of how a vat ends, which is dead.
func (t *tx) settleEnd(k KRef, v VatID) {
	rejected, value := t.exitOf(v)
	t.repeated += dataSize(value.Body, len(value.Slots))
	t.clearDecider(k)
	t.settle(k, rejected, value)
}

// forgetExit lets go of how a vat has ended: all are told.
func (t *tx) forgetExit(v VatID) {
	if _, ok := t.get(keyExit(v)); ok {
		_, value := t.exitOf(v)
		t.delete(keyExit(v))
		t.releaseData(value)
	}
}
