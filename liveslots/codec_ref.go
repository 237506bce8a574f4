package liveslots

import (
	"fmt"
	"reflect"
	"strings"

	"ocapkernel.dev/capdata"
)

func makePromise(c *codec) {
	c.promise = true
	c.enc = func(e *encoder, v reflect.Value) (any, error) {
		p := v.Convert(typePromise).Interface().(Promise).p
		switch {
		case p == nil:
			return nil, fmt.Errorf("the zero Promise cannot be passed: a promise lives in memory, and one that was kept in a field is gone when the vat has been at rest")
		case e.durable:
			return nil, fmt.Errorf("a promise lives in memory and cannot be saved")
		}
		return capdata.Promise{Slot: e.slot(p)}, nil
	}
	// A value that is no promise becomes a promise that is settled already.
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		var p *promise
		switch x := in.(type) {
		case capdata.Promise:
			p = d.slots[x.Slot].(*promise)
		default:
			e := encoder{v: d.v}
			val, err := e.seal(e.include(in, d.slots))
			if err != nil {
				return err
			}
			p = &promise{settled: true, val: val}
		}
		out.Set(reflect.ValueOf(Promise{p}).Convert(out.Type()))
		return nil
	}
}

func makeRef(c *codec) {
	c.enc = func(e *encoder, v reflect.Value) (any, error) {
		p := v.Convert(typeRef).Interface().(Ref).p
		if p == nil {
			return nil, nil
		}
		if e.durable && p.ephemeral() {
			return nil, fmt.Errorf("a reference to an ephemeral object of this vat cannot be saved")
		}
		return capdata.Remotable{Slot: e.slot(p), Iface: p.iface}, nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		switch x := in.(type) {
		case nil, capdata.Undefined:
			out.SetZero()
			return nil
		case capdata.Remotable:
			out.Set(reflect.ValueOf(Ref{d.presenceAt(x)}).Convert(out.Type()))
			return nil
		}
		return d.mismatch("reference", in)
	}
}

// presenceAt returns the presence in a slot.
func (d *decoder) presenceAt(r capdata.Remotable) *presence {
	switch s := d.slots[r.Slot].(type) {
	case *head:
		return d.v.presenceOf(s)
	default:
		p := s.(*presence)
		p.setIface(r.Iface)
		return p
	}
}

// makeObject makes the codec of a pointer to this vat's own objects.
func (c *codecs) makeObject(out *codec, t reflect.Type) error {
	k, err := c.kindOf(t.Elem())
	if err != nil {
		return err
	}
	out.enc = func(e *encoder, v reflect.Value) (any, error) {
		if v.IsNil() {
			return nil, nil
		}
		if e.durable && k.ephemeral {
			return nil, fmt.Errorf("%s is ephemeral and cannot be saved", k.name)
		}
		if e.durable && isDeleted(v) {
			return nil, nil
		}
		h, err := headOf(k, v)
		if err != nil {
			return nil, err
		}
		return capdata.Remotable{Slot: e.slot(h), Iface: k.iface}, nil
	}
	out.dec = func(d *decoder, in any, o reflect.Value) error {
		var h *head
		switch x := in.(type) {
		case nil, capdata.Undefined:
			o.SetZero()
			return nil
		case capdata.Remotable:
			switch s := d.slots[x.Slot].(type) {
			case *head:
				h = s
				if h.gone {
					h = d.v.local(h.ref)
				}
			case *presence:
				if h = s.own; h == nil {
					h = d.v.local(s.ref)
				}
				if h == nil && d.stored && isDurable(string(s.ref)) {
					o.SetZero() // it was deleted
					return nil
				}
				if h == nil {
					got := describe(in, d.slots) + ", another vat's object"
					if strings.HasPrefix(string(s.ref), "o+") {
						got = describe(in, d.slots) + ", an object that is gone"
					}
					return &mismatch{want: out.sig + " of this vat", got: got}
				}
			}
		default:
			return d.mismatch(out.sig, in)
		}
		if h.kind != k {
			return &mismatch{want: out.sig, got: "a *" + h.kind.name}
		}
		o.Set(h.self)
		return nil
	}
	return nil
}
