package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
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
