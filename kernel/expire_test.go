package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// searched notes from where the expiry index is searched.
type searched struct {
	storage.Reader
	from []string
}

func (s *searched) Next(prefix, after string) (string, []byte, bool, error) {
	if prefix == "e." {
		s.from = append(s.from, after)
	}
	return s.Reader.Next(prefix, after)
}

// settledAt has a host call settled at a time.
func (w *world) settledAt(ticket string, now int64) {
	w.t.Helper()
	w.now = now
	w.call("E1."+ticket, "ko4", "go")
	w.run(nil)
	if st := must(w.m.Ticket("E1." + ticket)); st.Pending {
		w.t.Fatalf("%s is pending", ticket)
	}
}

func (w *world) expire(before int64) (next int64) {
	w.t.Helper()
	c, next, err := w.m.Expire(before)
	if err != nil {
		w.t.Fatal(err)
	}
	w.apply(c)
	return next
}

// The rows of host calls that have expired are passed over for a while by the store, though they are removed: so no search
// begins before the last of them, by this kernel or the next.
func TestExpiryIsNotSearchedFromTheBeginning(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	for i := range int64(20) {
		w.settledAt(fmt.Sprint("t", i), 2000+i)
	}
	w.expire(2010)
	r := &searched{Reader: w.mem}
	m, _, err := kernel.Open(r, w.mem.Limits(), "E1")
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	last := "e.0000000002009.E1.t9"
	if next := w.expire(2010); next != 2010 {
		t.Errorf("next is %d, want 2010", next)
	}
	w.settledAt("late", 2030)
	if next := w.expire(2020); next != 2030 {
		t.Errorf("next is %d, want 2030", next)
	}
	for _, from := range r.from {
		if from < last {
			t.Errorf("searched from %q", from)
		}
	}
	if len(r.from) == 0 {
		t.Error("not searched")
	}
	w.check()
}

// A state whose expiry index was not noted, and from which many calls have gone, is searched in slices that go on where the
// last one ended.
func TestExpiryPassesRemovedRowsInSlices(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.settledAt("t1", 2000)
	m := &marked{Mem: w.mem}
	for i := range 200_000 {
		m.marks = append(m.marks, fmt.Sprintf("e.0000000001%03d.E1.%05d", i/1000, i%1000))
	}
	machine, _, err := kernel.Open(m, w.mem.Limits(), "E1")
	if err != nil {
		t.Fatal(err)
	}
	w.m = machine
	slices := 0
	for next := w.expire(2001); next != 0; next = w.expire(2001) {
		if slices++; m.passed > 60_000 || next >= 2001 {
			t.Fatalf("%d rows passed, next is %d", m.passed, next)
		}
		m.passed = 0
		w.check()
	}
	if slices < 3 {
		t.Errorf("%d slices", slices)
	}
	if st := must(w.m.Ticket("E1.t1")); st.Found {
		t.Errorf("it is %s", ticketText(st))
	}
}

// A clock that is set back does not make a call known for ever, nor does one that stands still.
func TestCallsExpireThoughTheClockIsSetBack(t *testing.T) {
	for name, when := range map[string]int64{"back": 1500, "the same time": 2000, "forward": 3000} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cluster(nil, "a")
			w.settledAt("m", 2000)
			w.expire(2001)
			w.settledAt("a", when) // before m in the order of keys, if the time is the same
			w.open()
			if next := w.expire(when); next != when {
				t.Errorf("next is %d, want %d", next, when)
			}
			w.expire(when + 1)
			if st := must(w.m.Ticket("E1.a")); st.Found {
				t.Errorf("%s is known", ticketText(st))
			}
			w.check()
		})
	}
}

// A state of an earlier version, which did not note the row that it had removed last, is searched from the start once.
func TestExpiryOfAnEarlierVersionGoesOn(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.settledAt("t1", 2000)
	w.settledAt("t2", 2001)
	w.expire(2001)
	kernel.Downgrade(w.mem)
	w.open()
	w.check()
	w.expire(2002)
	for _, r := range w.mem.Snapshot() {
		if strings.HasPrefix(r.Key, "e.") || strings.HasPrefix(r.Key, "t.") {
			t.Errorf("%s is left", r.Key)
		}
	}
}
