package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// F1: twenty SIGKILLs while a vat starts end the kernel (panic "the start of v1 is poisoned").
func TestFindingKilledStartPanics(t *testing.T) {
	w := newWorld(t)
	w.launch(nil, "a")
	for range 20 {
		if !w.begin("v1") {
			return // the launch failed, that is fine
		}
		w.died("v1", kernel.CauseKilled, "")
	}
}

// F2: freeing a chain of settled promises is one commit, however long the chain.
func TestFindingFreeIsBounded(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	most := 0
	w.after = func(c kernel.Commit) { most = max(most, len(c.Writes)) }
	// Each crank: q = [p1..p1000], all of them resolved; q's head keeps the last q.
	n := 0
	prev := ""
	for i := range 30 {
		w.call(fmt.Sprintf("E1.t%d", i), "ko4", "go")
		var b strings.Builder
		lo := n + 1
		for range 900 {
			n++
			b.WriteString(fmt.Sprintf(" p+%d", n))
		}
		n++
		q := n
		fmt.Fprintf(&b, "")
		words := fmt.Sprintf("send o+0 hold p+%d\nresolve p+%d=(%s%s)\nresolve", q, q, b.String()[1:], prev)
		for k := lo; k < q; k++ {
			words += fmt.Sprintf(" p+%d=null", k)
		}
		words += "\nresolve $r=null"
		w.deliver("v1", words)
		// hold: names q
		if !w.begin("v1") {
			t.Fatal("no hold")
		}
		name := w.flights["v1"].Deliver.Delivery.(wire.Call).Message.MethArgs.Slots[0]
		w.finish("v1", w.parse("v1", ""))
		prev = " " + string(name)
	}
	w.flush()
	// All the older q's: let their names go, by hearing of them.
	// Simplest: the vat is terminated; its names go in slices.
	most = 0
	w.leftovers()
	t.Logf("most writes in one commit: %d", most)
	if most > 4000 {
		t.Errorf("a slice of %d rows", most)
	}
}

// F3: one slice of a dead vat's queue may touch rows without bound: slots are not counted.
func TestFindingBuryQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 10000 }, "a", "b")
	most := 0
	w.after = func(c kernel.Commit) { most = max(most, len(c.Writes)) }
	n := 0
	for i := range 8 {
		w.call(fmt.Sprintf("E1.t%d", i), "ko4", "go", "ko5")
		words := ""
		for range 10 {
			words += "send $0 hold"
			for range 1000 {
				n++
				words += fmt.Sprintf(" o+%d", n)
			}
			words += "\n"
		}
		w.deliver("v1", words+"resolve $r=null")
	}
	w.flush()
	most = 0
	for _, s := range must(w.m.Subclusters()) {
		w.do(w.m.Terminate(s.ID))
	}
	w.run(nil)
	t.Logf("most writes in one commit: %d", most)
	if most > 20000 {
		t.Errorf("a slice of %d rows, the limit of a commit is %d", most, w.mem.Limits().Rows)
	}
}

// F4: the reason of a rejected promise is copied to the result of every parked message.
func TestFindingReasonIsCopied(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	w.call("E1.t", "ko4", "go")
	w.begin("v1")
	words := "send o+0 keep p+1\n"
	for i := range 50 {
		words += fmt.Sprintf("send p+1 x -> p+%d\n", i+2)
	}
	done := w.parse("v1", words)
	done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p+1", Rejected: true, Value: wire.CapData{Body: `#"` + strings.Repeat("x", 1<<20) + `"`}}}})
	w.finish("v1", done)
	c, _, err := w.m.Work(w.now)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, x := range c.Writes {
		size += x.Size()
	}
	if size > w.mem.Limits().Bytes {
		t.Errorf("a slice of %d bytes, the limit of a commit is %d", size, w.mem.Limits().Bytes)
	}
}

// F4b: the same within one crank: what the vat sent is small, what it writes is not.
func TestFindingReasonIsCopiedInACrank(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	w.call("E1.t", "ko4", "go")
	w.begin("v1")
	done := w.parse("v1", "send o+0 keep p+1\nsend o+0 keep2 p+1")
	done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p+1", Rejected: true, Value: wire.CapData{Body: `#"` + strings.Repeat("x", 1<<20) + `"`}}}})
	w.finish("v1", done)
	w.begin("v1")
	words := ""
	for i := range 50 {
		words += fmt.Sprintf("send $0 x -> p+%d\n", i+2)
	}
	c, err := w.m.Finish(w.flights["v1"], w.parse("v1", words), w.now)
	if err != nil {
		return
	}
	size := 0
	for _, x := range c.Writes {
		size += x.Size()
	}
	if size > w.mem.Limits().Bytes {
		t.Errorf("a crank of %d bytes, the limit of a commit is %d", size, w.mem.Limits().Bytes)
	}
}

// F5: a long pipeline costs its length for each message.
func TestFindingChainIsQuadratic(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a", "b")
	w.call("E1.t", "ko4", "go", "ko5")
	w.begin("v1")
	words := "send $0 x -> p+1\n"
	const n = 5000
	for i := 1; i < n; i++ {
		words += fmt.Sprintf("send p+%d x -> p+%d\n", i, i+1)
	}
	done := w.parse("v1", words)
	start := time.Now()
	w.finish("v1", done)
	t.Logf("%d messages in %v", n, time.Since(start))
	w.flush()
	w.call("E1.t2", "ko4", "more")
	w.begin("v1")
	words = ""
	for i := range n {
		words += fmt.Sprintf("send p+%d x -> p+%d\n", n+i, n+i+1)
	}
	done = w.parse("v1", words)
	start = time.Now()
	w.finish("v1", done)
	t.Logf("%d more messages in %v", n, time.Since(start))
	w.flush()
	w.call("E1.t3", "ko4", "more")
	w.begin("v1")
	words = ""
	for i := range 10 {
		words += fmt.Sprintf("send p+%d x -> p+%d\n", 2*n+i, 2*n+i+1)
	}
	w.finish("v1", w.parse("v1", words))
	t.Log(w.flush())
}

