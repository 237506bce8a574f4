package kernel_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// These tests of weakness_test.go are about references: their counts, their names, and their holders.

// dumped is the line of Dump about one thing; empty if there is none.
func dumped(w *world, name string) string {
	for _, line := range kernel.Dump(w.mem) {
		if first, rest, _ := strings.Cut(line, " "); first == name {
			return rest
		}
	}
	return ""
}

func TestTwoImportersDropIndependently(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b", "c")
	w.call("E1.t", "ko4", "go", "ko5", "ko6")
	w.deliver("v1", "send $0 take o+1\nsend $1 take o+1\nresolve $r=null")
	w.deliver("v2", "let o $0")
	w.deliver("v3", "let o $0")
	want := func(s string) {
		t.Helper()
		if got := dumped(w, "ko7"); got != `owner "v1" counts `+s {
			t.Errorf("got %s, want %s", got, s)
		}
	}
	want("2,2")
	step := func(v kernel.VatID, root kernel.KRef, words string) {
		w.call("E1."+fmt.Sprint(w.applied), root, "x")
		w.deliver(v, words+"\nresolve $r=null")
	}
	step("v2", "ko5", "drop $o")
	want("1,2")
	step("v2", "ko5", "retireImports $o")
	want("1,1")
	step("v3", "ko6", "send $o still -> p+1")
	w.deliver("v1", "resolve $r=null")
	step("v3", "ko6", "drop $o\nretireImports $o")
	want("0,0")
}

func TestReceivingAgainRestoresReachability(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "let b $0\nsend $0 take o+1\nresolve $r=null")
	w.deliver("v2", "let o $0\ndrop $0")
	if got := dumped(w, "ko6"); got != `owner "v1" counts 0,1` {
		t.Fatal(got)
	}
	w.call("E1.u", "ko4", "again")
	w.deliver("v1", "send $b take o+1\nresolve $r=null")
	w.deliver("v2", "send $o use\ndrop $0\nretireImports $0")
	w.run(nil)
	if got := dumped(w, "ko6"); got != "" {
		t.Fatal(got)
	}
}

// Every kind of call, over and over: the state does not grow.
func TestCallsLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b", "c")
	w.call("E1.know", "ko4", "know", "ko5", "ko6")
	w.deliver("v1", "let b $0\nlet c $1\nresolve $r=null")
	p := 0
	round := func() int {
		p += 10
		w.call("E1.t", "ko4", "go")
		w.deliver("v1", fmt.Sprintf(`send $b one p+%d -> p+%d
			send p+%[2]d pipelined $c -> p+%[3]d
			send p+%[3]d pipelined2 p+%[2]d -> p+%[4]d
			send $c two p+%[3]d p+%[4]d -> p+%[5]d
			subscribe p+%[2]d
			subscribe p+%[3]d
			subscribe p+%[4]d
			subscribe p+%[5]d
			resolve p+%[1]d=(p+%[5]d p+%[3]d)
			resolve $r=null`, p, p+1, p+2, p+3, p+4))
		w.deliver("v2", "subscribe $0\nresolve $r=o+0")
		w.run(nil)
		w.do(w.m.Acknowledge("E1.t"))
		w.now++
		c, _, err := w.m.Expire(w.now)
		w.do(c, err)
		return len(w.mem.Snapshot())
	}
	first := round()
	for range 20 {
		if got := round(); got != first {
			t.Fatalf("%d rows after the first round, now %d:\n%s", first, got, strings.Join(kernel.Dump(w.mem), "\n"))
		}
	}
}

