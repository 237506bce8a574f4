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

// Whatever a vat does, its counts are those of its store, and after a round nothing is left that nobody can reach.
func TestCountsAreThoseOfTheStore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGarden(rapidTB{t, rt}, NewHoard, wire.Start{MaxSyscalls: rapid.SampledFrom([]int{60, 300, 10_000}).Draw(rt, "syscalls")})
		g.walk(rt, false)
	})
}

// The same with objects that hold each other in circles: they are gone once enough objects were made to have the vat look
// for circles again.
func TestCirclesAreCollected(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGarden(rapidTB{t, rt}, NewHoard, wire.Start{MaxSyscalls: rapid.SampledFrom([]int{60, 100, 10_000}).Draw(rt, "syscalls")})
		g.walk(rt, true)
	})
}

// A circle that was made while there were many objects is found once those are gone.
func TestCirclesAreFoundInAStoreThatHasShrunk(t *testing.T) {
	g := newGarden(t, NewHoard, wire.Start{})
	g.call("putAll", 0, 200)
	g.round(1000)
	for range 15 {
		g.call("ring", "a")
	}
	g.call("removeAll")
	g.round(1000)
	g.checkClean()
	if n := len(g.store); n > 10 {
		t.Errorf("%d rows are left", n)
	}
}

// rapidTB fails by way of rapid, so that it finds a short program.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (r rapidTB) Fatalf(format string, args ...any) { r.rt.Helper(); r.rt.Fatalf(format, args...) }
func (r rapidTB) Errorf(format string, args ...any) { r.rt.Helper(); r.rt.Errorf(format, args...) }
func (r rapidTB) Fatal(args ...any)                 { r.rt.Helper(); r.rt.Fatal(args...) }
func (r rapidTB) Error(args ...any)                 { r.rt.Helper(); r.rt.Error(args...) }
func (r rapidTB) Cleanup(f func())                  { r.rt.Cleanup(f) }

// walk does a random program, and ends with a check that nothing is left.
func (g *garden) walk(rt *rapid.T, rings bool) {
	name := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "name") }
	other := func() wire.Ref { return g.ref(rapid.SampledFrom([]string{"X", "Y", "Z"}).Draw(rt, "object")) }
	number := func(max int) int { return rapid.IntRange(0, max).Draw(rt, "number") }
	ops := map[string]func(){
		"put":       func() { g.call("put", name()) },
		"get":       func() { g.call("get", name()) },
		"remove":    func() { g.call("remove", name()) },
		"swap":      func() { g.call("swap") },
		"many":      func() { g.call("putAll", 0, number(20)) },
		"none":      func() { g.call("removeAll") },
		"tree":      func() { g.call("tree", name(), number(12)) },
		"befriend":  func() { g.call("befriend", other()) },
		"any":       func() { g.call("setAny", other()) },
		"any again": func() { g.call("setAny", 1) },
		"mark":      func() { g.call("markRef", other(), "x") },
		"unmark":    func() { g.call("unmarkRef", other()) },
		"mark obj":  func() { g.call("markObj", name(), 1) },
		"unmark obj": func() {
			g.call("unmarkObj", name())
		},
		"text":   func() { g.call("text", "o-1", other()) },
		"untext": func() { g.call("untext", "o-1") },
		"plain":  func() { g.call("text", "o-1", "a text") },
		"push":   func() { g.call("push", name()) },
		"push named": func() {
			g.call("pushNamed", name())
		},
		"pop":   func() { g.call("pop") },
		"fresh": func() { g.call("fresh", name()) },
		"give":  func() { g.call("give", other(), name()) },
		"refer": func() { g.call("refer", name(), other()) },
		"watch": func() {
			if len(g.open) < 6 {
				p := g.promise()
				g.open = append(g.open, p)
				g.call("watch", p, name(), other())
			}
		},
		"watch on": func() {
			if len(g.open) < 6 {
				p := g.promise()
				g.open = append(g.open, p)
				g.call("watchOn", p)
			}
		},
		"later": func() {
			if len(g.open) < 6 {
				p := g.promise()
				g.open = append(g.open, p)
				g.call("later", p, nil, other())
			}
		},
		"answer": func() {
			if len(g.open) > 0 {
				g.answer()
			}
		},
		"answer with": func() {
			if len(g.open) > 0 {
				g.answer(other())
			}
		},
		"use export": func() {
			if all := slices.Sorted(maps.Keys(g.exports)); len(all) > 0 {
				r := rapid.SampledFrom(all).Draw(rt, "export")
				if g.exports[r] && !strings.HasPrefix(string(r), "o+d0/") {
					g.callOf(r, "put", name())
					g.callOf(r, "setRef", other())
				}
			}
		},
		"drop export": func() {
			if all := slices.Sorted(maps.Keys(g.exports)); len(all) > 0 {
				g.drop(rapid.SampledFrom(all).Draw(rt, "export"), rapid.Bool().Draw(rt, "retire"))
			}
		},
		"destroy": func() {
			before := maps.Clone(g.store)
			g.call("destroy", name())
			g.noteDeleted(before)
		},
		"destroy new": func() {
			before := maps.Clone(g.store)
			done := g.call("destroyNew", other())
			for _, s := range done.Syscalls {
				if s, ok := s.(wire.AbandonExports); ok {
					for _, r := range s.Refs {
						g.deleted[r] = true
					}
				}
			}
			g.noteDeleted(before)
		},
		"remember": func() { g.call("remember", name()) },
		"recall":   func() { g.call("recall", other()) },
		"restart": func() {
			if g.v.AtRest() {
				g.restart()
			}
		},
		"round": func() {
			if g.v.AtRest() {
				g.round(1 + number(4))
			}
		},
		"some pages": func() {
			for range number(3) {
				if g.v.AtRest() && g.asked && !g.first {
					g.asked = false
					g.deliver(wire.BringOutYourDead{})
				}
			}
		},
		"one page": func() {
			if g.v.AtRest() && g.asked && !g.first {
				g.asked = false
				g.deliver(wire.BringOutYourDead{})
			}
		},
	}
	if rings {
		ops["ring"] = func() { g.call("ring", name()) }
		ops["forsake"] = func() { g.call("forsake") }
		ops["move"] = func() { g.call("move", name(), name()) }
		ops["link"] = func() { g.call("link", name(), name()) }
	}
	names := slices.Sorted(maps.Keys(ops))
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		ops[rapid.SampledFrom(names).Draw(rt, "op")]()
		if string(g.store["g"]) != "" && !strings.Contains(string(g.store["g"]), "pending") && strings.Contains(string(g.store["g"]), `"stage":5`) {
			g.check()
		}
	}
	for len(g.open) > 0 && rapid.Bool().Draw(rt, "answer all") {
		g.answer()
	}
	g.round(1000)
	for range 2 { // a search that had begun before the last change does not find all
		for range len(g.store) + 25 {
			if rings {
				g.call("swap")
			}
		}
		g.round(1000)
	}
	g.checkClean()
}

