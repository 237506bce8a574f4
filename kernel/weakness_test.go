package kernel_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// The failures of the system that this kernel succeeds, W-nn, and the tests that they are impossible here.
// Transcripts and the other tests cover them too; these say it in one place.
//
//	W-01  TestHostCallDuringAbortedCrankSurvives, TestInterleavingsAreSerializable
//	W-02  TestTerminationEndsTheCrankInFlight
//	W-03  TestDeathIsAnOutcomeOfACrank, TestTerminationEndsTheCrankInFlight
//	W-04  TestAbortLeavesNoTrace
//	W-05  TestHostileInputsAreRefused, TestDeadVatsTakeNothingDown
//	W-06  TestPromisesOfADyingVatAreRejected
//	W-07  TestIllegalSyscallIsSticky, TestExitFromInsideAMethod
//	W-08  TestTwoImportersDropIndependently, TestReceivingAgainRestoresReachability, TestCallsLeaveNothingBehind,
//	      TestExporterGoesAfterItsImporterDropped, TestAbandonedExportHasNoOwner
//	W-09  TestResultIsTheSendersToGive, TestReferencesOfAnotherKindAreIllegal
//	W-10  TestWhoeverHasWorkIsWoken
//	W-11  TestCallsLeaveNothingBehind, TestEverySequenceKeepsTheInvariants
//	W-12  TestMessagesThroughChainsArrive
//	W-13  TestAbortLeavesNoTrace
//	W-14  TestKillAtEveryCommit
//	W-15  TestStoreIterationIsExact
//	W-16  TestFailedLaunchLeavesNothing (a launch is one commit: there is no moment in which it is empty)
//	W-17  TestFailedLaunchLeavesNothing
//	W-18  a new epoch keeps all names: testdata/tickets.txt
//	W-19  TestAnswersHoldTheirReferences, TestRootsOfLiveVatsAreHeld
//	W-20  TestKillAtEveryCommitOfServiceCalls, TestCallsBeginInTheOrderSent, testdata/service_*.txt
//	W-21  TestVatThatCannotStartDisturbsNobody
//	W-22  workers are the shell's
//	W-23  TestKillAtEveryCommit
//	W-24  TestSyscallsDuringTheFirstStartCount
//	W-25  TestNamesAreNeverUsedTwice
//	W-26  TestQueueSurvivesAbortsAndKills
//	W-27  TestAbortLeavesNoTrace (effects come with the commit alone)
//	W-28  TestSlowVatDelaysNobody, testdata/queue_full.txt, TestCommitsAreBounded
//	W-29  TestRestartRejectsAndOrphans
//	W-30  TestEveryoneSeesTheSameError
//	W-31  TestStoreIterationIsExact, TestCommitsAreBounded

func TestHostCallDuringAbortedCrankSurvives(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b")
	w.call("E1.bad", "ko4", "bad")
	w.begin("v1")
	w.call("E1.mine", "ko4", "mine")
	w.call("E1.other", "ko5", "other", "ko4")
	w.deliver("v2", "send $0 hello -> p+1\nsubscribe p+1\nresolve $r=null")
	w.finish("v1", w.parse("v1", "send o+0 lost\nset k v\nset"))
	w.run(nil)
	out := w.flush()
	for _, want := range []string{"answer E1.bad: fulfilled", "answer E1.mine: fulfilled", "answer E1.other: fulfilled", "o+0.hello()", "notify p+1=null"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q is there %d times", want, strings.Count(out, want))
		}
	}
	if strings.Contains(out, "lost") || row(w, "s.v1.k") != "" {
		t.Error("the aborted crank left something")
	}
}

// row is the value of a row; empty if there is none.
func row(w *world, key string) string {
	v, _, err := w.mem.Get(key)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(v)
}

