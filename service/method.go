package service

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"ocapkernel.dev/capdata"
)

// A method that can be called.
type method struct {
	name     string
	fn       reflect.Value
	ctx      bool
	params   []reflect.Type // without the context
	variadic bool
	returns  bool
	fails    bool
}

var (
	typeContext         = reflect.TypeFor[context.Context]()
	typeGoError         = reflect.TypeFor[error]()
	typeRef             = reflect.TypeFor[Ref]()
	typeBigInt          = reflect.TypeFor[*big.Int]()
	typeUnmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	typeMarshaler       = reflect.TypeFor[json.Marshaler]()
	typeTextUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	typeTextMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
)

func newMethod(name string, fn reflect.Value) (*method, error) {
	t := fn.Type()
	m := &method{name: name, fn: fn, variadic: t.IsVariadic()}
	for i := range t.NumIn() {
		p := t.In(i)
		if p == typeContext {
			if i > 0 {
				return nil, errors.New("context.Context must be the first parameter")
			}
			m.ctx = true
			continue
		}
		if why := notJSON(p, true, nil); why != "" {
			return nil, fmt.Errorf("parameter %d: JSON cannot be read into a %s", i+1, why)
		}
		m.params = append(m.params, p)
	}
	out := t.NumOut()
	if out > 0 && t.Out(out-1) == typeGoError {
		m.fails = true
		out--
	}
	switch {
	case out > 1:
		return nil, errors.New("a method returns nothing, a value, an error, or a value and an error")
	case out == 1:
		m.returns = true
		if why := notJSON(t.Out(0), false, nil); why != "" {
			return nil, fmt.Errorf("result: a %s cannot be written as JSON", why)
		}
	}
	return m, nil
}

// notJSON returns the type in t that encoding/json cannot read (or write), or "". It accepts types of which
// only values can tell.
func notJSON(t reflect.Type, reading bool, within []reflect.Type) string {
	if slices.Contains(within, t) {
		return ""
	}
	within = append(within, t)
	p := reflect.PointerTo(t)
	if reading && (p.Implements(typeUnmarshaler) || p.Implements(typeTextUnmarshaler)) ||
		!reading && (p.Implements(typeMarshaler) || p.Implements(typeTextMarshaler)) {
		return ""
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return typeName(t)
	case reflect.Interface:
		if reading && t.NumMethod() > 0 {
			return typeName(t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return notJSON(t.Elem(), reading, within)
	case reflect.Map:
		k := t.Key()
		text := reading && reflect.PointerTo(k).Implements(typeTextUnmarshaler) || !reading && k.Implements(typeTextMarshaler)
		if !text && k.Kind() != reflect.String && (k.Kind() < reflect.Int || k.Kind() > reflect.Uintptr) {
			return typeName(t)
		}
		return notJSON(t.Elem(), reading, within)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			if why := notJSON(f.Type, reading, within); why != "" {
				return why
			}
		}
	}
	return ""
}

// signature returns the method as its callers see it.
func (m *method) signature() string {
	var params []string
	for i, p := range m.params {
		if m.variadic && i == len(m.params)-1 {
			params = append(params, "..."+sig(p.Elem()))
			continue
		}
		params = append(params, sig(p))
	}
	return m.name + "(" + strings.Join(params, ", ") + ")"
}

func (m *method) count() string {
	if m.variadic {
		return fmt.Sprintf("%d or more", len(m.params)-1)
	}
	return fmt.Sprint(len(m.params))
}

// sig returns a type in messages. A struct is shown with its fields, because its name means nothing to a
// caller.
func sig(t reflect.Type) string {
	if t.Kind() == reflect.Pointer && t.Name() == "" && t != typeBigInt {
		return sig(t.Elem()) // nil is null, which goes without mention
	}
	if p := reflect.PointerTo(t); t.Kind() != reflect.Struct || p.Implements(typeUnmarshaler) || p.Implements(typeTextUnmarshaler) {
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && t.Name() == "" {
			return "base64 string"
		}
		return typeName(t)
	}
	var fields []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		fields = append(fields, name+" "+strings.TrimPrefix(typeName(f.Type), "*"))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// typeName returns a type in the spelling of the service's author.
func typeName(t reflect.Type) string {
	if t == typeRef {
		return "reference"
	}
	return strings.NewReplacer("[]uint8", "[]byte", "interface {}", "any").Replace(t.String())
}

// hasHalfPair reports whether a string in a value holds half of a surrogate pair, which encoding/json would
// replace in silence.
func hasHalfPair(v any) bool {
	switch x := v.(type) {
	case string:
		return !utf8.ValidString(x)
	case []any:
		for _, e := range x {
			if hasHalfPair(e) {
				return true
			}
		}
	case *capdata.Record:
		for _, f := range x.Fields {
			if !utf8.ValidString(f.Name) || hasHalfPair(f.Value) {
				return true
			}
		}
	case *capdata.Tagged:
		return hasHalfPair(x.Payload)
	}
	return false
}