// A vat that goes through the same again and again has as many rows afterwards as before.
func TestNothingIsLeft(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(g *garden, i int)
	}{
		{"a new object in a Map, and its removal", func(g *garden, _ int) { g.call("put", "a"); g.call("remove", "a") }},
		{"both in one crank", func(g *garden, _ int) { g.call("swap") }},
		{"in place of another", func(g *garden, _ int) { g.call("put", "a") }},
		{"objects that hold objects, with Maps", func(g *garden, _ int) { g.call("tree", "a", 6) }},
		{"a list that grows and shrinks", func(g *garden, _ int) { g.call("push", "a"); g.call("pushNamed", "kept"); g.call("pop"); g.call("pop") }},
		{"an object that is only passed", func(g *garden, _ int) {
			ref := g.call("fresh", "a").Syscalls[0].(wire.Resolve).Resolutions[0].Value.Slots[0]
			g.callOf(ref, "put", "x")
			g.drop(ref, true)
		}},
		{"an object that is passed, and removed first", func(g *garden, _ int) {
			g.call("put", "a")
			ref := g.call("get", "a").Syscalls[0].(wire.Resolve).Resolutions[0].Value.Slots[0]
			g.call("remove", "a")
			g.round(10)
			g.callOf(ref, "put", "x") // it is held outside
			g.drop(ref, true)
		}},
		{"an object that is dropped, and whose name is still known", func(g *garden, _ int) {
			g.call("put", "a")
			ref := g.call("get", "a").Syscalls[0].(wire.Resolve).Resolutions[0].Value.Slots[0]
			g.drop(ref, false)
			g.call("remove", "a")
		}},
		{"an object that is dropped and passed again", func(g *garden, _ int) {
			g.call("put", "a")
			ref := g.call("get", "a").Syscalls[0].(wire.Resolve).Resolutions[0].Value.Slots[0]
			g.drop(ref, false)
			g.call("get", "a")
			g.call("remove", "a")
			g.round(10)
			if g.store["o."+string(ref)] == nil {
				t.Fatalf("%s is gone, and held outside", ref)
			}
			g.drop(ref, true)
		}},
		{"references of others", func(g *garden, i int) {
			g.call("befriend", g.ref(fmt.Sprint("X", i)))
			g.call("setAny", g.ref(fmt.Sprint("Y", i)))
			g.call("markRef", g.ref(fmt.Sprint("Z", i)), "z")
			g.call("unmarkRef", g.ref(fmt.Sprint("Z", i)))
		}},
		{"references that are not stored", func(g *garden, i int) { g.call("add", 1); g.call("hold", g.ref(fmt.Sprint("X", i)), nil) }},
		{"calls that wait", func(g *garden, i int) {
			g.open = []wire.Ref{g.promise(), g.promise(), g.promise()}
			g.call("watchOn", g.open[0])
			g.call("watch", g.open[1], "kept", g.ref(fmt.Sprint("X", i)))
			g.call("later", g.open[2], nil, g.ref(fmt.Sprint("Y", i)))
			g.restart()
			g.round(10)
			g.answer()
			g.answer(g.ref(fmt.Sprint("Z", i)))
			g.answer()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGarden(t, NewHoard, wire.Start{})
			g.call("put", "kept")
			g.call("befriend", g.ref("friend"))
			c.do(g, 0) // Maps that are used for the first time have rows from then on
			g.round(1000)
			before, imports, exports := len(g.store), len(g.imports), len(g.exports)
			for i := range 50 {
				c.do(g, i+1)
				if i%7 == 3 {
					g.round(1000)
				}
				if i%3 == 0 {
					g.restart()
				}
			}
			g.round(1000)
			g.checkClean()
			if len(g.store) != before || len(g.imports) != imports || len(g.exports) != exports {
				t.Errorf("%d rows, %d imports and %d exports, and %d, %d and %d before", len(g.store), len(g.imports), len(g.exports), before, imports, exports)
			}
		})
	}
}

