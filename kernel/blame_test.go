package kernel_test

import (
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// flight returns the crank of a vat in flight, which begin has begun.
func (w *world) flight(v kernel.VatID) *kernel.Crank {
	w.t.Helper()
	if w.flights[v] == nil && !w.begin(v) {
		w.t.Fatalf("%s has nothing to do:\n%s", v, w.flush())
	}
	return w.flights[v]
}

// A vat goes carefully about a delivery that has ended a worker, for every cause of that end.
func TestAttemptCountsDeathsOfEveryCause(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.call("E1.t", "ko4", "go")
	for i, cause := range []kernel.Cause{kernel.CauseKilled, kernel.CauseCrash, kernel.CauseKilled} {
		if got := w.flight("v1").Deliver.Attempt; got != uint64(i) {
			t.Errorf("after %d deaths: got attempt %d", i, got)
		}
		w.died("v1", cause, "")
	}
	if got := w.flight("v1").Deliver.Attempt; got != 3 {
		t.Errorf("got attempt %d, want 3", got)
	}
}

// parked is a world of the vat a, v1, whose memory is one record of a transcript: one turn waits.
func parked(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(func(v *kernel.LaunchVat) { v.MaxRecords = 40 }, "a")
	w.call("E1.memory", "ko4", "wait")
	w.deliver("v1", "")
	if vat, _, _ := w.m.Vat("v1"); !vat.Live {
		t.Fatalf("%+v", vat)
	}
	w.flush()
	return w
}

// diesReplaying reports deaths of workers that make the memory of v1 again.
func (w *world) diesReplaying(cause kernel.Cause, times int) {
	w.t.Helper()
	for range times {
		vat, _, _ := w.m.Vat("v1")
		w.do(w.m.Died(kernel.Death{Vat: "v1", Incarnation: vat.Incarnation, Cause: cause, Replaying: true}, w.now))
	}
}

// A memory for which the machine has no room is given up in the end, as one is whose replay ends its workers.
func TestMemoryWhoseReplaysAreKilledIsGivenUp(t *testing.T) {
	w := parked(t)
	w.diesReplaying(kernel.CauseKilled, 19)
	if out := w.flush(); strings.Contains(out, "memory lost") {
		t.Fatalf("after 19 kills:\n%s", out)
	}
	w.open() // the count is durable
	w.diesReplaying(kernel.CauseKilled, 1)
	w.run(nil)
	if st := must(w.m.Ticket("E1.memory")); !strings.Contains(ticketText(st), "VAT_RESTARTED") {
		t.Errorf("after 20 kills the call is %s:\n%s", ticketText(st), w.flush())
	}
	w.call("E1.next", "ko4", "go")
	w.run(nil)
	if st := must(w.m.Ticket("E1.next")); st.Pending || st.Rejected {
		t.Errorf("the next call is %s", ticketText(st))
	}
}

// Kills count only while nothing comes of it, and not together with deaths of the worker's own, nor with those in other
// deliveries.
func TestKillsInReplaysAreCountedApart(t *testing.T) {
	w := parked(t)
	w.diesReplaying(kernel.CauseKilled, 19)
	w.diesReplaying(kernel.CauseCrash, 2)
	w.call("E1.next", "ko4", "go")
	for range 19 {
		w.flight("v1")
		w.died("v1", kernel.CauseKilled, "")
	}
	w.flight("v1")
	w.finish("v1", w.parse("v1", "resolve $r=null"))
	w.diesReplaying(kernel.CauseKilled, 19)
	if out := w.flush(); strings.Contains(out, "memory lost") || strings.Contains(out, "poisoned") {
		t.Error(out)
	}
}

// heldBack is a world in which v1 has the message E1.first at the head of its queue, and behind it the notification of a
// promise: with hold, that is delivered first.
func heldBack(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(func(v *kernel.LaunchVat) { v.MaxRecords = 40 }, "a", "b")
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 ask -> p+1\nsubscribe p+1 stored\nresolve $r=null")
	w.call("E1.first", "ko4", "first")
	w.deliver("v2", "resolve $r=null")
	w.flush()
	return w
}

// beginHeld begins a crank of v1 while new messages are held back.
func (w *world) beginHeld() *kernel.Crank {
	w.t.Helper()
	s, err := w.m.Begin("v1", w.now, 7, true)
	if err != nil || s.Crank == nil {
		w.t.Fatalf("got %+v, %v", s, err)
	}
	w.flights["v1"] = s.Crank
	return s.Crank
}

func TestNotificationIsNotChargedForTheMessageThatItOvertook(t *testing.T) {
	w := heldBack(t)
	for range 2 {
		w.flight("v1")
		w.died("v1", kernel.CauseCrash, "")
	}
	for attempt := range uint64(2) {
		if c := w.beginHeld(); c.What != "notify kp3" || c.Deliver.Attempt != attempt {
			t.Fatalf("%s: attempt %d, want %d", c.What, c.Deliver.Attempt, attempt)
		}
		w.died("v1", kernel.CauseCrash, "")
	}
	if out := w.flush(); strings.Contains(out, "poisoned") {
		t.Errorf("it was given up for what another item did:\n%s", out)
	}
	if got := w.flight("v1").Deliver.Attempt; got != 0 {
		t.Errorf("the message has attempt %d", got)
	}
}

func TestMessageStaysChargedWhenItIsOvertaken(t *testing.T) {
	w := heldBack(t)
	for range 2 {
		w.flight("v1")
		w.died("v1", kernel.CauseCrash, "")
	}
	w.beginHeld()
	w.finish("v1", w.parse("v1", ""))
	if got := w.flight("v1").Deliver.Attempt; got != 2 {
		t.Errorf("the message has attempt %d, want 2", got)
	}
	w.open() // it is durable
	w.flight("v1")
	w.died("v1", kernel.CauseCrash, "")
	if st := must(w.m.Ticket("E1.first")); !strings.Contains(ticketText(st), "DELIVERY_POISONED") {
		t.Errorf("after its third death it is %s", ticketText(st))
	}
}

// A row of an earlier version that charged the head, without saying so, is read so.
func TestChargeOfAnEarlierVersionIsOfTheHead(t *testing.T) {
	w := heldBack(t)
	for range 2 {
		w.flight("v1")
		w.died("v1", kernel.CauseCrash, "")
	}
	kernel.Downgrade(w.mem)
	w.open()
	if got := w.flight("v1").Deliver.Attempt; got != 2 {
		t.Errorf("got attempt %d, want 2", got)
	}
	w.flights["v1"] = nil
	if got := w.beginHeld().Deliver.Attempt; got != 0 {
		t.Errorf("of the notification behind it: got attempt %d", got)
	}
}
