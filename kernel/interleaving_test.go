package kernel_test

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// interleaving is a few cranks of different vats that touch the same things, and perhaps something else
// that happens meanwhile. Whatever the order in which they begin, end, die and are interrupted, the
// invariants hold after each commit, and the world comes to rest as after some serial order.
type interleaving struct {
	name string
	// setup makes the head item of each vat's queue.
	setup func(w *world)
	// script has the answer of a vat to a method, "v1.go"; a method that is not in it is answered in few words.
	script map[string]string
	// vats have the cranks.
	vats []kernel.VatID
	// other, if not nil, happens at any time.
	other func(w *world)
}

// keep is the setup that most have: three vats of subclusters s1 (a, b) and s2 (c), that know each other's
// roots, and promises that their owners decide: each vat n introduces p+1 and p+2 to the other two.
func keep(w *world) {
	w.cluster(nil, "a", "b")
	w.cluster(nil, "c")
	roots := []kernel.KRef{"ko4", "ko5", "ko6"}
	names := []string{"a", "b", "c"}
	for i, v := range []kernel.VatID{"v1", "v2", "v3"} {
		w.call("E1.know"+names[i], roots[i], "know", roots...)
		w.deliver(v, "let a $0\nlet b $1\nlet c $2\nresolve $r=null")
	}
	for i, v := range []kernel.VatID{"v1", "v2", "v3"} {
		w.call("E1.intro"+names[i], roots[i], "intro")
		others := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == names[i] })
		w.deliver(v, fmt.Sprintf("send $%s take%s p+1 p+2 o+1 o+d1/1\nsend $%s take%s p+1 p+2 o+1 o+d1/1\nresolve $r=null",
			others[0], names[i], others[1], names[i]))
		for j, u := range []kernel.VatID{"v1", "v2", "v3"} {
			if j != i {
				w.deliver(u, fmt.Sprintf("let %[1]s1 $0\nlet %[1]s2 $1\nlet %[1]seph $2\nlet %[1]sdur $3", names[i]))
			}
		}
	}
}

func goes(w *world) {
	keep(w)
	w.call("E1.a", "ko4", "go")
	w.call("E1.b", "ko5", "go")
	w.call("E1.c", "ko6", "go")
}

