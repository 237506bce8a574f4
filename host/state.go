package host

import (
	"context"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
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
	sliceRows, sliceBytes = 64, 256 << 10 // by one step of the loop
	pageBytes             = 1 << 20
	shownBytes            = 64 << 10 // of a value
)

// Stored is [Shell.Stored].
func (op *operator) Stored(ctx context.Context, vat, prefix, after string, limit int) (v kernel.Vat, rows []StoredRow, more bool, err error) {
	if v, err = op.shell.names.FindVat(ctx, vat); err != nil {
		return v, nil, false, err
	}
	for size := 0; ; {
		passing := false // removed rows, of which there may be many
		part, err := look(ctx, op.core, func() (part []wire.Row, err error) {
			for read := 0; len(part) < sliceRows && read < sliceBytes; {
				row, reached, ready, err := op.machine.StoreStep(v.ID, prefix, after)
				if passing = !ready; passing && err == nil {
					after = reached
					return part, nil
				}
				if err != nil || !row.Found {
					return part, err
				}
				after = row.Key
				read += len(row.Key) + len(row.Value)
				part = append(part, row)
			}
			return part, nil
		})
		if err != nil || len(part) == 0 && !passing {
			return v, rows, false, err
		}
		for i, row := range part {
			if len(rows) == limit || size > pageBytes {
				return v, rows, true, nil
			}
			shown := row.Value[:min(len(row.Value), shownBytes)]
			rows = append(rows, StoredRow{row.Key, append([]byte(nil), shown...), len(row.Value)})
			size += len(row.Key) + len(shown)
			part[i] = wire.Row{}
		}
	}
}
