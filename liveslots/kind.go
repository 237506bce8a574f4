package liveslots

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
)

// A kind is a struct type whose instances are objects, with its fields and methods.
type kind struct {
	name      string // such as bank.Purse
	iface     string
	typ       reflect.Type // the struct
	ephemeral bool
	former    []string // names that the type has had
	fields    []field
	flat      bool // the fields can be compared with ==
	methods   map[string]*method
	// others is the method that takes messages for which the kind has no method, or nil.
	others *method
}

// A field of a durable object or of a plain struct.
type field struct {
	name  string // as it is passed and stored
	index int
	codec *codec
	// shape is the type as stored state records it.
	shape string
}

// A method that can be called by a message.
type method struct {
	name   string
	fn     reflect.Value
	ctx    bool
	params []*codec
	// outcome is set if the first parameter is an Outcome: then no message calls the method.
	outcome bool
	// message is set if the only parameter is a Message; it is not among params.
	message bool
	// result is nil for a method without one.
	result *codec
	fails  bool
}

// signature returns the method as its callers see it.
func (m *method) signature() string {
	var b strings.Builder
	b.WriteString(m.name)
	b.WriteByte('(')
	for i, p := range m.params {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.sig)
	}
	b.WriteByte(')')
	return b.String()
}

var (
	typeContext   = reflect.TypeFor[context.Context]()
	typeError     = reflect.TypeFor[error]()
	typeDurable   = reflect.TypeFor[Durable]()
	typeEphemeral = reflect.TypeFor[Ephemeral]()
	typePromise   = reflect.TypeFor[Promise]()
	typeRef       = reflect.TypeFor[Ref]()
	typeMutex     = reflect.TypeFor[Mutex]()
)

// embeds reports whether a struct type embeds Durable or Ephemeral.
func embeds(t reflect.Type) (durable, ephemeral bool) {
	if t.Kind() != reflect.Struct {
		return false, false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			durable = durable || isFace(f.Type, typeDurable)
			ephemeral = ephemeral || isFace(f.Type, typeEphemeral)
		}
	}
	return durable, ephemeral
}

// isObject reports whether t is the pointer type of an object.
func isObject(t reflect.Type) bool {
	if t.Kind() != reflect.Pointer {
		return false
	}
	d, e := embeds(t.Elem())
	return d || e
}

// kindOf returns the kind of a struct type, and makes it known with every type that it refers to.
func (c *codecs) kindOf(t reflect.Type) (*kind, error) {
	if k := c.kinds[t]; k != nil {
		return k, nil
	}
	if c.sealed {
		return nil, c.unmentioned(t)
	}
	durable, ephemeral := embeds(t)
	k := &kind{name: typeName(t), typ: t, ephemeral: ephemeral, methods: map[string]*method{}}
	k.iface = "Alleged: " + t.Name()
	c.kinds[t] = k // before its fields: types refer to each other
	c.order = append(c.order, k)
	if durable && ephemeral {
		c.problem("%s embeds both Durable and Ephemeral: choose one", k.name)
		return k, nil
	}
	if prev := c.names[k.name]; prev != nil {
		c.problem("two types are called %s (of %s and %s): stored objects are found by that name", k.name, prev.PkgPath(), t.PkgPath())
	}
	c.names[k.name] = t
	c.formerNames(k)
	if durable {
		k.fields = c.fields(t, k.name, true)
		k.flat = !slices.ContainsFunc(k.fields, func(f field) bool { return !flat(t.Field(f.index).Type) })
	}
	c.methods(k)
	return k, nil
}

// formerNames makes the former names of a type known: objects stored under those names are of this type.
func (c *codecs) formerNames(k *kind) {
	f, _ := k.typ.FieldByName(typeDurable.Name())
	tag := f.Tag.Get("vat")
	if tag == "" || !isFace(f.Type, typeDurable) {
		return
	}
	names, ok := strings.CutPrefix(tag, "formerly ")
	if !ok {
		c.problem("%s embeds vat.Durable with the tag `vat:%q`: it may say `vat:\"formerly bank.Purse\"`", k.name, tag)
		return
	}
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			c.problem("%s is said to be formerly nothing", k.name)
			continue
		}
		if other := c.former[name]; other != nil {
			c.problem("%s is said to be formerly %s, and so is %s", k.name, name, typeName(other))
			continue
		}
		c.former[name] = k.typ
		k.former = append(k.former, name)
	}
}

