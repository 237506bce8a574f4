package liveslots

import (
	"fmt"
	"reflect"
)

// A module has to know the types of its objects before it makes any object: stored objects are found by the
// names of their types, also by a worker that has not made one yet. Most types are found from the root, by the
// fields and methods of the objects. A type to which only an any or a Ref leads is found at its first use. That
// use fails, and its error contains the line of code to copy.

// unmentioned returns the error for the use of an object type that the module does not know. It contains the
// line to write.
func (c *codecs) unmentioned(t reflect.Type) error {
	err := fmt.Errorf("*%s is an object type that module %s does not know, since no field and no method of its objects has it: "+
		"name it where the module is registered, as in vat.Module(New, (*%s)(nil))", typeName(t), c.module, typeName(t))
	c.complain(err.Error())
	return err
}

// addMentioned makes object types known that no method passes and no field saves, but that objects hold in
// transient or unexported fields: a method may pass such an object one day. Types that cannot be objects of the
// module are left out.
func (c *codecs) addMentioned() {
	w := walk{seen: map[reflect.Type]bool{}}
	for n := 0; n < len(c.order); n++ { // the list grows meanwhile
		w.fields(c.order[n].typ)
		for ; len(w.objects) > 0; w.objects = w.objects[1:] {
			t := w.objects[0]
			if c.kinds[t] != nil || c.names[typeName(t)] != nil {
				continue
			}
			trial := newCodecs()
			if _, err := trial.kindOf(t); err == nil && len(trial.problems) == 0 {
				_, _ = c.kindOf(t) // the trial went well
			}
		}
	}
}

// A walk finds the object types that types lead to.
type walk struct {
	seen    map[reflect.Type]bool
	objects []reflect.Type
}

func (w *walk) fields(t reflect.Type) {
	for i := range t.NumField() {
		w.visit(t.Field(i).Type)
	}
}

func (w *walk) visit(t reflect.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	switch t.Kind() {
	case reflect.Pointer:
		if isObject(t) {
			w.objects = append(w.objects, t.Elem())
			return
		}
		w.visit(t.Elem())
	case reflect.Slice, reflect.Array, reflect.Chan:
		w.visit(t.Elem())
	case reflect.Map:
		w.visit(t.Key())
		w.visit(t.Elem())
	case reflect.Struct:
		w.fields(t)
	case reflect.Func:
		for i := range t.NumIn() {
			w.visit(t.In(i))
		}
		for i := range t.NumOut() {
			w.visit(t.Out(i))
		}
	}
}
