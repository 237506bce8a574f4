package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// asked notes each page that b, which is v2, gets while the world runs. b drops what it is asked for.
func (w *world) asked() (pages [][]wire.Ref) {
	w.t.Helper()
	w.run(func(v kernel.VatID, d wire.Deliver) string {
		page, ok := d.Delivery.(wire.BringOutYourDead)
		if !ok || v != "v2" {
			return answer(d)
		}
		pages = append(pages, page.Known)
		var dead []string
		for _, r := range page.Known {
			if r[1] == '-' {
				dead = append(dead, string(r))
			}
		}
		if len(dead) == 0 {
			return ""
		}
		all := strings.Join(dead, " ")
		return "drop " + all + "\nretireImports " + all
	})
	return pages
}

// takes sends b, which is v2, a message with n new objects of a, which is v1.
func (w *world) takes(n int) {
	w.t.Helper()
	var refs []string
	for i := range n {
		refs = append(refs, fmt.Sprintf("o+d%d/%d", w.applied, i+1))
	}
	w.call("E1."+fmt.Sprint(w.applied), "ko4", "give", "ko5")
	w.deliver("v1", "send $0 take "+strings.Join(refs, " ")+"\nresolve $r=null")
}

func rounds(t *testing.T, edit func(*kernel.LaunchVat)) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(edit, "a", "b")
	return w
}

func TestRoundIsDueAfterItsInterval(t *testing.T) {
	w := rounds(t, func(v *kernel.LaunchVat) { v.ReapInterval = 10 })
	w.takes(1)
	pages := w.asked()
	for i := 0; len(pages) == 0; i++ { // b has had two deliveries
		if i > 8 {
			t.Fatalf("b was not asked after %d deliveries", i+2)
		}
		w.call(fmt.Sprintf("E1.x%d", i), "ko5", "x")
		if pages = w.asked(); len(pages) > 0 && i < 7 {
			t.Fatalf("b was asked after %d deliveries", i+3)
		}
	}
	for i := range 30 { // there is nothing more to find
		w.call(fmt.Sprintf("E1.y%d", i), "ko5", "x")
	}
	if more := w.asked(); len(more) > 0 {
		t.Errorf("b was asked again: %v", more)
	}
}

// A vat that is never without messages is asked all the same, and gets its messages in between.
func TestRoundComesToAVatThatIsNeverIdle(t *testing.T) {
	w := rounds(t, func(v *kernel.LaunchVat) { v.ReapInterval = 20 })
	for range 3 {
		w.takes(900)
	}
	w.asked()
	w.unchecked = true
	for range 3 {
		w.takes(900)
	}
	for i := range 90 {
		w.call(fmt.Sprintf("E1.x%d", i), "ko5", "x")
	}
	asked, between, sent := 0, 0, 0
	for w.m != nil {
		s := must(w.m.Begin("v2", w.now, 7, false))
		if s.Commit != nil {
			w.apply(*s.Commit)
			continue
		}
		if vat, _, _ := w.m.Vat("v2"); s.Crank == nil || vat.Queue == 0 {
			break
		}
		w.flights["v2"] = s.Crank
		words := answer(s.Crank.Deliver)
		if page, ok := s.Crank.Deliver.Delivery.(wire.BringOutYourDead); ok {
			if asked++; between < 16 {
				t.Errorf("asked after %d messages", between)
			}
			between = 0
			if len(page.Known) > 0 {
				words = "drop " + join(page.Known) + "\nretireImports " + join(page.Known)
			}
		} else {
			between++
			sent++
		}
		w.finish("v2", w.parse("v2", words))
	}
	if asked < 2 || sent < 90 {
		t.Errorf("asked %d times, %d messages", asked, sent)
	}
	w.check()
}

func TestManyNewImportsMakeARoundDueAtOnce(t *testing.T) {
	for _, tt := range []struct {
		imports int
		edit    func(*kernel.LaunchVat)
		version int
		want    int // pages
	}{
		{99, nil, 2, 0},
		{100, nil, 2, 1},
		{100, func(v *kernel.LaunchVat) { v.NoRounds = true }, 2, 0},
		{100, nil, 1, 0},
	} {
		w := rounds(t, tt.edit)
		w.do(w.m.Greeted("v2", tt.version))
		w.takes(tt.imports)
		if pages := w.asked(); len(pages) != tt.want {
			t.Errorf("%+v: got %v", tt, pages)
		}
		w.do(w.m.Collect("v2", true))
		if pages := w.asked(); len(pages) != 1 {
			t.Errorf("%+v: when asked to: got %v", tt, pages)
		}
	}
}

