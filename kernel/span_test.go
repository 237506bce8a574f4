package kernel_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// recorded makes a world with one vat whose transcript takes n records.
func recorded(t *testing.T, n uint64) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(func(l *kernel.LaunchVat) { l.MaxRecords = n }, "a")
	return w
}

// crank gives v1 the next delivery, and has it answer in words with some turns parked.
func crank(w *world, words string, parked int) wire.Done {
	w.t.Helper()
	if !w.begin("v1") {
		w.t.Fatalf("v1 has nothing to do before %q", words)
	}
	done := w.parse("v1", words)
	done.Number, done.Outcome.Parked = w.flights["v1"].Deliver.Number, parked
	w.finish("v1", done)
	return done
}

// lost kills the worker of v1 and returns the replay for the next one.
func lost(w *world) *kernel.Replay {
	w.t.Helper()
	w.died("v1", kernel.CauseKilled, "")
	r, err := w.m.Replay("v1")
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// rows counts the rows of transcripts.
func rows(w *world) (n int) {
	for _, row := range w.mem.Snapshot() {
		if strings.HasPrefix(row.Key, "y.") || strings.HasPrefix(row.Key, "z.") {
			n++
		}
	}
	return n
}

func TestReplayReadsTheStoreAsItWas(t *testing.T) {
	w := recorded(t, 100)
	w.call("E1.0", "ko4", "before")
	crank(w, "set b old\nset c old\nset e old\nresolve $r=null", 0)
	var answers []wire.Done
	for i, words := range []string{
		"set a new\nset b one\nsend o+0 x -> p+1\nsubscribe p+1",
		"set b two\ndelete c\nset d new",
		"delete a\nset c again",
	} {
		w.call(fmt.Sprintf("E1.%d", i+1), "ko4", "go")
		answers = append(answers, crank(w, words, 1))
	}
	all := func(r *kernel.Replay) string {
		var out []string
		for after := ""; ; {
			row := past{t, r}.after("", after)
			if !row.Found {
				break
			}
			after = row.Key
			if get := (past{t, r}).get(row.Key); !get.Found || string(get.Value) != string(row.Value) {
				t.Errorf("get %s is %+v, next says %q", row.Key, get, row.Value)
			}
			out = append(out, row.Key+"="+string(row.Value))
		}
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			if got, want := (past{t, r}).get(key).Found, slices.ContainsFunc(out, func(o string) bool { return o[:1] == key }); got != want {
				t.Errorf("get %s says found: %t, next says %t", key, got, want)
			}
		}
		return strings.Join(out, " ")
	}
	r := lost(w)
	if r == nil || r.Records() != 3 {
		t.Fatalf("got %+v, want 3 records", r)
	}
	// All are handed out ahead of the first answer; each is done over the store as it was then.
	for range 3 {
		if _, ready := (past{t, r}).next(); !ready {
			t.Fatal("nothing to replay")
		}
	}
	for i, want := range []string{"b=old c=old e=old", "a=new b=one c=old e=old", "a=new b=two d=new e=old"} {
		if got := all(r); got != want {
			t.Errorf("before delivery %d the store is %s, want %s", i, got, want)
		}
		if err := (past{t, r}).answer(answers[i]); err != nil {
			t.Error(err)
		}
	}
	if got, want := all(r), "b=two c=again d=new e=old"; got != want || !r.Done() {
		t.Errorf("in the end the store is %s, want %s", got, want)
	}
}

func TestAFrameTooLargeToKeepIsComparedByItsHash(t *testing.T) {
	w := recorded(t, 100)
	w.call("E1.0", "ko4", "go")
	big := crank(w, "set k "+strings.Repeat("x", 10_000), 1)
	w.call("E1.1", "ko4", "go")
	small := crank(w, "set k small", 1)
	for _, same := range []bool{true, false} {
		r := lost(w)
		if _, ready := (past{t, r}).next(); !ready {
			t.Fatal("nothing to replay")
		}
		if _, ready := (past{t, r}).next(); ready {
			t.Error("the next delivery is handed out although the effect of the first is not known")
		}
		if !same {
			other := big
			other.Outcome.Parked = 2
			var d *kernel.Divergence
			if err := (past{t, r}).answer(other); !errors.As(err, &d) {
				t.Errorf("got %v, want a divergence", err)
			}
			continue
		}
		if err := (past{t, r}).answer(big); err != nil {
			t.Fatal(err)
		}
		if row := (past{t, r}).get("k"); len(row.Value) != 10_000 {
			t.Errorf("got %d bytes", len(row.Value))
		}
		if _, ready := (past{t, r}).next(); !ready {
			t.Error("the second delivery is not handed out")
		}
		if err := (past{t, r}).answer(small); err != nil || !r.Done() {
			t.Error(err)
		}
	}
}

