package liveslots

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"runtime/debug"
)

// A turn is one run of a method, on a coroutine that the vat resumes: so only one turn of a vat runs at any
// time, and none runs between cranks. A turn ends when the method returns, and parks when the method awaits a
// promise that is not settled.
type turn struct {
	v    *Vat
	what string
	body func(context.Context)
	on   *coroutine
	// call is the call that the turn makes; nil for the constructor.
	call *call
	// starting is set before the method is called, while its arguments are awaited.
	starting bool
	// handed is a mutex for which the turn has waited and which it owns now, until the turn runs.
	handed *Mutex
}

// A coroutine runs one turn after another. It yields true when its turn has parked, and false when its turn has
// ended; a new stack for each turn would cost more than most turns do.
type coroutine struct {
	t     *turn
	next  func() (parked, ok bool)
	stop  func()
	yield func(bool) bool
}

// maxIdle bounds the idle coroutines that are kept for later turns.
const maxIdle = 16

// turnContext carries a turn. It has no deadline and is never cancelled: the kernel bounds the time of a crank.
type turnContext struct {
	context.Context
	t *turn
}

type turnKey struct{}

func (c *turnContext) Value(key any) any {
	if key == (turnKey{}) {
		return c.t
	}
	return nil
}

// abandoned is the panic that unwinds a parked turn which is given up, or whose vat is closed.
type abandoned struct{}

// startTurn starts a turn and runs it until it parks or ends.
func (v *Vat) startTurn(what string, c *call, body func(context.Context)) {
	t := &turn{v: v, what: what, call: c, body: body}
	if n := len(v.idle); n > 0 {
		t.on = v.idle[n-1]
		v.idle = v.idle[:n-1]
	} else {
		t.on = newCoroutine()
	}
	t.on.t = t
	v.resume(t)
}

func newCoroutine() *coroutine {
	c := &coroutine{}
	c.next, c.stop = iter.Pull(func(yield func(bool) bool) {
		c.yield = yield
		for {
			c.t.run()
			if !yield(false) {
				return
			}
		}
	})
	return c
}

func (t *turn) run() {
	defer t.recover()
	t.body(&turnContext{context.Background(), t})
}

// recover turns a panic of the method into a fault of the delivery. The method's objects may be half changed,
// so nothing of the crank may be kept.
func (t *turn) recover() {
	switch r := recover().(type) {
	case nil, abandoned:
	case faultText:
		t.v.fail(string(r))
	default:
		t.v.log.Error("panic in a turn", "turn", t.what, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		t.v.fail(fmt.Sprintf("panic in %s: %v", t.what, r))
	}
}

// resume runs a turn until it parks or ends.
func (v *Vat) resume(t *turn) {
	v.current.Store(t)
	parked, _ := t.on.next()
	v.current.Store(nil)
	if parked {
		v.parked[t] = struct{}{}
		return
	}
	delete(v.parked, t)
	if len(v.idle) < maxIdle {
		v.idle = append(v.idle, t.on)
	} else {
		t.on.stop()
	}
	t.on.t, t.on = nil, nil
}

// wait parks the running turn until p is settled.
func (t *turn) wait(p *promise) error {
	p.used = true
	if p.settled {
		return nil
	}
	if t.starting {
		if err := t.v.admitWaiting(); err != nil {
			return err
		}
	}
	t.v.wait(p, waiter{turn: t})
	t.park()
	return nil
}

func (t *turn) park() {
	if !t.on.yield(true) {
		panic(abandoned{})
	}
}

// running returns the turn of ctx, and panics unless that turn is running now. A goroutine that outlives its
// turn, or a context that was kept, would change the vat's objects without the knowledge of the crank that is
// being recorded.
func running(ctx context.Context) *turn {
	t, _ := ctx.Value(turnKey{}).(*turn)
	if t == nil {
		panic("vat: this context does not come from a turn: pass on the one that the method was given")
	}
	if t.v.current.Load() != t {
		panic("vat: the turn of this context (" + t.what + ") is not running: a goroutine started by a vat cannot " +
			"use references, promises or durable state; let it finish before the method returns or awaits, " +
			"and use its result in the method")
	}
	return t
}

// Await waits for the promise and returns its value as a T, or the error with which it was rejected. While it
// waits, the vat handles other messages, so objects that were read before may have changed afterwards. It
// returns an error also if the value does not fit T.
//
// If the promise is already settled, Await returns at once.
func Await[T any](ctx context.Context, p Promise) (T, error) {
	t := running(ctx)
	var out T
	if p.p == nil {
		return out, fmt.Errorf("await of the zero Promise")
	}
	if err := t.wait(p.p); err != nil {
		return out, err
	}
	if p.p.rejected {
		return out, errorOf(p.p.val)
	}
	c, err := t.v.codecs.of(reflect.TypeFor[T]())
	if err != nil {
		return out, fmt.Errorf("await: %w", err)
	}
	if err := t.decode(c, p.p.val, reflect.ValueOf(&out).Elem()); err != nil {
		return *new(T), err
	}
	return out, nil
}