func TestTerminationEndsTheCrankInFlight(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(nil, "b")
	w.call("E1.t", "ko4", "go", "ko5")
	w.begin("v1")
	c := w.flights["v1"]
	w.do(w.m.Terminate("s1"))
	if w.flights["v1"] != nil {
		t.Fatal("the worker is not stopped")
	}
	// Nothing of the vat may come back: its shell knows that the crank is over.
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a crank of a dead vat was finished")
			}
		}()
		_, _ = w.m.Finish(c, w.parse("v1", "resolve "+string(c.Deliver.Delivery.(wire.Call).Message.Result)+"=null"), nil, w.now)
	}()
	w.run(nil)
	if st := must(w.m.Ticket("E1.t")); st.Pending || !st.Rejected {
		t.Errorf("the call is %+v", st)
	}
	w.call("E1.u", "ko5", "go")
	w.run(nil)
	if st := must(w.m.Ticket("E1.u")); st.Pending || st.Rejected {
		t.Errorf("the other call is %+v", st)
	}
}

func TestDeathIsAnOutcomeOfACrank(t *testing.T) {
	for cause := kernel.CauseStopped; cause <= kernel.CauseFault; cause++ {
		w := newWorld(t)
		w.cluster(nil, "a", "b")
		w.call("E1.t", "ko4", "go", "ko5")
		w.begin("v1")
		w.died("v1", cause, "\xff detail")
		w.call("E1.u", "ko5", "go") // no other vat notices
		w.run(nil)
		for _, id := range []string{"E1.t", "E1.u"} {
			if st := must(w.m.Ticket(id)); st.Pending || st.Rejected {
				t.Errorf("%v: %s is %+v", cause, id, st)
			}
		}
		if got := w.leftovers(); len(got) > 0 {
			t.Errorf("%v: left %q", cause, got)
		}
	}
}

// The inputs that killed the loop of the former system, and a few more.
func TestHostileInputsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	for _, k := range []kernel.KRef{"kp999", "ko999", "kp1", "ko1"} {
		var refusal *kernel.Refusal
		if _, _, err := w.m.Call(kernel.HostCall{Ticket: "E1.x", Target: k}, 0); !errors.As(err, &refusal) {
			t.Errorf("call of %s: got %v", k, err)
		}
		if _, _, err := w.m.Call(kernel.HostCall{Ticket: "E1.x", Target: "ko4", MethArgs: kernel.Data{Slots: []kernel.KRef{"ko4", k}}}, 0); !errors.As(err, &refusal) {
			t.Errorf("call with %s: got %v", k, err)
		}
	}
	for _, s := range []string{"", "k", "ko", "kp", "ko0", "ko01", "ko-1", "kx1", "ko1 ", "o+1", "ko99999999999999999999", "kp１"} {
		if _, ok := kernel.ParseKRef(s); ok {
			t.Errorf("%q is a kref", s)
		}
		if _, ok := kernel.ParseVatID(s); ok {
			t.Errorf("%q is a vat", s)
		}
		if _, ok := kernel.ParseSubID(s); ok {
			t.Errorf("%q is a subcluster", s)
		}
	}
	many := make([]kernel.KRef, kernel.MaxSlots+1)
	for i := range many {
		many[i] = "ko4"
	}
	if w.call("E1.many", "ko4", "go", many...) {
		t.Error("a call with too many slots is accepted")
	}
	w.call("E1.t", "ko4", "go")
	w.begin("v1")
	ref := func(n int) wire.CapData { return wire.CapData{Body: "#[]", Slots: slices.Repeat([]wire.Ref{"o+0"}, n)} }
	legal := []wire.Syscall{
		// Bodies are the vats' own: the kernel does not read them.
		wire.Send{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: "\x00 no JSON"}}},
		wire.Send{Target: "o+0", Message: wire.Message{MethArgs: ref(kernel.MaxSlots)}},
		wire.Resolve{},
		wire.DropImports{},
		wire.StoreSet{Key: strings.Repeat("k", kernel.MaxStoreKeyBytes), Value: nil},
	}
	illegal := []wire.Syscall{
		wire.Send{Target: "o+0", Message: wire.Message{MethArgs: ref(kernel.MaxSlots + 1)}},
		wire.Send{Target: ""},
		wire.Send{Target: "o+0", Message: wire.Message{Result: "o+1"}},
		wire.Send{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Slots: []wire.Ref{""}}}},
		wire.Resolve{Resolutions: make([]wire.Resolution, kernel.MaxSlots+1)},
		wire.Resolve{Resolutions: []wire.Resolution{{}}},
		wire.DropImports{Refs: make([]wire.Ref, kernel.MaxSlots+1)},
		wire.RetireImportsCall{Refs: []wire.Ref{"o+0"}},
		wire.AbandonExports{Refs: []wire.Ref{"o+0"}},
		wire.StoreSet{Key: strings.Repeat("k", kernel.MaxStoreKeyBytes+1)},
		wire.StoreDelete{Key: ""},
		wire.Exit{Info: wire.CapData{Slots: []wire.Ref{"o-7"}}},
	}
	for i, s := range slices.Concat(legal, illegal) {
		_, err := w.m.Finish(w.flights["v1"], wire.Done{Syscalls: []wire.Syscall{s}}, nil, w.now)
		var fault *kernel.Fault
		switch {
		case i < len(legal):
			if err != nil {
				t.Errorf("%.80s: got %v", fmt.Sprintf("%+v", s), err)
			}
			w.m, _, err = kernel.Open(w.mem, w.mem.Limits(), "E1") // the commit is dropped
			if err != nil {
				t.Fatal(err)
			}
		case !errors.As(err, &fault) || fault.Vat != "v1" || fault.Cause != kernel.CauseIllegal:
			t.Errorf("%.80s: got %v", fmt.Sprintf("%+v", s), err)
		}
	}
}

