package liveslots

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// The vat's store, as this package lays it out:
//
//	ids          JSON: the kinds by number, their counters and shapes; the number of the last Map; the rules
//	o.<ref>      the state of a durable object (wire.StateKey); o.o+0 is the root
//	m.<n>.<key>  an entry of the Map with number n
//	n.<n>        the number of its entries; absent for a Map older than this row
//	w, w. p. s.  calls that wait; see shelf.go
//	g, c. g. j. k. t. u. x.  counts of references, and garbage; see ledger.go
//
// An object's row is three lines: the number of the shape it was written in, its slots, its body. A Map's entry
// is slots and body. A body is a record of the fields that are not zero.
//
// A shape is the list of a type's fields with their types. When a program meets a row of its predecessor, the
// shape tells whether a field was retyped. Zero fields are not stored, so a program may drop a field that no
// object uses.

const idsKey = "ids"

// ids is the vat's durable bookkeeping of identity: the row ids.
type ids struct {
	v               *Vat
	loaded, changed bool
	Kinds           []*kindRow `json:"kinds"`
	// Root is the number of the root's kind.
	Root    int    `json:"root,omitempty"`
	LastMap uint64 `json:"lastMap,omitempty"`
	// Rules numbers the rules by which the vat's frames follow from its deliveries; see [ids.rules].
	Rules int `json:"rules,omitempty"`
}

// A vat that is replayed must answer as it did before, also if an earlier version of this package has answered.
// So a span keeps the rules with which it began, which its store has: the version that runs now writes its own
// rules at the end of a span, for the next one. The crank that ends a span is in no transcript.
const (
	// rulesOfOrder are the first rules that are numbered. Under the rules before, a message to a promise that the
	// kernel did not know waited in the vat (in memory, or as a stored call of kind sendOn), and could be
	// overtaken by messages that were sent later, to the promise once the kernel knew it, or to the object that
	// it was fulfilled with; each call of Done was a watch of its own; and a promise that was to follow one of
	// another vat could be settled otherwise, and was settled again.
	rulesOfOrder = 1
	// Under the rules before rulesOfNames a vat forgot the reference to an object of its own once the kernel had no name for
	// the object any more: a reference that a turn held could not be passed again, or was not equal to a new one. An
	// ephemeral object that was dropped and passed again by a reference did not keep the vat from rest. An entry of a Map
	// whose key was empty was left out by All, and by Len where the number was not stored, and a deleted object without a
	// name was such a key.
	rulesOfNames = 2
	// Under the rules before rulesOfChains the name to which messages to a promise went could change before it settled: where it
	// followed a promise that came to follow another, or got a name, or was mentioned by a stored call. So a message could
	// overtake those that were parked at another name; and the kernel was told of promises that settle together in an order
	// that the store did not keep. A vat most of whose objects had gone looked for circles only when as many were made. And once a delivery that had
	// failed was done, the shelf went on saying that calls are to be tried with care, and its row stayed though it said nothing.
	rulesOfChains = 3
	currentRules  = rulesOfChains
)

// rules returns the number of the rules of the present span.
func (i *ids) rules() int {
	i.load()
	return i.Rules
}

// endSpan has the next span follow the rules of this version.
func (i *ids) endSpan() {
	if i.rules() < currentRules {
		i.Rules, i.changed = currentRules, true
	}
}

type kindRow struct {
	Type   string              `json:"type"`
	Last   uint64              `json:"last,omitempty"`
	Shapes []map[string]string `json:"shapes,omitempty"`
	// current is 1 + the index of the program's own shape, or 0 before that is needed.
	current int
}

func (i *ids) load() {
	if i.loaded {
		return
	}
	i.loaded = true
	if row, found := i.v.rows.get(idsKey); found {
		if err := json.Unmarshal(row, i); err != nil {
			panic(fault("stored state: " + idsKey + ": " + err.Error()))
		}
	}
}

func (i *ids) save() {
	if !i.changed {
		return
	}
	i.changed = false
	row, err := json.Marshal(i)
	if err != nil {
		panic(fault("ids: " + err.Error()))
	}
	i.v.rows.set(idsKey, row)
}

func (i *ids) setRoot(k *kind) {
	i.Root = i.number(k)
	i.changed = true
}

// newMap returns the number of a new Map.
func (i *ids) newMap() uint64 {
	i.load()
	i.LastMap++
	i.changed = true
	return i.LastMap
}

// number returns the number of a kind, from 1.
func (i *ids) number(k *kind) int {
	i.load()
	n := slices.IndexFunc(i.Kinds, func(r *kindRow) bool { return r.Type == k.name })
	if n < 0 {
		n = slices.IndexFunc(i.Kinds, func(r *kindRow) bool { return slices.Contains(k.former, r.Type) })
	}
	if n < 0 {
		i.Kinds = append(i.Kinds, &kindRow{Type: k.name})
		i.changed = true
		n = len(i.Kinds) - 1
	}
	return n + 1
}

