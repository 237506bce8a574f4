package liveslots_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/wire"
)

// Each kind of damage in a vat's store is found, and named.
func TestPlantedDamageInAStoreIsFoundAndNamed(t *testing.T) {
	planted := func() *garden {
		g := newGarden(t, NewHoard, wire.Start{})
		g.call("put", "a")
		g.call("put", "b")
		g.call("link", "a", "b")
		g.call("markRef", g.ref("friend"), "x")
		g.call("give", g.ref("friend"), "a")
		g.open = []wire.Ref{g.promise()}
		g.call("watch", g.open[0], "b", g.ref("friend"))
		g.round(1000)
		return g
	}
	whole := planted()
	var shown []string
	for _, key := range slices.Sorted(maps.Keys(whole.store)) {
		shown = append(shown, key+" = "+strings.ReplaceAll(string(whole.store[key]), "\n", "⏎"))
	}
	t.Logf("the store:\n%s", strings.Join(shown, "\n"))
	if problems := whole.checkStore(); len(problems) > 0 {
		t.Fatalf("before the damage: %q", problems)
	}
	replace := func(key, old, now string) func(*garden) {
		return func(g *garden) {
			if !strings.Contains(string(g.store[key]), old) {
				t.Fatalf("%s is %q, and has no %q", key, g.store[key], old)
			}
			g.store[key] = []byte(strings.Replace(string(g.store[key]), old, now, 1))
		}
	}
	lose := func(key string) func(*garden) {
		return func(g *garden) {
			if _, ok := g.store[key]; !ok {
				t.Fatalf("there is no row %s", key)
			}
			delete(g.store, key)
		}
	}
	put := func(key, value string) func(*garden) {
		return func(g *garden) { g.store[key] = []byte(value) }
	}
	promise := string(whole.open[0])
	link := "p." + promise + ".0000000000000001"
	for _, c := range []struct {
		name   string
		damage func(*garden)
		want   string
	}{
		{"a count that is too high", put("c.o+d2/2", "4"), "o+d2/2 is mentioned 3 times, the row c.o+d2/2 says 4"},
		{"a count that is too low", put("c.o+d2/2", "1"), "o+d2/2 is mentioned 3 times, the row c.o+d2/2 says 1"},
		{"a count that is missing", lose("c.o-1"), "o-1 is mentioned 2 times, the row c.o-1 says 0"},
		{"a count of what is not mentioned", put("c.o-77", "1"), "o-77 is mentioned 0 times, the row c.o-77 says 1"},
		{"a count that cannot be read", put("c.o-1", "many"), "row c.o-1 cannot be read"},
		{"a mention that is missing", replace("m.1.a", "o+d2/1", "o+d2/2"), "o+d2/1 is mentioned 0 times"},
		{"an object that is exported, and has no flag", put("c.o+d2/1", "1"), "o+d2/1 is reachable from outside: true, and its row c.o+d2/1 has the flag"},
		{"an object that is not exported, and has the flag", put("c.o+d2/2", "3x"), `o+d2/2 has the flag "x" in its row c.o+d2/2, and the kernel has no name for it`},
		{"an object that nothing holds and nobody looks at", put("o.o+d2/9", "0\n\n#{}"), "nothing holds the object o+d2/9, and there is no row g.o+d2/9"},
		{"an object that is mentioned and gone", lose("o.o+d2/2"), "the object o+d2/2 is mentioned, and has no row"},
		{"an object that is exported and gone", lose("o.o+d2/1"), "the object o+d2/1 is known outside, and has no row"},
		{"an import that the kernel has not", func(g *garden) { delete(g.imports, "o-1") }, "the object o-1 of another vat is mentioned, and the kernel has no such name"},
		{"a call without its link", lose(link), "row w.1 mentions " + promise + ", and has no link from it"},
		{"a link without its call", put("p.p-9.0000000000000007", ""), "row p.p-9.0000000000000007 is a link to w.7, which does not mention p-9"},
		{"a call that waits for nothing that will come", func(g *garden) { g.open = nil }, "row w.1 waits for " + promise + ", which is not settled, and nobody knows"},
		{"a call that is lost", lose("w.1"), "0 calls wait, the counters in the row w say 1"},
		{"a call above the last number", put("w.9", "call o+0\n\n#[\"pop\",[]]"), "row w.9 is of no call: the last has the number 1"},
		{"a call that cannot be read", put("w.1", "call"), `row "w.1" cannot be read`},
		{"the bookkeeping of calls", put("w", "{"), "row w cannot be read"},
		{"the bookkeeping of counts", put("g", "{"), "row g cannot be read"},
		{"the bookkeeping of kinds", put("ids", "{"), "row ids cannot be read"},
		{"the bookkeeping of kinds that is lost", lose("ids"), "the row ids is missing"},
		{"the bookkeeping of counts that is lost", lose("g"), "there is a row c.o+d2/1, and no row g"},
		{"a root that is lost", lose("o.o+0"), "the root has no row"},
		{"an object that cannot be read", put("o.o+d2/1", "0"), `row "o.o+d2/1" cannot be read`},
		{"an object of no kind", put("o.o+d9/1", "0\n\n#{}"), `row "o.o+d9/1" is of an object of no kind`},
		{"an entry that cannot be read", put("m.1.a", "x"), `row "m.1.a" cannot be read`},
		{"an entry of no Map", put("m.99.a", "\n#1"), "row m.99.a is of no Map"},
		{"the length of a Map", put("n.1", "7"), "the Map 1 has 2 entries, the row n.1 says 7"},
		{"the length of no Map", put("n.99", "7"), "row n.99 is of no Map"},
		{"a row of no kind", put("zz.1", ""), `row "zz.1" is of no kind that this version writes`},
		{"a change in the journal that was made", put("j.1", "o-1 1"), "1 rows of the journal are left, the row g says 0"},
		{"a change in the journal that cannot be read", put("j.1", "o-1 many"), "row j.1 cannot be read"},
		{"the value of a promise that no call mentions", put("s.p-9", "f\np-10\n#\"&0\""), "row s.p-9 mentions p-10, and has no link from it"},
	} {
		g := planted()
		c.damage(g)
		if problems := g.checkStore(); !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("%s: check says\n\t%s\nwant a line with %q", c.name, strings.Join(problems, "\n\t"), c.want)
		}
	}
}
