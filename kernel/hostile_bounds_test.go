package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

const hostileRows = 5000

// export makes a (v1) do something with n lists of 1000 new objects each: what is the format of a syscall that takes
// one. a knows b as o-1.
func export(w *world, n int, what string) {
	for done := 0; done < n; {
		w.call(fmt.Sprintf("E1.export%d", done), "ko4", "go")
		w.begin("v1")
		var b strings.Builder
		for range min(8, n-done) {
			fmt.Fprintf(&b, what+"\n", list("o+", 1000*done+1, 1000))
			done++
		}
		b.WriteString("resolve $r=null")
		w.finish("v1", w.parse("v1", b.String()))
	}
}

// A few messages hold many references: the slices that end them count rows, not messages.
func TestSlicesCountReferences(t *testing.T) {
	t.Parallel()
	const n = 16
	for name, run := range map[string]func(w *world, m *most){
		"queue of a dead vat": func(w *world, m *most) {
			export(w, n, "send o-1 hold%s")
			*m = most{}
			w.do(w.m.Terminate("s1"))
		},
		"queue of a stopped vat": func(w *world, m *most) {
			export(w, n, "send o-1 hold%s")
			w.begin("v2")
			*m = most{}
			w.died("v2", kernel.CauseFault, "")
		},
		"poisoned messages": func(w *world, m *most) {
			export(w, n, "send o-1 hold%s")
			for range n {
				for range 3 {
					w.begin("v2")
					w.died("v2", kernel.CauseCrash, "")
				}
			}
			if len(must(w.m.Poisoned("v2"))) != n {
				w.t.Error("not all are poisoned")
			}
			*m = most{}
			w.do(w.m.Terminate("s1"))
		},
		"parked messages": func(w *world, m *most) {
			w.call("E1.p", "ko4", "go")
			w.deliver("v1", "send o-1 keep p+1\nresolve $r=null")
			export(w, n, "send p+1 hold%s")
			w.call("E1.s", "ko4", "go")
			*m = most{}
			w.deliver("v1", "resolve p+1!=no $r=null")
		},
		"answers": func(w *world, m *most) {
			for i := range n {
				w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
				w.deliver("v1", "resolve $r=("+list("o+", 1000*i+1, 1000)+")")
			}
			*m = most{}
			for {
				c, _, err := w.m.Expire(1 << 40)
				if err != nil {
					w.t.Fatal(err)
				}
				if c.Number == 0 {
					break
				}
				w.apply(c)
			}
			if st := must(w.m.Ticket("E1.0")); st.Found {
				w.t.Error("not all have expired")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := watch(w)
			w.cluster(func(l *kernel.LaunchVat) { l.StopOnFault = true }, "a", "b")
			run(w, m)
			w.run(nil)
			if m.rows > hostileRows {
				t.Errorf("the largest slice has %d rows", m.rows)
			}
			w.check()
			w.leftovers()
			w.check()
		})
	}
}

// Promises that hold each other in a row, built a crank at a time: when the last holder goes, all of them go.
func TestLettingAChainGoIsBounded(t *testing.T) {
	w := newWorld(t)
	m := watch(w)
	w.cluster(nil, "a")
	const n, cranks = 900, 12
	last := ""
	for i := range cranks {
		w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
		head := (i+1)*(n+1) + 1
		w.deliver("v1", fmt.Sprintf("send o+0 hold p+%d\nresolve p+%[1]d=(%s %s)\nresolve $r=null\n", head, list("p+", head-n, n), last)+
			strings.ReplaceAll("resolve\n"+strings.TrimSpace(repeat(head-n, n, "p+%d=null")), "\n", " "))
		w.deliver("v1", "let last $0")
		last = w.kept["v1 last"]
	}
	if rows := len(w.mem.Snapshot()); rows < n*cranks {
		t.Fatalf("the chain has %d rows", rows)
	}
	*m = most{}
	left := w.leftovers()
	if m.rows > hostileRows {
		t.Errorf("the largest commit has %d rows", m.rows)
	}
	if len(left) > 0 {
		t.Errorf("%d rows are left", len(left))
	}
	w.check()
}

// A large reason does not become as many copies as there are messages, in a slice or in a crank.
func TestReasonsAreNotMultiplied(t *testing.T) {
	for _, size := range []int{100, 10_000, 1 << 20} {
		w := newWorld(t)
		m := watch(w)
		w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 20_000 }, "a")
		w.call("E1.go", "ko4", "go")
		w.begin("v1")
		done := w.parse("v1", "send o+0 one p+1\nsend o+0 two p+1\n"+repeat(2, 1000, "send p+1 parked -> p+%d")+repeat(2, 1000, "subscribe p+%d")+"resolve $r=null")
		done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{
			{Promise: "p+1", Rejected: true, Value: wire.CapData{Body: `#"` + strings.Repeat("x", size) + `"`}},
		}})
		w.finish("v1", done)
		w.begin("v1")
		w.finish("v1", w.parse("v1", repeat(1002, 1000, "send $0 late -> p+%d")+repeat(1002, 1000, "subscribe p+%d")))
		if v, _, _ := w.m.Vat("v1"); !v.Live {
			t.Errorf("reason of %d bytes: it is the sender's fault", size)
		}
		w.run(nil)
		if limit := w.mem.Limits().Bytes / 2; m.bytes > limit+(1<<20) {
			t.Errorf("reason of %d bytes: the largest commit has %d", size, m.bytes)
		}
		w.check()
	}
}

