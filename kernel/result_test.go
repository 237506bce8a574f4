package kernel_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// The answer of bootstrap may be large, and has a row of its own: it costs nothing where a service object is called,
// made or ended.
func TestLargeBootstrapResultCostsServiceCallsNothing(t *testing.T) {
	const size = 1 << 20
	large := func(w *world) {
		w.unchecked = true
		_, c, err := w.m.Launch(kernel.Launch{Bootstrap: "a", Vats: []kernel.LaunchVat{launchVat("a")}, Services: own("in")})
		w.do(c, err)
		w.run(func(_ kernel.VatID, d wire.Deliver) string {
			if call, ok := d.Delivery.(wire.Call); ok {
				return fmt.Sprintf("let in %s\nresolve %s=%s", call.Message.MethArgs.Slots[1], call.Message.Result, strings.Repeat("x", size))
			}
			return ""
		})
		if sub, _, _ := w.m.Subcluster("s1"); sub.State != kernel.SubRunning || len(sub.Result.Body) < size {
			w.t.Fatalf("%s, with a result of %d bytes: %.3000s", sub.State, len(sub.Result.Body), w.flush())
		}
		w.check()
		w.flush()
	}
	costs := func(w *world, what string, do func()) {
		w.t.Helper()
		wrote := 0
		w.after = func(c kernel.Commit) {
			for _, row := range c.Writes {
				wrote += row.Size()
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		w.after = nil
		if most := 20 * size; wrote > size || after.TotalAlloc-before.TotalAlloc > uint64(most) {
			w.t.Errorf("%s: %d bytes written, %d allocated", what, wrote, after.TotalAlloc-before.TotalAlloc)
		}
	}
	w := newWorld(t)
	large(w)
	in := must(w.m.ServiceNamed("io:s1:in"))
	costs(w, "1,000 calls", func() { w.goes("v1", repeat(1, 1000, "send $in read -> p+%d")+"resolve $r=null") })
	costs(w, "an object that a call makes", func() {
		c, made, err := w.m.Complete(kernel.CallID{Service: in}, kernel.Completion{Value: kernel.Data{Body: `#"$0"`, Slots: []kernel.KRef{""}}, New: []kernel.NewService{{Kind: "conn"}}}, w.now)
		w.do(c, err)
		if len(made) != 1 {
			t.Fatal("none is made")
		}
		w.do(w.m.EndService(made[0]))
		w.run(nil)
	})
	w.check()
	w.open()
	if sub, _, _ := w.m.Subcluster("s1"); len(sub.Result.Body) < size {
		t.Errorf("a result of %d bytes is left", len(sub.Result.Body))
	}
	// A state of the first release keeps it in the row of the subcluster, until that is written.
	kernel.Downgrade(w.mem)
	if got := row(w, "result.s1"); got != "" || len(row(w, "u.s1")) < size {
		t.Fatal("the earlier version is not that")
	}
	w.open()
	w.check()
	costs(w, "1,000 calls in a state of the first release", func() { w.goes("v1", repeat(1001, 1000, "send $in read -> p+%d")+"resolve $r=null") })
	c, _, err := w.m.Complete(kernel.CallID{Service: in, N: 1}, kernel.Completion{Value: kernel.Data{Body: `#"$0"`, Slots: []kernel.KRef{""}}, New: []kernel.NewService{{Kind: "conn"}}}, w.now)
	w.do(c, err)
	if len(row(w, "u.s1")) > 1000 || len(row(w, "result.s1")) < size {
		t.Error("the result is not put into a row of its own")
	}
	w.check()
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
