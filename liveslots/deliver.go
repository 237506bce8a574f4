package liveslots

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

func (v *Vat) deliver(d wire.Delivery) {
	switch d := d.(type) {
	case wire.StartVat:
		v.startVat()
	case wire.Call:
		v.call(d)
	case wire.Notify:
		v.notify(d)
	case wire.DropExports:
		v.dropExports(d.Refs)
	case wire.RetireExports:
		v.retireExports(d.Refs)
	case wire.RetireImports:
		for _, ref := range d.Refs {
			delete(v.imports, ref)
		}
	case wire.BringOutYourDead:
		// Nothing is dropped yet.
	default:
		v.fail(fmt.Sprintf("delivery %T is unknown", d))
	}
}

// startVat makes the root. This happens once in the vat's life; later workers load it.
func (v *Vat) startVat() {
	ended := false
	v.begin(v.module.name+": constructor", func(ctx context.Context) {
		root, err := v.module.construct(ctx, v)
		ended = true
		if err != nil {
			v.fail(fmt.Sprintf("module %s: %v", v.module.name, err))
			return
		}
		h, err := headOf(v.module.root, root)
		switch {
		case err == nil && h.ref != "" && h.ref != wire.RootRef:
			err = errors.New("the root was passed by its constructor, before it is the root")
		case err == nil && h.presence != nil:
			h.presence.ref, h.presence.own = wire.RootRef, nil
			v.own[wire.RootRef] = h.presence
			h.presence = nil
		}
		if err != nil {
			v.fail(fmt.Sprintf("module %s: %v", v.module.name, err))
			return
		}
		h.ref = wire.RootRef
		v.ids.setRoot(h.kind)
		v.objects[h.ref] = h
		v.loaded = append(v.loaded, h)
	})
	if !ended && v.broken == "" {
		v.fail(fmt.Sprintf("module %s: its constructor awaits a promise; a vat must have its root first: do so in bootstrap", v.module.name))
	}
}

// call runs a method as a new turn.
func (v *Vat) call(d wire.Call) {
	slots := v.takeSlots(d.Message.MethArgs.Slots)
	result := v.resultPromise(d.Message.Result)
	name, args, err := capdata.DecodeCall(d.Message.MethArgs.Body, len(slots))
	if err == nil {
		err = slotsFit(args, slots)
	}
	if err != nil {
		v.settle(result, errorValue(fmt.Errorf("unreadable message: %w", err)), true)
		return
	}
	if v.local(d.Target) == nil {
		v.settle(result, kernelError(capdata.CodeObjectDeleted, "the object lived in memory that is lost"), true)
		return
	}
	v.begin(string(d.Target)+"."+name, func(ctx context.Context) {
		t := running(ctx)
		v.fill()
		val, err := t.invoke(ctx, d.Target, name, args, slots)
		if err != nil {
			v.settle(result, errorValue(err), true)
			return
		}
		v.settle(result, val, false)
	})
}

// resultPromise is the promise by which a call is answered. It may be one that this vat knows already,
// because it sent the message to itself.
func (v *Vat) resultPromise(ref wire.Ref) *promise {
	if ref == "" {
		return &promise{} // nobody waits
	}
	p := v.promises[ref]
	if p == nil {
		p = &promise{ref: ref}
		v.promises[ref] = p
	}
	if !p.ours {
		p.ours = true
		v.deciding++
	}
	return p
}

