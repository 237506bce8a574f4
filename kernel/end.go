package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// A promise of how a vat ends is a promise that this vat decides, also in the index d., except that only the removal of
// the vat settles it. The slices that go through the promises of the dead vat settle it, too. So such a promise needs
// no further row, is removed with its last holder, and each subscriber is told of it exactly once.
//
// Nothing but that end, or its last holder, removes such a promise: a vat that makes more and more of them would fill
// the store. So each counts as a watch of the vat that made it, until the promise is removed, and beyond maxWatches the
// answer is LIMIT. Once it is settled its value counts, too: a value that would exceed maxEndBytes is not told.

// watch makes the result a promise of how the owner of the target ends.
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
	t.own.rows += 3
	o := t.objects.look(t, target)
	switch {
	case o == nil, o.owner == "" && !o.service:
		t.settle(k, true, kernelError(errcode.ObjectDeleted, "the object does not exist any more, and it is not known how its vat ended"))
	case o.revoked:
		t.settle(k, true, kernelError(errcode.Revoked, "the object was revoked"))
	case o.service:
		t.settle(k, true, kernelError(errcode.BadTarget, "the object is the kernel's, and belongs to no vat"))
	case t.run(c.v).watches.count >= maxWatches:
		t.settle(k, true, kernelError(errcode.Limit, fmt.Sprintf("vat %s waits for %d ends of vats, the limit: ask once for each vat", c.v, maxWatches)))
	case t.alive(o.owner):
		t.countWatch(k, c.v)
		t.setDecider(k, o.owner, 0)
		t.promise(k).awaitsEnd = true
	default:
		t.countWatch(k, c.v)
		t.own.bytes += t.tellEnd(k, o.owner)
	}
	return nil
}

// keepExit notes how a vat ends by itself, for the subscribers of its end. Each of them gets a copy, so that a large
// value is not told. Nor is a lone promise told: a promise cannot be fulfilled with a promise.
func (t *tx) keepExit(v VatID, rejected bool, value Data) {
	lonePromise := capdata.LoneSlot(value.Body, len(value.Slots)) && value.Slots[0].IsPromise()
	switch size := dataSize(value.Body, len(value.Slots)); {
	case lonePromise:
		rejected, value = true, kernelError(errcode.VatTerminated, fmt.Sprintf("vat %s exited with a promise, which cannot be told", v))
	case size > maxReason:
		rejected, value = true, kernelError(errcode.VatTerminated, fmt.Sprintf("vat %s exited with a value of %d bytes, which is too large to be told", v, size))
	}
	t.holdData(value)
	e := exit{rejected, value}
	t.create(keyExit(v), t.codec.encode(e.fields))
}

// exitOf returns how a dead vat has ended.
func (t *tx) exitOf(v VatID) (rejected bool, value Data) {
	b, ok := t.get(keyExit(v))
	if !ok {
		return true, kernelError(errcode.VatTerminated, fmt.Sprintf("vat %s was terminated", v))
	}
	var e exit
	if !t.decoded(keyExit(v), func() { t.codec.decode(keyExit(v), b, e.fields) }) {
		return true, kernelError(errcode.VatTerminated, fmt.Sprintf("vat %s has ended, and what it said cannot be read", v))
	}
	return e.rejected, e.value
}

// settleEnd settles a promise of how a dead vat has ended.
func (t *tx) settleEnd(k KRef, v VatID) {
	t.clearDecider(k)
	t.left.repeated -= t.tellEnd(k, v)
}

// tellEnd settles a promise with how a dead vat has ended, and returns the size of its value.
func (t *tx) tellEnd(k KRef, v VatID) (size int) {
	rejected, value := t.exitOf(v)
	watcher := t.promise(k).watcher
	u := t.lookRun(watcher)
	if u != nil && u.watches.bytes+uint64(dataSize(value.Body, len(value.Slots))) > maxEndBytes {
		rejected, value = true, kernelError(errcode.VatTerminated, fmt.Sprintf("vat %s exited with a value that is not told: vat %s, which has asked, is given %d bytes of such values at once", v, watcher, maxEndBytes))
	}
	size = dataSize(value.Body, len(value.Slots))
	if u != nil {
		t.run(watcher).watches.bytes += uint64(size)
	}
	t.settle(k, rejected, value)
	return size
}

// countWatch counts a promise as a watch of the vat that made it with Watch.
func (t *tx) countWatch(k KRef, watcher VatID) {
	t.promise(k).watcher = watcher
	t.run(watcher).watches.count++
}

// unwatch takes a promise that is removed off the count of its watcher.
func (t *tx) unwatch(p *promise) {
	if p.watcher == "" || t.lookRun(p.watcher) == nil {
		return // it is no watch, or its watcher is removed
	}
	u := t.run(p.watcher)
	u.watches.count--
	u.watches.bytes -= p.endSize()
}

// endSize returns the number of bytes that a watch counts against the limit of its vat.
func (p *promise) endSize() uint64 {
	if p.watcher == "" || p.state == unresolved {
		return 0
	}
	return uint64(dataSize("", int(p.slots))) + p.size - 1
}

// forgetExit removes the row of how a vat has ended: all watchers are told.
func (t *tx) forgetExit(v VatID) {
	if _, ok := t.get(keyExit(v)); ok {
		_, value := t.exitOf(v)
		t.delete(keyExit(v))
		t.releaseData(value)
	}
}
