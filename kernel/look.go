package kernel

import (
	"fmt"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/wire"
)

// An object whose counts fall may have to be told of: its owner is told when no vat can reach the object (dropExports),
// and when no vat can recognize it (retireExports); an importer is told when the object of an owner that is gone is no
// longer reachable (retireImports). The commit in which the counts fall only appends the object to a list of the vat that
// is to be told. What that vat is told is decided from the state as it is when the delivery is made, and the effect of the
// delivery is applied when it is committed. So an object that is mentioned again in between costs one entry, and a crash
// at any commit loses nothing. Example: v2 is the only importer of ko9, an object of v1, and drops and retires it.
//
//	commit                  counts of ko9   flag of v1   list of v1
//	v2: dropImports         0,1             reachable    ko9
//	v2: retireImports       0,0             reachable    ko9
//	v1: delivery dropExports    0,0         clear        ko9, again, at the end: it is not even recognizable
//	v1: delivery retireExports  the object and the entry of v1 are removed
//
// Deliveries of the list are taken when the vat's queue is empty, and after looksEvery other deliveries at the latest.

// lookKind says in which list an object is.
type lookKind uint8

const (
	notListed lookKind = iota
	// listedForOwner says that the list of its owner has one entry of the object.
	listedForOwner
	// listedForImporters says that the kernel's work lists it for each importer, or has done so.
	listedForImporters
)

// lookList is the list of the objects that a vat may have to be told of. Its entries lie between head and tail.
type lookList struct {
	head, tail uint64
	// others counts the other deliveries since the last one of the list, while the list is not empty.
	others uint64
}

func (l *lookList) isEmpty() bool { return l.head == l.tail }

// looksEvery bounds the other deliveries between two deliveries of the list. MaxLooked bounds the references in one
// delivery.
const looksEvery, MaxLooked = 16, limits.Told

// news is what a vat is to be told about an object.
type news uint8

const (
	noNews news = iota
	dropExport
	retireExport
	retireImport
)

// list appends an object to the list of a vat.
func (t *tx) list(v VatID, k KRef) {
	u := t.run(v)
	t.create(keyLook(v, u.looks.tail), []byte(k))
	u.looks.tail++
	t.effect(Wake{v})
}

// letGo decides, at the end of a commit, what follows from the counts of an object that fell to 0.
func (t *tx) letGo(k KRef) {
	o := t.objects.look(t, k)
	switch {
	case o == nil:
	case o.owner == "" && o.recognizable == 0:
		t.objects.remove(t, k)
	case o.service && o.reachable == pinned:
		t.endUnheard(k)
	case o.reachable > 0:
	case o.owner == "":
		if o.look != listedForImporters {
			t.object(k).look = listedForImporters
			t.addWork(work{kind: workRetire, promise: k})
		}
	case o.look == notListed:
		v := t.owner(o)
		if v == "" {
			return // the slices that remove the vat, or its memory, orphan the object
		}
		if _, is := t.newsOf(v, k); is != noNews {
			t.object(k).look = listedForOwner
			t.list(v, k)
		}
	}
}

// newsOf returns what a vat is to be told about an object now, and the vat's name for it.
func (t *tx) newsOf(v VatID, k KRef) (ref wire.Ref, is news) {
	o := t.objects.look(t, k)
	if o == nil || o.reachable > 0 {
		return "", noNews
	}
	ref, reachable, found := t.vref(v, k)
	switch {
	case !found:
	case isExport(ref):
		switch {
		case t.owner(o) != v:
		case reachable:
			is = dropExport
		case o.recognizable == 0:
			is = retireExport
		}
	case o.owner == "" && !reachable: // a service object that is not held is removed: its pin is gone
		is = retireImport
	}
	return ref, is
}

// looks sets the delivery for the head of a vat's list: of the entries from the head on as many as are to be told in the
// same way. Crank.passed counts these entries, and those among them that are no news any more. The delivery is nil if there
// are none but such.
func (t *tx) looks(u *run, c *Crank) {
	var refs []wire.Ref
	first := noNews
	for at := u.looks.head; at != u.looks.tail && len(refs) < MaxLooked && !t.spent(); at++ {
		k := t.listed(u.id, at)
		ref, is := t.newsOf(u.id, k)
		if is != noNews {
			if first == noNews {
				first = is
			}
			if is != first {
				break
			}
			refs, c.members = append(refs, ref), append(c.members, k)
		}
		c.passed++
	}
	switch n := len(refs); first {
	case dropExport:
		c.What, c.Deliver.Delivery = fmt.Sprintf("drop %d exports", n), wire.DropExports{Refs: refs}
	case retireExport:
		c.What, c.Deliver.Delivery = fmt.Sprintf("retire %d exports", n), wire.RetireExports{Refs: refs}
	case retireImport:
		c.What, c.Deliver.Delivery = fmt.Sprintf("retire %d imports", n), wire.RetireImports{Refs: refs}
	}
}

// listed returns an entry of a vat's list.
func (t *tx) listed(v VatID, n uint64) KRef {
	key := keyLook(v, n)
	k, ok := ParseKRef(string(t.must(key)))
	if !ok || k.IsPromise() {
		t.codec.corruptAt(key, fmt.Errorf("%.20q is no object", t.must(key)))
	}
	return k
}

// passLooks removes entries at the head of a vat's list. The objects are listed again at the end of the commit if there
// is more to tell.
func (t *tx) passLooks(u *run, n uint64) {
	for range n {
		k := t.listed(u.id, u.looks.head)
		t.delete(keyLook(u.id, u.looks.head))
		u.looks.head++
		if o := t.objects.look(t, k); o != nil && o.owner == u.id && o.look == listedForOwner {
			t.object(k).look = notListed
			t.maybeFree = append(t.maybeFree, k)
		}
	}
	u.looks.others = 0
}

// tellLooks applies the effect of a delivery of the list. An object is passed over if the news is not true any more.
func (t *tx) tellLooks(c *Crank, u *run) {
	t.passLooks(u, c.passed)
	for _, k := range c.members {
		ref, is := t.newsOf(u.id, k)
		switch c.Deliver.Delivery.(type) {
		case wire.DropExports:
			if is == dropExport {
				t.set(keyCListK(u.id, k), clistValue(false, ref))
			}
		case wire.RetireExports:
			if is == retireExport {
				t.removeEntry(u.id, k, ref, false)
				t.objects.remove(t, k)
			}
		case wire.RetireImports:
			if is == retireImport {
				t.removeEntry(u.id, k, ref, false)
			}
		default:
			panic(fmt.Sprintf("kernel: %T tells of no object", c.Deliver.Delivery))
		}
	}
}

// listForImporters lists an orphaned object, which no vat can reach, for each vat that can recognize it, a slice at a
// time. The object is removed with the last of their names.
func (t *tx) listForImporters(w *work) (done bool) {
	if o := t.objects.look(t, w.promise); o == nil || o.recognizable == 0 {
		return true
	}
	for key := range t.scan("r.", &w.after) {
		v := VatID(key[len("r."):])
		if _, is := t.newsOf(v, w.promise); is == retireImport && t.alive(v) {
			t.list(v, w.promise)
		}
	}
	return !t.spent()
}

// An earlier version did not list objects. The row keySwept says that the objects of such a state are listed, or that
// an item of the kernel's work is about to do so.

// sweepObjects lists the objects of a state of an earlier version, a slice at a time.
func (t *tx) sweepObjects(w *work) (done bool) {
	for key := range t.scan("o.", &w.after) {
		t.letGo(KRef(key[len("o."):])) // here, and not at the end of the commit, where no budget holds
	}
	return !t.spent()
}
