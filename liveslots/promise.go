package liveslots

import (
	"context"
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// Promise is a value that is not there yet: the answer to a message, or one that this vat makes itself.
// It can be awaited ([Await]), sent messages before it is settled ([Send]), passed as an argument,
// and returned from a method. The zero Promise is passed on as null, and awaiting it is an error.
//
// A promise lives in memory. It cannot be part of durable state.
type Promise struct{ p *promise }

// A promise is either known to the kernel by its name ref, or purely local (ref is empty).
//
// The name dies before the promise does: both the kernel's notification and this vat's own
// resolution retire it. A settled promise that is mentioned again gets a new name, and is resolved
// again under that; see [Vat.announce].
type promise struct {
	ref wire.Ref
	// ours says that this vat decides the promise, so that ref has to be resolved when it settles.
	ours     bool
	settled  bool
	rejected bool
	val      value
	// following is the promise whose outcome this one takes over.
	following *promise
	// waiters are run, as tasks of their own and in this order, when the promise has settled.
	waiters []func()
}

// remotePromise returns the promise that the kernel knows as ref. One that is new to the vat is
// subscribed to at once, unless its resolution is part of the delivery at hand.
func (v *Vat) remotePromise(ref wire.Ref) *promise {
	if p := v.promises[ref]; p != nil {
		return p
	}
	p := &promise{ref: ref}
	v.promises[ref] = p
	if !v.notified[ref] {
		v.syscall(wire.Subscribe{Promise: ref})
	}
	return p
}

// whenSettled runs f as a task of its own once p is settled.
func (v *Vat) whenSettled(p *promise, f func()) {
	if p.settled {
		v.tasks = append(v.tasks, f)
		return
	}
	p.waiters = append(p.waiters, f)
}

// settle decides a promise. Settling one that is settled or that follows another changes nothing.
func (v *Vat) settle(p *promise, val value, rejected bool) {
	if p.settled || p.following != nil {
		return
	}
	if !rejected {
		// A promise never resolves to a promise: it takes over the other's outcome instead.
		if next := val.lonePromise(); next != nil {
			v.follow(p, next)
			return
		}
	}
	v.finish(p, val, rejected)
}

// follow makes p settle as q does.
func (v *Vat) follow(p, q *promise) {
	for x := q; x != nil; x = x.following {
		if x == p {
			v.finish(p, errorValue(fmt.Errorf("a promise was resolved to itself")), true)
			return
		}
	}
	if q.settled {
		v.finish(p, q.val, q.rejected)
		return
	}
	p.following = q
	q.waiters = append(q.waiters, func() {
		p.following = nil
		v.finish(p, q.val, q.rejected)
	})
}

// finish records the outcome, tells the kernel if it has to know, and wakes who waits.
func (v *Vat) finish(p *promise, val value, rejected bool) {
	p.settled, p.rejected, p.val = true, rejected, val
	if p.ref != "" && p.ours {
		ref := p.ref
		p.ref = "" // the syscall retires the name
		p.ours = false
		delete(v.promises, ref)
		v.deciding--
		v.resolve([]named{{ref, p}})
	}
	v.tasks = append(v.tasks, p.waiters...)
	p.waiters = nil
}

// named is a promise under the name by which the kernel is told its outcome.
type named struct {
	ref wire.Ref
	p   *promise
}

// maxAnnounceDepth bounds how often resolutions may introduce promises that need resolutions. Only a
// cycle of promises through each other's values comes near.
const maxAnnounceDepth = 100

// resolve tells the kernel how promises ended. Settled promises that the values mention are new to the
// kernel (a settled promise has no name), so they follow in a second syscall, and so on: a name is
// always introduced before the syscall that resolves it.
func (v *Vat) resolve(batch []named) {
	for depth := 0; len(batch) > 0; depth++ {
		if depth == maxAnnounceDepth {
			panic(fault("promises contain each other in a cycle"))
		}
		// Within the batch, promises may mention each other by the names that are about to be retired.
		for _, n := range batch {
			n.p.ref = n.ref
		}
		rs := make([]wire.Resolution, 0, len(batch))
		for _, n := range batch {
			rs = append(rs, wire.Resolution{Promise: n.ref, Rejected: n.p.rejected, Value: v.wireValue(n.p.val)})
		}
		for _, n := range batch {
			n.p.ref = ""
		}
		v.syscall(wire.Resolve{Resolutions: rs})
		batch = v.announcing
		v.announcing = nil
	}
}

// announce resolves the settled promises that the last syscall introduced.
func (v *Vat) announce() {
	if len(v.announcing) > 0 {
		batch := v.announcing
		v.announcing = nil
		v.resolve(batch)
	}
}

// promiseName gives a promise a name to be mentioned by. Whoever calls it calls [Vat.announce] after
// the syscall with the mention.
func (v *Vat) promiseName(p *promise) wire.Ref {
	if p.ref != "" {
		return p.ref
	}
	v.lastPromise++
	ref := wire.Ref("p+" + utoa(v.lastPromise))
	if p.settled {
		p.ref = ref // until it is announced: a second mention uses the same name
		v.announcing = append(v.announcing, named{ref, p})
		return ref
	}
	p.ref, p.ours = ref, true
	v.promises[ref] = p
	v.deciding++
	return ref
}

// lonePromise returns the promise that the value consists of, if it does.
func (x value) lonePromise() *promise {
	if pr, ok := x.tree.(capdata.Promise); ok {
		if p, ok := x.slots[pr.Slot].(*promise); ok {
			return p
		}
	}
	return nil
}

// NewPromise makes a promise that this vat decides through the resolver.
func NewPromise(ctx context.Context) (Promise, Resolver) {
	running(ctx)
	p := &promise{}
	return Promise{p}, Resolver{p}
}

// Resolver settles a promise made by [NewPromise]. Only the first call of its methods counts.
type Resolver struct{ p *promise }

// Resolve fulfils the promise, or lets it follow value if that is a promise. A value that cannot be
// passed rejects it, with an error that says why.
func (r Resolver) Resolve(ctx context.Context, val any) {
	t := running(ctx)
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
	t.v.settle(r.p, errorValue(err), true)
}

// All returns a promise for the values of all promises, in their order. It is rejected as soon as one
// of them is, in the same way.
func All(ctx context.Context, ps ...Promise) Promise {
	v := running(ctx).v
	all := &promise{}
	left := len(ps)
	done := func() {
		var list encoder
		tree := make([]any, len(ps))
		for i, p := range ps {
			tree[i] = list.include(p.p.val.tree, p.p.val.slots)
		}
		x, err := list.seal(tree)
		if err != nil {
			v.settle(all, errorValue(err), true)
			return
		}
		v.settle(all, x, false)
	}
	if left == 0 {
		done()
	}
	for i, p := range ps {
		if p.p == nil {
			v.settle(all, errorValue(fmt.Errorf("promise %d of All is the zero Promise", i)), true)
			break
		}
		v.whenSettled(p.p, func() {
			left--
			if p.p.rejected {
				v.settle(all, p.p.val, true)
			} else if left == 0 {
				done()
			}
		})
	}
	return Promise{all}
}

// Race returns a promise that settles as the first of the promises does. Of none, it never settles.
func Race(ctx context.Context, ps ...Promise) Promise {
	v := running(ctx).v
	first := &promise{}
	for i, p := range ps {
		if p.p == nil {
			v.settle(first, errorValue(fmt.Errorf("promise %d of Race is the zero Promise", i)), true)
			break
		}
		v.whenSettled(p.p, func() { v.settle(first, p.p.val, p.p.rejected) })
	}
	return Promise{first}
}
