package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// A large answer to a host call is written once: a crank that could give it to a promise can give it to a host.
func TestALargeAnswerToAHostIsWrittenOnce(t *testing.T) {
	for _, size := range []int{60 << 10, 70 << 10, 2 << 20, 3<<20 + 900<<10} {
		w := newWorld(t)
		w.cluster(nil, "a")
		w.flush()
		root := must(w.m.Vats())[0].Root
		before := len(w.mem.Snapshot())
		wrote := 0
		w.after = func(c kernel.Commit) {
			for _, row := range c.Writes {
				wrote += row.Size()
			}
		}
		w.call("E1.t1", root, "go")
		w.run(func(_ kernel.VatID, d wire.Deliver) string {
			if call, ok := d.Delivery.(wire.Call); ok {
				return fmt.Sprintf("resolve %s=%s", call.Message.Result, strings.Repeat("x", size))
			}
			return ""
		})
		if st := must(w.m.Ticket("E1.t1")); st.Pending || st.Rejected || len(st.Value.Body) < size {
			t.Fatalf("%d bytes: %t %t, an answer of %d: %.500s", size, st.Pending, st.Rejected, len(st.Value.Body), w.flush())
		}
		if size > 64<<10 && wrote > size+64<<10 {
			t.Errorf("%d bytes: %d were written", size, wrote)
		}
		w.check()
		w.reopen()
		if st := must(w.m.Ticket("E1.t1")); len(st.Value.Body) < size {
			t.Errorf("%d bytes: the next kernel has an answer of %d", size, len(st.Value.Body))
		}
		if st, _, err := w.m.Call(kernel.HostCall{Ticket: "E1.t1", Hash: "h", Target: root, MethArgs: kernel.Data{Body: "#[]"}}, w.now); err == nil && len(st.Value.Body) < size {
			t.Errorf("%d bytes: the same call again has an answer of %d", size, len(st.Value.Body))
		}
		if size%(1<<20) == 0 {
			w.do(w.m.Acknowledge("E1.t1"))
			w.check()
		}
		c, _, err := w.m.Expire(w.now + 1)
		w.do(c, err)
		w.check()
		if after := len(w.mem.Snapshot()); after > before+2 { // counters
			t.Fatalf("%d bytes: %d rows are left of %d", size, after, before)
		}
	}
}
