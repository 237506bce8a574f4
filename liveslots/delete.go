package liveslots

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// Delete deletes a durable object of this vat, with the entries of its Maps, whoever may hold it. From now on messages to
// it are answered with OBJECT_DELETED, those of other vats and those that wait included. A pointer to it in durable state
// reads as nil, a [Ref] as a reference to a deleted object. It cannot be passed or saved any more.
//
// Delete returns an error for the root, for an ephemeral object, and for what is no object of this vat. To delete an object
// again changes nothing.
//
// An object that nothing leads to is deleted without a call of Delete.
func Delete(ctx context.Context, obj any) error {
	v := running(ctx).v
	switch t := reflect.TypeOf(obj); {
	case t != nil && isFace(t, typeRef):
		return fmt.Errorf("delete: a vat.Ref is not an object of this vat: Local returns the object")
	case isDeleted(reflect.ValueOf(obj)):
		return nil
	}
	h, err := v.headOfAny(obj)
	switch {
	case err != nil:
		return fmt.Errorf("delete: %w", err)
	case h.kind.ephemeral:
		return fmt.Errorf("delete: %s is ephemeral", h.kind.name)
	case h.ref == wire.RootRef:
		return fmt.Errorf("delete: a vat cannot be without its root")
	}
	h.deleted = true
	if h.ref != "" {
		v.tally.deleted[h.ref] = h
	} else {
		v.doomMaps(h)
	}
	return nil
}

// isDeleted reports whether a pointer points to a deleted object.
func isDeleted(p reflect.Value) bool {
	if !p.IsValid() || !isObject(p.Type()) || p.IsNil() {
		return false
	}
	h := *p.Interface().(object).headOf()
	return h != nil && h.deleted
}

// deletedValue is the answer to a message whose target was deleted.
func deletedValue() value {
	return kernelError(errcode.ObjectDeleted, "its vat has deleted the object")
}

// doomMaps has the entries of an object's Maps deleted.
func (v *Vat) doomMaps(h *head) {
	for _, f := range h.kind.fields {
		if field := h.self.Elem().Field(f.index); isCollection(field.Type()) {
			if n := *field.Addr().Interface().(collection).number(); n > 0 {
				v.rows.set(doomedKey(n), []byte{})
				v.tally.doomed = true
			}
		}
	}
}

// deleteRows deletes the rows of the objects that the crank has deleted.
func (v *Vat) deleteRows() {
	if len(v.tally.deleted) == 0 {
		return
	}
	for _, ref := range slices.Sorted(maps.Keys(v.tally.deleted)) {
		h := v.tally.deleted[ref]
		v.doomMaps(h)
		if h.saved != "" {
			v.rows.delete(wire.StateKey(ref))
			v.mentionsChanged(wire.StateKey(ref), secondLine(h.saved), "")
			h.saved = ""
		}
	}
}

// noteDeleted notes in the counts that objects are deleted, in a vat that does not count yet.
func (v *Vat) noteDeleted() {
	if len(v.tally.deleted) == 0 {
		return
	}
	for _, ref := range slices.Sorted(maps.Keys(v.tally.deleted)) {
		v.writeCount(ref, count{0, deleted})
		if v.ids.rules() >= rulesOfNames || v.AtRest() {
			v.rows.set(candidateKey(ref), []byte{})
		}
	}
}

// abandonExports has the kernel forget objects that are deleted.
func (v *Vat) abandonExports(refs []wire.Ref) {
	for part := range slices.Chunk(refs, wire.MaxKnown) {
		v.syscall(wire.AbandonExports{Refs: part})
	}
}
