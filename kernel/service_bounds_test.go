package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// big is the answer of a vat that sends a body of so many bytes.
func big(target wire.Ref, bytes int, results ...wire.Ref) wire.Done {
	var done wire.Done
	for _, r := range results {
		done.Syscalls = append(done.Syscalls, wire.Send{Target: target, Message: wire.Message{
			MethArgs: wire.CapData{Body: `#["big",["` + strings.Repeat("x", bytes) + `"]]`}, Result: r,
		}})
	}
	return done
}

// The bytes that move from one row to another count, however many promises or calls they belong to: watch fails the
// test if a commit is above the store's limit.
func TestServiceCommitsAreBounded(t *testing.T) {
	t.Parallel()
	t.Run("parked bodies move into the queue of a service", func(t *testing.T) {
		for _, size := range []int{3 << 20, 700 << 10} {
			w := reader(t)
			watch(w)
			const promises, each = 12, 2
			w.goes("v1", "send $b keep"+list("p+", 1, promises))
			for i := 1; i <= promises; i++ {
				for j := range each {
					w.call(fmt.Sprintf("E1.park%d.%d", i, j), "ko4", "park")
					w.begin("v1")
					w.finish("v1", big(wire.Ref(fmt.Sprintf("p+%d", i)), size, wire.Ref(fmt.Sprintf("p+%d", 100+10*i+j))))
				}
			}
			w.goes("v1", strings.ReplaceAll(repeat(1, promises, "resolve p+%d=$in"), "$in", w.kept["v1 in"]))
			w.run(nil)
			w.check()
			begun := 0
			for calls := w.outstanding("ko6"); len(calls) > 0; calls = w.outstanding("ko6") {
				begun += len(calls)
				for _, n := range calls {
					w.complete("ko6", n, "done", nil)
				}
				w.run(nil)
			}
			if s := w.service("ko6"); begun != promises*each || s.Queued != 0 {
				t.Errorf("%d calls were begun, %d items are queued", begun, s.Queued)
			}
			w.leftovers()
			w.check()
		}
	})
	t.Run("one answer begins what waits", func(t *testing.T) {
		w := reader(t)
		watch(w)
		w.goes("v1", repeat(1, maxCalls, "send $in call -> p+%d"))
		for i := range 6 {
			w.call(fmt.Sprintf("E1.big%d", i), "ko4", "go")
			w.begin("v1")
			w.finish("v1", big(wire.Ref(w.kept["v1 in"]), 1<<20, wire.Ref(fmt.Sprintf("p+%d", 2000+3*i)), wire.Ref(fmt.Sprintf("p+%d", 2001+3*i)), wire.Ref(fmt.Sprintf("p+%d", 2002+3*i))))
		}
		w.call("E1.host", "ko6", "host")
		for n := range uint64(30) {
			w.complete("ko6", n, strings.Repeat("y", 2<<20-10), nil)
		}
		w.run(nil)
		w.check()
		// Those with large bodies are begun as far as there is room for them.
		if s := w.service("ko6"); s.Calls+s.Queued != 989 || s.Queued > 12 {
			t.Errorf("%d calls are begun, %d items queued", s.Calls, s.Queued)
		}
	})
	t.Run("large units go back", func(t *testing.T) {
		w := reader(t)
		watch(w)
		w.goes("v1", repeat(1, 20, "send $in read -> p+%[1]d\nsubscribe p+%[1]d"))
		for n := range uint64(20) {
			w.unit("ko6", n, strings.Repeat("y", 1900<<10))
		}
		w.forget("v1")
		if s := w.service("ko6"); s.Units != 20 {
			t.Errorf("%d units are back", s.Units)
		}
		w.check()
		w.do(w.m.TerminateVat("v1"))
		w.do(w.m.EndService("ko6"))
		w.run(nil)
		w.check()
	})
	t.Run("a unit that is exchanged for the first", func(t *testing.T) {
		w := reader(t)
		watch(w)
		w.goes("v1", repeat(1, maxCalls, "send $in read -> p+%[1]d\nsubscribe p+%[1]d"))
		w.unit("ko6", 0, strings.Repeat("y", 1900<<10))
		w.forget("v1") // cancels the others
		w.call("E1.host", "ko6", "read")
		calls := w.outstanding("ko6")
		w.unit("ko6", calls[0], strings.Repeat("z", 1900<<10))
		w.check()
	})
	t.Run("a service ends with thousands of calls", func(t *testing.T) {
		w := reader(t)
		m := watch(w)
		for i := range 8 { // each with references, so that one of them changes many rows
			w.goes("v1", repeat(1+50*i, 50, "send $in call"+list("o+d1/", 1, 150)+" -> p+%d"))
		}
		for i := range 4 {
			w.goes("v1", repeat(1001+2500*i, 2500, "send $in call -> p+%d"))
		}
		for i := range 4 { // a vat waits for each
			w.goes("v1", repeat(1001+2500*i, 2500, "subscribe p+%d"))
		}
		*m = most{}
		w.do(w.m.EndService("ko6"))
		if m.rows > 20 {
			t.Errorf("the end itself writes %d rows", m.rows)
		}
		w.run(nil)
		if m.rows > 3500 {
			t.Errorf("the largest slice has %d rows", m.rows)
		}
		w.check()
		w.leftovers()
		w.check()
	})
	t.Run("a subcluster ends with many service objects", func(t *testing.T) {
		w := reader(t)
		m := watch(w)
		for i := range 20 {
			w.call(fmt.Sprintf("E1.%d", i), "ko6", "make")
			w.complete("ko6", uint64(i), "("+strings.Repeat("new ", kernel.MaxExports)+")", nil)
		}
		*m = most{}
		w.do(w.m.Terminate("s1"))
		if m.rows > 20 {
			t.Errorf("termination itself writes %d rows", m.rows)
		}
		w.run(nil)
		if m.rows > 3000 {
			t.Errorf("the largest slice has %d rows", m.rows)
		}
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("left %d rows", len(left))
		}
	})
	t.Run("a launch fails with a large reason", func(t *testing.T) {
		w := newWorld(t)
		watch(w)
		w.withServices(global("facet"), "a")
		w.goes("v1", "send $facet launch -> $r") // the outcome is also the answer of a host call
		s, c, err := w.m.Launch(kernel.Launch{Bootstrap: "x", Vats: []kernel.LaunchVat{launchVat("x")}, By: kernel.CallID{Service: "ko5"}})
		w.do(c, err)
		w.deliver("v2", "")
		w.begin("v2")
		call, _ := w.flights["v2"].Deliver.Delivery.(wire.Call)
		w.finish("v2", wire.Done{Syscalls: []wire.Syscall{wire.Resolve{Resolutions: []wire.Resolution{{
			Promise: call.Message.Result, Rejected: true, Value: wire.CapData{Body: `#{"#error":"` + strings.Repeat("x", 3900<<10) + `","name":"Error"}`},
		}}}}})
		w.run(nil)
		w.check()
		if _, found, _ := w.m.Subcluster(s); found {
			t.Error("the launch has not failed")
		}
	})
}

