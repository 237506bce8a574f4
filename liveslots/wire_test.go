package liveslots_test

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
)

// wired is a vat behind the wire: its deliveries, answers and reads have been encoded and decoded, as between
// two processes. Only benchmarks go without.
type wired struct {
	*liveslots.Vat
	store *wiredStore
	t     testing.TB
}

func newVat(t testing.TB, m *liveslots.Module, start wire.Start, store testStore, log *slog.Logger) *wired {
	t.Helper()
	start, err := wiretest.Down(start)
	if err != nil {
		t.Fatal(err)
	}
	s := &wiredStore{testStore: store, t: t}
	v := &wired{liveslots.New(m, start, s, log), s, t}
	t.Cleanup(v.Close)
	return v
}

// Deliver has the vat do a delivery.
func (w *wired) Deliver(d wire.Deliver) wire.Done {
	w.t.Helper()
	w.store.sorted = nil
	if _, bench := w.t.(*testing.B); bench {
		return w.Vat.Deliver(d)
	}
	d, err := wiretest.Down(d)
	if err != nil {
		w.t.Fatal(err)
	}
	done := w.Vat.Deliver(d)
	done.Number = d.Number
	done, _, err = wiretest.Up(done, wire.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// wiredStore is a store whose rows arrive in frames.
type wiredStore struct {
	testStore
	// sorted are the keys in their order, from the first Next of a delivery to the next delivery: a test changes the store
	// between deliveries only. Without it, a vat that goes through many rows takes minutes under the race detector.
	sorted []string
	t      testing.TB
}

func (s *wiredStore) Get(key string) ([]byte, bool, error) {
	value, found, err := s.testStore.Get(key)
	if err != nil {
		return nil, false, err
	}
	row, err := wiretest.Down(wire.Row{Key: key, Value: value, Found: found})
	if err != nil {
		s.t.Error(err)
	}
	return row.Value, row.Found, err
}

func (s *wiredStore) Next(prefix, after string) (string, []byte, bool, error) {
	if s.sorted == nil {
		s.sorted = slices.Sorted(maps.Keys(s.testStore))
	}
	i, is := slices.BinarySearch(s.sorted, max(prefix, after))
	if is && after >= prefix {
		i++ // past after
	}
	var next wire.Row
	if i < len(s.sorted) && strings.HasPrefix(s.sorted[i], prefix) {
		next = wire.Row{Key: s.sorted[i], Value: s.testStore[s.sorted[i]], Found: true}
	}
	row, err := wiretest.Down(next)
	if err != nil {
		s.t.Error(err)
	}
	return row.Key, row.Value, row.Found, err
}
