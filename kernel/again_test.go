package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// kept is a world in which b, which is v2, was asked for n imports, o-1 to o-n, and has kept them. They are o+d1/1 and so on
// of a, which is v1.
func kept(t *testing.T, n int, edit func(*kernel.LaunchVat)) *world {
	t.Helper()
	w := rounds(t, edit)
	w.unchecked = true
	for from := 1; from <= n; from += 900 {
		w.keeps(refsFrom(from, min(900, n-from+1))...)
	}
	w.run(nil)
	w.do(w.m.Collect("v2", true))
	w.run(nil)
	w.flush()
	w.unchecked = false
	w.check()
	return w
}

func refsFrom(from, n int) (refs []string) {
	for i := range n {
		refs = append(refs, fmt.Sprintf("o+d1/%d", from+i))
	}
	return refs
}

// keeps has a send objects to b, which keeps them.
func (w *world) keeps(refs ...string) {
	w.t.Helper()
	w.call("E1."+fmt.Sprint(w.applied), "ko4", "give", "ko5")
	w.deliver("v1", "send $0 take "+strings.Join(refs, " ")+"\nresolve $r=null")
	w.run(nil)
}

// drops has b drop imports, and still recognize them.
func (w *world) drops(refs ...string) {
	w.t.Helper()
	w.call("E1."+fmt.Sprint(w.applied), "ko5", "drop")
	w.deliver("v2", "drop "+strings.Join(refs, " ")+"\nresolve $r=null")
}

// names returns what b is asked for in the next round, page by page.
func (w *world) names(then func(page int)) (pages []string) {
	w.t.Helper()
	for w.begin("v2") {
		page, ok := w.flights["v2"].Deliver.Delivery.(wire.BringOutYourDead)
		if !ok {
			w.t.Fatalf("got %+v", w.flights["v2"].Deliver)
		}
		if then != nil {
			then(len(pages))
		}
		pages = append(pages, join(page.Known))
		w.finish("v2", wire.Done{})
	}
	w.check()
	return pages
}

// A round after an old import was dropped, and given again, names that import, and not all that came after it.
func TestRoundNamesAnImportThatWasGivenAgain(t *testing.T) {
	t.Parallel()
	noRounds := func(v *kernel.LaunchVat) { v.NoRounds = true }
	for name, c := range map[string]struct {
		do   func(*world)
		want string
	}{
		"given again": {func(w *world) {
			w.drops("o-2")
			w.keeps("o+d1/2")
		}, "[o-2]"},
		"twice": {func(w *world) {
			for range 2 {
				w.drops("o-2")
				w.keeps("o+d1/2")
			}
		}, "[o-2]"},
		"and dropped once more": {func(w *world) {
			w.drops("o-2", "o-3")
			w.keeps("o+d1/2", "o+d1/3")
			w.drops("o-3")
		}, "[o-2]"},
		"beside new ones": {func(w *world) {
			w.drops("o-3", "o-2")
			w.keeps("o+d1/3", "o+d1/2", "o+d9/1")
		}, "[o-301 o-2 o-3]"},
		"before the kernel is killed": {func(w *world) {
			w.drops("o-2")
			w.keeps("o+d1/2")
			w.reopen()
		}, "[o-2]"},
		"before its worker is killed": {func(w *world) {
			w.drops("o-2")
			w.keeps("o+d1/2")
			w.died("v2", kernel.CauseKilled, "")
		}, "[o-2]"},
		"not given again": {func(w *world) {
			w.drops("o-2")
			w.keeps("o+d1/1")
		}, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := kept(t, 300, noRounds)
			c.do(w)
			w.check()
			w.do(w.m.Collect("v2", true))
			if got := fmt.Sprint(w.names(nil)); got != c.want && got != "["+c.want+"]" {
				t.Errorf("got %s, want %s", got, c.want)
			}
			w.do(w.m.Collect("v2", true))
			if got := w.names(nil); fmt.Sprint(got) != "[]" {
				t.Errorf("the next round names %v", got)
			}
			if left := w.leftovers(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// An import that was given again makes a round due as a new one does.
func TestImportThatWasGivenAgainMakesARoundDue(t *testing.T) {
	t.Parallel()
	w := kept(t, 300, nil)
	var refs []string
	for i := range 100 {
		refs = append(refs, fmt.Sprintf("o-%d", i+1))
	}
	w.drops(refs...)
	w.keeps(refsFrom(1, 99)...)
	if got := w.names(nil); len(got) > 0 {
		t.Errorf("after 99: %v", got)
	}
	w.call("E1.last", "ko4", "give", "ko5")
	w.deliver("v1", "send $0 take o+d1/100\nresolve $r=null")
	w.deliver("v2", "resolve")
	if got := w.names(nil); len(got) != 1 || strings.Count(got[0], "o-") != 100 {
		t.Errorf("after 100: %v", got)
	}
}

// More imports than a page names are named in several, each once, though the kernel is killed between them.
func TestManyImportsThatWereGivenAgainAreNamedInPages(t *testing.T) {
	t.Parallel()
	w := kept(t, 2500, func(v *kernel.LaunchVat) { v.NoRounds = true })
	w.unchecked = true
	for from := 1; from <= 2500; from += 900 {
		var refs []string
		for i := range min(900, 2500-from+1) {
			refs = append(refs, fmt.Sprintf("o-%d", from+i))
		}
		w.drops(refs...)
		w.keeps(refsFrom(from, len(refs))...)
	}
	w.do(w.m.Collect("v2", true))
	pages := w.names(func(int) {
		w.reopen()
		w.begin("v2")
	})
	seen := map[string]int{}
	for _, p := range pages {
		for _, r := range strings.Fields(p) {
			seen[r]++
		}
	}
	for r, n := range seen {
		if n != 1 {
			t.Errorf("%s is named %d times", r, n)
		}
	}
	if len(seen) != 2500 {
		t.Errorf("%d names in %d pages", len(seen), len(pages))
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A vat that is to be asked says so, until it was asked; asking it once more changes nothing.
func TestVatSaysThatItWillBeAsked(t *testing.T) {
	t.Parallel()
	w := rounds(t, nil)
	w.takes(1)
	w.deliver("v2", "resolve")
	for _, want := range []bool{true, false} {
		if got := w.do(w.m.Collect("v2", false)); got != want {
			t.Errorf("Collect has changed something: %t, want %t", got, want)
		}
		if vat, _, _ := w.m.Vat("v2"); !vat.Asked {
			t.Errorf("it will not be asked: %+v", vat)
		}
	}
	if got := w.names(nil); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if vat, _, _ := w.m.Vat("v2"); vat.Asked {
		t.Errorf("it will be asked once more: %+v", vat)
	}
}