// A crank that only names references that it knows changes a row for each.
func TestCrankOfKnownReferencesFitsACommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	watch(w)
	w.cluster(nil, "a", "b")
	const sends, drops = 65, 14
	export(w, sends+drops, "send o-1 hold%s")
	for w.deliver("v2", "") {
	}
	w.call("E1.t", "ko5", "go")
	w.begin("v2")
	var syscalls []wire.Syscall
	for i := range sends + drops {
		refs := make([]wire.Ref, 1000)
		for j := range refs {
			refs[j] = wire.Ref(fmt.Sprintf("o-%d", 1000*i+j+1))
		}
		if i < sends {
			syscalls = append(syscalls, wire.Send{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: "#[]", Slots: refs}}})
		} else {
			syscalls = append(syscalls, wire.DropImports{Refs: refs})
		}
	}
	if c, err := w.m.Finish(w.flights["v2"], wire.Done{Syscalls: syscalls}, nil, w.now); err == nil {
		if err := w.mem.Limits().Check(c.Writes); err != nil {
			t.Error(err)
		}
	}
}

// The search for a circle costs little: a pipeline of any length is none, and a vat that builds many is stopped.
func TestPipelinesOfAnyLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	watch(w)
	w.cluster(nil, "a", "b")
	w.call("E1.t", "ko4", "go")
	w.deliver("v1", "send o-1 first -> p+1\nresolve $r=null")
	const cranks, n = 3, 4000
	for i := range cranks {
		w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
		var b strings.Builder
		for j := range n {
			fmt.Fprintf(&b, "send p+%d next -> p+%d\n", n*i+j+1, n*i+j+2)
		}
		w.begin("v1")
		w.finish("v1", w.parse("v1", b.String()+"resolve $r=null"))
	}
	delivered := 0
	w.run(func(v kernel.VatID, d wire.Deliver) string {
		if v == "v2" {
			delivered++
		}
		return "resolve $r=o+0"
	})
	if delivered != cranks*n+1 {
		t.Errorf("%d of %d messages were delivered", delivered, cranks*n+1)
	}
	w.check()
}

// Messages parked on a promise that turned out to lead to a stopped vat are rejected, though the vat is restarted
// before the kernel gets to them: they do not come after messages that were sent later.
func TestParkedMessagesForAStoppedVatAreRejected(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.Never = true }, "c")
	w.call("E1.t1", "ko4", "go", "ko5")
	w.deliver("v1", "let c $0\nsend o+0 keep p+1\nsend p+1 first -> p+2\nsubscribe p+2\nresolve $r=null")
	w.call("E1.t2", "ko5", "die")
	w.begin("v2")
	w.died("v2", kernel.CauseCrash, "")
	w.deliver("v1", "resolve p+1=$c")
	w.do(w.m.Restart("v2", true))
	w.call("E1.t3", "ko4", "go")
	w.deliver("v1", "send $c second -> p+3\nresolve $r=null")
	w.run(nil)
	out := w.flush()
	if strings.Contains(out, "o+0.first") || !strings.Contains(out, "o+0.second") || !strings.Contains(out, "notify p+2!=error [KERNEL:VAT_TERMINATED]") {
		t.Errorf("got %s", out)
	}
}

// Only a queue that is full now refuses a host call: a promise that was rejected for such a reason answers it.
func TestHostCallToAPromiseRejectedQueueFull(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 1 }, "a", "b")
	w.call("E1.t1", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 x\nsend $0 y -> p+1\nresolve $r=(p+1)")
	if !w.call("E1.t2", must(w.m.Ticket("E1.t1")).Value.Slots[0], "z") || !must(w.m.Ticket("E1.t2")).Rejected {
		t.Error(w.flush())
	}
}

// A poisoned message is not lost by retrying it while the vat takes none.
func TestRetryForAStoppedVatIsRefused(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(l *kernel.LaunchVat) { l.StopOnFault = true }, "a")
	w.call("E1.t1", "ko4", "bad")
	w.call("E1.t2", "ko4", "worse")
	for range 3 {
		w.begin("v1")
		w.died("v1", kernel.CauseCrash, "")
	}
	w.deliver("v1", "fault no")
	w.do(w.m.Unpoison("v1", 1, true))
	if len(must(w.m.Poisoned("v1"))) != 1 {
		t.Error(w.flush())
	}
	w.do(w.m.Restart("v1", true))
	w.do(w.m.Unpoison("v1", 1, true))
	w.flush()
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "o+0.bad()") {
		t.Errorf("got %s", out)
	}
}

// A settled promise with a large value is mentioned: its count changes, not its value.
func TestMentioningALargeValueIsCheap(t *testing.T) {
	w := newWorld(t)
	watch(w)
	w.cluster(nil, "a", "b")
	names := ""
	for i := range 12 {
		w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
		w.begin("v1")
		done := w.parse("v1", fmt.Sprintf("send o+0 hold p+%d\nresolve $r=null", i+1))
		done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{
			{Promise: wire.Ref(fmt.Sprintf("p+%d", i+1)), Value: wire.CapData{Body: `#"` + strings.Repeat("x", 1<<20) + `"`}},
		}})
		w.finish("v1", done)
		w.deliver("v1", "let x $0")
		names += " " + w.kept["v1 x"]
	}
	w.call("E1.all", "ko4", "go")
	w.begin("v1")
	c, err := w.m.Finish(w.flights["v1"], w.parse("v1", "send o-1 all"+names), nil, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.mem.Limits().Check(c.Writes); err != nil {
		t.Errorf("a crank that mentions twelve promises: %v", err)
	}
}
