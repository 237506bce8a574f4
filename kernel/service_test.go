package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// maxCalls and maxQueuedCalls are the bounds of one service object: calls begun and not done, calls that wait for that.
const maxCalls, maxQueuedCalls = 1000, 10_000

// invoked collects the numbers of the calls that commits begin.
func invoked(w *world, k kernel.KRef) *[]uint64 {
	numbers, before := &[]uint64{}, w.after
	w.after = func(c kernel.Commit) {
		for _, e := range c.Effects {
			if e, ok := e.(kernel.Invoke); ok && e.Call.Service == k {
				*numbers = append(*numbers, e.Call.N)
			}
		}
		if before != nil {
			before(c)
		}
	}
	return numbers
}

func TestCallsBeginInTheOrderSent(t *testing.T) {
	t.Parallel()
	w := reader(t)
	watch(w)
	began := invoked(w, "ko6")
	const parked, sent, newer = 700, 1500, 300
	method := func(n uint64) string {
		o, found, err := w.m.ServiceCall(kernel.CallID{Service: "ko6", N: n})
		if err != nil || !found {
			t.Fatalf("call %d: found %t, %v", n, found, err)
		}
		return kernel.Method(o.MethArgs.Body)
	}
	// Parked on a promise of b are 0 to 699; when b resolves it with the channel, 1500 calls wait or are begun.
	w.goes("v1", "send $b give $in -> p+1\nresolve $r=null")
	w.begin("v2")
	w.goes("v1", repeat(0, parked, "send p+1 parked%d"))
	w.goes("v1", repeat(0, sent, "send $in sent%d"))
	w.finish("v2", w.parse("v2", "resolve $r=$0"))
	w.goes("v1", repeat(0, newer, "send p+1 newer%d"))
	w.run(nil)
	w.check()
	if s := w.service("ko6"); s.Calls != maxCalls || len(*began) != maxCalls {
		t.Fatalf("%d calls are begun, by %d effects, want %d", s.Calls, len(*began), maxCalls)
	}
	var order []string
	for i := 0; i < len(*began); i++ { // completing one begins the next
		n := (*began)[i]
		order = append(order, method(n))
		w.complete("ko6", n, "null", nil)
	}
	w.run(nil)
	w.check()
	var want []string
	for _, group := range []struct {
		name string
		n    int
	}{{"sent", sent}, {"parked", parked}, {"newer", newer}} {
		for i := range group.n {
			want = append(want, fmt.Sprintf("%s%d", group.name, i))
		}
	}
	if got := strings.Join(order, " "); got != strings.Join(want, " ") {
		t.Errorf("begun in the order %.300s …, %d of %d", got, len(order), len(want))
	}
	if s := w.service("ko6"); s.Calls != 0 || s.Queued != 0 {
		t.Errorf("at rest: %+v", s)
	}
}

func TestServiceQueueIsBounded(t *testing.T) {
	t.Parallel()
	w := reader(t)
	watch(w)
	for i := range 5 {
		w.goes("v1", repeat(1+2200*i, 2200, "send $in call -> p+%d"))
	}
	if s := w.service("ko6"); s.Calls != maxCalls || s.Queued != maxQueuedCalls {
		t.Fatalf("%d calls are begun, %d queued", s.Calls, s.Queued)
	}
	w.goes("v1", "send $in more -> p+20001\nsubscribe p+20001\nsend $in dropped")
	w.call("E1.host", "ko6", "more")
	if must(w.m.Ticket("E1.host")).Found {
		t.Error("the host's call was accepted")
	}
	w.begin("v1")
	if d := deliveryText(w.flights["v1"].Deliver); !strings.Contains(d, "p+20001!=error [KERNEL:QUEUE_FULL]") {
		t.Errorf("the sender of one more %s", d)
	}
	w.complete("ko6", 0, "null", nil)
	w.call("E1.host", "ko6", "more")
	if !must(w.m.Ticket("E1.host")).Pending {
		t.Error("there is room, and the host's call is refused")
	}
	w.check()
	w.leftovers()
	w.check()
	if st := must(w.m.Ticket("E1.host")); st.Found { // it has expired with its answer
		t.Errorf("got %+v", st)
	}
}