// Large structures are put and deleted in slices, and no crank reads or writes much.
func TestLargeStructuresGoInSlices(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(g *garden)
	}{
		{"a list", func(g *garden) { g.call("tree", "a", 1500) }},
		{"a Map", func(g *garden) {
			for i := range 4 {
				g.call("putAll", 1000*i, 1000*i+1000)
			}
		}},
		{"a Map that is made in one crank", func(g *garden) { g.call("putAll", 0, 4500) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGarden(t, NewHoard, wire.Start{})
			g.call("put", "kept")
			g.round(1000)
			before := len(g.store)
			c.make(g)
			g.call("removeAll")
			g.call("put", "kept")
			rounds := g.rounds
			for g.asked || g.rounds == rounds {
				g.asked = false
				g.rounds++
				done := g.deliver(wire.BringOutYourDead{})
				if n := len(done.Syscalls); n > 5000 {
					t.Fatalf("%d syscalls", n)
				}
				g.restart()
			}
			g.checkClean()
			if len(g.store) != before || g.rounds < rounds+2 {
				t.Errorf("%d rows after %d rounds, %d before", len(g.store), g.rounds-rounds, before)
			}
		})
	}
}

// A crank whose rows hold no other references than before reads and writes nothing for the counts.
func TestChangesWithoutReferencesCountNothing(t *testing.T) {
	g := newGarden(t, NewHoard, wire.Start{})
	g.call("put", "x")
	g.call("befriend", g.ref("X"))
	thing := g.call("get", "x").Syscalls[0].(wire.Resolve).Resolutions[0].Value.Slots[0]
	g.callOf(thing, "put", "sub")
	g.call("number", "a", 1)
	g.call("text", "t", "text")
	for _, c := range []struct {
		name string
		want []string
		do   func() wire.Done
	}{
		{"a field", []string{"o.o+0"}, func() wire.Done { return g.call("add", 1) }},
		{"a field of an object with references", []string{"o." + string(thing)}, func() wire.Done { return g.callOf(thing, "rename", "new") }},
		{"an entry", []string{"m.3.a"}, func() wire.Done { return g.call("number", "a", 2) }},
		{"a new entry", []string{"m.3.b", "n.3"}, func() wire.Done { return g.call("number", "b", 2) }},
		{"an entry that may have references", []string{"m.4.t"}, func() wire.Done { return g.call("text", "t", "other") }},
		{"an object that is passed again", nil, func() wire.Done { return g.call("get", "x") }},
	} {
		var keys []string
		for _, s := range c.do().Syscalls {
			switch s := s.(type) {
			case wire.StoreSet:
				keys = append(keys, s.Key)
			case wire.StoreDelete:
				keys = append(keys, "-"+s.Key)
			case wire.Collect:
				keys = append(keys, "collect")
			}
		}
		if !slices.Equal(keys, c.want) {
			t.Errorf("%s: wrote %v, want %v", c.name, keys, c.want)
		}
	}
}

// An order without names has the vat look for circles, though it has made few objects since it last looked: also one that was
// held when it was made, and is not held any more. A vat that does not rest, or has not learned all names yet, does nothing.
func TestFewObjectsInACircleAreCollectedByOrder(t *testing.T) {
	g := newGarden(t, NewHoard, wire.Start{})
	g.call("ring", "a")
	g.deliver(wire.BringOutYourDead{Bare: true})
	if g.asked {
		t.Error("asked before the first round")
	}
	g.round(1000)
	g.call("ring", "b")
	g.call("remove", "a")
	g.call("remove", "b")
	g.round(1000)
	if n := len(g.store); n < 12 {
		t.Fatalf("%d rows are left: a round finds the circles by itself, and the test shows nothing", n)
	}
	g.restart() // the order is the first delivery of a worker
	g.deliver(wire.BringOutYourDead{Bare: true})
	g.round(1000)
	g.checkClean()
	if n := len(g.store); n > 4 {
		t.Errorf("%d rows are left: %q", n, slices.Sorted(maps.Keys(g.store)))
	}
}
