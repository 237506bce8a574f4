package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// rejectedBehind is a world in which v1 was stopped and revived: its queue begins with the notification of a promise, and
// behind it n messages were rejected, among which one more notification stays.
func rejectedBehind(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t)
	w.unchecked = true
	w.cluster(func(v *kernel.LaunchVat) { v.MaxQueue, v.Never = uint64(n+10), v.Name == "a" }, "a", "b")
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 ask -> p+1\nsend $0 ask -> p+2\nsubscribe p+1 stored\nsubscribe p+2 stored\nresolve $r=null")
	w.deliver("v2", "resolve $r=null")
	for i := range n {
		if i == n-10 {
			w.deliver("v2", "resolve $r=null")
		}
		w.call(fmt.Sprintf("E1.m%d", i), "ko4", "queued")
	}
	w.begin("v1")
	w.died("v1", kernel.CauseCrash, "")
	for {
		s, err := w.m.Begin("v1", w.now, 7, false)
		if err != nil {
			t.Fatal(err)
		}
		if s.Commit == nil {
			break
		}
		w.apply(*s.Commit)
	}
	w.do(w.m.Restart("v1", false))
	w.check()
	w.flush()
	return w
}

// Taking the head of a queue does not read all positions whose items were removed behind it.
func TestHolesOfAQueueArePassedInSlices(t *testing.T) {
	const n = 5000
	t.Run("delivery", func(t *testing.T) {
		w := rejectedBehind(t, n)
		w.begin("v1")
		r := count(w)
		most := 0
		w.after = func(kernel.Commit) { most, r.reads = max(most, r.reads), 0 }
		w.finish("v1", w.parse("v1", ""))
		if most > 500 {
			t.Errorf("the crank has %d rows read", most)
		}
		w.call("E1.last", "ko4", "last")
		w.run(nil)
		if most > 1500 {
			t.Errorf("a step has %d rows read", most)
		}
		if out := w.flush(); strings.Count(out, "notify p+") != 2 {
			t.Errorf("notifications:\n%s", out)
		}
		if st := must(w.m.Ticket("E1.last")); st.Pending || st.Rejected {
			t.Errorf("the call behind it is %s", ticketText(st))
		}
		w.check()
	})
	t.Run("killed meanwhile", func(t *testing.T) {
		w := rejectedBehind(t, n)
		w.deliver("v1", "")
		w.check()
		w.open()
		s, err := w.m.Begin("v1", w.now, 7, true) // messages held back or not
		if err != nil || s.Commit == nil {
			t.Fatalf("got %+v, %v", s, err)
		}
		w.apply(*s.Commit)
		w.check()
		w.open()
		w.run(nil)
		if out := w.flush(); strings.Count(out, "notify kp") != 2 {
			t.Errorf("notifications:\n%s", out)
		}
		w.check()
	})
	t.Run("termination", func(t *testing.T) {
		w := rejectedBehind(t, n)
		w.deliver("v1", "")
		r := count(w)
		most := 0
		w.after = func(kernel.Commit) { most, r.reads = max(most, r.reads), 0 }
		w.do(w.m.TerminateVat("v1"))
		w.run(nil)
		if most > 1500 {
			t.Errorf("a step has %d rows read", most)
		}
		w.check()
		w.after = nil
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("left %d rows", len(left))
		}
	})
}