func interleavings() []interleaving {
	two := []kernel.VatID{"v1", "v2"}
	three := []kernel.VatID{"v1", "v2", "v3"}
	return append(serviceInterleavings(), []interleaving{
		{
			name: "both send the same objects to the same vat", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "send $c one $beph $bdur o+1 -> p+3\nsubscribe p+3\nresolve $r=p\nsend $c two",
				"v2.go": "send $c one $aeph o+1 o+d1/1 -> p+3\nsubscribe p+3\nresolve $r=o+1\nsend $c two",
			},
		},
		{
			name: "one resolves what the other listens to, sends to, and hands on", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "resolve p+1=o+d1/1 p+2!=no $r=null",
				"v2.go": "subscribe $a1\nsend $a1 parked $a2 -> p+3\nsend $a2 parked -> p+4\nsubscribe p+3\nsubscribe p+4\nsend $c look $a1 $a2\nresolve $r=($a1 $a2)",
			},
		},
		{
			name: "each resolves to what the other resolves", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "subscribe $b1\nresolve p+1=($b1 p+2) p+2=(p+1 $b2) $r=null",
				"v2.go": "subscribe $a1\nresolve p+1=($a1 p+2) p+2=(p+1 $a2) $r=null",
			},
		},
		{
			name: "messages that wait for each other", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "send $b1 wait -> p+1\nsubscribe p+1\nresolve $r=null",
				"v2.go": "send $a1 wait -> p+1\nsubscribe p+1\nresolve $r=null",
			},
		},
		{
			name: "results that are given away", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "send $b pass -> $r\nsend $b1 pass -> p+1",
				"v2.go": "send $a pass -> $r\nresolve p+1=$a",
			},
		},
		{
			name: "a notification is in flight while a member of it is resolved", vats: two,
			setup: func(w *world) {
				keep(w)
				w.call("E1.s", "ko4", "settle")
				w.deliver("v1", "resolve p+1=(p+2 $b1 $c1) $r=null") // v2 is told: the closure is p+1
				w.call("E1.l", "ko5", "listen")
				w.deliver("v2", "subscribe $a1\nresolve $r=null")
				w.call("E1.a", "ko4", "go")
			},
			script: map[string]string{"v1.go": "resolve p+2=($b1) $r=null"},
		},
		{
			name: "two notifications that lead to each other", vats: two,
			setup: func(w *world) {
				keep(w)
				for i, v := range two {
					w.call(fmt.Sprintf("E1.l%d", i), []kernel.KRef{"ko4", "ko5"}[i], "listen")
					w.deliver(v, []string{"subscribe $c1\nresolve $r=null", "subscribe $c2\nresolve $r=null"}[i])
				}
				w.call("E1.s", "ko6", "settle")
				w.deliver("v3", "resolve p+1=(p+2 $a1 $b1) p+2=(p+1 $a1 $b1) $r=null")
			},
			script: map[string]string{"v1.notify": "resolve p+1=(p+2)", "v2.notify": "resolve p+1=(p+2)"},
		},
		{
			name: "the one drops what the other sends it", setup: goes, vats: two,
			script: map[string]string{
				"v1.go":   "drop $ceph $cdur $beph\nretireImports $ceph\nresolve $r=null",
				"v2.go":   "send $a take $ceph $cdur o+1 -> p+3\nabandon o+d1/1\nresolve $r=null",
				"v1.take": "send $0 hello\nsend $1 hello\nsend $2 hello\nresolve $r=null",
			},
		},
		{
			name: "a third subcluster is terminated", setup: goes, vats: two,
			other: func(w *world) { w.do(w.m.Terminate("s2")) },
			script: map[string]string{
				"v1.go": "send $c hello -> p+3\nsubscribe p+3\nsend $c1 hello -> p+4\nsubscribe p+4\nsubscribe $c2\nresolve $r=null",
				"v2.go": "send $cdur hello p+1 -> p+3\nsubscribe p+3\nsubscribe $c1\nresolve $r=($c2)",
			},
		},
		{
			name: "the other's subcluster is terminated", setup: goes, vats: []kernel.VatID{"v1", "v3"},
			other: func(w *world) { w.do(w.m.Terminate("s2")) },
			script: map[string]string{
				"v1.go": "send $c hello -> p+3\nsubscribe p+3\nsend $c1 hello -> p+4\nsubscribe p+4\nresolve $r=null",
				"v3.go": "send $a hello p+3 o+1 -> p+4\nresolve p+1=o+d1/1 $r=(p+3)",
			},
		},
		{
			name: "both subclusters are terminated", setup: goes, vats: []kernel.VatID{"v1", "v3"},
			other: func(w *world) { w.do(w.m.Terminate("s2")); w.do(w.m.Terminate("s1")) },
			script: map[string]string{
				"v1.go": "send $c hello -> p+3\nsubscribe p+3\nresolve $r=(p+3) p+1=($c1)",
				"v3.go": "send $a hello p+3 o+1 -> p+4\nresolve p+1=($a1) $r=(p+3)",
			},
		},
		{
			name: "an object is revoked, and called", setup: goes, vats: two,
			other: func(w *world) { w.do(w.m.Revoke("ko5")); w.call("E1.x", "ko5", "late") },
			script: map[string]string{
				"v1.go": "send $b hello -> p+3\nsubscribe p+3\nresolve $r=null",
				"v2.go": "send $b hello -> p+3\nsubscribe p+3\nresolve p+1=$b $r=null",
			},
		},
		{
			name: "a vat is restarted by a person", setup: goes, vats: two,
			other: func(w *world) { w.do(w.m.Restart("v2", true)) },
			script: map[string]string{
				"v1.go": "send $beph hello -> p+3\nsubscribe p+3\nsend $b1 hello -> p+4\nsubscribe p+4\nsend $bdur hello -> p+5\nsubscribe $b2\nresolve $r=null",
				"v2.go": "send $ceph hello -> p+9\nsubscribe p+9\nset k v\nresolve $r=null",
			},
		},
		{
			name: "a vat exits", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "send $beph hello -> p+3\nsubscribe p+3\nsend $b1 hello -> p+4\nsubscribe p+4\nresolve $r=null",
				"v2.go": "send $a hello $b1 $r -> p+3\nexit",
			},
		},
		{
			name: "a vat exits with a failure", setup: goes, vats: two,
			script: map[string]string{
				"v1.go": "send $beph hello -> p+3\nsubscribe p+3\nsend $b1 hello -> $r",
				"v2.go": "send $a hello\nresolve p+1=null\nexit failure",
			},
		},
		{
			name: "a launch fails while its vats are busy", vats: two,
			setup: func(w *world) {
				w.launch(nil, "a", "b")
				w.deliver("v1", "")
			},
			script: map[string]string{
				"v1.bootstrap": "send $1 hello -> p+1\nresolve $r!=no",
				"v2.start":     "send o+0 self\nset k v",
			},
		},
		{
			name: "three: one resolves, one listens, one sends", setup: goes, vats: three,
			script: map[string]string{
				"v1.go": "resolve p+1=$c p+2=(p+1) $r=null",
				"v2.go": "subscribe $a1\nsubscribe $a2\nresolve $r=($a2)",
				"v3.go": "send $a1 parked o+1 -> p+3\nsubscribe p+3\nsend $a1 parked2\nresolve $r=null",
			},
		},
		{
			name: "three in a circle, and one subcluster is terminated", setup: goes, vats: three,
			other: func(w *world) { w.do(w.m.Terminate("s2")) },
			script: map[string]string{
				"v1.go": "send $b1 wait -> p+1\nsubscribe p+1\nresolve $r=null",
				"v2.go": "send $c1 wait -> p+1\nsubscribe $a1\nresolve $r=null",
				"v3.go": "send $a1 wait -> p+1\nsubscribe p+1\nresolve $r=null",
			},
		},
	}...)
}

