package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// gives has a, which is v1, export objects to b, which is v2: b lets go of them.
func (w *world) gives(refs ...string) {
	w.t.Helper()
	w.call("E1."+fmt.Sprint(w.applied), "ko4", "give", "ko5")
	w.deliver("v1", "send $0 take "+strings.Join(refs, " ")+"\nresolve $r=null")
	if !w.begin("v2") {
		w.t.Fatalf("b was given nothing:\n%s", w.flush())
	}
	var drops []string
	for _, r := range w.flights["v2"].Deliver.Delivery.(wire.Call).Message.MethArgs.Slots {
		drops = append(drops, string(r))
	}
	all := strings.Join(drops, " ")
	w.finish("v2", w.parse("v2", "drop "+all+"\nretireImports "+all))
}

// Objects that nobody needed in a state of the first release, which told nobody, are told of and removed.
func TestObjectsOfTheFirstReleaseAreCollected(t *testing.T) {
	w := pair(t)
	w.gives("o+d1/1", "o+1")
	w.call("E1.kept", "ko4", "give", "ko5")
	w.deliver("v1", "send $0 take o+d1/2\nresolve $r=null")
	w.deliver("v2", "resolve")
	kernel.Downgrade(w.mem)
	w.reopen()
	w.check()
	w.run(nil)
	out := w.flush()
	for _, want := range []string{"drop exports o+d1/1 o+1\n", "retire exports o+d1/1 o+1\n"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q is there %d times in\n%s", want, strings.Count(out, want), out)
		}
	}
	for _, ko := range []string{"ko6", "ko7"} {
		if got := dumped(w, ko); got != "" {
			t.Errorf("%s: got %q", ko, got)
		}
	}
	if got := dumped(w, "ko8"); got != `owner "v1" counts 1,1` {
		t.Errorf("ko8: got %q", got)
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// However many objects nobody needs any more, no step is long, and no delivery names more than 1,000.
func TestManyDropsAreToldInSlices(t *testing.T) {
	w := pair(t)
	w.unchecked = true
	for i := range 3 {
		var refs []string
		for j := range 900 {
			refs = append(refs, fmt.Sprintf("o+d1/%d", 900*i+j+1))
		}
		w.gives(refs...)
	}
	rows := 0
	w.after = func(c kernel.Commit) { rows = max(rows, len(c.Writes)) }
	told, deliveries := 0, 0
	w.run(func(_ kernel.VatID, d wire.Deliver) string {
		n := 0
		switch d := d.Delivery.(type) {
		case wire.DropExports:
			n = len(d.Refs)
		case wire.RetireExports:
			n = len(d.Refs)
		}
		if n > kernel.MaxLooked {
			t.Errorf("%d references in one delivery", n)
		}
		told += n
		deliveries++
		return answer(d)
	})
	w.check()
	if told != 2*2700 || deliveries > 30 || rows > 3000 {
		t.Errorf("%d references in %d deliveries, %d rows in one commit", told, deliveries, rows)
	}
}

// An object that is mentioned as the target of a watch alone is held by nobody.
func TestMentionThatHoldsNothingIsNotKept(t *testing.T) {
	w := pair(t)
	w.call("E1.t", "ko4", "go")
	w.deliver("v1", "watch o+d1/1 -> p+1\nresolve $r=null")
	w.run(nil)
	if got := dumped(w, "ko6"); got != "" {
		t.Errorf("ko6: got %q\n%s", got, w.flush())
	}
}

// A vat that is held back from messages, so that it comes to rest, is told of its objects: one in its memory that nobody
// needs any more would keep it from rest.
func TestVatThatIsHeldBackIsToldOfItsObjects(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(v *kernel.LaunchVat) { v.MaxRecords = 40 }, "a", "b")
	w.gives("o+1")
	w.call("E1.waits", "ko4", "go")
	s, err := w.m.Begin("v1", w.now, 7, true)
	if err != nil || s.Crank == nil {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, ok := s.Crank.Deliver.Delivery.(wire.DropExports); !ok {
		t.Fatalf("got %+v", s.Crank.Deliver)
	}
	w.flights["v1"] = s.Crank
	w.finish("v1", wire.Done{})
	if vat, _, _ := w.m.Vat("v1"); vat.Records != 0 {
		t.Errorf("it is not at rest: %+v", vat)
	}
}

// Deaths by a delivery of garbage collection cost the vat its memory first. The delivery counts as done after that.
func TestMemoryIsGivenUpForADeliveryOfCollection(t *testing.T) {
	w := newWorld(t)
	w.cluster(func(v *kernel.LaunchVat) { v.MaxRecords = 40 }, "a", "b")
	w.gives("o+d1/1")
	w.call("E1.memory", "ko4", "wait")
	w.deliver("v1", "")
	for range 2 * 3 {
		w.begin("v1")
		w.died("v1", kernel.CauseCrash, "")
	}
	out := w.flush()
	for want, n := range map[string]int{
		"v1: memory lost: drop 1 exports killed 3 workers":   1,
		"v1: poisoned drop 1 exports: DELIVERY_POISONED":     1,
		"v1 gets 5: drop exports o+d1/1":                     6,
		"> answer E1.memory: rejected error [KERNEL:VAT_RES": 1,
	} {
		if strings.Count(out, want) != n {
			t.Errorf("%q is there %d times, want %d, in\n%s", want, strings.Count(out, want), n, out)
		}
	}
	w.run(nil)
	if got := dumped(w, "ko6"); got != "" {
		t.Errorf("ko6: got %q", got)
	}
}

// collecting is a session in which objects of each kind become unreachable, in each way.
func collecting(w *world, made map[string]bool) {
	call := func(ticket string, target kernel.KRef, method string, slots ...kernel.KRef) {
		if w.call(ticket, target, method, slots...) {
			made[ticket] = true
		}
	}
	w.cluster(func(v *kernel.LaunchVat) { v.MaxRecords = 40 }, "a", "b")
	w.cluster(nil, "c")
	call("E1.give", "ko4", "give", "ko5", "ko6")
	w.deliver("v1", "let b $0\nlet c $1\nsend $0 take o+1 o+d1/1 p+1\nsend $1 take o+1 o+d1/2\nsend o+0 self o+2\nresolve $r=o+3")
	w.deliver("v2", "let one $0\ndrop $0 $1\nretireImports $1\nresolve")
	w.deliver("v3", "let two $0\ndrop $1\nretireImports $1")
	w.run(nil)
	call("E1.settle", "ko4", "settle")
	w.deliver("v1", "resolve p+1=(o+4 o+d1/1)\nresolve $r=null")
	w.run(nil)
	w.now += 10
	w.do(w.m.Acknowledge("E1.give"))
	w.run(nil)
	call("E1.drop", "ko6", "drop")
	w.deliver("v3", "drop $two\nretireImports $two\nresolve $r=null")
	w.run(nil)
	call("E1.again", "ko4", "again")
	w.deliver("v1", "send $b take o+d1/1 o+d1/3\nresolve $r=null")
	w.deliver("v2", "drop $1\nretireImports $1")
	w.begin("v1")
	w.died("v1", kernel.CauseCrash, "")
	w.run(nil)
	call("E1.rounds", "ko4", "rounds")
	w.deliver("v1", "send $c take o+d1/4 o+d1/5\nresolve $r=null")
	w.run(nil)
	for _, v := range []kernel.VatID{"v3", "v2", "v1"} {
		w.do(w.m.Collect(v, true))
		if !w.begin(v) {
			continue // it is not at rest
		}
		var dead []string
		for _, r := range w.flights[v].Deliver.Delivery.(wire.BringOutYourDead).Known {
			if r[1] == '-' {
				dead = append(dead, string(r))
			}
		}
		words := "collect"
		if all := strings.Join(dead, " "); all != "" {
			words += "\ndrop " + all + "\nretireImports " + all
		}
		w.finish(v, w.parse(v, words))
		w.run(nil)
	}
	w.do(w.m.Terminate("s1"))
	w.run(nil)
}

func TestKillAtEveryCommitOfACollection(t *testing.T) {
	t.Parallel()
	killAtEveryCommit(t, 40, collecting, func(w *world, _ map[string]bool) {
		w.run(nil)
		for _, line := range kernel.Dump(w.mem) {
			if strings.Contains(line, "is to be told of") || strings.Contains(line, `owner "v1" counts 0,0`) {
				w.t.Errorf("at rest, a kill after commit %d: %s", w.crashAt, line)
			}
		}
	})
}

// The objects of a state of an earlier version are listed in slices that read little, whether they are to be told of or not.
func TestSweepReadsLittleInAStep(t *testing.T) {
	t.Parallel()
	w := pair(t)
	w.unchecked = true
	for i := range 3 {
		w.gives(refsFrom(900*i+1, 900)...)
		w.call(fmt.Sprint("E1.kept", i), "ko4", "give", "ko5")
		w.deliver("v1", "send $0 take "+strings.Join(refsFrom(10000+900*i, 900), " ")+"\nresolve $r=null")
		w.deliver("v2", "resolve")
	}
	kernel.Downgrade(w.mem)
	r := count(w)
	steps, most := 0, 0
	for ; ; steps++ {
		r.reads = 0
		c, _, err := w.m.Work(w.now)
		if err != nil {
			t.Fatal(err)
		}
		if most = max(most, r.reads); c.Number == 0 {
			break
		}
		w.apply(c)
	}
	if most > 1300 || steps < 5 {
		t.Errorf("%d steps, one of which reads %d rows", steps, most)
	}
}