func TestDivergenceSaysWhere(t *testing.T) {
	w := recorded(t, 100)
	w.call("E1.0", "ko4", "go")
	was := crank(w, "set k v\nset k2 v2", 1)
	for words, want := range map[string]string{
		"set k v\nset k2 other": "(message to o+0: #[\"go\",[]]) was recorded with syscall 1: StoreSet {Key:k2 Value:\"v2\"}, and replayed with syscall 1: StoreSet {Key:k2 Value:\"other\"}",
		"set k v":               "replayed with syscall 1: no further syscall",
		"set k v\nset k2 v2":    "recorded with outcome {Parked:1",
	} {
		r := lost(w)
		past{t, r}.next()
		came := w.parse("v1", words)
		came.Number = was.Number
		err := (past{t, r}).answer(came)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", words, err, want)
		}
	}
}

// No transcript is written for a vat that does not wait: a span that ends with its first crank leaves no trace, and one
// that took longer leaves none when it is over.
func TestTranscriptsGoWithTheirSpan(t *testing.T) {
	w := recorded(t, 1000)
	var b strings.Builder // the answer that settles all calls in the end
	for n := range 200 {
		w.call(fmt.Sprintf("E1.%d", n), "ko4", "go")
		w.begin("v1")
		fmt.Fprintf(&b, "resolve %s=null\n", w.flights["v1"].Deliver.Delivery.(wire.Call).Message.Result)
		w.finish("v1", w.parse("v1", fmt.Sprintf("set k%d v", n)))
	}
	if got := rows(w); got != 400 {
		t.Fatalf("%d rows for 200 records, each with a former value, want 400", got)
	}
	w.call("E1.last", "ko4", "go")
	w.begin("v1")
	kept := w.flights["v1"].Deliver.Delivery.(wire.Call).Message.Result
	w.finish("v1", w.parse("v1", "resolve "+string(kept)+"=null")) // 200 others are still to be answered
	if got := rows(w); got < 400 {
		t.Fatalf("the transcript is gone though the vat decides promises: %d rows", got)
	}
	w.call("E1.rest", "ko4", "go")
	crank(w, b.String()+"resolve $r=null", 0)
	w.run(nil)
	if got := rows(w); got != 0 {
		t.Errorf("%d rows are left", got)
	}
	if v, _, _ := w.m.Vat("v1"); v.Records != 0 {
		t.Errorf("got %+v", v)
	}
	w.check()
}

// A vat that never comes to rest is recorded up to its limit; beyond, its memory cannot be made again.
func TestTranscriptHasALimit(t *testing.T) {
	w := recorded(t, 5)
	for n := range 6 {
		w.call(fmt.Sprintf("E1.%d", n), "ko4", "go")
		crank(w, "", 1)
	}
	if v, _, _ := w.m.Vat("v1"); !v.Lost {
		t.Fatalf("got %+v", v)
	}
	if r := lost(w); r != nil {
		t.Errorf("there is a replay of %d deliveries, of a memory that had more", r.Records())
	}
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "v1: transcript full: 5 records") || !strings.Contains(out, "E1.0: rejected error [KERNEL:VAT_RESTARTED]") {
		t.Errorf("got %s", out)
	}
	w.check()
}

