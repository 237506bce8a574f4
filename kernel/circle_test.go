package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// promises returns how many promises the kernel knows.
func (w *world) promises() (n int) {
	for _, row := range w.mem.Snapshot() {
		if strings.HasPrefix(row.Key, "p.") {
			n++
		}
	}
	return n
}

// A circle of settled promises goes when no vat, message or host holds one of them any more. One of more promises than a trial
// follows is kept.
func TestCirclesOfPromisesGo(t *testing.T) {
	t.Parallel()
	const most = 200 // maxCircle
	for n, left := range map[int]int{1: 0, 2: 0, 3: 0, most: 0, most + 1: most + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.launch(nil, "a", "b")
			root := func(v kernel.VatID) kernel.KRef { vat, _, _ := w.m.Vat(v); return vat.Root }
			var names, lets, values []string
			for i := range n {
				names = append(names, fmt.Sprint("p+", i+1))
				lets = append(lets, fmt.Sprintf("let p%d $%d", i+1, i))
				values = append(values, fmt.Sprintf("p+%d=(p+%d)", i+1, (i+1)%n+1))
			}
			w.run(nil)
			before := w.promises()
			w.call("E1.first", root("v1"), "go", root("v2"))
			w.deliver("v1", "send $0 take "+strings.Join(names, " ")+"\nresolve $r=null")
			w.deliver("v2", strings.Join(lets, "\n"))
			w.call("E1.second", root("v1"), "settle")
			w.deliver("v1", "resolve "+strings.Join(values, " ")+" $r=null")
			w.run(nil)
			if got := w.promises() - before; got != n {
				t.Fatalf("%d promises are there, want %d: v2 holds them", got, n)
			}
			w.do(w.m.TerminateVat("v2"))
			w.run(nil)
			if got := w.promises() - before; got != left {
				t.Errorf("%d promises are left, want %d", got, left)
			}
		})
	}
}

// Circles are found in slices: none of them reads or passes over rows without bound. Suspects that come behind a pass are found
// by the next one, also after a restart of the kernel.
func TestCirclesGoInSlices(t *testing.T) {
	t.Parallel()
	const circles, removed = 400, 200_000
	for name, again := range map[string]bool{"in one go": false, "opened again at each slice": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.unchecked = true
			w.launch(nil, "a", "b", "c")
			w.run(nil)
			before := w.promises()
			for i, holder := range []kernel.VatID{"v2", "v3"} {
				first := 1 + 2*circles*i
				var names, lets, values []string
				for i := range 2 * circles {
					names = append(names, fmt.Sprint("p+", first+i))
					lets = append(lets, fmt.Sprintf("let p%d $%d", i+1, i))
					values = append(values, fmt.Sprintf("p+%d=(p+%d)", first+i, first+(i^1)))
				}
				from, to := must2(w.m.Vat("v1")).Root, must2(w.m.Vat(holder)).Root
				w.call("E1.first"+string(holder), from, "go", to)
				w.deliver("v1", "send $0 take "+strings.Join(names, " ")+"\nresolve $r=null")
				w.deliver(holder, strings.Join(lets, "\n"))
				w.call("E1.second"+string(holder), from, "settle")
				w.deliver("v1", "resolve "+strings.Join(values, " ")+" $r=null")
				w.run(nil)
			}
			if got := w.promises() - before; got != 4*circles {
				t.Fatalf("%d promises are there, want %d", got, 4*circles)
			}
			m := mark(w, removed, "circle.kp")
			passed, commits := 0, 0
			w.after = func(kernel.Commit) {
				passed, commits, m.passed = max(passed, m.passed), commits+1, 0
				w.out.Reset()
			}
			slices := func(most int) (left bool) {
				for range most {
					if again {
						machine, first, err := kernel.Open(m, w.mem.Limits(), "E1")
						if err != nil {
							t.Fatal(err)
						}
						w.m = machine
						w.apply(first)
					}
					c, more, err := w.m.Work(1)
					w.do(c, err)
					if !more {
						return false
					}
				}
				return true
			}
			w.do(w.m.TerminateVat("v2"))
			slices(12)
			w.do(w.m.TerminateVat("v3"))
			if slices(3000) {
				t.Fatal("the work does not end")
			}
			if left := w.promises() - before; left != 0 {
				t.Errorf("%d promises are left", left)
			}
			if passed > 60_000 {
				t.Errorf("one slice passes over %d removed rows", passed)
			}
			if commits < removed/60_000 {
				t.Errorf("%d commits: the removed rows were not looked at", commits)
			}
			w.check()
		})
	}
}

// The item of work that looks for circles cannot be read, or is missing: they are looked for all the same.
func TestCirclesAreLookedForAgain(t *testing.T) {
	for name, value := range map[string][]byte{"garbled": {0xc1}, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.launch(nil, "a", "b")
			w.run(nil)
			before := w.promises()
			from := must2(w.m.Vat("v1")).Root
			w.call("E1.first", from, "go", must2(w.m.Vat("v2")).Root)
			w.deliver("v1", "send $0 take p+1 p+2\nresolve $r=null")
			w.deliver("v2", "let p $0\nlet q $1")
			w.call("E1.second", from, "settle")
			w.deliver("v1", "resolve p+1=(p+2) p+2=(p+1) $r=null")
			w.run(nil)
			w.unchecked = true
			w.do(w.m.TerminateVat("v2"))
			for !w.has("circles") {
				c, _, err := w.m.Work(1)
				w.do(c, err)
			}
			for _, row := range w.mem.Snapshot() {
				if strings.HasPrefix(row.Key, "w.") && strings.Contains(string(row.Value), "\x0c") {
					if err := w.mem.Commit([]storage.Write{{Key: row.Key, Value: value}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.reopen()
			for range 20 {
				if c, _, err := w.m.Work(1); err == nil {
					w.do(c, nil)
					continue
				}
				c, err := w.m.Salvage(func() (kernel.Commit, error) { c, _, err := w.m.Work(1); return c, err })
				if err != nil {
					c, err = w.m.Postpone()
				}
				w.do(c, err)
			}
			if left := w.promises() - before; left != 0 {
				t.Errorf("%d promises are left", left)
			}
			w.check()
		})
	}
}
