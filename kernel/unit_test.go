package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// reader is a world of the vats a (v1, ko4) and b (v2, ko5), and a channel that a knows as $in: ko6.
func reader(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.withServices(own("in"), "a", "b")
	w.flush()
	return w
}

// goes is a crank of a vat that a host call causes.
func (w *world) goes(v kernel.VatID, words string) {
	w.t.Helper()
	vat, _, _ := w.m.Vat(v)
	w.call(fmt.Sprintf("E1.goes%d", w.m.CommitNumber()), vat.Root, "go")
	w.deliver(v, words)
}

// drained takes everything that was given back to a channel, as a host that reads.
func (w *world) drained(k kernel.KRef) (units []string) {
	w.t.Helper()
	for w.service(k).Units > 0 {
		id := fmt.Sprintf("E1.read%d", w.m.CommitNumber())
		w.call(id, k, "read")
		calls := w.outstanding(k)
		c, taken, err := w.m.TakeUnit(kernel.CallID{Service: k, N: calls[len(calls)-1]}, "read", w.now)
		if !w.do(c, err) || !taken {
			w.t.Fatalf("%d units are back at %s, and a call gets none", w.service(k).Units, k)
		}
		units = append(units, strings.TrimPrefix(ticketText(must(w.m.Ticket(id))), "fulfilled "))
	}
	return units
}

func (w *world) wantUnits(k kernel.KRef, want ...string) {
	w.t.Helper()
	if got := w.drained(k); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("given back to %s: got %v, want %v", k, got, want)
	}
}

// forget has a vat lose its memory, and puts the incarnation away.
func (w *world) forget(v kernel.VatID) {
	w.t.Helper()
	w.do(w.m.Restart(v, true))
	for {
		s, err := w.m.Begin(v, w.now, 7, true)
		if err != nil {
			w.t.Fatal(err)
		}
		if s.Commit == nil {
			return
		}
		w.apply(*s.Commit)
	}
}

func TestUnitsThatNobodyGotGoBackInOrder(t *testing.T) {
	w := reader(t)
	w.goes("v1", "send $in read -> p+1\nsend $in read -> p+2\nsend $in read -> p+3\nsend $in read -> p+4\n"+
		"subscribe p+1\nsubscribe p+2\nsubscribe p+3\nsubscribe p+4\nresolve $r=null")
	w.unit("ko6", 1, "one") // not in the order of the calls: units are numbered as they come
	w.unit("ko6", 0, "two")
	w.unit("ko6", 3, "three")
	w.deliver("v1", "") // one is seen
	w.forget("v1")
	if n := w.outstanding("ko6"); len(n) != 0 {
		t.Errorf("outstanding for a memory that is lost: %v", n)
	}
	w.wantUnits("ko6", `"two"`, `"three"`)
	w.run(nil)
	if out := w.flush(); strings.Contains(out, `notify p+1="two"`) || strings.Contains(out, `notify p+4="three"`) {
		t.Errorf("what went back was told as well:\n%s", out)
	}
}

func TestUnitGoesBackThoughSubscribedTwice(t *testing.T) {
	w := reader(t)
	w.goes("v1", "send $in read -> p+1\nsubscribe p+1\nresolve $r=null")
	w.call("E1.again", "ko4", "again")
	w.begin("v1")
	w.unit("ko6", 0, "line")
	w.finish("v1", w.parse("v1", "subscribe p+1\nresolve $r=null"))
	w.forget("v1")
	w.wantUnits("ko6", `"line"`)
}

