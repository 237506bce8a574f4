package kernel

import (
	"fmt"
	"strconv"

	"ocapkernel.dev/wire"
)

// A c-list entry is two rows: kref to flag and vref, vref to kref. The flag is 'r' if the vat can reach
// the object, '_' if it can only recognise it.

func clistValue(reachable bool, ref wire.Ref) []byte {
	if reachable {
		return append([]byte{'r'}, ref...)
	}
	return append([]byte{'_'}, ref...)
}

// vref returns the vat's name for k, and whether the vat can reach it.
func (t *tx) vref(v VatID, k KRef) (ref wire.Ref, reachable, found bool) {
	key := keyCListK(v, k)
	b, ok := t.get(key)
	if !ok {
		return "", false, false
	}
	if len(b) < 4 {
		t.codec.corruptAt(key, errLength)
	}
	return wire.Ref(b[1:]), b[0] == 'r', true
}

// kref returns the kernel's name for a vat's reference.
func (t *tx) kref(v VatID, ref wire.Ref) (KRef, bool) {
	b, ok := t.get(keyCListV(v, ref))
	return KRef(b), ok
}

// addEntry adds an entry to a vat's c-list and takes its counts.
func (t *tx) addEntry(v VatID, k KRef, ref wire.Ref) {
	t.create(keyCListK(v, k), clistValue(true, ref))
	t.create(keyCListV(v, ref), []byte(k))
	switch {
	case k.IsPromise():
		t.promise(k).refs++
	case !isExport(ref):
		t.reach(k)
		t.object(k).recognizable++
	}
}

// removeEntry removes an entry and gives its counts back.
func (t *tx) removeEntry(v VatID, k KRef, ref wire.Ref, reachable bool) {
	t.delete(keyCListK(v, k))
	t.delete(keyCListV(v, ref))
	switch {
	case k.IsPromise():
		t.release(k)
	case !isExport(ref):
		if reachable {
			t.unreach(k)
		}
		t.unrecognize(k)
	}
}

// retire removes the vat's entry for a promise, if there is one.
func (t *tx) retire(v VatID, k KRef) {
	if ref, reachable, ok := t.vref(v, k); ok {
		t.removeEntry(v, k, ref, reachable)
	}
}

// setReachable makes an existing entry reachable again.
func (t *tx) setReachable(v VatID, k KRef, ref wire.Ref) {
	t.set(keyCListK(v, k), clistValue(true, ref))
	switch {
	case k.IsPromise():
	case isExport(ref):
		t.maybeFree = append(t.maybeFree, k) // a mention need not hold the object
	default:
		t.reach(k)
		t.mentionedAgain(v, ref)
	}
}

// importRef returns the name o-N.
func importRef(n uint64) wire.Ref { return wire.Ref("o-" + strconv.FormatUint(n, 10)) }

func isExport(ref wire.Ref) bool { return ref[1] == '+' }

// naming is a reference that a delivery uses: found in the c-list, or reserved by Begin.
type naming struct {
	kref  KRef
	ref   wire.Ref
	fresh bool
}

// namer gives krefs their names for one vat during Begin, and changes nothing: a missing name is reserved from the
// numbers that Finish commits.
type namer struct {
	t                 *tx
	vat               VatID
	objects, promises uint64 // last numbers used
	names             []naming
	byKRef            map[KRef]int
}

func newNamer(t *tx, u *run) *namer {
	return &namer{t: t, vat: u.id, objects: u.names.importObjects, promises: u.names.importPromises}
}

func (n *namer) name(k KRef) wire.Ref {
	if i, ok := n.byKRef[k]; ok {
		return n.names[i].ref
	}
	nm := naming{kref: k}
	if ref, _, ok := n.t.vref(n.vat, k); ok {
		nm.ref = ref
	} else {
		nm.fresh = true
		if k.IsPromise() {
			n.promises++
			nm.ref = wire.Ref("p-" + strconv.FormatUint(n.promises, 10))
		} else {
			n.objects++
			nm.ref = importRef(n.objects)
		}
	}
	if n.byKRef == nil {
		n.byKRef = make(map[KRef]int, 8)
	}
	n.byKRef[k] = len(n.names)
	n.names = append(n.names, nm)
	return nm.ref
}

func (n *namer) data(d Data) wire.CapData {
	out := wire.CapData{Body: d.Body}
	if len(d.Slots) > 0 {
		out.Slots = make([]wire.Ref, len(d.Slots))
		for i, s := range d.Slots {
			out.Slots[i] = n.name(s)
		}
	}
	return out
}

// applyNames gives the vat, at Finish, the names that Begin has put into its delivery.
func (t *tx) applyNames(v VatID, names []naming) {
	for _, nm := range names {
		ref, reachable, found := t.vref(v, nm.kref)
		switch {
		case nm.fresh && !found:
			t.addEntry(v, nm.kref, nm.ref)
		case found && ref == nm.ref:
			if !reachable {
				t.setReachable(v, nm.kref, nm.ref)
			}
		default:
			panic(fmt.Sprintf("kernel: %s of %s was named %s, is %s", nm.kref, v, nm.ref, ref))
		}
	}
}
