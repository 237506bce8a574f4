package liveslots

import (
	"fmt"
	"iter"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/wire"
)

// A value is a passable value inside the vat: capdata whose slots are the things themselves instead of their
// names. A name is made only when a value is handed to the kernel, by [Vat.wireValue]: so no name is spent on a
// value that is not sent after all.
//
// Values do not change once they are made.
type value struct {
	body string
	tree any
	// slots holds a *promise, a *presence, or a *head for an object of this vat.
	slots []any
}

// size returns about the bytes that a value takes in a frame.
func (x value) size() int { return len(x.body) + 16*len(x.slots) }

// settledIn iterates over the settled promises that slots lead to, each once. It leaves out the promises for
// which skip returns true, and the promises to which only those lead.
func settledIn(slots []any, skip func(*promise) bool) iter.Seq[*promise] {
	return func(yield func(*promise) bool) {
		var seen map[*promise]bool
		for todo := [][]any{slots}; len(todo) > 0; {
			slots := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, s := range slots {
				p, ok := s.(*promise)
				if !ok || !p.settled || seen[p] || skip(p) {
					continue
				}
				if seen == nil {
					seen = map[*promise]bool{}
				}
				seen[p] = true
				if !yield(p) {
					return
				}
				todo = append(todo, p.val.slots)
			}
		}
	}
}

var undefined = value{body: `#"#undefined"`, tree: capdata.Undefined{}}

// An encoder collects the slots of one value while it is put together.
type encoder struct {
	v     *Vat
	slots []any
	index map[any]int // of slots, once they are many
	depth int
	// durable is set for a value that is to be stored: things that live in memory are refused.
	durable bool
}

// maxDepth bounds the nesting of Go values, which can be cyclic. It is well above the bound of a passable,
// since pointers and interfaces count too.
const maxDepth = 4 * capdata.MaxDepth

// maxSlots bounds the references of one value, as the kernel does. Beyond it the sender gets an error; the
// kernel would take it for the vat's fault.
const maxSlots = limits.Slots

// slot returns the index of a slot: the same index for the same thing.
func (e *encoder) slot(x any) int {
	if p, ok := x.(*promise); ok {
		p.used = true
	}
	if e.index == nil {
		for i, s := range e.slots {
			if s == x {
				return i
			}
		}
		if len(e.slots) >= 16 {
			e.index = make(map[any]int)
			for i, s := range e.slots {
				e.index[s] = i
			}
		}
	} else if i, ok := e.index[x]; ok {
		return i
	}
	e.slots = append(e.slots, x)
	if e.index != nil {
		e.index[x] = len(e.slots) - 1
	}
	return len(e.slots) - 1
}

// seal returns the value of a tree that was built with the encoder's slots.
func (e *encoder) seal(tree any) (value, error) {
	if len(e.slots) > maxSlots {
		return value{}, fmt.Errorf("a value with %d references: the limit is %d", len(e.slots), maxSlots)
	}
	body, err := capdata.Encode(tree)
	if err != nil {
		return value{}, err
	}
	return value{body, tree, e.slots}, nil
}

// include copies a part of another value, with the slots that it uses.
func (e *encoder) include(tree any, slots []any) any {
	switch x := tree.(type) {
	case capdata.Remotable:
		iface := x.Iface
		if p, ok := slots[x.Slot].(*presence); ok {
			p.setIface(iface) // one slot has one interface name, by whatever name senders called it
			iface = p.iface
		}
		return capdata.Remotable{Slot: e.slot(slots[x.Slot]), Iface: iface}
	case capdata.Promise:
		return capdata.Promise{Slot: e.slot(slots[x.Slot])}
	case []any:
		list := make([]any, len(x))
		for i := range x {
			list[i] = e.include(x[i], slots)
		}
		return list
	case *capdata.Record:
		r := &capdata.Record{Fields: make([]capdata.Field, len(x.Fields))}
		for i, f := range x.Fields {
			r.Fields[i] = capdata.Field{Name: f.Name, Value: e.include(f.Value, slots)}
		}
		return r
	case *capdata.Tagged:
		return &capdata.Tagged{Tag: x.Tag, Payload: e.include(x.Payload, slots)}
	}
	return tree
}

// wireValue names the slots of a value. It cannot fail. The caller calls [Vat.announce] after the
// syscall that carries the value.
func (v *Vat) wireValue(x value) wire.CapData {
	d := wire.CapData{Body: x.body}
	if len(x.slots) > 0 {
		d.Slots = make([]wire.Ref, len(x.slots))
		for i, s := range x.slots {
			d.Slots[i] = v.name(s)
		}
	}
	return d
}

// name returns the name of a slot's content, and makes one if it has none.
func (v *Vat) name(slot any) wire.Ref {
	switch s := slot.(type) {
	case *promise:
		return v.promiseName(s)
	case *presence:
		if s.own != nil {
			return v.objectName(s.own)
		}
		if h := v.objects[s.ref]; h != nil && h.dropped && v.ids.rules() >= rulesOfNames {
			return v.objectName(h)
		}
		return s.ref
	default:
		return v.objectName(s.(*head))
	}
}

// take returns the value of capdata that came from the kernel. A body that cannot be read is an error, for the
// sender of the message to get; the references beside it are known from then on in any case.
func (v *Vat) take(d wire.CapData) (value, error) {
	slots := v.takeSlots(d.Slots)
	tree, err := capdata.Decode(d.Body, len(slots))
	if err != nil {
		return value{}, fmt.Errorf("unreadable value: %w", err)
	}
	if err := slotsFit(tree, slots); err != nil {
		return value{}, fmt.Errorf("unreadable value: %w", err)
	}
	return value{d.Body, tree, slots}, nil
}

// slotsFit checks that the slots which a body calls promises are promises, and those which it calls objects are
// objects: a body comes from another vat unread, and may call its slots as it likes.
func slotsFit(tree any, slots []any) error {
	if len(slots) == 0 {
		return nil
	}
	switch x := tree.(type) {
	case capdata.Remotable:
		if _, ok := slots[x.Slot].(*promise); ok {
			return fmt.Errorf("slot %d is a promise, the body has it as an object", x.Slot)
		}
	case capdata.Promise:
		if _, ok := slots[x.Slot].(*promise); !ok {
			return fmt.Errorf("slot %d is an object, the body has it as a promise", x.Slot)
		}
	case []any:
		for _, e := range x {
			if err := slotsFit(e, slots); err != nil {
				return err
			}
		}
	case *capdata.Record:
		for _, f := range x.Fields {
			if err := slotsFit(f.Value, slots); err != nil {
				return err
			}
		}
	case *capdata.Tagged:
		return slotsFit(x.Payload, slots)
	}
	return nil
}

func (v *Vat) takeSlots(refs []wire.Ref) []any {
	if len(refs) == 0 {
		return nil
	}
	slots := make([]any, len(refs))
	for i, ref := range refs {
		if ref != "" && ref[0] == 'p' {
			slots[i] = v.remotePromise(ref)
		} else {
			slots[i] = v.presence(ref)
		}
	}
	return slots
}

// describe returns a few words about a value, for error messages.
func describe(tree any, slots []any) string { return capdata.Describe(tree, describer(slots)) }

// describer returns a function that describes references, given the slots.
func describer(slots []any) func(capdata.Remotable) string {
	return func(r capdata.Remotable) string {
		if h, ok := slots[r.Slot].(*head); ok {
			return "object " + h.kind.name
		}
		if r.Iface != "" {
			return fmt.Sprintf("reference %q", r.Iface)
		}
		return "reference"
	}
}
