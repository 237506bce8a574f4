package liveslots_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ocapkernel.dev/wire"
)

// A worker of a version that does not count may run a vat that counts, and change all of its store. The next worker counts
// anew: nothing that is held is deleted, and what is garbage is gone.
func TestStoreIsCountedAnewAfterAWorkerThatDoesNotCount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGarden(rapidTB{t, rt}, NewHoard, wire.Start{MaxSyscalls: rapid.SampledFrom([]int{40, 60, 10_000}).Draw(rt, "syscalls")})
		name := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "name") }
		other := func() wire.Ref { return g.ref(rapid.SampledFrom([]string{"X", "Y", "Z"}).Draw(rt, "object")) }
		ops := []func(){
			func() { g.call("put", name()) },
			func() { g.call("get", name()) },
			func() { g.call("remove", name()) },
			func() { g.call("tree", name(), 5) },
			func() { g.call("ring", name()) },
			func() { g.call("befriend", other()) },
			func() { g.call("setAny", 1) },
			func() { g.call("markRef", other(), "x") },
			func() { g.call("unmarkRef", other()) },
			func() { g.call("markObj", name(), 1) },
			func() { g.call("pushNamed", name()) },
			func() { g.call("pop") },
			func() {
				if all := slices.Sorted(maps.Keys(g.exports)); len(all) > 0 {
					g.drop(rapid.SampledFrom(all).Draw(rt, "export"), rapid.Bool().Draw(rt, "retire"))
				}
			},
		}
		some := func() {
			for range rapid.IntRange(0, 12).Draw(rt, "steps") {
				rapid.SampledFrom(ops).Draw(rt, "op")()
			}
		}
		for range rapid.IntRange(1, 3).Draw(rt, "old workers") {
			some()
			for range rapid.IntRange(0, 4).Draw(rt, "pages") { // also in the middle of counting, and of a search
				if g.asked && !g.first {
					g.asked = false
					g.deliver(wire.BringOutYourDead{})
				} else if g.first {
					g.round(5)
				}
			}
			g.old(some)
			some()
		}
		g.round(1000)
		for r, reachable := range g.exports {
			if !reachable { // its name was listed again: the vat takes it for held until it is retired
				g.drop(r, true)
			}
		}
		g.round(1000)
		for range 2 {
			for range len(g.store) + 25 {
				g.call("swap")
			}
			g.round(1000)
		}
		g.checkClean()
	})
}

// Whatever is wide, each crank of collection stays within the limit of the vat's syscalls, and the work comes to its end.
func TestWideStructuresAreCollectedWithinTheLimits(t *testing.T) {
	for _, syscalls := range []int{40, 200, 1000} {
		for _, c := range []struct {
			name string
			wide func(g *garden, n int)
		}{
			{"one object with many references", func(g *garden, n int) { g.call("pushMany", n) }},
			{"an entry with many references", func(g *garden, n int) { g.call("listMany", n) }},
			{"a call that waits with many references", func(g *garden, n int) {
				g.open = append(g.open, g.promise())
				g.call("watchMany", g.open[0], min(n, 900))
			}},
			{"a Map with many entries", func(g *garden, n int) { g.call("putAll", 0, n) }},
		} {
			t.Run(fmt.Sprint(c.name, " and ", syscalls, " syscalls"), func(t *testing.T) {
				n := 2 * syscalls
				g := newGarden(t, NewWide, wire.Start{})
				c.wide(g, n)
				g.round(1000)
				limited := emptyGarden(t, NewWide, wire.Start{MaxSyscalls: syscalls}, g.store)
				g.make = func() *wired { limited.highest = g.highest; return limited.make() }
				g.restart()
				deliver := func(d wire.Delivery) {
					t.Helper()
					if done := g.deliver(d); len(done.Syscalls) > syscalls {
						t.Fatalf("%d syscalls", len(done.Syscalls))
					}
					g.restart()
				}
				trace := func() {
					t.Helper()
					for range 2 { // which makes the search for circles due
						for range 30 {
							g.call("swap")
						}
						for i := 0; i == 0 || g.asked; i++ {
							if i > 40*n {
								t.Fatal("it never ends")
							}
							g.asked = false
							deliver(wire.BringOutYourDead{})
						}
					}
				}
				g.store["g"] = []byte(strings.Replace(strings.Replace(string(g.store["g"]), `"live":`, `"was":`, 1), `"traced":`, `"wasTraced":`, 1))
				g.restart()
				trace()
				if !strings.Contains(string(g.store["g"]), `"live"`) {
					t.Fatalf("no search has ended: %s", g.store["g"])
				}
				_, held := g.mentions()
				if len(held) < min(n, 900) {
					t.Fatalf("%d objects are held, want %d", len(held), n)
				}
				for r := range held {
					if _, ok := g.store["o."+string(r)]; !ok {
						t.Fatalf("%s is gone, and held", r)
					}
				}
			})
		}
	}
}

