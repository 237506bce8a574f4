package liveslots

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"ocapkernel.dev/capdata"
)

// A codec translates between a Go type and passables.
type codec struct {
	// sig is the type in messages to people.
	sig string
	typ reflect.Type
	// promise is set if the type can hold a promise as it is; for other types the promise is awaited first.
	promise bool
	// plain is set if no value of the type has a reference.
	plain bool
	// outcome is the codec of the value, if the type is an Outcome.
	outcome *codec
	enc     func(e *encoder, v reflect.Value) (any, error)
	dec     func(d *decoder, in any, out reflect.Value) error
}

// codecs are the codecs and kinds that a module's types need. While a module is registered they grow, and
// problems are collected; a vat works on a sealed copy, which can still add plain types.
type codecs struct {
	module   string
	kinds    map[reflect.Type]*kind
	order    []*kind // of kinds, as they were found
	names    map[string]reflect.Type
	former   map[string]reflect.Type // by the former names that types declare
	byType   map[reflect.Type]*codec
	problems []string
	sealed   bool
	face     *Face
	// complaints are mistakes of the program that a vat has met; see [Vat.Complaints].
	complaints []string
}

func newCodecs() *codecs {
	return &codecs{kinds: map[reflect.Type]*kind{}, names: map[string]reflect.Type{}, former: map[string]reflect.Type{}, byType: map[reflect.Type]*codec{}}
}

// seal returns the copy that one vat works with.
func (c *codecs) seal() *codecs {
	return &codecs{module: c.module, kinds: c.kinds, names: c.names, former: c.former, byType: maps.Clone(c.byType), face: c.face, sealed: true}
}

func (c *codecs) problem(format string, args ...any) {
	p := fmt.Sprintf(format, args...)
	if !slices.Contains(c.problems, p) {
		c.problems = append(c.problems, p)
	}
}

// A decoder turns one passable into Go values.
type decoder struct {
	v     *Vat
	slots []any
	depth int
	// stored is set for this vat's own stored values; an earlier program may have stored them.
	stored bool
	// pending is the promise that has to be settled first, after errPending.
	pending *promise
}

// errPending means that the value has to be decoded again when a promise is settled.
var errPending = errors.New("pending")

// mismatch is a value that does not fit a Go type.
type mismatch struct{ path, want, got string }

func (m *mismatch) Error() string {
	at := ""
	if m.path != "" {
		at = " at " + strings.TrimPrefix(m.path, ".")
	}
	return fmt.Sprintf("want %s%s, got %s", m.want, at, m.got)
}

func (d *decoder) mismatch(want string, in any) error {
	return &mismatch{want: want, got: describe(in, d.slots)}
}

// inside adds the step at which it was found to the path of a mismatch or of a changed field.
func inside(err error, step string) error {
	switch e := err.(type) {
	case *mismatch:
		e.path = step + e.path
	case *changed:
		e.path = step + e.path
	}
	return err
}

// decode puts a passable into a Go value. It fails with errPending where a promise has to be awaited, and with
// the error of a promise that is rejected.
func (c *codec) decode(d *decoder, in any, out reflect.Value) error {
	if pr, ok := in.(capdata.Promise); ok && !c.promise {
		return c.decodePromised(d, pr, out)
	}
	err := c.dec(d, in, out)
	if _, ok := err.(*mismatch); ok && d.stored && holdsNothing(in) {
		out.SetZero()
		return nil
	}
	return err
}

// decodePromised puts the value of a promise into a Go value.
func (c *codec) decodePromised(d *decoder, pr capdata.Promise, out reflect.Value) error {
	p := d.slots[pr.Slot].(*promise)
	switch {
	case !p.settled:
		d.pending = p
		return errPending
	case p.rejected:
		return errorOf(p.val)
	case d.depth > maxDepth:
		return fmt.Errorf("promises for values with promises are nested too deep")
	}
	in := decoder{v: d.v, slots: p.val.slots, depth: d.depth + 1}
	err := c.decode(&in, p.val.tree, out)
	d.pending = in.pending
	return err
}

// decode puts a value into out, or returns the promise that has to be settled first, where out cannot hold a
// promise.
func (v *Vat) decode(c *codec, x value, out reflect.Value) (pending *promise, err error) {
	return v.decodeAs(c, x, out, false)
}

func (v *Vat) decodeAs(c *codec, x value, out reflect.Value, stored bool) (pending *promise, err error) {
	d := decoder{v: v, slots: x.slots, stored: stored}
	err = c.decode(&d, x.tree, out)
	v.fill()
	if err == errPending {
		return d.pending, nil
	}
	return nil, err
}

// decode puts a value into out, waiting for the promises in it where out cannot hold a promise.
func (t *turn) decode(c *codec, x value, out reflect.Value) error {
	for {
		pending, err := t.v.decode(c, x, out)
		if pending == nil {
			return err
		}
		if err := t.wait(pending); err != nil {
			return err
		}
		out.SetZero()
	}
}

// encode returns the passable of a Go value.
func (v *Vat) encode(c *codec, rv reflect.Value) (value, error) {
	e := encoder{v: v}
	tree, err := c.enc(&e, rv)
	if err != nil {
		return value{}, err
	}
	return e.sealWithin(v.maxValueBytes, tree)
}