// A promise that the vat's store will settle keeps it from nothing, and outlives its memory.
func TestStoredPromisesOutliveMemory(t *testing.T) {
	w := recorded(t, 100)
	w.call("E1.kept", "ko4", "go")
	w.begin("v1")
	ref := w.flights["v1"].Deliver.Delivery.(wire.Call).Message.Result
	w.finish("v1", wire.Done{Syscalls: []wire.Syscall{wire.Keep{Promise: ref, Stored: true}}})
	if v, _, _ := w.m.Vat("v1"); v.Records != 0 {
		t.Fatalf("the vat is not at rest: %+v", v)
	}
	w.do(w.m.Restart("v1", true))
	w.reopen()
	w.call("E1.other", "ko4", "go")
	crank(w, "resolve "+string(ref)+"=null $r=null", 0)
	if st := must(w.m.Ticket("E1.kept")); st.Pending || st.Rejected {
		t.Errorf("got %+v", st)
	}
	w.check()
}

// While messages are held back, notifications are delivered, and before each the messages that the vat which caused it
// had sent earlier; the order of the acts of one vat is never changed.
func TestHoldingBackKeepsEachSendersOrder(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b", "c")
	w.call("E1.t", "ko4", "go", "ko5", "ko6")
	w.deliver("v1", "send $0 ask -> p+1\nsubscribe p+1\nsend $0 meet o+0\nsend $1 meet o+0\nresolve $r=null")
	w.deliver("v3", "send $0 fromC")
	for range 2 {
		if !w.begin("v2") {
			break
		}
		if call := w.flights["v2"].Deliver.Delivery.(wire.Call); strings.Contains(call.Message.MethArgs.Body, "meet") {
			w.finish("v2", w.parse("v2", "send $0 fromB\nresolve p-1=null"))
		} else {
			w.finish("v2", wire.Done{})
		}
	}
	var got []string
	for range 4 {
		s, err := w.m.Begin("v1", w.now, 7, true)
		if err != nil {
			t.Fatal(err)
		}
		if s.Crank == nil {
			got = append(got, "held")
			break
		}
		switch d := s.Crank.Deliver.Delivery.(type) {
		case wire.Call:
			got = append(got, d.Message.MethArgs.Body)
		case wire.Notify:
			got = append(got, "notify")
		}
		w.flights["v1"] = s.Crank
		w.finish("v1", wire.Done{})
	}
	if s := strings.Join(got, " "); !strings.Contains(s, "fromB") || strings.Contains(s, "fromC") || !strings.HasSuffix(s, "notify held") {
		t.Errorf("got %s", s)
	}
	w.check()
}

// A vat that was stopped is told of the promises that were rejected in its stead. Its store may still settle them,
// which is ignored: the vat is not at fault, since it could not know.
func TestARevivedVatMaySettleWhatWasRejectedInItsStead(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(l *kernel.LaunchVat) { l.MaxRecords, l.Never = 100, true }, "a")
	w.call("E1.kept", "ko4", "go")
	w.begin("v1")
	ref := w.flights["v1"].Deliver.Delivery.(wire.Call).Message.Result
	w.finish("v1", wire.Done{Syscalls: []wire.Syscall{
		wire.Keep{Promise: ref, Stored: true}, wire.Subscribe{Promise: ref},
	}})
	w.call("E1.dies", "ko4", "die")
	w.begin("v1")
	w.died("v1", kernel.CauseCrash, "")
	w.run(nil)
	if st := must(w.m.Ticket("E1.kept")); !st.Rejected {
		t.Fatalf("the stopped vat's caller is not told: %+v", st)
	}
	w.do(w.m.Restart("v1", false))
	if !w.begin("v1") {
		t.Fatal("the vat is not told")
	}
	if n, ok := w.flights["v1"].Deliver.Delivery.(wire.Notify); !ok || n.Resolutions[0].Promise != ref {
		t.Fatalf("got %+v, want a notification of %s", w.flights["v1"].Deliver.Delivery, ref)
	}
	w.finish("v1", w.parse("v1", "resolve "+string(ref)+"=late"))
	w.call("E1.again", "ko4", "go")
	w.begin("v1")
	w.finish("v1", w.parse("v1", "resolve $r=null"))
	if v, _, _ := w.m.Vat("v1"); v.Restarts != 1 || v.Stopped != "" {
		t.Errorf("got %+v", v)
	}
	w.check()
}
