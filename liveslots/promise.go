package liveslots

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// Promise is a value that is not there yet: the answer to a message, or a promise that this vat makes itself.
// It can be awaited ([Await]), sent messages before it is settled ([Send]), passed as an argument, and returned
// from a method. The zero Promise is no promise: to await it or to pass it is an error.
//
// A promise lives in memory. It cannot be part of durable state.
type Promise struct{ p *promise }

// String returns the state of the promise, and the name by which the vat and the kernel know it. A replay
// prints the same.
func (p Promise) String() string {
	switch {
	case p.p == nil:
		return "no promise"
	case p.p.rejected:
		return "promise (rejected)"
	case p.p.settled:
		return "promise (fulfilled)"
	case p.p.ref != "":
		return "promise " + string(p.p.ref)
	}
	return "promise"
}

// Format prints the promise as String does, whatever the verb (but %p): an address would differ in a replay.
func (p Promise) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// A promise is either known to the kernel by its name ref, or purely local (ref is empty).
//
// The name dies before the promise does: both the kernel's notification and this vat's own resolution retire
// it. A settled promise that is mentioned again gets a new name, and is resolved again under the new name; see
// [Vat.announce].
type promise struct {
	ref wire.Ref
	// ours is set while this vat decides the promise, so that it has to resolve ref when the promise settles.
	ours     bool
	settled  bool
	rejected bool
	val      value
	// following is a promise whose outcome this one takes over, not always the next one; see [promise.leader].
	following *promise
	// used is set once a turn or call waits for the promise, sends to it or has handed it on. Only [Vat.Unused]
	// reads it.
	used bool
	// waiters become tasks, in this order, when the promise has settled.
	waiters []waiter

	// sends are the calls in memory that send a message to the promise, in the order in which the turns sent
	// them. There are some only in spans of earlier versions; see [rulesOfOrder].
	sends []*call
	// call is the call whose result the promise is, or nil.
	call *call
	// named are the promises that the kernel knows, this vat decides and this promise leads; it may be among them. The
	// kernel is told of them in this order and at the same time, also if their names come from the store meanwhile.
	named []*promise
	// via is the promise to whose name messages to this one go; see [promise.way].
	via *promise
	// keeper is the stored call that will settle the promise, if it is ours; see [Vat.tellKeepers].
	keeper *call
	// unkept is set if the promise had a keeper once, and is decided by memory now.
	unkept bool
	// touched is set while the promise is listed in Vat.touched.
	touched bool
	// subscribedIn is the last delivery in which this vat subscribed to the promise, and subscribedAt the
	// index of that syscall.
	subscribedIn uint64
	subscribedAt int
	// subscribed is set once this vat has asked to be notified of the promise.
	subscribed bool
	// source is the name of the promise in the store, set when the promise settles; see shelf.go.
	source string
	// told is the name under which the kernel was told, in delivery toldIn, how the promise settled. The kernel
	// accepts the name until that crank ends.
	told   wire.Ref
	toldIn uint64
}

// A waiter is a function to run, a turn that goes on, or a call that is to be tried again.
type waiter struct {
	run  func()
	turn *turn
	call *call
}

// leader returns the promise at the end of the chain of following: p settles as its leader does.
func (p *promise) leader() *promise {
	l := p
	for l.following != nil {
		l = l.following
	}
	for p.following != nil {
		p, p.following = p.following, l
	}
	return l
}

// isForeign reports whether another vat, or the kernel, decides the promise.
func (p *promise) isForeign() bool { return p.ref != "" && !p.ours }

// way returns the promise to whose name messages to p go, or nil if the promises that settle as p does have no name yet.
// It is p itself if p has a name first, and else the leader or another promise that settles with it.
//
// Messages to a promise all go the same way until it settles, also if it gets a name or its leader comes to follow another
// promise, and whether memory or the store has it: messages that are parked at different names may overtake each other.
// Only a promise of the store without a way (the result of a stored call) may get a second one when the vat was at rest. It
// is the last name of the result, of which the kernel is told after all others.
//
// Preconditions: neither p nor its leader is settled.
func (p *promise) way() *promise {
	if p.via != nil && p.via.ref != "" {
		return p.via
	}
	p.via = nil
	switch l := p.leader(); {
	case p.ref != "":
		p.via = p
	case p != l:
		p.via = l.way()
	default:
		for _, x := range p.named {
			if x.ours && x.ref != "" {
				p.via = x
			}
		}
	}
	return p.via
}

