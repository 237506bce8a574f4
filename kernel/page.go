package kernel

import (
	"errors"
	"fmt"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// Questions about all that there is are answered in pages, so that none of them holds the loop: each page reads pageReads
// rows, about, and is true of the moment in which it is read.

// pageReads bounds the rows that are read for one page.
const pageReads = 300

func (m *Machine) page() *tx {
	t := m.begin(0)
	t.reads = sliceReads - pageReads
	return t
}

// rowsAfter calls each for the rows of one page that follow after among those that begin with prefix. next is what the
// following page begins after; empty if there is none.
func rowsAfter[ID ~string](t *tx, prefix string, after ID, each func(id ID, value []byte)) (next ID) {
	cursor := ""
	if after != "" {
		cursor = prefix + string(after)
	}
	for key, value := range t.scan(prefix, &cursor) {
		each(ID(key[len(prefix):]), value)
	}
	if t.spent() {
		return ID(cursor[len(prefix):])
	}
	return ""
}

// VatsAfter lists a page of the vats, in the order of their keys, from the start if after is empty; those too of which the
// rows cannot be read. The next page follows next; there is none if that is empty.
func (m *Machine) VatsAfter(after VatID) (out []Vat, next VatID, err error) {
	const pageVats = pageReads / 3
	for range pageVats {
		from := ""
		if after != "" {
			from = keyVat(after)
		}
		key, _, found, err := m.reader.Next("v.", from)
		if !found || err != nil {
			return out, "", err
		}
		after = VatID(key[len("v."):])
		v, found, err := m.Vat(after)
		switch {
		case errors.Is(err, storage.ErrCorrupt):
			v = Vat{ID: after, Corrupt: err}
		case err != nil:
			return nil, "", err
		case !found:
			v = Vat{ID: after, Corrupt: fmt.Errorf("row %s: %w: %w", keyRun(after), errMissing, storage.ErrCorrupt)}
		}
		out = append(out, v)
	}
	return out, after, nil
}

// SubclustersAfter lists a page of the subclusters, in the order of their keys; see [Machine.VatsAfter].
func (m *Machine) SubclustersAfter(after SubID) (out []Subcluster, next SubID, err error) {
	defer caught(&err)
	t := m.page()
	next = rowsAfter(t, "u.", after, func(s SubID, b []byte) {
		out = append(out, t.listedSub(s, b))
	})
	return out, next, nil
}

// ServicesAfter lists a page of the service objects, in the order of their keys; see [Machine.VatsAfter].
func (m *Machine) ServicesAfter(after KRef) (out []Service, next KRef, err error) {
	defer caught(&err)
	t := m.page()
	next = rowsAfter(t, "k.", after, func(k KRef, b []byte) {
		out = append(out, t.listedService(k, b))
	})
	return out, next, nil
}

// HoldersAfter looks at a page of the vats for those that know a reference; see [Machine.VatsAfter].
func (m *Machine) HoldersAfter(k KRef, after VatID) (out []Holder, next VatID, err error) {
	defer caught(&err)
	t := m.page()
	next = rowsAfter(t, "v.", after, func(v VatID, b []byte) {
		var ref wire.Ref
		var reachable, ok bool
		if ref, reachable, ok = t.vref(v, k); ok {
			var row vatRow
			row.decode(m.dec, keyVat(v), b)
			out = append(out, Holder{v, row.name, ref, reachable})
		}
	})
	return out, next, nil
}

// Systems lists the system subclusters that are launching or running, in the order of their names.
func (m *Machine) Systems() (out []Subcluster, err error) {
	defer caught(&err)
	t := m.begin(0)
	for after := ""; ; {
		key, b := t.next("g.", after)
		if key == "" {
			return out, nil
		}
		after = key
		if sub := t.sub(SubID(b)); sub != nil {
			out = append(out, t.export(SubID(b), sub))
		}
	}
}

// SystemNamed finds the system subcluster of that name that is launching or running; found is false if there is none.
func (m *Machine) SystemNamed(name string) (out Subcluster, found bool, err error) {
	defer caught(&err)
	t := m.begin(0)
	b, ok := t.get(keySystem(name))
	if !ok {
		return Subcluster{}, false, nil
	}
	sub := t.sub(SubID(b))
	if sub == nil {
		return Subcluster{}, false, nil
	}
	return t.export(SubID(b), sub), true, nil
}
