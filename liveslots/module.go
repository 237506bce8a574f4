package liveslots

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Module is a kind of vat: the constructor of its root, and the types of its objects. It does not
// change; many vats can be made from it.
type Module struct {
	name        string
	constructor reflect.Value
	ctx         bool
	params      reflect.Type // the type of the parameters, or nil
	fails       bool
	root        *kind
	codecs      *codecs
}

// Problems are all mistakes of a module, one an element.
type Problems []string

// Error lists the problems, one a line.
func (p Problems) Error() string { return strings.Join(p, "\n") }

// Compile checks a constructor and every type that can be reached from its root, and the extra object
// types, given as pointers. A constructor is
//
//	func([context.Context] [, P]) *Root, or (*Root, error)
//
// where P is a type that encoding/json can read the vat's parameters into. The error is Problems.
func Compile(name string, constructor any, extra ...any) (*Module, error) {
	return CompileFor(nil, name, constructor, extra...)
}

// CompileFor is [Compile] for the authors that a face is for.
func CompileFor(face *Face, name string, constructor any, extra ...any) (*Module, error) {
	m := &Module{name: name, constructor: reflect.ValueOf(constructor), codecs: newCodecs()}
	c := m.codecs
	c.module, c.face = name, face
	m.compile(c)
	for _, x := range extra {
		t := reflect.TypeOf(x)
		if t == nil || !isObject(t) {
			c.problem("%T is not a pointer to a struct that embeds Durable or Ephemeral", x)
			continue
		}
		if _, err := c.kindOf(t.Elem()); err != nil {
			c.problem("%v", err)
		}
	}
	c.addMentioned()
	for _, name := range slices.Sorted(maps.Keys(c.former)) {
		if c.names[name] != nil {
			c.problem("%s is said to be formerly %s, which is a type of the module: what is stored under that name cannot be both", typeName(c.former[name]), name)
		}
	}
	if len(c.problems) > 0 {
		return nil, Problems(slices.Clone(c.problems))
	}
	return m, nil
}

func (m *Module) compile(c *codecs) {
	if m.constructor.Kind() != reflect.Func || m.constructor.IsNil() {
		c.problem("the constructor is %s, not a function", m.constructor.Kind())
		return
	}
	t := m.constructor.Type()
	in := t.NumIn()
	i := 0
	if in > 0 && t.In(0) == typeContext {
		m.ctx = true
		i++
	}
	if i < in {
		m.params = t.In(i)
		i++
	}
	if i < in || t.IsVariadic() {
		c.problem("the constructor takes more than a context.Context and parameters")
	}
	out := t.NumOut()
	if out == 2 && t.Out(1) == typeError {
		m.fails = true
		out--
	}
	if out != 1 || t.Out(0).Kind() != reflect.Pointer || t.Out(0).Elem().Kind() != reflect.Struct {
		c.problem("the constructor must return a pointer to the root's struct, and may return an error")
		return
	}
	root := t.Out(0).Elem()
	switch durable, ephemeral := embeds(root); {
	case ephemeral:
		c.problem("the root %s embeds Ephemeral: a root is always durable", typeName(root))
	case !durable:
		c.problem("the root %s must embed Durable", typeName(root))
	default:
		k, err := c.kindOf(root)
		if err != nil {
			c.problem("%v", err)
		}
		m.root = k
	}
}

// construct calls the constructor, which makes the root.
func (m *Module) construct(ctx context.Context, v *Vat) (reflect.Value, error) {
	var in []reflect.Value
	if m.ctx {
		in = append(in, reflect.ValueOf(ctx))
	}
	if m.params != nil {
		p := reflect.New(m.params)
		if err := v.parameters(p.Interface()); err != nil {
			return reflect.Value{}, err
		}
		in = append(in, p.Elem())
	}
	out := m.constructor.Call(in)
	if m.fails {
		if err, _ := out[1].Interface().(error); err != nil {
			return reflect.Value{}, err
		}
	}
	if out[0].IsNil() {
		return reflect.Value{}, fmt.Errorf("the constructor returned nil")
	}
	return out[0], nil
}