// Each name that the vat has is named once in a round, at most 1,000 at a time, also if the kernel is killed in between.
func TestRoundNamesEachImportOnce(t *testing.T) {
	w := rounds(t, func(v *kernel.LaunchVat) { v.NoRounds = true })
	for round := range 2 { // the first is of all names, the second of the new ones
		for range 3 {
			w.takes(900)
			w.unchecked = true
			w.run(nil)
		}
		w.do(w.m.Collect("v2", true))
		seen := map[wire.Ref]int{}
		pages := 0
		for w.begin("v2") {
			page, ok := w.flights["v2"].Deliver.Delivery.(wire.BringOutYourDead)
			if !ok {
				t.Fatalf("got %+v", w.flights["v2"].Deliver)
			}
			if pages++; pages%2 == 0 {
				w.reopen()
				w.begin("v2")
			}
			for _, r := range page.Known {
				seen[r]++
			}
			if len(page.Known) > wire.MaxKnown || page.More == (len(seen) == 2700) {
				t.Errorf("round %d, page %d: %d names, more %t, %d so far", round, pages, len(page.Known), page.More, len(seen))
			}
			refs := page.Known[:min(len(page.Known), 1000)]
			w.finish("v2", wire.Done{Syscalls: []wire.Syscall{wire.DropImports{Refs: refs}, wire.RetireImportsCall{Refs: refs}}})
		}
		if len(seen) != 2700 || slices.ContainsFunc(slices.Collect(mapValues(seen)), func(n int) bool { return n != 1 }) {
			t.Errorf("round %d: %d names in %d pages", round, len(seen), pages)
		}
		w.run(nil)
		w.check()
	}
}

func mapValues[K comparable, V any](m map[K]V) func(func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m { // in any order
			if !yield(v) {
				return
			}
		}
	}
}

// A round that ends the workers of its vat counts as done, and the vat goes on. The first round, which tells the vat of all
// its exports, is made anew later.
func TestRoundThatKillsIsGivenUp(t *testing.T) {
	w := rounds(t, nil)
	w.takes(3)
	w.run(nil)
	w.do(w.m.Collect("v2", false))
	for range 3 {
		w.begin("v2")
		w.died("v2", kernel.CauseCrash, "")
	}
	if w.begin("v2") {
		t.Errorf("b is asked again:\n%s", w.flush())
	}
	if out := w.flush(); !strings.Contains(out, "poisoned bring out your dead") {
		t.Errorf("got %s", out)
	}
	w.call("E1.on", "ko5", "on")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "answer E1.on: fulfilled null") {
		t.Errorf("got %s", out)
	}
	w.do(w.m.Collect("v2", true))
	if pages := w.asked(); len(pages) != 1 || len(pages[0]) != 3 {
		t.Errorf("the first round that begins anew asks for %v", pages)
	}
}

// After a worker of version 1 has run a vat that was asked for names before, the vat is asked for all of its names once more,
// the root first: the vat's store may hold what that worker did not note.
func TestFirstRoundIsHeldOnceMoreAfterAWorkerOfVersion1(t *testing.T) {
	w := rounds(t, func(v *kernel.LaunchVat) { v.NoRounds = true })
	round := func() (known []wire.Ref) {
		t.Helper()
		w.do(w.m.Collect("v2", true))
		for w.begin("v2") {
			known = append(known, w.flights["v2"].Deliver.Delivery.(wire.BringOutYourDead).Known...)
			w.finish("v2", wire.Done{})
		}
		return known
	}
	w.takes(3)
	w.run(nil)
	first := round()
	if len(first) < 3 || first[0] == wire.RootRef || len(round()) != 0 {
		t.Fatalf("the first round is of %v", first)
	}
	w.do(w.m.Greeted("v2", 1))
	w.do(w.m.Greeted("v2", 2))
	w.reopen()
	if again := round(); !slices.Equal(again, append([]wire.Ref{wire.RootRef}, first...)) {
		t.Errorf("the round that is held once more is of %v, want the root and %v", again, first)
	}
	if more := round(); len(more) != 0 {
		t.Errorf("the round after it is of %v", more)
	}
}
