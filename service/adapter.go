package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
)

// New makes an [Object] of a value with methods. Every exported method (or those that [Methods] names) can be
// called, under its name with the first letters in lower case: Deposit is deposit, ID is id, URLOf is urlOf.
//
// A method takes a context.Context first, if it wants one, and then parameters of any types that encoding/json
// can read, the last of which may be variadic. It returns nothing, a value, an error, or a value and an error.
//
// Values are converted as docs/json.md and encoding/json say: a record is a struct or a map, []byte is a string
// of base64, a [Ref] is a reference, a parameter of type any gets what json.Unmarshal would make. Null and
// undefined are arguments for pointers, slices, maps and any only. A nil slice is returned as an empty array. A
// method checks and bounds its input itself beyond that: every argument was chosen by a vat.
//
// A call that does not fit is rejected with a TypeError that shows the parameters of the method. An error is a
// rejection with its text, or, if it is or wraps an [*Error], with the kernel's code. A panic is a rejection
// that names the method. A result above [MaxResultBytes] or [MaxResultSlots] is a rejection with LIMIT, which
// does not undo the method's effects.
//
// Each call runs in a goroutine of its own, started in the order of Begin; two may overlap, except with
// [Serial]. At most 1000 run at a time and 10,000 wait; beyond that calls are rejected with LIMIT.
//
// The context ends when the kernel no longer waits for the call. A kernel that stops gives calls that are not
// idempotent a second to end, then ends the contexts of all, and waits another second at most for methods to
// return. [Caller] returns the caller, and [ExportObject] makes new objects for the result.
//
// If v is an [io.Closer], its Close is the kernel's to call, when the object ends: the kernel or its subcluster does, or
// nobody holds an object that a call has made. No vat can call it then, unless [Methods] names it.
//
// New fails, with all mistakes in the error, if v has no exported methods or methods that do not have this form. A value whose
// only method is Close is a token: an object that can be held and passed on, and is told when nobody holds it any more.
func New(v any, opts ...Option) (Object, error) {
	o, x, err := makeObject(v, opts)
	if err != nil {
		return nil, err
	}
	if x.Kind != "" {
		return nil, errors.New("service: Restorable is for ExportObject")
	}
	return o, nil
}

// Option is a property of an object that [New] or [ExportObject] makes.
type Option func(*options)

type options struct {
	name       string
	methods    []string
	idempotent []string
	serial     bool
	log        *slog.Logger
	kind       string
	config     []byte
	allow      func() bool
}

// Name sets the object's name in messages. The default is the name of its Go type.
func Name(name string) Option { return func(o *options) { o.name = name } }

// Methods lets only these methods be called, by the names that callers use.
func Methods(names ...string) Option {
	return func(o *options) { o.methods = append(append([]string{}, o.methods...), names...) }
}

// IdempotentMethods names the methods that may be done twice without harm, as callers name them. See
// [Idempotent].
func IdempotentMethods(names ...string) Option {
	return func(o *options) { o.idempotent = append(o.idempotent, names...) }
}

// Serial makes the object do one call after the other, in the order of Begin.
func Serial() Option { return func(o *options) { o.serial = true } }

// Logger gets panics in methods, with their stacks.
func Logger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// Restorable gives an exported object a kind and a configuration, at most 64 KiB, of which a later kernel makes
// it again.
func Restorable(kind string, config []byte) Option {
	return func(o *options) { o.kind, o.config = kind, config }
}

const (
	maxKindBytes   = 64
	maxConfigBytes = 64 << 10
)