// unit is one thing that happens: a crank, or the other thing. Its end may be a death.
type unit struct {
	vat kernel.VatID // empty: the other thing
	die bool
}

// stage is the stored state after the setup, to start again from.
type stage struct {
	rows  []storage.Write
	kept  map[string]string
	names map[kernel.KRef]string
}

// play runs the units as ordered by their indexes: for a crank, the first time begins it and the second ends it. It
// returns the state at rest, and the deliveries that each vat has seen on the way.
//
// The serial orders are among all orders, so that only those are checked after each commit; the commits on the way to
// rest are like others, and only the rest is checked.
func (in *interleaving) play(t *testing.T, st *stage, units []unit, order []int, serial bool) string {
	w := &world{t: t, mem: storage.NewMem(), kept: maps.Clone(st.kept), now: 1000}
	if err := w.mem.Commit(st.rows); err != nil {
		t.Fatal(err)
	}
	names := maps.Clone(st.names)
	w.open()
	w.after = func(kernel.Commit) { kernel.Learn(w.mem, names) }
	calls := map[kernel.VatID][]string{}
	told := map[string]bool{}
	notified := map[kernel.VatID]bool{}
	how := func(v kernel.VatID, d wire.Deliver) string {
		method := "notify"
		switch d := d.Delivery.(type) {
		case wire.Notify:
			words := answer(wire.Deliver{Delivery: d}) + in.script[string(v)+".notify"] // once
			if notified[v] {
				words = answer(wire.Deliver{Delivery: d})
			}
			notified[v] = true
			return words
		case wire.StartVat:
			method = "start"
		case wire.Call:
			method = kernel.Method(d.Message.MethArgs.Body)
		}
		if words, ok := in.script[string(v)+"."+method]; ok {
			return words
		}
		return answer(d)
	}
	finish := func(v kernel.VatID) {
		c := w.flights[v]
		meaning := kernel.Named(c)
		before := w.m.Cranks()
		words := how(v, c.Deliver)
		w.finish(v, w.parse(v, words))
		if w.m.Cranks() == before {
			return // it did not happen
		}
		name := func(r wire.Ref) string { return names[meaning[r]] }
		list := func(rs []wire.Ref) string {
			var out []string
			for _, r := range rs {
				out = append(out, name(r))
			}
			return strings.Join(out, " ")
		}
		switch d := c.Deliver.Delivery.(type) {
		case wire.StartVat:
			calls[v] = append(calls[v], "start")
		case wire.Call:
			s := fmt.Sprintf("%s.%s(%s)", name(d.Target), kernel.Method(d.Message.MethArgs.Body), list(d.Message.MethArgs.Slots))
			if d.Message.Result != "" {
				s += "->" + name(d.Message.Result)
			}
			calls[v] = append(calls[v], s)
		case wire.Notify:
			for _, r := range d.Resolutions {
				told[fmt.Sprintf("%s told %s %t %s (%s)", v, name(r.Promise), r.Rejected, r.Value.Body, list(r.Value.Slots))] = true
			}
		}
	}
	begun := map[int]bool{}
	w.unchecked = serial
	for _, i := range order {
		u := units[i]
		switch {
		case u.vat == "":
			in.other(w)
		case !begun[i]:
			begun[i] = true
			w.begin(u.vat)
		case w.flights[u.vat] == nil: // something else ended it
		case u.die:
			w.died(u.vat, kernel.CauseCrash, "")
		default:
			finish(u.vat)
		}
	}
	w.unchecked = true // from here to rest
	for before := -1; before != w.applied; {
		before = w.applied
		c, _, err := w.m.Work(w.now)
		if err != nil {
			t.Fatal(err)
		}
		w.apply(c)
		for _, v := range must(w.m.Vats()) {
			if v.HasWork && w.begin(v.ID) {
				finish(v.ID)
			}
		}
	}
	if !serial {
		w.check()
	}
	var out []string
	for _, v := range slices.Sorted(maps.Keys(calls)) {
		out = append(out, fmt.Sprintf("%s got %s", v, strings.Join(calls[v], "; ")))
	}
	out = append(out, slices.Sorted(maps.Keys(told))...)
	out = append(out, kernel.Project(w.mem, names)...)
	if t.Failed() {
		t.Fatalf("%v %v:\n%s", units, order, w.flush())
	}
	return strings.Join(out, "\n")
}

