package host_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/storage"
)

// reluctant is a store that gives up each search once, as one does that has to pass over many removed rows.
type reluctant struct {
	*storage.Mem
	gaveUp atomic.Int64
}

// behind marks a place that reluctant has given up at.
const behind = "\x00\x00"

func (r *reluctant) Step(prefix, after string, _ int) (string, []byte, bool, bool, error) {
	if !strings.HasSuffix(after, behind) && strings.HasPrefix(prefix, "s.") {
		r.gaveUp.Add(1)
		return max(prefix, after) + behind, nil, false, false, nil
	}
	key, value, found, err := r.Next(prefix, after)
	return key, value, found, true, err
}

// A worker that reads its store is answered, and an operator who inspects it, however many removed rows lie between those
// that are there.
func TestReadsGoOnBehindRemovedRows(t *testing.T) {
	store := &reluctant{Mem: storage.NewMem()}
	k := start(t, store, nil)
	sub := launch(t, k, "bank")
	if a, err := send(t.Context(), k, "audit", string(sub.ID), "audit"); err != nil || a.Rejected || a.Pending {
		t.Errorf("got %+v, %v", a, err)
	}
	if store.gaveUp.Load() == 0 {
		t.Error("no search was given up")
	}
	all := 0
	for _, v := range sub.Vats {
		_, rows, more, err := k.Stored(t.Context(), string(v.Vat), "", "", 1000)
		if err != nil || more {
			t.Fatalf("more %t, %v", more, err)
		}
		all += len(rows)
	}
	want := 0
	for _, w := range store.Snapshot() {
		if strings.HasPrefix(w.Key, "s.") {
			want++
		}
	}
	if all != want || want == 0 {
		t.Errorf("%d rows are listed, %d are stored", all, want)
	}
	k.end(t)
}
