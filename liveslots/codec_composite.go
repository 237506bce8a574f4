package liveslots

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strconv"

	"ocapkernel.dev/capdata"
)

// enter and leave bound the depth of Go values, which may be cyclic.
func (e *encoder) enter() error {
	e.depth++
	if e.depth > maxDepth {
		return errors.New("a value is nested too deep, or contains itself")
	}
	return nil
}

func (e *encoder) leave() { e.depth-- }

func (c *codecs) makeSlice(out *codec, t reflect.Type) error {
	elem, err := c.passable(t.Elem())
	if err != nil {
		return err
	}
	out.enc = func(e *encoder, v reflect.Value) (any, error) { return e.list(elem, v) }
	out.dec = func(d *decoder, in any, o reflect.Value) error {
		switch x := in.(type) {
		case nil, capdata.Undefined:
			o.SetZero()
			return nil
		case []any:
			o.Set(reflect.MakeSlice(t, len(x), len(x)))
			return d.list(elem, x, o)
		}
		return d.mismatch(out.sig, in)
	}
	return nil
}

func (c *codecs) makeArray(out *codec, t reflect.Type) error {
	elem, err := c.passable(t.Elem())
	if err != nil {
		return err
	}
	out.enc = func(e *encoder, v reflect.Value) (any, error) { return e.list(elem, v) }
	out.dec = func(d *decoder, in any, o reflect.Value) error {
		x, ok := in.([]any)
		if !ok || len(x) != t.Len() {
			return d.mismatch(out.sig, in)
		}
		return d.list(elem, x, o)
	}
	return nil
}

func (e *encoder) list(elem *codec, v reflect.Value) (any, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	list := make([]any, v.Len())
	for i := range list {
		x, err := elem.enc(e, v.Index(i))
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		list[i] = x
	}
	return list, nil
}