func (v *Vat) encodeAny(x any) (value, error) {
	e := encoder{v: v}
	tree, err := e.any(reflect.ValueOf(x))
	if err != nil {
		return value{}, err
	}
	return e.sealWithin(v.maxValueBytes, tree)
}

// sealWithin is seal for a value that has to fit a frame. It returns an error for a value that would make the
// whole crank fail.
func (e *encoder) sealWithin(limit int, tree any) (value, error) {
	x, err := e.seal(tree)
	if err == nil && len(x.body) > limit {
		err = fmt.Errorf("a value of %d bytes is too large to pass: the limit is %d", len(x.body), limit)
	}
	return x, err
}

// of returns the codec of a type.
func (c *codecs) of(t reflect.Type) (*codec, error) {
	if known := c.byType[t]; known != nil {
		return known, nil
	}
	// The codec is known before it is made: types may contain themselves.
	made := &codec{sig: typeName(t), typ: t}
	c.byType[t] = made
	if err := c.make(made, t); err != nil {
		delete(c.byType, t)
		return nil, err
	}
	made.plain = isPlain(t, nil)
	return made, nil
}

var (
	typeTime   = reflect.TypeFor[time.Time]()
	typeBytes  = reflect.TypeFor[[]byte]()
	typeAny    = reflect.TypeFor[any]()
	typeNone   = reflect.TypeFor[None]()
	typeSymbol = reflect.TypeFor[capdata.Symbol]()
)

// None is the result type of a call that has no result: Await[None] waits and ignores the value.
type None struct{}

func (c *codecs) make(out *codec, t reflect.Type) error {
	switch {
	case isFace(t, typePromise):
		makePromise(out)
		return nil
	case isFace(t, typeRef):
		makeRef(out)
		return nil
	case isFace(t, typeNone):
		out.enc = func(*encoder, reflect.Value) (any, error) { return capdata.Undefined{}, nil }
		out.dec = func(*decoder, any, reflect.Value) error { return nil }
		return nil
	case isFace(t, typeMutex):
		return fmt.Errorf("a Mutex cannot be passed")
	case isFace(t, typeMessage):
		return fmt.Errorf("a Message cannot be passed: forward it")
	}
	switch t {
	case typeError:
		makeError(out)
		return nil
	case typeTime:
		makeTime(out)
		return nil
	case typeBigInt:
		makeBigInt(out)
		return nil
	case typeAny:
		out.promise = true
		out.enc = func(e *encoder, v reflect.Value) (any, error) { return e.any(v.Elem()) }
		out.dec = decodeAny
		return nil
	}
	if isCollection(t) {
		makeCollection(out)
		return nil
	}
	if outcomeOf(t) != nil {
		return fmt.Errorf("an Outcome is for the first parameter of a method that vat.When calls, and nothing else")
	}
	switch t.Kind() {
	case reflect.Bool:
		makeBool(out)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		makeInt(out)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		makeUint(out)
	case reflect.Float32, reflect.Float64:
		makeFloat(out)
	case reflect.String:
		makeString(out, t == typeSymbol)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			makeBytes(out)
			return nil
		}
		return c.makeSlice(out, t)
	case reflect.Array:
		return c.makeArray(out, t)
	case reflect.Map:
		return c.makeMap(out, t)
	case reflect.Struct:
		return c.makeStruct(out, t)
	case reflect.Pointer:
		if isObject(t) {
			return c.makeObject(out, t)
		}
		return c.makePointer(out, t)
	default:
		return fmt.Errorf("%s cannot be passed", typeName(t))
	}
	return nil
}

// isPlain reports whether no value of a type has a reference.
func isPlain(t reflect.Type, within []reflect.Type) bool {
	switch {
	case t == typeTime, t == typeBigInt, t == typeBytes, slices.Contains(within, t):
		return true
	case isFace(t, typeRef), isFace(t, typePromise), isObject(t):
		return false
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return isPlain(t.Elem(), within)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Tag.Get("vat") != "-" && !isPlain(f.Type, within) {
				return false
			}
		}
		return true
	}
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Float64 || t.Kind() == reflect.String
}

// whyUnstorable returns the reason why values of a type cannot be part of durable state, or "".
func (c *codecs) whyUnstorable(t reflect.Type, seen []reflect.Type) string {
	if slices.Contains(seen, t) {
		return ""
	}
	seen = append(seen, t)
	switch {
	case isFace(t, typePromise):
		return "a promise lives in memory only"
	case isObject(t):
		if _, ephemeral := embeds(t.Elem()); ephemeral {
			return typeName(t.Elem()) + " is ephemeral"
		}
		return ""
	case t == typeTime, isFace(t, typeRef), t == typeBigInt, isFace(t, typeNone):
		return ""
	case isCollection(t):
		return c.whyUnstorableCollection(t)
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		if isCollection(t.Elem()) {
			return "a Map can only be a field of a durable object"
		}
		return c.whyUnstorable(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Tag.Get("vat") == "-" {
				continue
			}
			if isCollection(f.Type) {
				return "a Map can only be a field of a durable object"
			}
			if why := c.whyUnstorable(f.Type, seen); why != "" {
				return f.Name + ": " + why
			}
		}
	}
	return ""
}
