package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// marked is a store in memory with the marks of rows that were removed, which it passes over as a durable store does.
type marked struct {
	*storage.Mem
	marks  []string // in order
	passed int      // since it was set back
}

func (m *marked) Step(prefix, after string, most int) (string, []byte, bool, bool, error) {
	key, value, found, err := m.Next(prefix, after)
	i, _ := slices.BinarySearch(m.marks, max(prefix, after+"\x00"))
	for n := 0; i < len(m.marks) && strings.HasPrefix(m.marks[i], prefix) && (!found || m.marks[i] < key); i++ {
		m.passed++
		if n++; n == most {
			return m.marks[i], nil, false, false, nil
		}
	}
	return key, value, found, true, err
}

// mark gives the world a store in which so many rows with each prefix were removed.
func mark(w *world, n int, prefixes ...string) *marked {
	w.t.Helper()
	m := &marked{Mem: w.mem}
	for _, prefix := range prefixes {
		for i := range n {
			m.marks = append(m.marks, fmt.Sprint(prefix, 1000+i))
		}
	}
	slices.Sort(m.marks)
	machine, _, err := kernel.Open(m, w.mem.Limits(), "E1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = machine
	return m
}

// The calls and promises of a vat leave removed rows in the store. No step of the kernel passes over all of them,
// neither when the vat loses its memory nor when it is removed, and no live row is skipped for that.
func TestRemovedRowsArePassedInSteps(t *testing.T) {
	const n, most = 200_000, 60_000
	prefixes := []string{"f.v1.kp", "d.v1.kp", "c.v1.o+", "c.v1.k", "s.v1.", "y.v1.", "z.v1.", "x.v1."}
	before := func(t *testing.T) *world {
		w := reader(t)
		w.goes("v1", repeat(1, 20, "send $in read -> p+%d")+repeat(1, 20, "subscribe p+%d")+"send $b take o+1 p+30\nset k v\nlet r $r")
		w.deliver("v2", "subscribe $1")
		return w
	}
	for name, do := range map[string]func(w *world){
		"memory lost": func(w *world) { w.do(w.m.Restart("v1", true)) },
		"terminated":  func(w *world) { w.do(w.m.TerminateVat("v1")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := before(t)
			m := mark(w, n, prefixes...)
			passed, commits := 0, 0
			w.after = func(kernel.Commit) {
				passed, commits, m.passed = max(passed, m.passed), commits+1, 0
			}
			do(w)
			w.run(nil)
			if passed > most {
				t.Errorf("one step passes over %d removed rows", passed)
			}
			if commits < n/most {
				t.Errorf("%d commits: the marks were not looked at", commits)
			}
			if left := w.outstanding("ko6"); len(left) > 0 {
				t.Errorf("calls of a memory that is lost go on: %v", left)
			}
			if st := must(w.m.Ticket("E1.goes12")); st.Found && st.Pending {
				t.Error("who waits for the vat waits for ever")
			}
			w.after = nil
			w.check()
			if left := w.leftovers(); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// A vat reads its store in steps, now and in a replay.
func TestReadsOfAStorePassRemovedRowsInSteps(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(v *kernel.LaunchVat) { v.MaxRecords = 40 }, "a")
	w.call("E1.a", "ko4", "go")
	w.deliver("v1", "set a 1\nset z 2\nresolve $r=null")
	w.call("E1.b", "ko4", "go")
	w.deliver("v1", "set y 3")
	m := mark(w, 200_000, "s.v1.m")
	steps, after := 0, "a"
	for {
		m.passed = 0
		row, reached, ready, err := w.m.StoreStep("v1", "", after)
		if err != nil || m.passed > 5000 {
			t.Fatalf("%d removed rows passed, %v", m.passed, err)
		}
		if ready {
			if row.Key != "y" || string(row.Value) != "3" {
				t.Errorf("got %+v", row)
			}
			break
		}
		after, steps = reached, steps+1
	}
	if steps < 4 {
		t.Errorf("%d steps", steps)
	}
	if row, err := w.m.StoreNext("v1", "", "a"); err != nil || row.Key != "y" {
		t.Errorf("got %+v, %v", row, err)
	}
	r := must(w.m.Replay("v1"))
	if r == nil {
		t.Fatal("there is nothing to replay")
	}
	p := past{t, r}
	p.next()
	for steps = 0; ; steps++ {
		m.passed = 0
		row, ready, err := r.After("", "a")
		if err != nil || m.passed > 60_000 {
			t.Fatalf("in a replay: %d removed rows passed, %v", m.passed, err)
		}
		if ready {
			if row.Key != "z" {
				t.Errorf("in a replay: got %+v", row)
			}
			break
		}
	}
	if steps < 3 {
		t.Errorf("in a replay: %d steps", steps)
	}
}