// makeObject makes an object as New and ExportObject do. Of the export, it fills in all but the object.
func makeObject(v any, opts []Option) (Object, Export, error) {
	var o options
	for _, set := range opts {
		set(&o)
	}
	x := Export{Kind: o.kind, Config: slices.Clone(o.config)}
	if len(o.kind) > maxKindBytes || len(o.config) > maxConfigBytes || o.kind == "" && len(o.config) > 0 {
		return nil, x, fmt.Errorf("service: Restorable wants a kind of 1 to %d bytes and a configuration of at most %d bytes", maxKindBytes, maxConfigBytes)
	}
	if object, ok := v.(Object); ok {
		if o.name != "" || o.methods != nil || o.idempotent != nil || o.serial || o.log != nil {
			return nil, x, fmt.Errorf("service: a %T is an Object already: the only option that it can have is Restorable", v)
		}
		return object, x, nil
	}
	a, err := newAdapter(v, o)
	if err != nil {
		return nil, x, fmt.Errorf("service: %w", err)
	}
	if closer, ok := v.(io.Closer); ok {
		return closingAdapter{a, closer}, x, nil
	}
	return a, x, nil
}

// closingAdapter is the adapter of a value that is closed when the object ends.
type closingAdapter struct {
	*adapter
	io.Closer
}

// adapter is an Object made of a Go value.
type adapter struct {
	// allow reports whether the process can spare the descriptors of a call; nil allows every call.
	allow      func() bool
	name       string
	log        *slog.Logger
	methods    map[string]*method
	idempotent []string
	queue      queue
}

var (
	_ Object     = (*adapter)(nil)
	_ Idempotent = (*adapter)(nil)
	_ Waiter     = (*adapter)(nil)
)

func newAdapter(v any, o options) (*adapter, error) {
	rv := reflect.ValueOf(v)
	switch {
	case v == nil:
		return nil, errors.New("nil is no value with methods")
	case rv.Kind() == reflect.Pointer && rv.IsNil():
		return nil, fmt.Errorf("a nil %T is no value with methods", v)
	}
	a := &adapter{name: o.name, log: o.log, allow: o.allow, methods: map[string]*method{}, idempotent: o.idempotent}
	if a.name == "" {
		a.name = strings.TrimPrefix(typeName(rv.Type()), "*")
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.queue.limit = maxRunning
	if o.serial {
		a.queue.limit = 1
	}
	var problems []error
	all := map[string]string{}
	for i := range rv.NumMethod() {
		goName := rv.Type().Method(i).Name
		name := capdata.MethodName(goName)
		if other, dup := all[name]; dup {
			problems = append(problems, fmt.Errorf("%T: %s and %s are both called %q", v, other, goName, name))
		}
		all[name] = goName
		if o.methods != nil && !slices.Contains(o.methods, name) {
			continue
		}
		if _, closes := v.(io.Closer); closes && goName == "Close" && o.methods == nil {
			continue
		}
		m, err := newMethod(name, rv.Method(i))
		if err != nil {
			problems = append(problems, fmt.Errorf("%T.%s: %w; leave it out with service.Methods", v, goName, err))
			continue
		}
		a.methods[name] = m
	}
	if len(all) == 0 {
		hint := ""
		if rv.Kind() != reflect.Pointer && reflect.PointerTo(rv.Type()).NumMethod() > 0 {
			hint = "; pass a pointer to it"
		}
		return nil, fmt.Errorf("a %T has no exported methods%s", v, hint)
	}
	for _, name := range slices.Concat(o.methods, o.idempotent) {
		if _, ok := all[name]; !ok {
			problems = append(problems, fmt.Errorf("%T has no method %s", v, quote(name)))
		}
	}
	if goName := all["close"]; a.methods["close"] == nil && goName != "" && slices.Contains(o.idempotent, "close") {
		problems = append(problems, fmt.Errorf("%T.%s cannot be called, so that it is not idempotent: name it in service.Methods, or nowhere", v, goName))
	}
	return a, errors.Join(problems...)
}

// Idempotent implements the interface of that name.
func (a *adapter) Idempotent(name string) bool {
	return slices.Contains(a.idempotent, name) && a.methods[name] != nil
}

// Wait implements Waiter.
func (a *adapter) Wait(ctx context.Context) error { return a.queue.wait(ctx) }

// Begin implements Object.
func (a *adapter) Begin(ctx context.Context, c Call, reply func(Reply)) {
	if !a.queue.add(func() { a.perform(ctx, c, reply) }) {
		go reply(a.crowded()) // not in here: the caller of Begin may not be ready for the reply
	}
}
