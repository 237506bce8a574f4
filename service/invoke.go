package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// perform performs one call and replies to it, also if the method panics or ends its goroutine.
func (a *adapter) perform(ctx context.Context, c Call, reply func(Reply)) {
	u := &underWay{call: c}
	what := a.name
	var r Reply
	finished := false
	defer func() {
		u.end()
		if !finished {
			// The method panicked, or ended its goroutine.
			cause := recover()
			a.log.Error("a method of a service panicked", "service", what, "err", fmt.Sprint(cause), "stack", string(debug.Stack()))
			r = rejectAs("Error", what+": the service panicked; the kernel's log says where")
		}
		reply(r)
	}()
	r = a.call(context.WithValue(ctx, underWayKey{}, u), u, &what)
	finished = true
}

func (a *adapter) crowded() Reply {
	return Reject(errcode.Limit, "%s: %d calls wait already", a.name, maxWaiting)
}

// call decodes the message, calls the method and encodes its result. It puts the method's name into what as
// soon as the name is known.
func (a *adapter) call(ctx context.Context, u *underWay, what *string) Reply {
	if ctx.Err() != nil {
		return Reject(errcode.ServiceGone, "%s: the call was cancelled before it began", a.name)
	}
	slots := u.call.MethArgs.Slots
	name, args, err := capdata.DecodeCall(u.call.MethArgs.Body, len(slots))
	if err != nil {
		return Fail(typeErrorf("%s: unreadable message: %v", a.name, err))
	}
	m := a.methods[name]
	if m == nil {
		return Fail(typeErrorf("%s has no method %s; it has %s", a.name, quote(name), strings.Join(slices.Sorted(maps.Keys(a.methods)), ", ")))
	}
	*what = a.name + "." + name
	in, err := m.arguments(args, slots)
	if err != nil {
		return Fail(typeErrorf("%s: %v", *what, err))
	}
	if a.allow != nil && !a.allow() {
		return Reject(errcode.Limit, "%s: the kernel keeps its last file descriptors for itself: try again when connections have ended", *what)
	}
	if m.ctx {
		in = slices.Insert(in, 0, reflect.ValueOf(ctx))
	}
	out := m.fn.Call(in)
	u.end()
	if m.fails {
		if err, _ := out[len(out)-1].Interface().(error); err != nil {
			return Fail(err)
		}
	}
	if !m.returns {
		return Reply{Value: Data{Body: undefinedBody}}
	}
	e := resultEncoder{call: u}
	value, err := e.encode(result(out[0]))
	if err != nil {
		return Fail(fmt.Errorf("%s: the result cannot be passed: %w", *what, err))
	}
	return Reply{Value: value, Exports: e.exports}
}

// result returns a method's result in the form that is marshalled: a nil slice is an empty array.
func result(v reflect.Value) any {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return reflect.MakeSlice(v.Type(), 0, 0).Interface()
	}
	return v.Interface()
}

// arguments converts the arguments of the caller to the method's parameters, without the context.
func (m *method) arguments(args []any, slots []string) ([]reflect.Value, error) {
	least := len(m.params)
	if m.variadic {
		least--
	}
	if len(args) < least || len(args) > least && !m.variadic {
		return nil, fmt.Errorf("got %d arguments (%s), want %s: %s", len(args), capdata.DescribeAll(args, nil), m.count(), m.signature())
	}
	in := make([]reflect.Value, len(args), len(args)+1)
	for i, arg := range args {
		t := m.params[min(i, len(m.params)-1)]
		if m.variadic && i >= least {
			t = t.Elem()
		}
		v, err := argument(t, arg, slots)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w; it takes %s", i+1, err, m.signature())
		}
		in[i] = v
	}
	return in, nil
}

// argument converts one argument to type t.
func argument(t reflect.Type, arg any, slots []string) (reflect.Value, error) {
	v := reflect.New(t)
	kind := t.Kind()
	readsItself := reflect.PointerTo(t).Implements(typeUnmarshaler) || kind == reflect.Pointer && t.Implements(typeUnmarshaler)
	form := capdata.ToJSON
	mismatch := fmt.Errorf("got %s, want %s", capdata.Describe(arg, nil), sig(t))
	if _, early := arg.(capdata.Promise); early {
		mismatch = fmt.Errorf("got promise, want %s; await it before the call", sig(t))
	}
	switch x := arg.(type) {
	case nil, capdata.Undefined:
		// json.Unmarshal would take null for any parameter.
		if nilable(kind) || t == typeRef {
			return v.Elem(), nil
		}
		return v, mismatch
	case *big.Int:
		if kind >= reflect.Int && kind <= reflect.Uintptr || t == typeBigInt {
			form = func(any, func(int) string) ([]byte, error) { return []byte(x.String()), nil }
			break
		}
		if kind != reflect.Interface && !readsItself {
			return v, mismatch
		}
	case capdata.Remotable, capdata.Promise, capdata.Symbol, *capdata.Tagged, *capdata.Error:
		// In JSON these are objects, which must not pass for records.
		if kind != reflect.Interface && !readsItself {
			return v, mismatch
		}
	}
	if hasHalfPair(arg) {
		return v, errors.New("a string in it holds half of a surrogate pair, which UTF-8 has no form for")
	}
	text, err := form(arg, func(slot int) string { return slots[slot] })
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(text, v.Interface()); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			where := ""
			if wrong.Field != "" {
				where = "field " + quote(wrong.Field) + ": "
			}
			return v, fmt.Errorf("%sgot %s, want %s", where, clip(wrong.Value, 64), sig(wrong.Type))
		}
		return v, fmt.Errorf("%w: %w", mismatch, err)
	}
	return v.Elem(), nil
}

func nilable(k reflect.Kind) bool {
	return k == reflect.Pointer || k == reflect.Slice || k == reflect.Map || k == reflect.Interface
}
