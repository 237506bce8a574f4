package host_test

import (
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/storage"
)

// A check of the stopped state names each row over which a start would stumble, with its owner.
func TestACheckFindsWhatAStartWouldDecode(t *testing.T) {
	t.Parallel()
	whole := busy(t, 2)
	if problems, err := host.CheckRows(whole); err != nil || len(problems) > 0 {
		t.Fatalf("of a state without damage it says %q, %v", problems, err)
	}
	for _, c := range []struct {
		name, prefix string
		value        []byte
		want         string
	}{
		{"a record that is no row", "y.v1.", []byte{0xc1}, "the memory of v1"},
		{"a record of no frame", "y.v1.", []byte{0x93, 0xc4, 1, 7, 0xc3, 0xc4, 0}, "the memory of v1"},
		{"a row as it was that is no row", "z.v1.", []byte{0xc1}, "the memory of v1"},
		{"a row as it was that is cut", "z.v1.", []byte{0x92, 0xc3}, "the memory of v1"},
		{"how a vat runs", "r.v1", []byte{0xc1}, "row r.v1"},
		{"what a vat is", "v.v2", []byte{0xc1}, "row v.v2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := storage.NewMem()
			rows := whole.Snapshot()
			var writes []storage.Write
			for _, row := range rows {
				writes = append(writes, storage.Write{Key: row.Key, Value: row.Value})
			}
			if err := mem.Commit(writes); err != nil {
				t.Fatal(err)
			}
			damage := garbage(c.prefix, c.value)(mem)
			if len(damage) == 0 { // the vat has written nothing in this span
				i := slices.IndexFunc(rows, func(row storage.Write) bool { return strings.HasPrefix(row.Key, "y.v1.") })
				damage = []storage.Write{{Key: c.prefix + strings.Split(rows[i].Key, ".")[2] + ".x", Value: c.value}}
			}
			if err := mem.Commit(damage); err != nil {
				t.Fatal(err)
			}
			problems, err := host.CheckRows(mem)
			if err != nil {
				problems = append(problems, err.Error())
			}
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, c.want) }) {
				t.Errorf("it says %q, want %q", problems, c.want)
			}
		})
	}
}