// The names of a page are learned as the limit of the vat's syscalls allows. What the kernel says of a name meanwhile holds.
func TestPageThatIsLargerThanTheLimits(t *testing.T) {
	for _, syscalls := range []int{40, 200} {
		g := newGarden(t, NewWide, wire.Start{})
		g.call("putAll", 0, 300)
		for i := range 300 {
			g.call("get", fmt.Sprint("n", i)) // exported
			g.ref(fmt.Sprint("import", i))
		}
		kept := g.ref("import7")
		g.call("befriend", kept)
		all := slices.Sorted(maps.Keys(g.exports))
		g.old(func() {})
		g.make = emptyGarden(t, NewWide, wire.Start{MaxSyscalls: syscalls, HighPromise: 1e6, HighObject: 1e6}, g.store).make
		g.restart()
		known := append([]wire.Ref{wire.RootRef}, append(slices.Sorted(maps.Keys(g.imports)), all...)...)
		g.first, g.again, g.fresh = false, false, nil
		if done := g.deliver(wire.BringOutYourDead{Known: known}); len(done.Syscalls) > syscalls {
			t.Fatalf("%d syscalls", len(done.Syscalls))
		}
		g.drop(all[10], false)
		g.drop(all[290], true)
		g.drop(all[298], false)
		g.call("remove", "n298")
		g.round(1000)
		g.check()
		if len(g.imports) != 1 || !g.imports[kept] {
			t.Errorf("%d imports are left", len(g.imports))
		}
	}
}

// More objects than one list may name can become garbage at once, while others still recognize them.
func TestManyRecognizableObjectsAreRetired(t *testing.T) {
	g := newGarden(t, NewWide, wire.Start{MaxSyscalls: 100_000})
	g.call("putAll", 0, 2500)
	for i := range 2500 {
		g.call("get", fmt.Sprint("n", i))
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(g.exports)), 1000) {
		for _, r := range part {
			g.exports[r] = false
		}
		g.deliver(wire.DropExports{Refs: part})
	}
	g.round(1000)
	g.call("removeAll")
	g.round(1000)
	g.checkClean()
	if len(g.exports) != 0 {
		t.Errorf("%d names are left", len(g.exports))
	}
}

// A vat that is not at rest does not begin to count at a bring out your dead, and is counted from its next rest on. An object
// that was deleted before leaves no row.
func TestCountingBeginsAtRest(t *testing.T) {
	g := newGarden(t, NewHoard, wire.Start{})
	g.call("put", "a")
	g.call("put", "kept")
	g.call("gate", "g")
	g.call("destroy", "a")
	g.call("remove", "a")
	maps.DeleteFunc(g.store, func(key string, _ []byte) bool { return key[0] == 'g' || key[0] == 'c' || key[0] == 'k' })
	g.store["ids"] = []byte(strings.Replace(string(g.store["ids"]), `"rules":3`, `"rules":1`, 1))
	g.store["c.o+d2/1"] = []byte("0d") // as the version before rules 2 has left it in a span without counts
	g.restart()
	g.call("gate", "g")
	before := maps.Clone(g.store)
	g.deliver(wire.BringOutYourDead{})
	if !maps.EqualFunc(before, g.store, slices.Equal) {
		t.Errorf("the span's store was changed: %q", g.store)
	}
	g.call("open", "g", 1)
	g.first = true
	g.round(1000)
	g.checkClean()
}