// orders calls f with every order of the indexes in which each comes as often as counts says.
func orders(counts []int, f func([]int)) {
	total := 0
	for _, n := range counts {
		total += n
	}
	var order []int
	var next func()
	next = func() {
		if len(order) == total {
			f(order)
			return
		}
		for i := range counts {
			if counts[i] > 0 {
				counts[i]--
				order = append(order, i)
				next()
				order = order[:len(order)-1]
				counts[i]++
			}
		}
	}
	next()
}

func TestInterleavingsAreSerializable(t *testing.T) {
	for _, in := range interleavings() {
		t.Run(strings.ReplaceAll(in.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			base := newWorld(t)
			names := map[kernel.KRef]string{}
			base.after = func(kernel.Commit) { kernel.Learn(base.mem, names) }
			in.setup(base)
			st := &stage{base.mem.Snapshot(), base.kept, names}
			// Each crank ends well or with a death; of three at most one dies, and none if something else
			// happens too: those are many orders.
			for deaths := range 1 << len(in.vats) {
				if len(in.vats) > 2 && (deaths&(deaths-1) != 0 || deaths != 0 && in.other != nil) {
					continue
				}
				var units []unit
				var whole, halves []int
				for i, v := range in.vats {
					units = append(units, unit{v, deaths>>i&1 == 1})
					whole, halves = append(whole, 1), append(halves, 2)
				}
				if in.other != nil {
					units = append(units, unit{})
					whole, halves = append(whole, 1), append(halves, 1)
				}
				serial := map[string]bool{}
				orders(whole, func(order []int) {
					var twice []int
					for _, i := range order {
						twice = append(twice, i)
						if units[i].vat != "" {
							twice = append(twice, i)
						}
					}
					serial[in.play(t, st, units, twice, true)] = true
				})
				orders(halves, func(order []int) {
					if got := in.play(t, st, units, order, false); !serial[got] {
						t.Fatalf("%v in the order %v comes to rest as no serial order does; the nearest:\n%s", units, order, nearest(serial, got))
					}
				})
			}
		})
	}
}

// nearest is the smallest difference from one of the states to got.
func nearest(states map[string]bool, got string) string {
	var diffs []string
	for _, s := range slices.Sorted(maps.Keys(states)) {
		diffs = append(diffs, cmp.Diff(strings.Split(s, "\n"), strings.Split(got, "\n")))
	}
	sort.SliceStable(diffs, func(i, j int) bool { return len(diffs[i]) < len(diffs[j]) })
	return diffs[0]
}
