package liveslots

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// Send sends a message and returns a promise for its answer. target is a [Ref], a [Promise] (the message goes
// to the object that it resolves to), or a pointer to an object of this vat. Messages from one vat to one
// target arrive in the order sent, and messages to a promise arrive before those that the vat sends to the
// object once the promise is settled. Messages to this vat's own objects take the same way through the kernel
// as all others.
//
// If the message cannot be sent, the promise is rejected, with an error that says why.
func Send(ctx context.Context, target any, method string, args ...any) Promise {
	v := running(ctx).v
	slot, err := v.target(target)
	if err != nil {
		return Promise{rejectedPromise(fmt.Errorf("send %s: %w", method, err))}
	}
	msg, err := v.encodeCall(method, args)
	if err != nil {
		return Promise{rejectedPromise(fmt.Errorf("send %s: %w", method, err))}
	}
	return Promise{v.send(slot, msg)}
}

// Done returns a promise for the end of the vat that owns an object. It is fulfilled with the value that the
// vat gives to Exit, and rejected with the error that the vat gives to Fail, or with ErrVatTerminated if others
// end the vat.
func Done(ctx context.Context, target Ref) Promise {
	v := running(ctx).v
	if target.p == nil {
		return Promise{rejectedPromise(errors.New("done: the target is the zero Ref"))}
	}
	if end := target.p.end; end != nil && !end.settled && v.ids.rules() >= rulesOfOrder {
		return Promise{end}
	}
	ref := v.name(target.p)
	result := v.newResult()
	v.syscall(wire.Watch{Target: ref, Result: result.ref})
	// Always: only a notification makes the kernel forget the promise.
	v.subscribe(result, false)
	target.p.end = result
	return Promise{result}
}

func rejectedPromise(err error) *promise {
	return &promise{settled: true, rejected: true, val: errorValue(err)}
}

func (v *Vat) target(target any) (any, error) {
	switch t := target.(type) {
	case Ref:
		if t.p == nil {
			return nil, fmt.Errorf("the target is the zero Ref")
		}
		return t.p, nil
	case Promise:
		if t.p == nil {
			return nil, fmt.Errorf("the target is the zero Promise")
		}
		return t.p, nil
	case nil:
		return nil, fmt.Errorf("the target is nil")
	}
	h, err := v.headOfAny(target)
	if err != nil {
		return nil, fmt.Errorf("the target is no Ref, Promise or object: %w", err)
	}
	return h, nil
}

func (v *Vat) encodeCall(method string, args []any) (value, error) {
	e := encoder{v: v}
	list := make([]any, len(args))
	for i, a := range args {
		x, err := e.any(reflect.ValueOf(a))
		if err != nil {
			return value{}, fmt.Errorf("argument %d: %w", i+1, err)
		}
		list[i] = x
	}
	if len(e.slots) > maxSlots {
		return value{}, fmt.Errorf("a message with %d references: the limit is %d", len(e.slots), maxSlots)
	}
	body, err := capdata.EncodeCall(method, list)
	if err != nil {
		return value{}, err
	}
	if len(body) > v.maxValueBytes {
		return value{}, fmt.Errorf("a message of %d bytes is too large to send: the limit is %d", len(body), v.maxValueBytes)
	}
	return value{body: body, slots: e.slots}, nil
}

// send sends a message to a slot: a presence, a promise, or an object of this vat.
func (v *Vat) send(target any, msg value) *promise {
	if err := v.checkTellable(msg); err != nil {
		return rejectedPromise(err)
	}
	if p, ok := target.(*promise); ok && v.ids.rules() < rulesOfOrder && p.ref == "" && (!p.settled || len(p.sends) > 0) {
		return v.sendLater(p, msg)
	}
	return v.sendNow(target, msg)
}

