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
// target arrive in the order sent; messages to this vat's own objects take the same way through the kernel as
// all others.
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
	ref := v.name(target.p)
	result := v.newResult()
	v.syscall(wire.Watch{Target: ref, Result: result.ref})
	// Always: only a notification makes the kernel forget the promise.
	v.subscribe(result, false)
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
	if p, ok := target.(*promise); ok && p.ref == "" && (!p.settled || len(p.sends) > 0) {
		// The kernel does not know the promise, so the message waits here, behind earlier messages to it.
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
	return v.sendNow(target, msg)
}

// sendNow sends a message to a target that can take it now.
func (v *Vat) sendNow(target any, msg value) *promise {
	var ref wire.Ref
	switch t := target.(type) {
	case *promise:
		t.used = true
		switch {
		case t.ref != "":
			// Also if it is settled, and the kernel was not told yet: messages may wait for it there.
			ref = t.ref
		case t.rejected:
			return &promise{settled: true, rejected: true, val: t.val}
		default:
			r, ok := t.val.tree.(capdata.Remotable)
			if !ok {
				return &promise{settled: true, rejected: true, val: badTarget(t.val)}
			}
			return v.sendNow(t.val.slots[r.Slot], msg)
		}
	default:
		ref = v.name(target)
	}
	methargs := v.wireValue(msg)
	result := v.newResult()
	v.syscall(wire.Send{Target: ref, Message: wire.Message{MethArgs: methargs, Result: result.ref}})
	v.announce()
	// Always: only a notification makes the kernel forget the promise.
	v.subscribe(result, false)
	return result
}

// newResult makes a promise that the kernel, or another vat, will settle.
func (v *Vat) newResult() *promise {
	v.lastPromise++
	p := &promise{ref: wire.Ref("p+" + utoa(v.lastPromise))}
	v.promises[p.ref] = p
	return p
}
