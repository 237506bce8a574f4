package kernel

import (
	"cmp"
	"strings"

	"ocapkernel.dev/wire"
)

// Tally counts what a state keeps, for a person: nothing in the kernel goes by it.
type Tally struct {
	// Objects and Promises are those that the kernel knows.
	Objects, Promises int
	// Vats has an entry for each vat that knows an object or a promise, or has a row in its store.
	Vats map[VatID]VatTally
}

// VatTally counts what one vat keeps.
type VatTally struct {
	// Held are the objects of others that the vat has a name for, Exported its own that it has named to the kernel,
	// Promises the promises that it has a name for.
	Held, Exported, Promises int
	// Rows and Bytes are the vat's own store, keys included.
	Rows  int
	Bytes int64
}

// tallied are the rows that a tally counts, by prefix.
var tallied = [...]string{"c.", "o.", "p.", "s."}

// TallyAfter adds a page of the rows that follow after to t, from the start if after is empty. The next page follows next;
// there is none if that is empty. A row of no vat, or with a name that is none, is not counted: that is for Check to say.
func (q *View) TallyAfter(t *Tally, after string) (next string, err error) {
	defer caught(&err)
	if t.Vats == nil {
		t.Vats = map[VatID]VatTally{}
	}
	page := q.page()
	for _, prefix := range tallied {
		if after > prefix && !strings.HasPrefix(after, prefix) {
			continue // its rows lie before after
		}
		cursor := after
		if after < prefix {
			cursor = ""
		}
		for key, value := range page.scan(prefix, &cursor) {
			t.add(prefix, key[len(prefix):], value)
		}
		if page.spent() {
			return cmp.Or(cursor, prefix), nil // the prefix, if its rows are still to be read
		}
	}
	return "", nil
}

// add counts a row.
func (t *Tally) add(prefix, rest string, value []byte) {
	switch prefix {
	case "o.":
		t.Objects++
		return
	case "p.":
		t.Promises++
		return
	}
	v, name, _ := strings.Cut(rest, ".")
	n := t.Vats[VatID(v)]
	switch {
	case prefix == "s.":
		n.Rows++
		n.Bytes += int64(len(name) + len(value))
	case strings.HasPrefix(name, "k"): // each entry of a c-list is two rows, see clist.go
		return
	case strings.HasPrefix(name, "p"):
		n.Promises++
	case isExport(wire.Ref(name)):
		n.Exported++
	default:
		n.Held++
	}
	t.Vats[VatID(v)] = n
}
