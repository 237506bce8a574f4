package liveslots

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"

	"ocapkernel.dev/wire"
)

// Durable makes the struct that embeds it an object: passed by reference, kept in the vat's store, and
// the same after a restart. Its fields are saved at the end of the crank that changed them.
//
// Use such objects by pointer only, and do not copy them.
type Durable struct{ head *head }

// Ephemeral makes the struct that embeds it an object that is passed by reference and lives in memory: after
// the vat's memory is lost, messages to the object are answered with OBJECT_DELETED. Its fields may be of any
// type.
type Ephemeral struct{ head *head }

// head is the vat's record of one of its own objects.
type head struct {
	kind *kind
	// self is the pointer to the struct, as the Go type *T.
	self reflect.Value
	// ref is the object's name; empty until it is first passed or saved.
	ref wire.Ref
	// saved is the object's row as it is in the store.
	saved string
	// shadow holds the fields as they were saved, if they can be compared.
	shadow reflect.Value
	// presence is the reference to an object without a name.
	presence *presence
	// gone is set once the vat, at rest, has let go of the Go struct. The object is saved.
	gone bool
	// deleted is set once [Delete] has deleted the object.
	deleted bool
	// row is the object's row, until the object is filled from it.
	row []byte
	// dropped is set once this ephemeral object cannot be reached from outside.
	dropped bool
}

func (d *Durable) headOf() **head   { return &d.head }
func (d *Ephemeral) headOf() **head { return &d.head }

// object is implemented by pointers to structs that embed Durable or Ephemeral.
type object interface{ headOf() **head }

// headOf returns the head of a struct of kind k, given its pointer.
func headOf(k *kind, ptr reflect.Value) (*head, error) {
	at := ptr.Interface().(object).headOf()
	h := *at
	if h == nil {
		h = &head{kind: k, self: ptr}
		*at = h
		return h, nil
	}
	if h.self.Pointer() != ptr.Pointer() {
		return nil, fmt.Errorf("%s was copied: objects are used by pointer only", k.name)
	}
	if h.deleted {
		return nil, fmt.Errorf("this %s was deleted", k.name)
	}
	if h.gone {
		return nil, fmt.Errorf("this %s is no longer loaded: it was kept in memory while the vat was at rest", k.name)
	}
	return h, nil
}

// presence is an object by its name: another vat's, or one of this vat's own. Each object has one presence, so
// that references can be compared.
type presence struct {
	// ref is empty while an object of this vat has no name.
	ref   wire.Ref
	own   *head
	iface string
	// end is the promise for the end of the vat that owns the object, once a turn has asked for it; see [Done].
	end *promise
}

// setIface notes the interface name of an object. The first name that came stays.
func (p *presence) setIface(iface string) {
	if p.iface == "" {
		p.iface = iface
	}
}

// ephemeral reports whether the object is this vat's own and lives in memory.
func (p *presence) ephemeral() bool {
	if p.own != nil {
		return p.own.kind.ephemeral
	}
	return strings.HasPrefix(string(p.ref), "o+") && p.ref != wire.RootRef && !strings.HasPrefix(string(p.ref), "o+d")
}

// Ref is a reference to an object, of this vat or another. References to the same object are equal.
// The zero Ref refers to nothing; it is passed as null.
type Ref struct{ p *presence }

// IsZero reports whether the reference refers to nothing.
func (r Ref) IsZero() bool { return r.p == nil }

// String returns the interface name of the reference, and the name by which the vat and the kernel know it. A
// replay prints the same.
func (r Ref) String() string {
	switch {
	case r.p == nil:
		return "no reference"
	case r.p.ref == "":
		return "reference to a new " + r.p.own.kind.name
	case r.p.iface == "":
		return "reference " + string(r.p.ref)
	}
	return fmt.Sprintf("reference %s %q", r.p.ref, r.p.iface)
}

// Format prints the reference as String does, whatever the verb (but %p): an address would differ in a replay.
func (r Ref) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// presence returns the presence with a name. Every name of an object comes to the vat through here.
func (v *Vat) presence(ref wire.Ref) *presence {
	table := v.presencesOf(ref)
	p := table[ref]
	if p == nil {
		p = &presence{ref: ref}
		table[ref] = p
	}
	return p
}

func (v *Vat) presencesOf(ref wire.Ref) map[wire.Ref]*presence {
	if strings.HasPrefix(string(ref), "o+") {
		return v.own
	}
	return v.imports
}

// presenceOf returns the presence of an object of this vat. It spends no name: an ephemeral name that is made
// and not sent in the same crank could not be used any more.
func (v *Vat) presenceOf(h *head) *presence {
	if h.ref != "" {
		p := v.presence(h.ref)
		p.setIface(h.kind.iface)
		return p
	}
	if h.presence == nil {
		h.presence = &presence{own: h, iface: h.kind.iface}
	}
	return h.presence
}