// Two vats that die between items, with notifications and messages queued for them, reaped or not.
func TestDeadVatsTakeNothingDown(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(nil, "b", "c")
	w.call("E1.t", "ko4", "go", "ko5", "ko6")
	w.deliver("v1", "send $0 take p+1 o+1 -> p+2\nsend $1 take p+1 p+2 o+1 -> p+3\nlet b $0\nlet c $1\nresolve $r=(p+2 p+3)")
	w.deliver("v2", "subscribe $0\nlet r $r\nsend $1 ask -> p+1\nsubscribe p+1")
	w.deliver("v3", "subscribe $0\nsubscribe $1")
	w.call("E1.s", "ko4", "settle")
	w.do(w.m.Restart("v2", true))
	w.do(w.m.Terminate("s2"))
	w.deliver("v1", "resolve $r=$b")                    // "ask": a dead vat waits for it
	w.deliver("v1", "resolve p+1=($b $c p+3) $r=(p+3)") // both wait for it
	w.run(nil)
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestPromisesOfADyingVatAreRejected(t *testing.T) {
	ends := map[string]func(w *world){
		"terminated":      func(w *world) { w.do(w.m.Terminate("s2")) },
		"exits":           func(w *world) { w.call("E1.x", "ko6", "x"); w.deliver("v3", "exit") },
		"fails":           func(w *world) { w.call("E1.x", "ko6", "x"); w.deliver("v3", "exit failure") },
		"restarted":       func(w *world) { w.do(w.m.Restart("v3", true)) },
		"crashed":         func(w *world) { w.died("v3", kernel.CauseCrash, "") },
		"killed":          func(w *world) { w.died("v3", kernel.CauseKilled, "") },
		"with the kernel": func(w *world) { w.reopen() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cluster(nil, "a", "c") // v1, v2
			w.cluster(nil, "b")      // v3
			w.call("E1.t", "ko6", "go", "ko4", "ko5")
			// b decides: an answer to the host, a promise that a waits for, and one that a passes on to c.
			w.deliver("v3", "send $0 take p+1 p+2")
			_ = must(w.m.Ticket("E1.t"))
			w.deliver("v1", "subscribe $0\nsend $0 parked -> p+1\nsubscribe p+1\nlet p $1")
			end(w)
			w.run(nil)
			out := w.flush()
			if strings.Count(out, "KERNEL:VAT_") < 3 {
				t.Errorf("not everybody was told:\n%s", out)
			}
			if st := must(w.m.Ticket("E1.t")); !st.Rejected {
				t.Errorf("the host's call is %+v", st)
			}
			// A third vat that hears of it later is no worse off.
			w.call("E1.c", "ko4", "pass", "ko5")
			w.deliver("v1", "send $0 have $p -> p+2\nresolve $r=null")
			w.run(nil)
			if !strings.Contains(w.flush(), "v2 gets") {
				t.Error("it was not passed on")
			}
		})
	}
}