func TestExporterGoesAfterItsImporterDropped(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(nil, "b")
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 take o+1 o+2 o+d1/1\nresolve $r=null")
	w.deliver("v2", "let two $1\ndrop $0 $1\nretireImports $0")
	w.do(w.m.Terminate("s1"))
	w.run(nil)
	for ko, want := range map[string]string{"ko4": "", "ko6": "", "ko7": "", "ko8": `owner "" counts 1,1`} {
		if got := dumped(w, ko); got != want {
			t.Errorf("%s: got %q, want %q", ko, got, want)
		}
	}
	if out := w.flush(); !strings.Contains(out, ": retire imports "+w.kept["v2 two"]+"\n") {
		t.Errorf("b was not told that %s is gone:\n%s", w.kept["v2 two"], out)
	}
	w.call("E1.u", "ko5", "go")
	w.begin("v2")
	if got := w.try("v2", "retireImports $two\nresolve $r=null"); !strings.Contains(got, "unknown") {
		t.Errorf("b says that it forgets what it was told to forget: %s", got)
	}
}

func TestAbandonedExportHasNoOwner(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 take o+1\nsend $0 take2 o+2\nabandon o+1\nresolve $r=null")
	w.deliver("v2", "send $0 hello -> p+1\nsubscribe p+1")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "v2 gets 4: notify p+1!=error [KERNEL:OBJECT_DELETED]") {
		t.Errorf("got %s", out)
	}
	w.do(w.m.Terminate("s1"))
	w.run(nil)
}

func TestResultIsTheSendersToGive(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b", "c")
	w.call("E1.t", "ko4", "go", "ko5", "ko6")
	w.deliver("v1", "let c $1\nsend $0 take p+1 p+2\nresolve p+2=null $r=null")
	w.begin("v2")
	for _, words := range []string{
		"send o+0 steal -> $0",                      // decided by a
		"send o+0 steal -> $1",                      // settled
		"send o+0 mine -> p+1\nresolve p+1=null",    // in flight
		"send o+0 mine -> p+1\nsend o+0 x -> p+1",   // in flight
		"send o+0 mine p+1\nresolve p+1=null p+1=x", // twice
		"resolve $0=null",
	} {
		if got := w.try("v2", words); !strings.Contains(got, "illegal") {
			t.Errorf("%q: got %s", words, got)
		}
	}
	w.finish("v2", w.parse("v2", "send o+0 mine -> p+1"))
	if got := dumped(w, "kp5"); !strings.HasPrefix(got, "unresolved count") || strings.Contains(got, "decider") {
		t.Errorf("in flight it is %s", got)
	}
	w.deliver("v2", "resolve $r=null")
}

func TestReferencesOfAnotherKindAreIllegal(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go", "ko5")
	w.begin("v1")
	for _, r := range []string{"ro+1", "rp-1", "ko5", "kp1", "d+1", "o+v1/1", "o+1/1", "o+d1/1:0", "O+1", "o +1", "o+١", "p+", "o", ""} {
		for _, s := range []wire.Syscall{
			wire.Send{Target: wire.Ref(r)},
			wire.Send{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Slots: []wire.Ref{wire.Ref(r)}}}},
			wire.Send{Target: "o+0", Message: wire.Message{Result: wire.Ref(r)}},
			wire.Subscribe{Promise: wire.Ref(r)},
			wire.Resolve{Resolutions: []wire.Resolution{{Promise: wire.Ref(r)}}},
			wire.DropImports{Refs: []wire.Ref{wire.Ref(r)}},
			wire.AbandonExports{Refs: []wire.Ref{wire.Ref(r)}},
		} {
			if send, ok := s.(wire.Send); ok && r == "" && send.Target == "o+0" && send.Message.MethArgs.Slots == nil {
				continue // no result
			}
			_, err := w.m.Finish(w.flights["v1"], wire.Done{Syscalls: []wire.Syscall{s}}, nil, w.now)
			var fault *kernel.Fault
			if !errors.As(err, &fault) {
				t.Errorf("%+v: got %v", s, err)
			}
		}
	}
}

func TestMessagesThroughChainsArrive(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b", "c")
	w.call("E1.t", "ko4", "go", "ko5", "ko6")
	w.deliver("v1", "send $0 one p+1 -> p+2\nsend p+2 two -> p+3\nsend p+3 three -> p+4\nsubscribe p+4\nresolve $r=(p+4)")
	w.deliver("v2", "send $0 wait -> $r") // the answer of "one" is the answer of "wait"
	w.call("E1.u", "ko4", "settle", "ko6")
	w.deliver("v1", "resolve p+1=$0 $r=null")
	for range 3 {
		if !w.begin("v3") {
			t.Fatal(w.flush())
		}
		w.finish("v3", w.parse("v3", "resolve $r=o+0"))
	}
	w.deliver("v1", "")
	if out := w.flush(); !strings.Contains(out, "notify p+4=o-2") {
		t.Errorf("got %s", out)
	}
}