// The state and the messages of a service object are bounded for the program that has it, which is told; the state that
// is there stays.
func TestStateAndMessagesOfAServiceObjectAreBounded(t *testing.T) {
	w := reader(t)
	limits := w.mem.Limits()
	state := func(n int) []byte { return bytes.Repeat([]byte("s"), n) }
	most := limits.Bytes / 4
	small := kernel.Data{Body: `#["tick",[]]`}
	large := kernel.Data{Body: `#["` + strings.Repeat("x", limits.Bytes/2)}
	many := kernel.Data{Body: `#["tick",[]]`, Slots: slices.Repeat([]kernel.KRef{"ko4"}, kernel.MaxSlots+1)}
	for name, test := range map[string]struct {
		do   func() (kernel.Commit, error)
		text string // of the refusal; empty: it is done
	}{
		"the longest state":               {func() (kernel.Commit, error) { return w.m.SetServiceState("ko6", state(most)) }, ""},
		"a longer state":                  {func() (kernel.Commit, error) { return w.m.SetServiceState("ko6", state(most+1)) }, fmt.Sprintf("a state of %d bytes for service object ko6, the limit is %d", most+1, most)},
		"the longest state and a message": {func() (kernel.Commit, error) { return w.m.Emit("ko6", state(most), "ko4", small, w.now) }, ""},
		"a longer state and a message":    {func() (kernel.Commit, error) { return w.m.Emit("ko6", state(most+1), "ko4", small, w.now) }, "ko6"},
		"a message that is too large":     {func() (kernel.Commit, error) { return w.m.Emit("ko6", state(1), "ko4", large, w.now) }, "method and arguments of"},
		"a message of many references":    {func() (kernel.Commit, error) { return w.m.Emit("ko6", state(1), "ko4", many, w.now) }, "1001 references, the limit is 1000"},
	} {
		w.do(w.m.SetServiceState("ko6", []byte("before")))
		c, err := test.do()
		refusal, refused := errors.AsType[*kernel.Refusal](err)
		switch {
		case test.text == "":
			if !w.do(c, err) || len(w.service("ko6").State) != most {
				t.Errorf("%s: %v, and the state has %d bytes", name, err, len(w.service("ko6").State))
			}
		case !refused || refusal.Code != errcode.Limit || !strings.Contains(refusal.Detail, test.text):
			t.Errorf("%s: got %v, want LIMIT and %q", name, err, test.text)
		default:
			if s := w.service("ko6"); string(s.State) != "before" {
				t.Errorf("%s: the state is now %.20q", name, s.State)
			}
		}
	}
}
