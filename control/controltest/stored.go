package controltest

import (
	"bytes"
	"context"
	"strings"

	"ocapkernel.dev/control"
)

// stored is the store of every vat of a fake.
var stored = [][2]string{
	{"ids", `{"kinds":[{"type":"main.mint","shapes":[{"Total":"int64","Purses":"map"}]},{"type":"main.purse","shapes":[{"Balance":"int64"}]}],"root":1,"lastMap":1}`},
	{"m.1.alice", "o+d2/1\n" + `#"$0.Alleged: purse"`},
	{"m.1.b\u009bob", "\n#5"},
	{"o.o+0", "0\n\n" + `#{"Purses":1,"Total":7}`},
	{"o.o+d2/1", "0\n\n" + `#{"Balance":7}`},
	{"o.o+d2/2", "0\n\nno smallcaps"},
	{"p.p-5.0000000000000001", ""},
	{"w", `{"last":1,"others":1}`},
	{"w.1", "when o+0\np-5\n" + `#["Paid",["&0","alice"]]`},
	{"zz", strings.Repeat("x", 70_000)},
}

// Stored implements [control.Backend].
func (f *Fake) Stored(_ context.Context, q control.StoredRows) (control.StoredPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.vat(q.Vat)
	if err != nil {
		return control.StoredPage{}, err
	}
	out := control.StoredPage{Vat: v.ID, Name: v.Name, Subcluster: v.Subcluster}
	for _, row := range stored {
		key, value := []byte(row[0]), []byte(row[1])
		switch {
		case !bytes.HasPrefix(key, q.Prefix) || bytes.Compare(key, q.After) <= 0:
		case len(out.Rows) == q.Limit:
			out.More = true
			return out, nil
		default:
			out.Rows = append(out.Rows, control.StoredRow{Key: key, Value: value[:min(len(value), 64<<10)], Size: len(value)})
		}
	}
	return out, nil
}