func TestUnitIsNotGivenBackIfSomebodyElseMayHaveIt(t *testing.T) {
	for name, words := range map[string]string{
		"a store waits":       "send $in read -> p+1\nsubscribe p+1 stored\nresolve $r=null",
		"another vat has it":  "send $in read -> p+1\nsubscribe p+1\nsend $b take p+1\nresolve $r=null",
		"a value has it":      "send $in read -> p+1\nsubscribe p+1\nresolve $r=(p+1)",
		"a host waits for it": "send $in read -> $r",
	} {
		w := reader(t)
		w.goes("v1", words)
		if name == "another vat has it" {
			w.deliver("v2", "subscribe $0")
		}
		w.flush()
		w.forget("v1")
		if n := w.outstanding("ko6"); len(n) != 1 {
			t.Errorf("%s: outstanding: %v", name, n)
		}
		w.unit("ko6", 0, "line")
		w.forget("v1")
		w.wantUnits("ko6")
		w.run(nil)
		out := w.flush()
		switch name {
		case "a store waits":
			if strings.Count(out, `notify p+1="line"`) != 1 {
				t.Errorf("%s:\n%s", name, out)
			}
		case "another vat has it":
			if strings.Count(out, `notify p-1="line"`) != 1 {
				t.Errorf("%s:\n%s", name, out)
			}
		case "a host waits for it":
			if strings.Count(out, `fulfilled "line"`) != 1 {
				t.Errorf("%s:\n%s", name, out)
			}
		}
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

func TestUnitIsNotGivenBackIfALaunchHasIt(t *testing.T) {
	w := newWorld(t)
	l := kernel.Launch{Bootstrap: "a", Vats: []kernel.LaunchVat{launchVat("a")}, Services: own("in")}
	s, c, err := w.m.Launch(l)
	w.do(c, err)
	w.deliver("v1", "")
	w.deliver("v1", "send $1 read -> $r")
	w.unit("ko5", 0, "line")
	sub, _, _ := w.m.Subcluster(s)
	if sub.State != kernel.SubRunning || sub.Result.Body != `#"line"` {
		t.Fatalf("got %+v", sub)
	}
	w.forget("v1")
	w.wantUnits("ko5")
}

// A message that only the lost memory has sent to it goes on, and so does the unit.
func TestUnitGoesBackThoughMessagesWaitForIt(t *testing.T) {
	words := "send $in accept -> p+1\nsend p+1 hello -> p+2\nsend p+1 hello2 -> $r"
	accepted := func(w *world) {
		w.complete("ko6", 0, "ko5", func(c *kernel.Completion) { c.Unit = "accept" })
	}
	for name, steps := range map[string][]func(*world){
		"lost before it is read":          {func(w *world) { w.forget("v1") }, accepted},
		"lost before they are delivered":  {accepted, func(w *world) { w.forget("v1") }},
		"lost when they are half-way":     {accepted, func(w *world) { w.deliver("v2", "") }, func(w *world) { w.forget("v1") }},
		"lost after they were delivered":  {accepted, func(w *world) { w.run(nil) }, func(w *world) { w.forget("v1") }},
		"lost, but not its own yet to go": {func(w *world) { w.do(w.m.Restart("v1", true)) }, accepted, func(w *world) { w.run(nil) }},
	} {
		w := reader(t)
		w.call("E1.go", "ko4", "go")
		w.deliver("v1", words)
		for _, step := range steps {
			step(w)
		}
		w.run(nil)
		if n := strings.Count(w.flush(), ".hello2("); n != 1 {
			t.Errorf("%s: the message was delivered %d times", name, n)
		}
		if n := w.service("ko6").Units; n != 1 {
			t.Errorf("%s: %d units are back", name, n)
		}
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

// A unit is consumed with the commit that tells a vat, and by the first.
func TestUnitIsConsumedByTheFirstWhoIsTold(t *testing.T) {
	w := reader(t)
	w.goes("v1", "send $in read -> p+1\nsubscribe p+1\nsend $b take p+1\nresolve $r=null")
	w.deliver("v2", "subscribe $0")
	w.unit("ko6", 0, "line")
	asked := "f.v1.kp3"
	if !w.has(asked) {
		t.Error("nobody was told, and the unit is consumed")
	}
	w.begin("v2")
	if !w.has(asked) {
		t.Error("to begin to tell consumes")
	}
	w.finish("v2", w.parse("v2", ""))
	if w.has(asked) {
		t.Error("a vat was told, and the unit is not consumed")
	}
}

func (w *world) has(key string) bool {
	_, found, err := w.mem.Get(key)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// A vat that is dead has no store that could wait.
func TestUnitOfATerminatedVatGoesBack(t *testing.T) {
	for name, words := range map[string]string{
		"its memory waits": "send $in read -> p+1\nsubscribe p+1\nresolve $r=null",
		"its store waits":  "send $in read -> p+1\nsubscribe p+1 stored\nresolve $r=null",
	} {
		w := reader(t)
		w.goes("v1", words)
		w.unit("ko6", 0, "line")
		w.do(w.m.TerminateVat("v1"))
		w.run(nil)
		w.wantUnits("ko6", `"line"`)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// Whenever the answer comes while a dead vat is being removed, the unit that was read for it is not lost.
func TestUnitForAVatThatIsBeingRemovedIsKept(t *testing.T) {
	for slices := 0; ; slices++ {
		w := reader(t)
		// The second read is begun by the end of the first, when the removal has passed the calls of the vat.
		w.goes("v1", "send $b give -> p+1\nsend p+1 read -> p+2\nsubscribe p+2\nsend $b take $in\nresolve $r=null")
		w.deliver("v2", "let give $r")
		w.deliver("v2", "let in $0")
		w.do(w.m.TerminateVat("v1"))
		more := true
		for range slices {
			c, _, err := w.m.Work(w.now)
			if more = w.do(c, err); !more {
				break
			}
		}
		w.goes("v2", "resolve $give=$in $r=null")
		if calls := w.outstanding("ko6"); len(calls) == 1 {
			w.unit("ko6", calls[0], "line")
			w.run(nil)
			w.wantUnits("ko6", `"line"`)
		}
		w.run(nil)
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("after %d slices: left %q", slices, left)
		}
		if t.Failed() {
			t.Fatalf("after %d slices", slices)
		}
		if !more {
			break
		}
	}
}

// A message may reach the channel long after the memory is lost that sent it: it was parked, or waited its turn.
func TestUnitReadForAnEarlierMemoryGoesBack(t *testing.T) {
	t.Run("parked", func(t *testing.T) {
		w := reader(t)
		w.goes("v1", "send $b give $in -> p+1\nsend p+1 read -> p+2\nsubscribe p+2\nresolve $r=null")
		w.begin("v2")
		w.forget("v1")
		w.finish("v2", w.parse("v2", "resolve $r=$0"))
		calls := w.outstanding("ko6")
		if len(calls) != 1 {
			t.Fatalf("outstanding: %v", calls)
		}
		w.unit("ko6", calls[0], "line")
		w.wantUnits("ko6", `"line"`)
	})
	t.Run("queued", func(t *testing.T) {
		w := reader(t)
		w.unchecked = true
		w.goes("v1", repeat(1, 1100, "send $in read -> p+%[1]d\nsubscribe p+%[1]d")+"resolve $r=null")
		w.forget("v1")
		w.check()
		for n := 0; ; n++ {
			calls := w.outstanding("ko6")
			if len(calls) == 0 {
				break
			}
			w.complete("ko6", calls[0], fmt.Sprintf("line%d", n), func(c *kernel.Completion) { c.Unit = "read" })
			if got := w.service("ko6").Units; got != uint64(n+1) {
				t.Fatalf("%d units were read for nobody, %d are kept", n+1, got)
			}
		}
		w.check()
	})
	t.Run("taken", func(t *testing.T) { // a call of that kind does not take a unit of the others
		w := reader(t)
		w.goes("v1", "send $b give $in -> p+1\nsend p+1 read -> p+2\nsubscribe p+2\nsend $in read -> p+3\nsubscribe p+3\nresolve $r=null")
		w.begin("v2")
		w.unit("ko6", 0, "line")
		w.forget("v1")
		w.finish("v2", w.parse("v2", "resolve $r=$0"))
		calls := w.outstanding("ko6")
		c, taken, err := w.m.TakeUnit(kernel.CallID{Service: "ko6", N: calls[0]}, "read", w.now)
		if taken || err != nil || c.Number != 0 {
			t.Errorf("taken %t, %v", taken, err)
		}
		w.wantUnits("ko6", `"line"`)
	})
}

// Units that were given back come before units that are read later, each class for itself.
func TestUnitsOfAClass(t *testing.T) {
	w := reader(t)
	w.goes("v1", "send $in read -> p+1\nsend $in accept -> p+2\nsend $in read -> p+3\nsubscribe p+1\nsubscribe p+2\nsubscribe p+3\nresolve $r=null")
	class := func(n uint64, words, class string) {
		w.complete("ko6", n, words, func(c *kernel.Completion) { c.Unit = class })
	}
	class(0, "line1", "read")
	class(1, "new", "accept")
	class(2, "line2", "read")
	w.forget("v1")
	w.call("E1.a", "ko6", "accept") // call 3
	if _, taken, _ := w.m.TakeUnit(kernel.CallID{Service: "ko6", N: 3}, "other", w.now); taken {
		t.Error("a unit of another class was taken")
	}
	w.call("E1.b", "ko6", "read")   // call 4
	w.call("E1.c", "ko6", "read")   // call 5
	w.call("E1.d", "ko6", "accept") // call 6
	class(4, "line3", "read")       // read before the reader knew of the unit that was given back
	class(3, "ko5", "accept")
	for ticket, want := range map[string]string{"E1.a": "fulfilled ko7", "E1.b": `fulfilled "line1"`} {
		if got := ticketText(must(w.m.Ticket(ticket))); got != want {
			t.Errorf("%s: got %s, want %s", ticket, got, want)
		}
	}
	for n, want := range map[uint64]string{5: `fulfilled "line2"`, 6: "fulfilled ko5"} {
		class := map[uint64]string{5: "read", 6: "accept"}[n]
		c, taken, err := w.m.TakeUnit(kernel.CallID{Service: "ko6", N: n}, class, w.now)
		if !w.do(c, err) || !taken {
			t.Fatalf("call %d gets nothing", n)
		}
		if got := ticketText(must(w.m.Ticket(map[uint64]string{5: "E1.c", 6: "E1.d"}[n]))); got != want {
			t.Errorf("call %d: got %s, want %s", n, got, want)
		}
	}
	w.wantUnits("ko6", `"line3"`)
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// A call that was cancelled may have read already.
func TestUnitOfACancelledCallIsKept(t *testing.T) {
	w := reader(t)
	w.goes("v1", "send $in read -> p+1\nsubscribe p+1\nsend $in read\nresolve $r=null")
	w.forget("v1")
	w.unit("ko6", 0, "line1")
	w.unit("ko6", 1, "line2") // no vat ever waited for this one
	w.wantUnits("ko6", `"line1"`, `"line2"`)
	w.do(w.m.EndService("ko6"))
	w.unit("ko6", 2, "line3")
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// A message that a service sends on, whose result is that of a call, is sent on behalf of the caller.
func TestForwardedReadGivesItsUnitBack(t *testing.T) {
	w := newWorld(t)
	w.withServices(append(own("in"), global("facet")...), "a", "b")
	w.goes("v1", "send $facet queueMessage $in -> p+1\nsubscribe p+1\nresolve $r=null")
	w.do(w.m.Forward(kernel.CallID{Service: "ko7"}, "ko6", kernel.Data{Body: callBody("read", []string{})}, w.now))
	w.unit("ko6", 0, "line")
	w.forget("v1")
	w.wantUnits("ko6", `"line"`)
}