func TestAnswersHoldTheirReferences(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "let b $0\nresolve $r=(o+1 $0 p+1)\nabandon o+1\nresolve p+1=(o+d1/1)")
	w.run(nil)
	for _, ko := range []string{"ko5", "ko6", "ko7", "kp3"} {
		if dumped(w, ko) == "" {
			t.Errorf("%s is gone", ko)
		}
	}
	w.do(w.m.Acknowledge("E1.t"))
	if got := dumped(w, "ko6") + dumped(w, "kp3"); got != "" {
		t.Errorf("still there: %s", got)
	}
	if got := dumped(w, "ko7"); got != `owner "v1" counts 0,0` { // until its owner has been told, a later issue
		t.Errorf("ko7: %s", got)
	}
}

func TestRootsOfLiveVatsAreHeld(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "drop $0\nretireImports $0\nresolve $r=null")
	w.now++
	c, _, err := w.m.Expire(w.now)
	w.do(c, err)
	if !w.call("E1.u", "ko5", "still there") {
		t.Error(w.flush())
	}
}

func TestNamesAreNeverUsedTwice(t *testing.T) {
	w := pair(t)
	high := [2]int{}
	for i := range 6 {
		w.call(fmt.Sprintf("E1.%d", i), "ko4", "go", "ko5")
		w.begin("v1")
		words := fmt.Sprintf("send $0 take o+%d p+%d\nresolve $r=null", high[0]+2, high[1]+3)
		switch i % 3 {
		case 1: // aborted: the names were not used
			w.died("v1", kernel.CauseCrash, "")
			w.begin("v1")
		case 2:
			w.reopen()
			w.begin("v1")
		}
		w.finish("v1", w.parse("v1", words))
		high[0], high[1] = high[0]+2, high[1]+3
		w.do(w.m.Restart("v1", true))
		w.begin("v1")
		_, c, err := w.m.StartWorker("v1")
		w.do(c, err)
		w.call(fmt.Sprintf("E1.x%d", i), "ko4", "go")
		w.begin("v1")
		for _, old := range []string{fmt.Sprintf("o+%d", high[0]), fmt.Sprintf("p+%d", high[1]), "o+1", "p+1"} {
			if got := w.try("v1", "send o+0 x "+old); !strings.Contains(got, "used before") {
				t.Errorf("%s: got %s", old, got)
			}
		}
		w.finish("v1", w.parse("v1", "resolve $r=null"))
		w.run(nil)
	}
	// A kref that the kernel has handed out is never handed out again.
	if got, want := row(w, "next.o"), row(w, "next.p"); got == "" || want == "" {
		t.Error("no counters")
	}
}

func TestRestartRejectsAndOrphans(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko5", "make", "ko4")
	w.deliver("v2", "send $0 take o+1 o+d1/1 p+1\nresolve $r=(p+1)")
	w.deliver("v1", "let eph $0\nlet dur $1\nsubscribe $2")
	w.died("v2", kernel.CauseCrash, "")
	w.call("E1.u", "ko4", "use")
	w.deliver("v1", "send $eph x -> p+1\nsend $dur x -> p+2\nsubscribe p+1\nsubscribe p+2\nresolve $r=null")
	w.run(nil)
	out := w.flush()
	for _, want := range []string{"notify p-2!=error [KERNEL:VAT_RESTARTED]", "notify p+1!=error [KERNEL:OBJECT_DELETED]", "notify p+2=null", "o+d1/1.x()"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if v, _, _ := w.m.Vat("v2"); v.Stopped != "" || v.Terminated {
		t.Error("a stale reference harmed the vat")
	}
}