// fields returns the fields of a struct that are passed or saved. A field that would silently get lost is a
// problem.
func (c *codecs) fields(t reflect.Type, owner string, durable bool) []field {
	var fields []field
	seen := map[string]string{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("vat")
		switch {
		case f.Name == "_", isFace(f.Type, typeMutex), tag == "-":
			continue
		case f.Anonymous && (isFace(f.Type, typeDurable) || isFace(f.Type, typeEphemeral)):
			continue
		case !f.IsExported():
			c.problem("%s.%s is unexported and would be lost: export it, or declare it transient with the tag `vat:\"-\"`", owner, f.Name)
			continue
		}
		name := tag
		if name == "" {
			name = capdata.MethodName(f.Name)
		}
		if other, dup := seen[name]; dup {
			c.problem("%s.%s and %s.%s are both called %q", owner, other, owner, f.Name, name)
			continue
		}
		seen[name] = f.Name
		fc, err := c.of(f.Type)
		if err != nil {
			c.problem("%s.%s: %v", owner, f.Name, err)
			continue
		}
		if durable {
			if why := c.whyUnstorable(f.Type, nil); why != "" {
				c.problem("%s.%s cannot be saved: %s; declare it transient with the tag `vat:\"-\"` if it may be lost", owner, f.Name, why)
				continue
			}
		} else if isCollection(f.Type) {
			c.problem("%s.%s: a Map can only be a field of a durable object", owner, f.Name)
			continue
		}
		fields = append(fields, field{name, i, fc, shapeOf(f.Type, nil)})
	}
	return fields
}

// methods finds the methods of a kind. Messages can call all of them.
func (c *codecs) methods(k *kind) {
	pt := reflect.PointerTo(k.typ)
	for i := range pt.NumMethod() {
		gm := pt.Method(i)
		m := &method{name: capdata.MethodName(gm.Name), fn: gm.Func}
		where := k.name + "." + gm.Name
		if other := k.methods[m.name]; other != nil {
			c.problem("two methods of %s are called %q", k.name, m.name)
			continue
		}
		ft := gm.Type
		if ft.IsVariadic() {
			c.problem("%s: a variadic method cannot be called by a message: take a slice", where)
			continue
		}
		ok := true
		for j := 1; j < ft.NumIn(); j++ {
			if ft.In(j) == typeContext {
				if j != 1 {
					c.problem("%s: context.Context must be the first parameter", where)
					ok = false
				}
				m.ctx = true
				continue
			}
			if isFace(ft.In(j), typeMessage) {
				if m.message = j == ft.NumIn()-1 && len(m.params) == 0; !m.message {
					c.problem("%s: a Message must be the only parameter, after the context", where)
					ok = false
				}
				continue
			}
			if val := outcomeOf(ft.In(j)); val != nil {
				vc, err := c.passable(val)
				switch {
				case len(m.params) > 0:
					err = fmt.Errorf("an Outcome must be the first parameter, after the context")
				case k.ephemeral:
					err = fmt.Errorf("vat.When calls no method of an ephemeral object")
				}
				if err != nil {
					c.problem("%s: parameter %d: %v", where, j, err)
					ok = false
					continue
				}
				m.outcome = true
				m.params = append(m.params, &codec{sig: "vat.Outcome[" + vc.sig + "]", typ: ft.In(j), outcome: vc})
				continue
			}
			pc, err := c.passable(ft.In(j))
			if err != nil {
				c.problem("%s: parameter %d: %v", where, j, err)
				ok = false
				continue
			}
			m.params = append(m.params, pc)
		}
		out := ft.NumOut()
		if out > 0 && ft.Out(out-1) == typeError {
			m.fails = true
			out--
		}
		switch out {
		case 0:
		case 1:
			rc, err := c.passable(ft.Out(0))
			if err != nil {
				c.problem("%s: result: %v", where, err)
				ok = false
			}
			m.result = rc
		default:
			c.problem("%s: a method returns nothing, a value, an error, or a value and an error", where)
			ok = false
		}
		switch {
		case !ok:
		case !m.message:
			k.methods[m.name] = m
		case k.others != nil:
			c.problem("%s and %s of %s both take a Message: one method gets what there is no method for", k.others.name, m.name, k.name)
		default:
			k.others = m
		}
	}
}

func (c *codecs) passable(t reflect.Type) (*codec, error) {
	if isCollection(t) {
		return nil, fmt.Errorf("a Map can only be a field of a durable object")
	}
	return c.of(t)
}

// typeName returns a type in the spelling of a vat's author.
func typeName(t reflect.Type) string {
	return strings.NewReplacer("liveslots.", "vat.", "[]uint8", "[]byte", "interface {}", "any").Replace(t.String())
}
