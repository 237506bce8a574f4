package kernel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"ocapkernel.dev/storage"
)

// RemoveVatByKey makes of a state in which a vat is being removed the state that an earlier version would have left: the
// promises that the vat decides are gone as far as kpN in the order of keys.
func RemoveVatByKey(mem *storage.Mem, n int) {
	m, _, err := Open(mem, mem.Limits(), "E1")
	if err != nil {
		panic(err)
	}
	t := m.begin(0)
	head, tail := t.workRange()
	for at := head; at < tail; at++ {
		b, _ := t.get(keyWorkItem(at))
		var w work
		t.codec.decode(keyWorkItem(at), b, w.fields)
		if w.kind != workRemoveVat || w.stage != removePromises {
			continue
		}
		w.after = fmt.Sprintf("%skp%d", prefixDecides(w.vat), n)
		t.set(keyWorkItem(at), t.codec.encode(w.fields))
	}
	if err := mem.Commit(m.done(t).Writes); err != nil {
		panic(err)
	}
}

// Rows are found in the order of their numbers, each once, by slices of any size, which read little more than there is;
// rows that are deleted meanwhile change nothing for the others.
func TestScanByNumber(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	sets := [][]uint64{
		{},
		{0},
		{7},
		{10},
		{9, 10},
		{1, 10, 100, 1000},
		{1000, 999},
		{19, 2, 20, 100, 1},
		{99_999_999, 100_000_000, 1, 1_234_567_890_123_456},
	}
	for _, most := range []uint64{30, 3_000, 1_000_000_000} {
		set := map[uint64]bool{}
		for range 1500 {
			set[rnd.Uint64N(most)] = true
		}
		sets = append(sets, slices.Collect(maps.Keys(set)))
	}
	const prefix = "d.v1.kp"
	for _, set := range sets {
		for _, remove := range []int{0, 1, 2} { // none, all, every other one
			mem := storage.NewMem()
			writes := []storage.Write{{Key: "d.v1.j9", Value: []byte("1")}, {Key: "d.v10.kp3", Value: []byte("1")}, {Key: "d.v1.l1", Value: []byte("1")}}
			for _, n := range set {
				writes = append(writes, storage.Write{Key: prefix + num(n), Value: []byte("1")})
			}
			if err := mem.Commit(writes); err != nil {
				t.Fatal(err)
			}
			var got []uint64
			cursor, reads := "", 0
			for done := false; !done; {
				tx := &tx{base: &base{reader: mem}, rows: map[string]*row{}}
				tx.left = whole
				tx.left.reads = 1 + rnd.IntN(20)
				before := tx.left.reads
				i := 0
				for key := range tx.scanByNumber(prefix, &cursor) {
					got = append(got, numberIn(key[len(prefix):]))
					if i++; remove > 0 && i%remove == 0 {
						tx.delete(key)
					}
				}
				done = !tx.spent()
				reads += before - tx.left.reads
				for _, key := range tx.changed {
					if err := mem.Commit([]storage.Write{{Key: key}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			want := slices.Clone(set)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("removing %d: got %v, want %v", remove, got, want)
			}
			if reads > 12*len(set)+300 {
				t.Errorf("%d rows: %d were read", len(set), reads)
			}
		}
	}
}

// A cursor that is a key, or nothing known, is the beginning.
func TestScanByNumberBeginsAnewAtWhatAnEarlierVersionStored(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "d.v1.kp57", "a.ko6.12", "=", "0=", "x=5", "-1+"} {
		if got := parseNumberCursor(s[:max(len(s)-2, 0)], s); got != (numberCursor{length: 1}) {
			t.Errorf("%q: got %+v", s, got)
		}
	}
	for _, c := range []numberCursor{{1, false, ""}, {3, true, "57:"}, {16, false, "1234567890123456"}} {
		if got := parseNumberCursor("d.v1.kp", c.String()); got != c {
			t.Errorf("%+v: got %+v", c, got)
		}
	}
}