// checkRoot faults a module whose root has another type than the root that the vat was made with.
func (i *ids) checkRoot(k *kind) {
	i.load()
	if i.Root < 1 || i.Root > len(i.Kinds) || i.v.codecs.typeNamed(i.Kinds[i.Root-1].Type) != k.typ {
		was := "something else"
		if i.Root >= 1 && i.Root <= len(i.Kinds) {
			was = "a " + i.Kinds[i.Root-1].Type
		}
		panic(fault(fmt.Sprintf("the root is stored as %s, and is a %s in the program", was, k.name)))
	}
}

// instance returns the name of a new object.
func (i *ids) instance(k *kind) wire.Ref {
	n := i.number(k)
	row := i.Kinds[n-1]
	row.Last++
	i.changed = true
	return wire.Ref("o+d" + strconv.Itoa(n) + "/" + utoa(row.Last))
}

// kind returns the kind with a number.
func (i *ids) kind(number uint64) *kind {
	i.load()
	if number == 0 || number > uint64(len(i.Kinds)) {
		panic(fault(fmt.Sprintf("an object of kind %d: this vat has no such kind", number)))
	}
	name := i.Kinds[number-1].Type
	t := i.v.codecs.typeNamed(name)
	if t == nil {
		panic(fault(fmt.Sprintf("stored objects are of type %s, which module %s does not have: name it in vat.Module, as (*%s)(nil), or if "+
			"it was renamed, say so where the new type embeds vat.Durable, by the tag `vat:\"formerly %s\"`",
			name, i.v.module.name, name, name)))
	}
	return i.v.codecs.kinds[t]
}

// shape returns the number of the program's shape of a kind, and records the shape when it is new.
func (i *ids) shape(k *kind) int {
	row := i.Kinds[i.number(k)-1]
	if row.current == 0 {
		now := make(map[string]string, len(k.fields))
		for _, f := range k.fields {
			now[f.name] = f.shape
		}
		at := slices.IndexFunc(row.Shapes, func(s map[string]string) bool { return reflect.DeepEqual(s, now) })
		if at < 0 {
			row.Shapes = append(row.Shapes, now)
			i.changed = true
			at = len(row.Shapes) - 1
		}
		row.current = at + 1
	}
	return row.current - 1
}

// save puts every object that changed into the store.
func (v *Vat) save() {
	// To save an object may give a name to another that was never passed; the other one is saved in turn.
	for n := 0; n < len(v.loaded); n++ {
		h := v.loaded[n]
		if h.deleted || h.unchanged() {
			continue
		}
		if row := v.state(h); row != h.saved {
			v.objectChanged(h.ref, h.saved, row)
			v.rows.set(wire.StateKey(h.ref), []byte(row))
			h.saved = row
		}
		h.remember()
	}
	v.deleteRows()
	if v.AtRest() {
		v.ids.endSpan()
	}
	v.ids.save()
}

// unchanged reports whether an object is certainly as it was saved. It encodes nothing and compares fields:
// where many objects are loaded, most have only fields that can be compared.
func (h *head) unchanged() bool {
	if !h.shadow.IsValid() {
		return false
	}
	obj := h.self.Elem()
	for _, f := range h.kind.fields {
		if !obj.Field(f.index).Equal(h.shadow.Field(f.index)) {
			return false
		}
	}
	return true
}

// remember notes the fields of an object that was just saved or loaded.
func (h *head) remember() {
	if !h.kind.flat {
		return
	}
	if !h.shadow.IsValid() {
		h.shadow = reflect.New(h.kind.typ).Elem()
	}
	obj := h.self.Elem()
	for _, f := range h.kind.fields {
		h.shadow.Field(f.index).Set(obj.Field(f.index))
	}
}

// flat reports whether == tells, without a panic, whether two values of a type are the same.
func flat(t reflect.Type) bool {
	switch {
	case isFace(t, typeRef), t == typeTime, isObject(t), isCollection(t):
		return true
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	case t.Kind() == reflect.Array:
		return flat(t.Elem())
	}
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Float64 || t.Kind() == reflect.String
}

// state returns the row of an object as it is now.
func (v *Vat) state(h *head) string {
	e := encoder{v: v, durable: true}
	obj := h.self.Elem()
	r := &capdata.Record{Fields: make([]capdata.Field, 0, len(h.kind.fields))}
	for _, f := range h.kind.fields {
		fv := obj.Field(f.index)
		if fv.IsZero() {
			continue
		}
		x, err := f.codec.enc(&e, fv)
		if err != nil {
			panic(fault(fmt.Sprintf("%s.%s cannot be saved: %v", h.kind.name, f.name, err)))
		}
		r.Fields = append(r.Fields, capdata.Field{Name: f.name, Value: x})
	}
	return strconv.Itoa(v.ids.shape(h.kind)) + "\n" + v.stored(&e, r, h.kind.name)
}