// remotePromise returns the promise that the kernel knows as ref.
//
// The vat subscribes at once to a new promise that came with a message, since only a notification makes the
// kernel forget the name. It subscribes to a promise that came in the value of another one only when a turn or
// call waits for it. For the kernel cuts large notifications: a vat that subscribed to every promise that was
// cut off would be notified of the same promises without end where they lead to each other in a circle.
func (v *Vat) remotePromise(ref wire.Ref) *promise {
	p := v.promises[ref]
	if p == nil {
		p = &promise{ref: ref}
		v.promises[ref] = p
	}
	if !v.notified && !p.ours && !p.subscribed {
		v.subscribe(p, false)
	}
	return p
}

// wait adds a waiter to a promise, and subscribes to the promise if others decide it.
func (v *Vat) wait(p *promise, w waiter) {
	if p.ref != "" && !p.ours && !p.subscribed {
		v.subscribe(p, false)
	}
	p.waiters = append(p.waiters, w)
}

// subscribe asks the kernel to notify this vat of a promise. stored means that the call which waits for the
// promise is in the store. A crank makes one Subscribe for each promise, and changes it if stored is learned
// later.
func (v *Vat) subscribe(p *promise, stored bool) {
	p.subscribed = true
	if p.subscribedIn == v.delivered {
		if stored {
			v.syscalls[p.subscribedAt] = wire.Subscribe{Promise: p.ref, Stored: true}
		}
		return
	}
	p.subscribedIn, p.subscribedAt = v.delivered, len(v.syscalls)
	v.syscall(wire.Subscribe{Promise: p.ref, Stored: stored})
}

// settle decides a promise. To settle a promise that is settled, or that follows another, changes nothing.
func (v *Vat) settle(p *promise, val value, rejected bool) {
	if p.settled || p.following != nil || p.isForwarded() && v.ids.rules() >= rulesOfOrder {
		return
	}
	if !rejected {
		// A promise never resolves to a promise: it takes over the other's outcome instead.
		if next := val.lonePromise(); next != nil {
			v.adopt(p, next)
			return
		}
	}
	v.finish(p, val, rejected)
}

// adopt makes p settle as q does. If the kernel knows both, and others decide q, a stored call of kind forward
// does that; else memory does.
func (v *Vat) adopt(p, q *promise) {
	if l := q.leader(); len(p.named) > 0 && l.isForeign() {
		p.call = &call{kind: forward, slots: []any{q}, result: p}
		v.try(p.call)
		return
	}
	v.follow(p, q)
}

// isForwarded reports whether a call of kind forward is to settle the promise. The kernel may settle the promise
// before, in this vat's stead.
func (p *promise) isForwarded() bool {
	c := p.call
	return p.ours && c != nil && c.kind == forward && c.result == p && (c.waits() || c.stored)
}

// follow makes p settle as q does, in memory.
func (v *Vat) follow(p, q *promise) {
	q.used = true
	l := q.leader()
	if l == p {
		v.finish(p, errorValue(fmt.Errorf("a promise was resolved to itself")), true)
		return
	}
	if l.settled && v.ids.rules() >= rulesOfChains {
		q = l // what q follows has just settled, and q is about to
	}
	if q.settled {
		v.finish(p, q.val, q.rejected)
		return
	}
	p.following = l
	for _, x := range p.named {
		v.touch(x)
	}
	l.named = append(l.named, p.named...)
	p.named = nil
	v.wait(q, waiter{run: func() {
		p.following = nil
		if !p.settled || v.ids.rules() < rulesOfChains { // else p was settled together with its leader
			v.finish(p, q.val, q.rejected)
		}
	}})
}

// becomesDecider notes that this vat has to settle a promise that the kernel knows.
func (v *Vat) becomesDecider(p *promise) {
	p.ours = true
	v.deciding++
	l := p.leader()
	l.named = append(l.named, p)
	v.touch(p)
}

// endsDecider notes that this vat no longer has to settle a promise.
func (v *Vat) endsDecider(p *promise) {
	p.ours = false
	if p.keeper == nil {
		v.deciding--
	}
	if p.unkept {
		v.unkept--
	}
	p.keeper, p.unkept = nil, false
}