func (d *decoder) list(elem *codec, in []any, out reflect.Value) error {
	for i, x := range in {
		if err := elem.decode(d, x, out.Index(i)); err != nil {
			return inside(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return nil
}

func (c *codecs) makeMap(out *codec, t reflect.Type) error {
	if t.Key().Kind() != reflect.String {
		return fmt.Errorf("%s cannot be passed: the keys of a map must be strings", typeName(t))
	}
	elem, err := c.passable(t.Elem())
	if err != nil {
		return err
	}
	out.enc = func(e *encoder, v reflect.Value) (any, error) {
		if err := e.enter(); err != nil {
			return nil, err
		}
		defer e.leave()
		keys := make(map[string]reflect.Value, v.Len())
		for it := v.MapRange(); it.Next(); {
			keys[it.Key().String()] = it.Value()
		}
		r := &capdata.Record{Fields: make([]capdata.Field, 0, len(keys))}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			x, err := elem.enc(e, keys[k])
			if err != nil {
				return nil, fmt.Errorf("%q: %w", k, err)
			}
			r.Fields = append(r.Fields, capdata.Field{Name: k, Value: x})
		}
		return r, nil
	}
	out.dec = func(d *decoder, in any, o reflect.Value) error {
		switch x := in.(type) {
		case nil, capdata.Undefined:
			o.SetZero()
			return nil
		case *capdata.Record:
			o.Set(reflect.MakeMapWithSize(t, len(x.Fields)))
			for _, f := range x.Fields {
				v := reflect.New(t.Elem()).Elem()
				if err := elem.decode(d, f.Value, v); err != nil {
					return inside(err, "."+f.Name)
				}
				o.SetMapIndex(reflect.ValueOf(f.Name).Convert(t.Key()), v)
			}
			return nil
		}
		return d.mismatch(out.sig, in)
	}
	return nil
}

// makeStruct makes the codec of a struct that is passed by copy, as a record.
func (c *codecs) makeStruct(out *codec, t reflect.Type) error {
	if d, e := embeds(t); d || e {
		return fmt.Errorf("%s is an object and cannot be copied: use *%s", typeName(t), typeName(t))
	}
	before := len(c.problems)
	fields := c.fields(t, typeName(t), false)
	if c.sealed && len(c.problems) > before {
		err := fmt.Errorf("%s", c.problems[before])
		c.problems = c.problems[:before]
		return err
	}
	byName := make(map[string]field, len(fields))
	for _, f := range fields {
		byName[f.name] = f
	}
	out.enc = func(e *encoder, v reflect.Value) (any, error) {
		if err := e.enter(); err != nil {
			return nil, err
		}
		defer e.leave()
		r := &capdata.Record{Fields: make([]capdata.Field, 0, len(fields))}
		for _, f := range fields {
			x, err := f.codec.enc(e, v.Field(f.index))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			r.Fields = append(r.Fields, capdata.Field{Name: f.name, Value: x})
		}
		return r, nil
	}
	out.dec = func(d *decoder, in any, o reflect.Value) error {
		r, ok := in.(*capdata.Record)
		if !ok {
			return d.mismatch(out.sig, in)
		}
		for _, x := range r.Fields {
			f, ok := byName[x.Name]
			switch {
			case ok:
			case d.stored && holdsNothing(x.Value):
				continue
			case d.stored:
				return &changed{"." + x.Name, describe(x.Value, d.slots), ""}
			default:
				return &mismatch{want: out.sig, got: "a record with an unknown field " + strconv.Quote(x.Name)}
			}
			if err := f.codec.decode(d, x.Value, o.Field(f.index)); err != nil {
				return inside(err, "."+x.Name)
			}
		}
		return nil
	}
	return nil
}

// makePointer makes the codec of a pointer to a value that is passed by copy.
func (c *codecs) makePointer(out *codec, t reflect.Type) error {
	elem, err := c.passable(t.Elem())
	if err != nil {
		return err
	}
	out.enc = func(e *encoder, v reflect.Value) (any, error) {
		if v.IsNil() {
			return nil, nil
		}
		if err := e.enter(); err != nil {
			return nil, err
		}
		defer e.leave()
		return elem.enc(e, v.Elem())
	}
	out.dec = func(d *decoder, in any, o reflect.Value) error {
		switch in.(type) {
		case nil, capdata.Undefined:
			o.SetZero()
			return nil
		}
		v := reflect.New(t.Elem())
		if err := elem.decode(d, in, v.Elem()); err != nil {
			return err
		}
		o.Set(v)
		return nil
	}
	return nil
}

// any encodes the value in an interface, by its own type.
func (e *encoder) any(v reflect.Value) (any, error) {
	if !v.IsValid() {
		return nil, nil
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	t := v.Type()
	switch x := v.Interface().(type) {
	case capdata.Undefined:
		return x, nil
	case *capdata.Tagged:
		if x == nil {
			return nil, nil
		}
		payload, err := e.any(reflect.ValueOf(x.Payload))
		return &capdata.Tagged{Tag: x.Tag, Payload: payload}, err
	case error:
		if !isObject(t) {
			return errorTree(x), nil
		}
	}
	if isCollection(t) {
		return nil, fmt.Errorf("a Map can only be a field of a durable object")
	}
	c, err := e.v.codecs.of(t)
	if err != nil {
		return nil, err
	}
	return c.enc(e, v)
}

// decodeAny turns a passable into the Go value that stands for it in an any.
func decodeAny(d *decoder, in any, out reflect.Value) error {
	x, err := d.any(in)
	if err != nil {
		return err
	}
	if x == nil {
		out.SetZero()
	} else {
		out.Set(reflect.ValueOf(x))
	}
	return nil
}

func (d *decoder) any(in any) (any, error) {
	switch x := in.(type) {
	case capdata.Undefined:
		return nil, nil
	case *big.Int:
		return new(big.Int).Set(x), nil
	case capdata.Promise:
		return d.v.codecs.face.promise(Promise{d.slots[x.Slot].(*promise)}), nil
	case capdata.Remotable:
		return d.v.codecs.face.ref(Ref{d.presenceAt(x)}), nil
	case *capdata.Error:
		return errorFrom(x)
	case []any:
		list := make([]any, len(x))
		for i := range x {
			v, err := d.any(x[i])
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case *capdata.Record:
		m := make(map[string]any, len(x.Fields))
		for _, f := range x.Fields {
			v, err := d.any(f.Value)
			if err != nil {
				return nil, err
			}
			m[f.Name] = v
		}
		return m, nil
	case *capdata.Tagged:
		payload, err := d.any(x.Payload)
		return &capdata.Tagged{Tag: x.Tag, Payload: payload}, err
	}
	return in, nil // null, boolean, number, string, symbol: as they are
}