func pair(t *testing.T) *world {
	w := newWorld(t)
	w.cluster(nil, "a", "b")
	return w
}

func TestIllegalSyscallIsSticky(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go")
	for range 3 {
		w.deliver("v1", "subscribe p-99\nset k v\nresolve $r=null\nexit")
	}
	if st := must(w.m.Ticket("E1.t")); !st.Rejected || row(w, "s.v1.k") != "" {
		t.Errorf("the crank counted: %+v", st)
	}
}

func TestExitFromInsideAMethod(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go")
	w.deliver("v1", "exit\nset k v\nresolve $r=bye\nsend o+0 again")
	if v, _, _ := w.m.Vat("v1"); !v.Terminated {
		t.Error("the exit was forgotten")
	}
	if st := must(w.m.Ticket("E1.t")); st.Rejected || st.Value.Body != `#"bye"` {
		t.Errorf("the answer is %+v", st)
	}
}

// A machine that has seen faults, refusals and Begins goes on exactly as one that has not.
func TestAbortLeavesNoTrace(t *testing.T) {
	script := func(disturb bool) (uint64, []storage.Write) {
		w := newWorld(t)
		w.cluster(nil, "a", "b")
		for i := range 5 {
			w.call(fmt.Sprintf("E1.%d", i), "ko4", "go", "ko5")
			w.begin("v1")
			if disturb {
				for _, words := range []string{
					"send $0 x o+9 p+9 -> p+8\nsubscribe p+8\nset k v\nresolve $r=(o+9)\nset",
					"resolve $r=null\nresolve $r=null",
					"fault no",
					"send $0 x -> $r\nexit failure\nset", // ends before the violation
				} {
					if strings.HasPrefix(words, "send $0 x ->") {
						continue // would be a commit
					}
					if got := w.try("v1", words); got == "legal" {
						t.Fatalf("%q is legal", words)
					}
				}
				_, _, _ = w.m.Call(kernel.HostCall{Ticket: "E1.r", Target: "ko4", MethArgs: kernel.Data{Slots: []kernel.KRef{"ko99"}}}, 0)
				_, _ = w.m.Terminate("s9")
				_, _ = w.m.Restart("v9", true)
				_, _, _ = w.m.StartWorker("v1")
				_, _ = w.m.Begin("v2", 0, 0, false)
				_, _, _ = w.m.Launch(kernel.Launch{Bootstrap: "x", Vats: []kernel.LaunchVat{{Name: "y"}}})
			}
			w.finish("v1", w.parse("v1", fmt.Sprintf("send $0 x o+%d -> p+%d\nsubscribe p+%d\nresolve $r=null", i+1, i+1, i+1)))
			w.run(nil)
		}
		return w.m.Hash(), w.mem.Snapshot()
	}
	h1, s1 := script(false)
	h2, s2 := script(true)
	if h1 != h2 || len(s1) != len(s2) {
		t.Errorf("got hash %x and %d rows, then %x and %d", h1, len(s1), h2, len(s2))
	}
}