// finish records the outcome of a promise and of the named promises that it leads, tells the kernel of those that the
// kernel knows, and wakes their waiters.
func (v *Vat) finish(p *promise, val value, rejected bool) {
	list := []*promise{p}
	if v.ids.rules() >= rulesOfChains && len(p.named) > 0 {
		if list = p.named; !slices.Contains(list, p) {
			list = append([]*promise{p}, list...)
		}
	}
	p.named = nil
	for _, x := range list {
		v.record(x, val, rejected)
	}
	for _, x := range list {
		v.wakeWaiters(x)
	}
}

// record records the outcome of a promise, and tells the kernel if the kernel knows the promise.
func (v *Vat) record(p *promise, val value, rejected bool) {
	tell := p.ref != "" && p.ours
	if tell {
		if err := v.checkTellableAlone(val); err != nil {
			val, rejected = errorValue(err), true
		}
	}
	p.settled, p.rejected, p.val = true, rejected, val
	p.following = nil
	if tell {
		p.source = string(p.ref)
		v.touch(p) // until the kernel is told, memory keeps the promise
		v.untold = append(v.untold, p)
		v.tellUntold()
	}
}

// wakeWaiters has all that waits for a promise, which is settled now, go on.
func (v *Vat) wakeWaiters(p *promise) {
	for _, w := range p.waiters {
		if w.call == nil || w.call.waits() {
			v.tasks = append(v.tasks, task{run: w.run, turn: w.turn, call: w.call})
		}
	}
	p.waiters = nil
	v.wakeStored(p)
}

// maxTold bounds the promises that the kernel is told of in one crank, apart from those that it knows already,
// and maxResolutions the promises in one syscall.
const (
	maxTold        = 10_000
	maxResolutions = 1000
)

// checkTellable returns an error unless this crank can tell the kernel of all settled promises that a value
// leads to, beside those that it told before. Other vats made them, and may have made any number.
func (v *Vat) checkTellable(x value) error {
	if _, _, ok := v.nested(x, v.toldPromises, v.toldBytes); !ok {
		return v.tooMuchToTell()
	}
	return nil
}

// checkTellableAlone returns an error unless a crank that does nothing else can tell the kernel of a value and
// of all settled promises that it leads to. Other vats may have made the value, within larger limits than this
// vat has.
func (v *Vat) checkTellableAlone(x value) error {
	if n := x.size(); n > v.maxTellBytes() {
		return errorOf(kernelError(errcode.Limit, fmt.Sprintf("a value of %d bytes is too large to pass on: the limit is %d", n, v.maxTellBytes())))
	}
	if _, bytes, ok := v.nested(x, 0, 0); !ok || x.size()+bytes > v.maxTellBytes() {
		return v.tooMuchToTell()
	}
	return nil
}

// maxTellBytes returns the bound of a value that is passed on, with the values that it leads to. The rest of
// the frame is for its envelope, and for the other syscalls of the crank.
func (v *Vat) maxTellBytes() int { return v.start.MaxFrameBytes - v.start.MaxFrameBytes/16 }

// nested adds the settled promises that a value leads to, and their bytes, to the counts. It leaves out
// promises for which the kernel has a name.
func (v *Vat) nested(x value, promises, bytes int) (p, b int, ok bool) {
	for p := range settledIn(x.slots, v.isNamed) {
		promises++
		bytes += p.val.size()
		if promises > maxTold || bytes > v.maxValueBytes {
			return promises, bytes, false
		}
	}
	return promises, bytes, true
}

func (v *Vat) tooMuchToTell() error {
	return errorOf(kernelError(errcode.Limit, fmt.Sprintf(
		"the value leads to more settled promises than one crank can pass on: the limit is %d, of %d bytes", maxTold, v.maxValueBytes)))
}

// isTold reports whether the kernel was told in this crank how a promise settled, and still accepts its name.
func (v *Vat) isTold(p *promise) bool { return p.told != "" && p.toldIn == v.delivered }

// isNamed reports whether the kernel can be sent a mention of the promise without a resolution.
func (v *Vat) isNamed(p *promise) bool { return p.ref != "" || v.isTold(p) }

// announce tells the kernel how the listed promises settled, and the promises that their values lead to. A name
// is introduced in the syscall that resolves it, or before, and stays good for mentions until the crank ends,
// so that promises may lead to each other in any way.
func (v *Vat) announce() {
	for len(v.announcing) > 0 {
		var rs []wire.Resolution
		for len(rs) < maxResolutions && len(v.announcing) > 0 {
			p := v.announcing[0]
			v.announcing = v.announcing[1:]
			v.toldPromises++
			v.toldBytes += p.val.size()
			// Naming the promises in the value makes the list longer.
			rs = append(rs, wire.Resolution{Promise: p.told, Rejected: p.rejected, Value: v.wireValue(p.val)})
		}
		v.resolve(rs)
	}
	v.announcing = nil
}

