package host

import (
	"context"

	"ocapkernel.dev/kernel"
)

// StoredRow is a row of a vat's store.
type StoredRow struct {
	Key string
	// Value is cut at a bound; Size is how long it is.
	Value []byte
	Size  int
}

// Bounds of the part of a vat's store that is read for a person.
const (
	pageBytes  = 1 << 20
	shownBytes = 64 << 10 // of a value
)

// storedPage is the answer of Stored.
type storedPage struct {
	vat  kernel.Vat
	rows []StoredRow
	more bool
}

// Stored is [Shell.Stored].
func (op *operator) Stored(ctx context.Context, vat, prefix, after string, limit int) (kernel.Vat, []StoredRow, bool, error) {
	var id kernel.VatID
	var unnamed error
	find := func() {
		unnamed = op.isolated(func() (err error) {
			id, err = op.names.vatNamed(vat)
			return err
		})
	}
	p, err := question(ctx, op.core, find, func(q *kernel.View) (p storedPage, err error) {
		if unnamed != nil {
			return p, unnamed
		}
		var found bool
		if p.vat, found, err = q.Vat(id); err == nil && !found {
			err = notThere("vat", vat)
		}
		for size := 0; err == nil; {
			row, err := q.StoreNext(id, prefix, after)
			if err != nil || !row.Found {
				return p, err
			}
			if len(p.rows) == limit || size > pageBytes {
				p.more = true
				return p, nil
			}
			shown := row.Value[:min(len(row.Value), shownBytes)]
			p.rows = append(p.rows, StoredRow{row.Key, append([]byte(nil), shown...), len(row.Value)})
			size += len(row.Key) + len(shown)
			after = row.Key
		}
		return p, err
	})
	return p.vat, p.rows, p.more, err
}