// Revocation takes effect for messages already queued; calls that are begun go on.
func TestRevokedServiceRejectsWhatIsQueued(t *testing.T) {
	t.Parallel()
	w := reader(t)
	watch(w)
	w.goes("v1", "send $b give $in -> p+1\nresolve $r=null")
	w.begin("v2")
	w.goes("v1", repeat(2, 300, "send p+1 parked -> p+%d"))
	w.goes("v1", repeat(1000, 1800, "send $in call -> p+%d")+"subscribe p+2799\nsubscribe p+2\nsubscribe p+1000")
	w.finish("v2", w.parse("v2", "resolve $r=$0"))
	if s := w.service("ko6"); s.Calls != maxCalls || s.Queued != 801 {
		t.Fatalf("%d calls are begun, %d items queued", s.Calls, s.Queued)
	}
	w.do(w.m.Revoke("ko6"))
	w.check()
	told := map[string]bool{}
	w.run(func(_ kernel.VatID, d wire.Deliver) string {
		told[deliveryText(d)[strings.Index(deliveryText(d), ": ")+2:]] = true
		return answer(d)
	})
	w.check()
	if s := w.service("ko6"); s.Calls != maxCalls || s.Queued != 0 {
		t.Errorf("after revocation %d calls are begun, %d items queued", s.Calls, s.Queued)
	}
	for _, p := range []string{"p+2", "p+2799"} {
		if !told["notify "+p+"!=error [KERNEL:REVOKED] the object was revoked"] {
			t.Errorf("who waits for %s is told %v", p, told)
		}
	}
	w.complete("ko6", 0, "done", nil)
	if !w.deliver("v1", "") {
		t.Error("a call that was begun has no answer")
	}
	w.check()
}

func TestQueueOfATerminatedSubclusterIsNotBegun(t *testing.T) {
	t.Parallel()
	w := reader(t)
	watch(w)
	w.goes("v1", repeat(1, 1005, "send $in call -> p+%d")+"send $b take $in p+1\nsend $b take p+1004")
	w.run(nil)
	began := invoked(w, "ko6")
	w.do(w.m.Terminate("s1"))
	w.complete("ko6", 0, "null", nil)
	w.run(nil)
	if len(*began) > 0 {
		t.Errorf("begun after termination: %v", *began)
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// Of a call whose vat is gone nothing stays.
func TestObjectsForAVanishedVatAreNotMade(t *testing.T) {
	w := newWorld(t)
	w.withServices(global("clock"), "a", "b")
	w.goes("v1", "send $clock timer\nsend $clock timer\nresolve $r=null")
	w.do(w.m.TerminateVat("v1"))
	w.complete("ko6", 1, "new", nil) // while it is being removed
	w.run(nil)
	if made := w.complete("ko6", 0, "new", nil); len(made) > 0 {
		t.Errorf("made %v for nobody, in no subcluster", made)
	}
	w.do(w.m.Terminate("s1"))
	w.run(nil)
	for _, s := range must(w.m.Services()) {
		if s.KRef != "ko6" {
			t.Errorf("left: %+v", s)
		}
	}
}

func TestObjectThatHoldsWhatIsGoneIsNotMade(t *testing.T) {
	w := reader(t)
	w.call("E1.t", "ko6", "make")
	w.call("E1.u", "ko6", "make")
	w.call("E1.v", "ko6", "make")
	holds := func(ks ...kernel.KRef) func(*kernel.Completion) {
		return func(c *kernel.Completion) { c.New[0].Holds = ks }
	}
	w.complete("ko6", 0, "new", holds("ko5", "ko99"))
	w.complete("ko6", 1, "new", holds(make([]kernel.KRef, kernel.MaxSlots+1)...))
	w.complete("ko6", 2, "new", holds("ko5", "ko5"))
	for ticket, want := range map[string]string{"E1.t": "OBJECT_DELETED", "E1.u": "LIMIT", "E1.v": "fulfilled ko7"} {
		if got := ticketText(must(w.m.Ticket(ticket))); !strings.Contains(got, want) {
			t.Errorf("%s is %s, want %s", ticket, got, want)
		}
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// The state is whole between any two slices.
func TestAServiceGoesWithAllThatIsItsOwn(t *testing.T) {
	w := reader(t)
	w.unchecked = true
	w.goes("v1", repeat(1, 1400, "send $in read -> p+%d")+"resolve $r=null")
	w.goes("v1", repeat(2000, 300, "send $in read%d")+"resolve $r=null")
	w.goes("v1", "send $b give $in -> p+5000\nresolve $r=null")
	w.begin("v2")
	w.goes("v1", repeat(3000, 300, "send p+5000 parked%d -> p+%[1]d"))
	w.finish("v2", w.parse("v2", "resolve $r=$0"))
	for n := range uint64(600) {
		w.complete("ko6", n, "ko5", func(c *kernel.Completion) { c.Unit = "read" })
	}
	w.forget("v1")
	w.run(nil)
	if s := w.service("ko6"); s.Units < 300 {
		t.Fatalf("got %+v", s)
	}
	w.unchecked = false
	w.do(w.m.EndService("ko6"))
	w.run(nil)
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