// Keys are compared bytewise, empty values are values, changes between two steps are seen.
func TestStoreIterationIsExact(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(nil, "b")
	w.call("E1.t", "ko4", "go")
	w.deliver("v1", "set b 1\nset a 1\nset b.2 1\nset b.10 1\nset c\nset é 1\nresolve $r=null")
	w.call("E1.u", "ko5", "go")
	w.deliver("v2", "set b.11 other\nresolve $r=null")
	keys := func(prefix string) (out []string) {
		for after := ""; ; {
			r := must(w.m.StoreNext("v1", prefix, after))
			if !r.Found {
				return out
			}
			after = r.Key
			out = append(out, r.Key)
		}
	}
	if got, want := fmt.Sprint(keys("")), "[a b b.10 b.2 c é]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(keys("b.")), "[b.10 b.2]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if r := must(w.m.StoreGet("v1", "c")); !r.Found || r.Value == nil || len(r.Value) > 0 {
		t.Errorf("an empty value is %+v", r)
	}
	if r := must(w.m.StoreGet("v1", "b.11")); r.Found {
		t.Errorf("another vat's row is %+v", r)
	}
	w.call("E1.v", "ko4", "go")
	w.deliver("v1", "delete a\nset b.1 1\ndelete b.2\ndelete nothing\nset c 2\nset c 3\nresolve $r=null")
	if got, want := fmt.Sprint(keys("")), "[b b.1 b.10 c é]"; got != want || row(w, "s.v1.c") != "3" {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFailedLaunchLeavesNothing(t *testing.T) {
	w := newWorld(t)
	before := len(w.mem.Snapshot())
	for i, fail := range []func(s kernel.SubID, a, b kernel.VatID){
		func(s kernel.SubID, a, b kernel.VatID) { w.begin(b); w.died(b, kernel.CauseStart, "") },
		func(s kernel.SubID, a, b kernel.VatID) { w.begin(a); w.died(a, kernel.CauseCrash, "") },
		func(s kernel.SubID, a, b kernel.VatID) {
			w.deliver(a, "set k v")
			w.deliver(a, "send $1 hi\nresolve $r!=no")
		},
		func(s kernel.SubID, a, b kernel.VatID) { w.deliver(b, "exit") },
		func(s kernel.SubID, a, b kernel.VatID) { w.do(w.m.Terminate(s)) },
		func(s kernel.SubID, a, b kernel.VatID) { w.do(w.m.FailLaunch(s, "late")) },
		func(s kernel.SubID, a, b kernel.VatID) { w.begin(a); w.reopen() },
	} {
		s := w.launch(nil, "a", "b")
		sub, _, _ := w.m.Subcluster(s)
		fail(s, sub.Vats[0].Vat, sub.Vats[1].Vat)
		if !strings.Contains(w.flush(), "launch of "+string(s)+" failed") {
			t.Errorf("%d: it did not fail", i)
		}
		w.run(nil)
		if after := w.mem.Snapshot(); len(after) > before+5 { // the counters next.* and work
			t.Errorf("%d: %d rows before, %d after", i, before, len(after))
		}
	}
	if _, _, err := w.m.Launch(kernel.Launch{Bootstrap: "x", Vats: []kernel.LaunchVat{{Name: "y"}}}); err == nil {
		t.Error("a launch without its bootstrap vat is accepted")
	}
}

func TestVatThatCannotStartDisturbsNobody(t *testing.T) {
	w := pair(t)
	w.reopen()
	w.call("E1.t", "ko4", "go")
	w.call("E1.u", "ko5", "go")
	for range 30 {
		w.begin("v1")
		w.died("v1", kernel.CauseStart, "no such program")
	}
	w.deliver("v2", "resolve $r=null")
	if st := must(w.m.Ticket("E1.u")); st.Pending {
		t.Error("the other vat is disturbed")
	}
	w.run(nil)
	if st := must(w.m.Ticket("E1.t")); st.Pending || st.Rejected {
		t.Errorf("the call is %+v", st)
	}
}

func TestSyscallsDuringTheFirstStartCount(t *testing.T) {
	w := newWorld(t)
	w.launch(nil, "a")
	w.deliver("v1", "set k v\nsend o+0 self o+1 o+d1/1 p+1 -> p+2\nsubscribe p+2\nresolve p+1=o+1")
	w.run(nil)
	if out := w.flush(); row(w, "s.v1.k") != "v" || !strings.Contains(out, "gets 3: o+0.self(o+1 o+d1/1 p-2) -> p+2") || !strings.Contains(out, "launch of s1 succeeded") {
		t.Errorf("got %s", out)
	}
}

func TestQueueSurvivesAbortsAndKills(t *testing.T) {
	w := pair(t)
	for i := range 9 {
		w.call(fmt.Sprintf("E1.%d", i), "ko4", fmt.Sprintf("m%d", i))
		switch i % 3 {
		case 0:
			w.begin("v1")
			w.died("v1", kernel.CauseKilled, "")
		case 1:
			w.begin("v1")
			w.reopen()
		}
		if v, _, _ := w.m.Vat("v1"); v.Queue != uint64(i+1) || !v.HasWork {
			t.Errorf("after %d: %+v", i, v)
		}
	}
	w.flush()
	w.run(nil)
	out := w.flush()
	last := -1
	for i := range 9 {
		at := strings.Index(out, fmt.Sprintf("o+0.m%d(", i))
		if at < last {
			t.Errorf("m%d comes at %d, before the one that was sent before", i, at)
		}
		last = at
	}
}

func TestSlowVatDelaysNobody(t *testing.T) {
	w := pair(t)
	w.call("E1.slow", "ko4", "slow", "ko5")
	w.begin("v1")
	for i := range 20 {
		w.call(fmt.Sprintf("E1.%d", i), "ko5", "go", "ko4")
		w.deliver("v2", "send $0 hello\nresolve $r=null")
		if st := must(w.m.Ticket(fmt.Sprintf("E1.%d", i))); st.Pending {
			t.Fatal("waits for the slow vat")
		}
	}
	w.finish("v1", w.parse("v1", "resolve $r=null"))
	w.run(nil)
}

// A message that is given up is rejected alike whether a host or a vat sent it, and without the text that the dying
// process logged.
func TestEveryoneSeesTheSameError(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 bad -> p+1\nsubscribe p+1\nresolve $r=(p+1)")
	w.call("E1.u", "ko5", "bad")
	for range 6 {
		w.begin("v2")
		w.died("v2", kernel.CauseCrash, "exit status 2: the secret is 42")
	}
	w.run(nil)
	want := "error [KERNEL:DELIVERY_POISONED] crashed: exit status 2"
	if out := w.flush(); !strings.Contains(out, "notify p+1!="+want+"\n") || !strings.Contains(out, "answer E1.u: rejected "+want+"\n") {
		t.Errorf("got %s", out)
	}
}

// A vat that has work after a commit and had none before is woken by the commit.
func TestWhoeverHasWorkIsWoken(t *testing.T) {
	for seed := range uint64(5) {
		s := newSim(t, 1000+seed)
		had := map[kernel.VatID]bool{}
		s.after = func(c kernel.Commit) {
			woken := map[kernel.VatID]bool{}
			for _, e := range c.Effects {
				if e, ok := e.(kernel.Wake); ok {
					woken[e.Vat] = true
				}
			}
			for _, v := range must(s.m.Vats()) {
				if v.HasWork && !had[v.ID] && !woken[v.ID] {
					t.Fatalf("commit %d gives work to %s and does not wake it: %v", c.Number, v.ID, c.Trace)
				}
				had[v.ID] = v.HasWork
			}
		}
		s.launch(3)
		for range 300 {
			s.step()
		}
	}
}