// sendLater has a message to a promise that the kernel does not know wait in the vat, behind earlier messages to
// the promise. Spans of earlier versions do so; see [rulesOfOrder].
func (v *Vat) sendLater(p *promise, msg value) *promise {
	p.used = true
	c := &call{kind: sendOn, body: msg.body, slots: append(slices.Clip(msg.slots), p), result: &promise{}, queue: p}
	c.result.call = c
	p.sends = append(p.sends, c)
	if p.settled {
		c.on = p
		v.tasks = append(v.tasks, task{call: c})
	} else {
		v.try(c)
	}
	return c.result
}

// sendNow tells the kernel of a message, or returns a rejected promise if the target takes none.
func (v *Vat) sendNow(target any, msg value) *promise {
	ref, refused := v.address(target)
	if refused != nil {
		return refused
	}
	methargs := v.wireValue(msg)
	result := v.newResult()
	v.syscall(wire.Send{Target: ref, Message: wire.Message{MethArgs: methargs, Result: result.ref}})
	v.announce()
	// Always: only a notification makes the kernel forget the promise.
	v.subscribe(result, false)
	return result
}

// address returns the name to which the kernel is sent a message for a target. If the target takes no messages,
// address returns a rejected promise instead.
//
// Messages leave the vat in the order in which turns send them, and the kernel keeps the order of messages to one
// name. A promise that is not settled gets a name if there is none to which its messages go, see [promise.way]: they are
// parked at that name in the kernel until the kernel is told how the promise settled.
func (v *Vat) address(target any) (ref wire.Ref, refused *promise) {
	p, ok := target.(*promise)
	if !ok {
		return v.objectAddress(target), nil
	}
	p.used = true
	if l := p.leader(); v.ids.rules() >= rulesOfChains && !l.settled {
		w := p.way()
		if w == nil {
			v.promiseName(l)
			v.subscribe(l, false) // which makes the name known to the kernel
			w = p.way()
		}
		return w.ref, nil
	} else if p.ref == "" {
		p = l
	}
	object := p.object()
	switch {
	case p.ref == "" && !p.settled:
		ref = v.promiseName(p)
		v.subscribe(p, false) // which makes the name known to the kernel
		return ref, nil
	case !p.settled:
		return p.ref, nil
	case object != nil && (p.ref == "" || v.ids.rules() >= rulesOfOrder):
		return v.objectAddress(object), nil
	case p.ref != "":
		return p.ref, nil // the kernel was not told yet, and messages may be parked there
	case p.rejected:
		return "", &promise{settled: true, rejected: true, val: p.val}
	}
	return "", &promise{settled: true, rejected: true, val: badTarget(p.val)}
}

// objectAddress returns the name to which the kernel is sent a message for an object. It is the name of a promise
// if that promise was fulfilled with the object and the kernel was not told yet: earlier messages may be parked
// there. Of several such promises it is the last, since the kernel is told of them in their order.
func (v *Vat) objectAddress(object any) wire.Ref {
	if v.ids.rules() >= rulesOfOrder {
		for _, p := range slices.Backward(v.untold) {
			if o := p.object(); o != nil && p.ref != "" && p.ours && v.isSame(o, object) {
				return p.ref
			}
		}
	}
	return v.name(object)
}

// object returns the object with which a promise was fulfilled: a presence or a head. It returns nil if the
// promise is not settled, or settled in another way.
func (p *promise) object() any {
	r, ok := p.val.tree.(capdata.Remotable)
	if !ok || !p.settled || p.rejected {
		return nil
	}
	return p.val.slots[r.Slot]
}

// isSame reports whether two values, each a presence or a head, are the same object.
func (v *Vat) isSame(a, b any) bool {
	of := func(x any) *presence {
		if h, ok := x.(*head); ok {
			return v.presenceOf(h)
		}
		p, _ := x.(*presence)
		return p
	}
	return of(a) == of(b)
}

// newResult makes a promise that the kernel, or another vat, will settle.
func (v *Vat) newResult() *promise {
	v.lastPromise++
	p := &promise{ref: wire.Ref("p+" + utoa(v.lastPromise))}
	v.promises[p.ref] = p
	return p
}