// manySyscalls is the number of syscalls from which on a crank merges resolutions that follow each other.
const manySyscalls = 1000

func (v *Vat) resolve(rs []wire.Resolution) {
	if n := len(v.syscalls); n >= manySyscalls {
		if last, ok := v.syscalls[n-1].(wire.Resolve); ok && len(last.Resolutions)+len(rs) <= maxResolutions {
			v.sent += resolutionBytes(rs)
			v.tellNames(wire.Resolve{Resolutions: rs})
			last.Resolutions = append(last.Resolutions, rs...)
			v.syscalls[n-1] = last
			return
		}
	}
	v.syscall(wire.Resolve{Resolutions: rs})
}

// promiseName returns the name by which a promise can be mentioned, and makes one if it has none. The caller
// calls [Vat.announce] after the syscall with the mention.
func (v *Vat) promiseName(p *promise) wire.Ref {
	switch {
	case p.ref != "":
		return p.ref
	case v.isTold(p):
		return p.told
	}
	v.lastPromise++
	ref := wire.Ref("p+" + utoa(v.lastPromise))
	if p.settled {
		p.told, p.toldIn = ref, v.delivered
		v.announcing = append(v.announcing, p)
		return ref
	}
	p.ref = ref
	v.promises[ref] = p
	v.becomesDecider(p)
	return ref
}

// lonePromise returns the promise that is the whole value, or nil.
func (x value) lonePromise() *promise {
	if pr, ok := x.tree.(capdata.Promise); ok {
		if p, ok := x.slots[pr.Slot].(*promise); ok {
			return p
		}
	}
	return nil
}

// NewPromise returns a promise that this vat decides, and the resolver that settles it.
func NewPromise(ctx context.Context) (Promise, Resolver) {
	running(ctx)
	p := &promise{}
	return Promise{p}, Resolver{p}
}

// Resolver settles a promise made by [NewPromise]. Only the first call of its methods counts. Those of the zero
// Resolver log an error and do nothing: a Resolver that was kept in a field is zero once the vat has been at
// rest.
type Resolver struct{ p *promise }

// Format prints the promise that the resolver settles, whatever the verb (but %p).
func (r Resolver) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "resolver of "+Promise(r).String())
}

// isZero reports whether there is no promise to settle, and logs that as a mistake.
func (r Resolver) isZero(t *turn) bool {
	if r.p == nil {
		t.v.log.Error("the zero Resolver settles nothing: was it kept in a field while the vat was at rest?", "turn", t.what)
	}
	return r.p == nil
}

// Resolve fulfils the promise, or lets it follow val if that is a promise. A val that cannot be passed rejects
// the promise, with an error that says why.
func (r Resolver) Resolve(ctx context.Context, val any) {
	t := running(ctx)
	if r.isZero(t) {
		return
	}
	x, err := t.v.encodeAny(val)
	if err != nil {
		r.Reject(ctx, err)
		return
	}
	t.v.settle(r.p, x, false)
}

// Reject rejects the promise with err.
func (r Resolver) Reject(ctx context.Context, err error) {
	t := running(ctx)
	if r.isZero(t) {
		return
	}
	if err == nil {
		err = errors.New("rejected without an error")
	}
	t.v.settle(r.p, t.v.reason(err), true)
}

// All returns a promise for the values of all promises, in their order. It is rejected as soon as one of them
// is, for the same reason.
func All(ctx context.Context, ps ...Promise) Promise { return combine(ctx, allOf, "All", ps) }

// Race returns a promise that settles as the first of the promises does. Without promises it never settles.
func Race(ctx context.Context, ps ...Promise) Promise { return combine(ctx, raceOf, "Race", ps) }

func combine(ctx context.Context, kind callKind, name string, ps []Promise) Promise {
	v := running(ctx).v
	c := &call{kind: kind, result: &promise{}, slots: make([]any, len(ps))}
	c.result.call = c
	for i, p := range ps {
		if p.p == nil {
			return Promise{rejectedPromise(fmt.Errorf("promise %d of %s is the zero Promise", i, name))}
		}
		p.p.used = true
		c.slots[i] = p.p
	}
	v.try(c)
	return Promise{c.result}
}