// invoke calls a method of an object, once the promises among its arguments are settled.
func (t *turn) invoke(ctx context.Context, target wire.Ref, name string, args, slots []any) (value, error) {
	v := t.v
	k := v.local(target).kind
	t.what = k.name + "." + name
	m := k.methods[name]
	if target == wire.RootRef && name == "bootstrap" {
		// A root takes of (vats, services) what it needs, and need not have the method at all.
		if m == nil {
			return undefined, nil
		}
		args = args[:min(len(args), len(m.params))]
	}
	if m == nil {
		names := slices.Sorted(maps.Keys(k.methods))
		return value{}, &Error{Name: "TypeError", Message: fmt.Sprintf("%s has no method %q; it has %s", k.name, name, strings.Join(names, ", "))}
	}
	if len(args) != len(m.params) {
		return value{}, &Error{Name: "TypeError", Message: fmt.Sprintf("%s.%s: got %d arguments (%s), want %d: %s",
			k.name, name, len(args), describeAll(args, slots), len(m.params), m.signature())}
	}
	in := make([]reflect.Value, 0, len(args)+2)
	in = append(in, reflect.Value{})
	if m.ctx {
		in = append(in, reflect.ValueOf(ctx))
	}
	t.starting = true
	for i, a := range args {
		p := m.params[i]
		arg := reflect.New(p.typ).Elem()
		if err := t.argument(p, a, slots, arg); err != nil {
			if _, rejected := err.(*Error); rejected {
				return value{}, err // the argument is a promise that was rejected: so is the call
			}
			return value{}, &Error{Name: "TypeError", Message: fmt.Sprintf("%s.%s: argument %d: %v; it takes %s", k.name, name, i+1, err, m.signature())}
		}
		in = append(in, arg)
	}
	t.starting = false
	// The arguments may have been awaited, and the vat have gone on meanwhile: so the object is looked
	// up now.
	h := v.local(target)
	v.fill()
	in[0] = h.self
	out := m.fn.Call(in)
	if m.fails {
		if err, _ := out[len(out)-1].Interface().(error); err != nil {
			return value{}, err
		}
	}
	if m.result == nil {
		return undefined, nil
	}
	val, err := v.encode(m.result, out[0])
	if err != nil {
		return value{}, fmt.Errorf("%s.%s: the result cannot be passed: %w", k.name, name, err)
	}
	return val, nil
}

// argument decodes one argument. A promise is awaited unless the parameter is a Promise: unlike inside
// a value, also where the parameter is any.
func (t *turn) argument(p *codec, arg any, slots []any, out reflect.Value) error {
	x := value{tree: arg, slots: slots}
	if p.typ == typeAny {
		for pr := x.lonePromise(); pr != nil; pr = x.lonePromise() {
			if err := t.wait(pr); err != nil {
				return err
			}
			if pr.rejected {
				return errorOf(pr.val)
			}
			x = pr.val
		}
	}
	return t.decode(p, x, out)
}

func describeAll(args, slots []any) string {
	if len(args) == 0 {
		return "none"
	}
	var list []string
	for i, a := range args {
		if i == 8 {
			list = append(list, "…")
			break
		}
		list = append(list, describe(a, slots))
	}
	return strings.Join(list, ", ")
}

// notify settles promises. The kernel has forgotten their names, and so does the vat.
func (v *Vat) notify(d wire.Notify) {
	v.notified = make(map[wire.Ref]bool, len(d.Resolutions))
	for _, r := range d.Resolutions {
		v.notified[r.Promise] = true
	}
	type settled struct {
		p   *promise
		val value
		err error
	}
	list := make([]settled, len(d.Resolutions))
	// The values may mention the promises of the batch, so all are read before any name is forgotten.
	for i, r := range d.Resolutions {
		// One that is not known, because memory was lost, is known from here on: others may mention it.
		list[i].p = v.remotePromise(r.Promise)
		list[i].val, list[i].err = v.take(r.Value)
	}
	v.notified = nil
	for i, r := range d.Resolutions {
		p := list[i].p
		if p.ours { // the kernel decided in this vat's stead
			p.ours = false
			v.deciding--
		}
		delete(v.promises, r.Promise)
		p.ref = ""
		val, rejected := list[i].val, r.Rejected
		if list[i].err != nil {
			val, rejected = errorValue(list[i].err), true
		}
		v.settle(p, val, rejected)
	}
}

// dropExports notes that nobody reaches these objects. They keep their names until they are retired.
func (v *Vat) dropExports(refs []wire.Ref) {
	for _, ref := range refs {
		if h := v.objects[ref]; h != nil && h.kind.ephemeral && !h.dropped {
			h.dropped = true
			v.ephemerals--
		}
	}
}

func (v *Vat) retireExports(refs []wire.Ref) {
	for _, ref := range refs {
		delete(v.own, ref)
		if h := v.objects[ref]; h != nil && h.kind.ephemeral {
			if !h.dropped {
				v.ephemerals--
			}
			delete(v.objects, ref)
			h.ref, h.dropped = "", false // should it be passed again, it is a new object
		}
	}
}