// stored returns a value in its stored form: a line of slots, and the body.
func (v *Vat) stored(e *encoder, tree any, what string) string {
	body, err := capdata.Encode(tree)
	if err != nil {
		panic(fault(what + " cannot be saved: " + err.Error()))
	}
	if len(e.slots) == 0 {
		return "\n" + body
	}
	names := make([]string, len(e.slots))
	for i, s := range e.slots {
		names[i] = string(v.name(s))
	}
	return strings.Join(names, " ") + "\n" + body
}

// unstored is the inverse of stored.
func (v *Vat) unstored(row string) (decoder, any, error) {
	slots, body, ok := strings.Cut(row, "\n")
	if !ok {
		return decoder{}, nil, fmt.Errorf("stored state is not in the form of this program")
	}
	d := decoder{v: v, stored: true}
	if slots != "" {
		names := strings.Split(slots, " ")
		d.slots = make([]any, len(names))
		for i, n := range names {
			d.slots[i] = v.presence(wire.Ref(n))
		}
	}
	tree, err := capdata.Decode(body, len(d.slots))
	return d, tree, err
}

// load fills an object from its row.
func (v *Vat) load(h *head) {
	if h.row == nil {
		panic(fault(fmt.Sprintf("%s has no stored state for %s", h.kind.name, h.ref)))
	}
	h.saved, h.row = string(h.row), nil
	if h.ref == wire.RootRef {
		v.ids.checkRoot(h.kind)
	}
	bad := func(err error) { panic(fault(fmt.Sprintf("stored state of a %s: %v", h.kind.name, err))) }
	number, rest, ok := strings.Cut(h.saved, "\n")
	shape, err := strconv.Atoi(number)
	if !ok || err != nil {
		bad(fmt.Errorf("not in the form of this program"))
	}
	current := v.ids.shape(h.kind)
	shapes := v.ids.Kinds[v.ids.number(h.kind)-1].Shapes
	if shape < 0 || shape >= len(shapes) {
		bad(fmt.Errorf("shape %d is unknown", shape))
	}
	d, tree, err := v.unstored(rest)
	if err != nil {
		bad(err)
	}
	r, ok := tree.(*capdata.Record)
	if !ok {
		bad(fmt.Errorf("not a record"))
	}
	obj := h.self.Elem()
	for _, x := range r.Fields {
		was, path := shapes[shape][x.Name], h.kind.name+"."+x.Name
		i := slices.IndexFunc(h.kind.fields, func(f field) bool { return f.name == x.Name })
		if i < 0 {
			if holdsNothing(x.Value) {
				continue
			}
			panic(fault((&changed{path, was, ""}).Error()))
		}
		f := h.kind.fields[i]
		if shape != current {
			if err := v.codecs.evolve(path, was, f.shape, x.Value); err != nil {
				panic(fault(err.Error()))
			}
		}
		if err := f.codec.decode(&d, x.Value, obj.Field(f.index)); err != nil {
			bad(fmt.Errorf("%s: %w", x.Name, err))
		}
	}
	h.remember()
}

// shapeOf returns a type in the form that shapes record: by what is stored, so that a plain struct is its
// fields.
func shapeOf(t reflect.Type, within []reflect.Type) string {
	if slices.Contains(within, t) {
		return typeName(t)
	}
	within = append(within, t)
	switch {
	case t == typeTime, isFace(t, typeRef), t == typeBigInt, t == typeBytes, isObject(t):
		return typeName(t)
	case isCollection(t):
		k, e := collectionTypes(t)
		return "vat.Map[" + shapeOf(k, within) + "]" + shapeOf(e, within)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + shapeOf(t.Elem(), within)
	case reflect.Slice:
		return "[]" + shapeOf(t.Elem(), within)
	case reflect.Array:
		return "[" + strconv.Itoa(t.Len()) + "]" + shapeOf(t.Elem(), within)
	case reflect.Map:
		return "map[string]" + shapeOf(t.Elem(), within)
	case reflect.Struct:
		var fs []string
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("vat")
			if tag == "-" || !f.IsExported() {
				continue
			}
			if tag == "" {
				tag = capdata.MethodName(f.Name)
			}
			fs = append(fs, tag+" "+shapeOf(f.Type, within))
		}
		slices.Sort(fs)
		return "struct{" + strings.Join(fs, "; ") + "}"
	case reflect.Interface:
		return typeName(t)
	}
	return t.Kind().String()
}
