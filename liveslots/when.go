package liveslots

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"ocapkernel.dev/capdata"
)

// outcomeOf returns the T of an Outcome[T] of package vat, a struct with the fields Value of type T and Err, or nil for any
// other type.
func outcomeOf(t reflect.Type) reflect.Type {
	if t.Kind() != reflect.Struct || t.PkgPath() != facePath || !strings.HasPrefix(t.Name(), "Outcome[") {
		return nil
	}
	f, _ := t.FieldByName("Value")
	return f.Type
}

// outcome fills an Outcome if the promise is settled, or returns the promise that has to be settled first.
func (v *Vat) outcome(c *codec, x value, out reflect.Value) (pending *promise, err error) {
	if p := x.lonePromise(); p != nil {
		switch {
		case !p.settled:
			return p, nil
		case p.rejected:
			out.FieldByName("Err").Set(reflect.ValueOf(errorOf(p.val)))
			return nil, nil
		}
		x = p.val
	}
	val := out.FieldByName("Value")
	pending, err = v.decode(c.outcome, x, val)
	if err != nil {
		val.SetZero()
		out.FieldByName("Err").Set(reflect.ValueOf(err))
	}
	return pending, nil
}

// When has a method of obj called once p is settled, and returns a promise for the method's result. obj is a
// durable object of this vat; method is the name of one of its methods. The method gets, after the context, the
// outcome of p, then args, which are values that durable state can hold.
//
// If the method's first parameter is an Outcome, the method is called whether p is fulfilled or rejected. If
// it is any other type, the method is called with the value; if p is rejected, so is the result.
func When(ctx context.Context, p Promise, obj any, method string, args ...any) Promise {
	v := running(ctx).v
	c, err := v.when(p, obj, capdata.MethodName(method), args)
	if err != nil {
		v.log.Error("a continuation was refused", "method", method, "err", err)
		v.codecs.complain(fmt.Sprintf("a call of When was refused: %s: %v", method, err))
		return Promise{rejectedPromise(fmt.Errorf("when %s: %w", method, err))}
	}
	if p.p.settled {
		c.on = p.p
		v.tasks = append(v.tasks, task{call: c})
	} else {
		v.await(c, p.p)
	}
	return Promise{c.result}
}

func (v *Vat) when(p Promise, obj any, name string, args []any) (*call, error) {
	if p.p == nil {
		return nil, fmt.Errorf("the promise is the zero Promise")
	}
	p.p.used = true
	h, err := v.headOfAny(obj)
	if err != nil {
		return nil, err
	}
	if h.kind.ephemeral {
		return nil, fmt.Errorf("%s is ephemeral: only durable objects can be called later", h.kind.name)
	}
	m := h.kind.method(name, true)
	switch {
	case m == nil:
		return nil, h.kind.noMethod(name, true)
	case len(m.params) != len(args)+1:
		return nil, fmt.Errorf("%s.%s: got an outcome and %d arguments, want %d in all: %s", h.kind.name, name, len(args), len(m.params), m.signature())
	}
	e := encoder{v: v, durable: true}
	list := []any{capdata.Promise{Slot: e.slot(p.p)}}
	for i, a := range args {
		x, err := e.any(reflect.ValueOf(a))
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		list = append(list, x)
		// An argument that does not fit is found now, and not in a week.
		into := m.params[i+1]
		_, err = v.argument(into, x, e.slots, reflect.New(into.typ).Elem(), true)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: argument %d: %w; it takes %s", h.kind.name, name, i+1, err, m.signature())
		}
	}
	if len(e.slots) > maxSlots {
		return nil, fmt.Errorf("arguments with %d references: the limit is %d", len(e.slots), maxSlots)
	}
	body, err := capdata.EncodeCall(name, list)
	if err != nil {
		return nil, err
	}
	if len(body) > v.maxValueBytes {
		return nil, fmt.Errorf("arguments of %d bytes are too large: the limit is %d", len(body), v.maxValueBytes)
	}
	c := &call{kind: byWhen, ref: h.ref, target: h, method: name, body: body, args: list, slots: e.slots, result: &promise{}}
	c.result.call = c
	return c, nil
}