// F6: what was parked on a promise that led to a stopped vat comes after what was sent after its restart.
func TestFindingOrderAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.Never = true }, "c")
	w.call("E1.t1", "ko4", "go", "ko5")
	w.deliver("v1", "let c $0\nsend o+0 keep p+1\nsend p+1 first -> p+2\nresolve $r=null")
	w.begin("v1")
	w.call("E1.t2", "ko5", "die")
	w.begin("v2")
	w.died("v2", kernel.CauseCrash, "")
	w.finish("v1", w.parse("v1", "resolve p+1=$c"))
	w.do(w.m.Restart("v2"))
	w.call("E1.t3", "ko4", "go")
	w.deliver("v1", "send $c second -> p+3\nresolve $r=null")
	w.flush()
	w.run(nil)
	out := w.flush()
	if i, j := strings.Index(out, "o+0.second"), strings.Index(out, "o+0.first"); i >= 0 && j > i {
		t.Errorf("first is delivered after second:\n%s", out)
	}
}

// F7: a host call to a promise that was rejected QUEUE_FULL is refused for ever.
func TestFindingQueueFullReason(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 1 }, "a", "b")
	w.call("E1.t1", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 x\nsend $0 y -> p+1\nresolve $r=(p+1)")
	st := must(w.m.Ticket("E1.t1"))
	if !w.call("E1.t2", st.Value.Slots[0], "z") {
		t.Error(w.flush())
	}
}

// F8: a retry for a stopped vat loses the message.
func TestFindingRetryOfStopped(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.call("E1.t1", "ko4", "go")
	for range 3 {
		w.begin("v1")
		w.died("v1", kernel.CauseCrash, "")
	}
	for range 6 {
		w.begin("v1")
		w.m.StartWorker("v1")
		_, c, _ := w.m.StartWorker("v1")
		w.apply(c)
		w.died("v1", kernel.CauseCrash, "")
	}
	w.flush()
	w.do(w.m.Unpoison("v1", 1, true))
	if len(must(w.m.Poisoned("v1"))) == 0 {
		t.Error(w.flush())
	}
}

// F9: a crank within its limits makes a commit above the store's.
func TestFindingCrankRows(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a", "b")
	n := 0
	for i := range 9 {
		w.call(fmt.Sprintf("E1.t%d", i), "ko5", "go", "ko4")
		words := ""
		for range 10 {
			words += "send $0 hold"
			for range 1000 {
				n++
				words += fmt.Sprintf(" o+%d", n)
			}
			words += "\n"
		}
		w.deliver("v2", words+"resolve $r=null")
		for w.begin("v1") {
			w.finish("v1", w.parse("v1", ""))
		}
	}
	w.flush()
	w.call("E1.x", "ko4", "go")
	w.begin("v1")
	words := ""
	k := 1
	for range 64 {
		words += "send o+0 x"
		for range 1000 {
			k++
			words += fmt.Sprintf(" o-%d", k)
		}
		words += "\n"
	}
	for range 14 {
		words += "drop"
		for range 1000 {
			k++
			words += fmt.Sprintf(" o-%d", k)
		}
		words += "\n"
	}
	done := w.parse("v1", words)
	for i, s := range done.Syscalls {
		if s, ok := s.(wire.Send); ok {
			s.Message.MethArgs.Body = "#[]"
			done.Syscalls[i] = s
		}
	}
	c, err := w.m.Finish(w.flights["v1"], done, w.now)
	if err != nil {
		t.Log(err)
		return
	}
	if err := w.mem.Limits().Check(c.Writes); err != nil {
		t.Error(err)
	}
	t.Log(len(c.Writes))
}

// F10: a value of half the limit in bytes.
func TestFindingCrankBytes(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	w.call("E1.x", "ko4", "go")
	w.begin("v1")
	done := w.parse("v1", "send o+0 keep $r\nresolve $r=null")
	done.Syscalls[1].(wire.Resolve).Resolutions[0].Value.Body = `#"` + strings.Repeat("x", w.mem.Limits().Bytes/2-300) + `"`
	c, err := w.m.Finish(w.flights["v1"], done, w.now)
	if err != nil {
		t.Log(err)
		return
	}
	if err := w.mem.Limits().Check(c.Writes); err != nil {
		t.Error(err)
	}
	t.Log(len(c.Writes))
}

// F11: values with many slots.
func TestFindingExpireIsBounded(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	n := 0
	for i := range 100 {
		w.call(fmt.Sprintf("E1.t%d", i), "ko4", "go")
		var b strings.Builder
		for range 1000 {
			n++
			fmt.Fprintf(&b, " o+%d", n)
		}
		w.deliver("v1", "resolve $r=("+b.String()+")")
	}
	c, _, err := w.m.Expire(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.mem.Limits().Check(c.Writes); err != nil {
		t.Error(err)
	}
	t.Log(len(c.Writes))
}