// RefOf returns a reference to an object of this vat. It panics if obj is not a pointer to a struct
// that embeds Durable or Ephemeral and belongs to the vat's module.
func RefOf(ctx context.Context, obj any) Ref {
	v := running(ctx).v
	h, err := v.headOfAny(obj)
	if err != nil {
		panic("vat: " + err.Error())
	}
	return Ref{v.presenceOf(h)}
}

// Local returns the object of this vat that the reference refers to, if it is a T. T is the pointer
// type of an object.
func Local[T any](ctx context.Context, r Ref) (T, bool) {
	v := running(ctx).v
	var none T
	if r.p == nil {
		return none, false
	}
	h := r.p.own
	if h == nil {
		h = v.local(r.p.ref)
		v.fill()
	}
	if h == nil || h.deleted {
		return none, false
	}
	obj, ok := h.self.Interface().(T)
	return obj, ok
}

func (v *Vat) headOfAny(obj any) (*head, error) {
	ptr := reflect.ValueOf(obj)
	if ptr.Kind() != reflect.Pointer || ptr.IsNil() {
		return nil, fmt.Errorf("%T is not an object of this vat", obj)
	}
	k := v.codecs.kinds[ptr.Type().Elem()]
	if k == nil {
		if isObject(ptr.Type()) {
			return nil, v.codecs.unmentioned(ptr.Type().Elem())
		}
		return nil, fmt.Errorf("%s is not an object type", typeName(ptr.Type()))
	}
	return headOf(k, ptr)
}

// objectName returns the name of an object of this vat, and makes one if it has none.
func (v *Vat) objectName(h *head) wire.Ref {
	if h.ref != "" {
		if h.dropped { // passed again before it was retired
			h.dropped = false
			v.ephemerals++
		}
		return h.ref
	}
	if h.kind.ephemeral {
		v.lastObject++
		h.ref = wire.Ref("o+" + utoa(v.lastObject))
		v.ephemerals++
	} else {
		h.ref = v.ids.instance(h.kind)
		v.loaded = append(v.loaded, h)
	}
	v.objects[h.ref] = h
	if h.presence != nil {
		h.presence.ref, h.presence.own = h.ref, nil
		v.own[h.ref] = h.presence
		h.presence = nil
	}
	return h.ref
}

// local returns the object that the vat itself names ref, or nil if there is none. A durable object is loaded,
// at the latest when [Vat.fill] is called.
func (v *Vat) local(ref wire.Ref) *head {
	if h := v.objects[ref]; h != nil {
		if h.deleted {
			return nil
		}
		return h
	}
	var k *kind
	if ref == wire.RootRef {
		k = v.module.root
	} else {
		parts, err := wire.ParseRef(string(ref))
		if err != nil || !parts.Durable {
			return nil
		}
		k = v.ids.kind(parts.Number)
	}
	row, found := v.rows.get(wire.StateKey(ref))
	if !found && v.readCount(ref).flag.isGone() {
		return nil
	}
	h := &head{kind: k, self: reflect.New(k.typ), ref: ref, row: row}
	*h.self.Interface().(object).headOf() = h
	v.objects[ref] = h
	v.loaded = append(v.loaded, h)
	v.unfilled = append(v.unfilled, h)
	return h
}

// fill loads the state of the objects that were mentioned. The objects that they point to are loaded too, one
// after another rather than one inside another, so that a long list costs no deep stack.
func (v *Vat) fill() {
	for len(v.unfilled) > 0 {
		h := v.unfilled[0]
		v.unfilled = v.unfilled[1:]
		v.load(h)
	}
	v.unfilled = nil
}

// rest lets go of all memory if the vat is at rest, so that the next crank starts from the store alone, as it
// would in a new worker. State that is not saved is thus lost at once, and not only when a worker dies.
func (v *Vat) rest() {
	if !v.AtRest() {
		return
	}
	for _, h := range v.loaded {
		h.gone = true
	}
	if len(v.loaded) > keptEntries {
		v.loaded = nil
	}
	v.loaded = v.loaded[:0]
	v.objects = emptied(v.objects)
	v.own = emptied(v.own)
	v.imports = emptied(v.imports)
	v.promises = emptied(v.promises)
	v.onShelf = emptied(v.onShelf)
}

// keptEntries is the size up to which a table is used again. To clear a table takes as long as it ever was
// large.
const keptEntries = 256

func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > keptEntries {
		return map[K]V{}
	}
	clear(m)
	return m
}
