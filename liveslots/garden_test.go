package liveslots_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/wire"
)

// A garden is the kernel of one vat: it keeps the vat's c-list, refuses what the kernel refuses, and gives the vat
// collection deliveries.
type garden struct {
	t     testing.TB
	store testStore
	v     *wired
	make  func() *wired
	n     uint64
	// imports are the vat's names of objects of others, exports its durable objects with the reachable flag.
	imports, exports map[wire.Ref]bool
	fresh            []wire.Ref // imports that were named since the last round
	objects          map[string]wire.Ref
	lastImport       int
	lastPromise      int
	highest          uint64
	open             []wire.Ref // promises that the vat waits for
	asked            bool
	first            bool // the first round is still to come
	again            bool // it is held once more, since an old worker ran
	deleted          map[wire.Ref]bool
	rounds           int
}

func newGarden(t testing.TB, constructor any, start wire.Start) *garden {
	g := emptyGarden(t, constructor, start, testStore{})
	g.v = g.make()
	g.deliver(wire.StartVat{})
	return g
}

func emptyGarden(t testing.TB, constructor any, start wire.Start, store testStore) *garden {
	m, err := liveslots.Compile("m", constructor)
	if err != nil {
		t.Fatal(err)
	}
	g := &garden{t: t, store: store, imports: map[wire.Ref]bool{}, exports: map[wire.Ref]bool{}, objects: map[string]wire.Ref{}, deleted: map[wire.Ref]bool{}, first: true}
	g.make = func() *wired {
		start.HighPromise, start.HighObject = g.highest, g.highest
		return newVat(t, m, start, g.store, nil)
	}
	return g
}

// fatal fails the test.
func (g *garden) fatal(format string, args ...any) {
	g.t.Helper()
	g.t.Fatalf(format, args...)
}

// deliver delivers, and does what the kernel does with the answer.
func (g *garden) deliver(d wire.Delivery) wire.Done {
	g.t.Helper()
	g.n++
	g.highest += 20_000
	done := g.v.Deliver(wire.Deliver{Number: g.n, Delivery: d})
	if done.Outcome.Fault != "" {
		g.fatal("%T: %s", d, done.Outcome.Fault)
	}
	use := func(refs ...wire.Ref) {
		for _, r := range refs {
			switch {
			case strings.HasPrefix(string(r), "o-") && !g.imports[r]:
				g.fatal("%T: %s is not known to the kernel", d, r)
			case strings.HasPrefix(string(r), "o+d"):
				g.exports[r] = true
			}
		}
	}
	for _, s := range done.Syscalls {
		switch s := s.(type) {
		case wire.Send:
			use(s.Target)
			use(s.Message.MethArgs.Slots...)
		case wire.Resolve:
			for _, r := range s.Resolutions {
				use(r.Value.Slots...)
			}
		case wire.DropImports:
			if !slices.IsSorted(s.Refs) || len(s.Refs) > 1000 {
				g.fatal("drops %v", s.Refs)
			}
			use(s.Refs...)
		case wire.RetireImportsCall:
			for _, r := range s.Refs {
				use(r)
				delete(g.imports, r)
				maps.DeleteFunc(g.objects, func(_ string, x wire.Ref) bool { return x == r })
			}
		case wire.RetireExportsCall:
			for _, r := range s.Refs {
				if reachable, known := g.exports[r]; !known || reachable {
					g.fatal("retires %s: known %t, reachable %t", r, known, reachable)
				}
				delete(g.exports, r)
			}
		case wire.AbandonExports:
			for _, r := range s.Refs {
				if _, known := g.exports[r]; !known {
					g.fatal("abandons %s", r)
				}
				delete(g.exports, r)
			}
		case wire.Collect:
			g.asked = true
		}
	}
	g.store.apply(done.Syscalls)
	return done
}

// ref returns the vat's name of an object of another vat.
func (g *garden) ref(object string) wire.Ref {
	r, ok := g.objects[object]
	if !ok {
		g.lastImport++
		r = wire.Ref(fmt.Sprint("o-", g.lastImport))
		g.objects[object], g.imports[r] = r, true
		g.fresh = append(g.fresh, r)
	}
	return r
}

// call calls a method of the root. An argument that is a wire.Ref is a reference.
func (g *garden) call(method string, args ...any) wire.Done {
	g.t.Helper()
	return g.callOf(wire.RootRef, method, args...)
}

func (g *garden) callOf(target wire.Ref, method string, args ...any) wire.Done {
	g.t.Helper()
	var slots []wire.Ref
	list := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case wire.Ref:
			if a[0] == 'p' {
				list[i] = capdata.Promise{Slot: len(slots)}
			} else {
				list[i] = capdata.Remotable{Slot: len(slots), Iface: "Alleged: Thing"}
			}
			slots = append(slots, a)
		case int:
			list[i] = float64(a)
		default:
			list[i] = a
		}
	}
	body, err := capdata.EncodeCall(method, list)
	if err != nil {
		g.fatal("%v", err)
	}
	return g.deliver(wire.Call{Target: target, Message: wire.Message{MethArgs: wire.CapData{Body: body, Slots: slots}, Result: g.promise()}})
}

func (g *garden) promise() wire.Ref {
	g.lastPromise++
	return wire.Ref(fmt.Sprint("p-", g.lastPromise))
}

// round gives the vat a bring out your dead, in pages of n names, and repeats that while the vat asks for it.
func (g *garden) round(n int) {
	g.t.Helper()
	for again := true; again; again = g.asked {
		g.asked = false
		if g.rounds++; g.rounds > 2000 {
			g.fatal("the vat never has enough")
		}
		known := g.fresh
		g.fresh = nil
		if g.first {
			g.first = false
			known = append(slices.Sorted(maps.Keys(g.imports)), slices.Sorted(maps.Keys(g.exports))...)
			if g.again {
				g.again, known = false, append([]wire.Ref{wire.RootRef}, known...)
			}
		}
		for page := range slices.Chunk(append(known, ""), n) {
			more := page[len(page)-1] != ""
			page = slices.DeleteFunc(slices.Clone(page), func(r wire.Ref) bool {
				_, exported := g.exports[r]
				return !exported && !g.imports[r] && r != wire.RootRef
			})
			g.deliver(wire.BringOutYourDead{Known: page, More: more})
		}
	}
}

// drop has all others drop an exported object, and forget its name.
func (g *garden) drop(r wire.Ref, retire bool) {
	g.t.Helper()
	if g.exports[r] {
		g.exports[r] = false
		g.deliver(wire.DropExports{Refs: []wire.Ref{r}})
	}
	if retire {
		g.deliver(wire.RetireExports{Refs: []wire.Ref{r}})
		delete(g.exports, r)
	}
}

// restart has a fresh worker go on. The vat is at rest.
func (g *garden) restart() { g.v = g.make() }

// old has a worker of a version that does not count run the vat: its program knows no row of counts and writes none.
func (g *garden) old(run func()) {
	g.t.Helper()
	isOwn := func(key string) bool {
		prefix, _, _ := strings.Cut(key, ".")
		return strings.Contains("g c j k t u x", prefix)
	}
	counts := maps.Clone(g.store)
	maps.DeleteFunc(counts, func(key string, _ []byte) bool { return !isOwn(key) })
	maps.DeleteFunc(g.store, func(key string, _ []byte) bool { return isOwn(key) })
	g.restart()
	run()
	maps.DeleteFunc(g.store, func(key string, _ []byte) bool { return isOwn(key) })
	maps.Copy(g.store, counts)
	g.restart()
	g.first, g.again = true, true
}

// mentions counts the mentions in the store, and returns the objects that the root, exports and waiting calls lead to.
func (g *garden) mentions() (counts map[wire.Ref]int, reachable map[wire.Ref]bool) {
	counts, reachable, _ = g.references()
	return counts, reachable
}

// references returns the numbers of the Maps that objects have, too.
func (g *garden) references() (counts map[wire.Ref]int, reachable map[wire.Ref]bool, of map[string]string) {
	g.t.Helper()
	counts, reachable = map[wire.Ref]int{}, map[wire.Ref]bool{}
	leads, keyed := map[string][]wire.Ref{}, map[string]bool{}
	of = map[string]string{}
	keys := slices.Sorted(maps.Keys(g.store))
	slices.Reverse(keys) // objects come before the entries of their Maps
	for _, key := range keys {
		value := string(g.store[key])
		prefix, rest, _ := strings.Cut(key, ".")
		var names []string
		from := ""
		switch prefix {
		case "o":
			lines := strings.SplitN(value, "\n", 3)
			names, from = strings.Fields(lines[1]), rest
			var fields map[string]any
			if err := json.Unmarshal([]byte(lines[2][1:]), &fields); err != nil {
				g.fatal("%s: %v", key, err)
			}
			for _, f := range []string{"named", "byRef", "byObj", "plain", "texts", "sub", "lists"} {
				if n, ok := fields[f].(float64); ok {
					of[strconv.Itoa(int(n))] = rest
					keyed[strconv.Itoa(int(n))] = f == "byRef" || f == "byObj"
				}
			}
		case "m":
			number, name, _ := strings.Cut(rest, ".")
			line, _, _ := strings.Cut(value, "\n")
			names = strings.Fields(line)
			if keyed[number] {
				names = append(names, name)
			}
			from = "map " + number
		case "w":
			if rest == "" {
				continue
			}
			lines := strings.SplitN(value, "\n", 3)
			names, from = append(strings.Fields(lines[1]), strings.Fields(lines[0])[1]), "calls"
		case "s":
			names, from = strings.Fields(strings.SplitN(value, "\n", 3)[1]), "calls"
		case "k":
			if _, there := g.store["n."+rest]; !there {
				g.t.Errorf("%s is left, and its Map is gone", key)
			}
		}
		for _, n := range names {
			if strings.HasPrefix(n, "o-") || strings.HasPrefix(n, "o+d") && !strings.HasPrefix(n, "o+d0/") {
				counts[wire.Ref(n)]++
				leads[from] = append(leads[from], wire.Ref(n))
			}
		}
	}
	for number, object := range of {
		leads[object] = append(leads[object], leads["map "+number]...)
	}
	todo := append(slices.Clone(leads["o+0"]), leads["calls"]...)
	for r, held := range g.exports {
		if held {
			todo = append(todo, r)
		}
	}
	for len(todo) > 0 {
		r := todo[0]
		todo = todo[1:]
		if !reachable[r] {
			reachable[r] = true
			todo = append(todo, leads[string(r)]...)
		}
	}
	return counts, reachable, of
}

// describedMentions counts the mentions in the store as a Describer finds them.
func (g *garden) describedMentions() map[wire.Ref]int {
	counts := map[wire.Ref]int{}
	d := liveslots.NewDescriber(g.store[liveslots.IDsKey])
	for _, key := range slices.Sorted(maps.Keys(g.store)) {
		_, names := d.Mentions(key, g.store[key])
		for _, n := range names {
			if strings.HasPrefix(n, "o-") || strings.HasPrefix(n, "o+d") && !strings.HasPrefix(n, "o+d0/") {
				counts[wire.Ref(n)]++
			}
		}
	}
	return counts
}

// check compares the counts with the store.
func (g *garden) check() {
	g.t.Helper()
	counts, _ := g.mentions()
	for _, problem := range g.checkStore() {
		g.t.Error(problem)
	}
	if described := g.describedMentions(); !maps.Equal(counts, described) {
		g.t.Errorf("rows mention %v, are described to mention %v", counts, described)
	}
	want := map[string]string{}
	for r, n := range counts {
		want["c."+string(r)] = strconv.Itoa(n)
	}
	for r, reachable := range g.exports {
		if strings.HasPrefix(string(r), "o+d0/") {
			continue
		}
		key := "c." + string(r)
		want[key] = strconv.Itoa(counts[r]) + map[bool]string{true: "x", false: "r"}[reachable]
	}
	for key, value := range g.store {
		value, _, _ := bytes.Cut(value, []byte(".")) // how often the vat has begun to count
		if ref := wire.Ref(strings.TrimPrefix(key, "c.")); g.deleted[ref] {
			if n := strings.TrimRight(string(value), "dD"); n != strconv.Itoa(counts[ref]) || n == string(value) {
				g.t.Errorf("%s is %q, want %d", key, value, counts[ref])
			}
			continue
		}
		if strings.HasPrefix(key, "c.") && want[key] != string(value) {
			g.t.Errorf("%s is %q, want %q", key, value, want[key])
		}
	}
	for key := range want {
		if _, ok := g.store[key]; !ok {
			g.t.Errorf("%s is missing, want %q", key, want[key])
		}
	}
}

// checkStore has the store checked as that of a stopped kernel.
func (g *garden) checkStore() []string {
	outside := liveslots.Outside{Known: maps.Clone(g.exports)}
	for ref := range g.imports {
		outside.Known[ref] = true
	}
	for _, p := range g.open {
		outside.Known[p] = true
	}
	keys := slices.Sorted(maps.Keys(g.store))
	problems, err := liveslots.CheckStore(func(after string) (string, []byte, bool, error) {
		at, found := slices.BinarySearch(keys, after)
		if found {
			at++
		}
		if at == len(keys) {
			return "", nil, false, nil
		}
		return keys[at], g.store[keys[at]], true, nil
	}, outside)
	if err != nil {
		g.fatal("check: %v", err)
	}
	return problems
}

// checkClean checks that the store has nothing that nothing leads to, and the c-list no import that the store does not
// have, once the vat has no work left.
func (g *garden) checkClean() {
	g.t.Helper()
	g.check()
	counts, reachable, maps := g.references()
	for key := range g.store {
		prefix, rest, dotted := strings.Cut(key, ".")
		number, _, _ := strings.Cut(rest, ".")
		switch {
		case dotted && strings.Contains("m n k", prefix) && maps[number] == "":
			g.t.Errorf("%s is left", key)
		case prefix == "o" && rest != "o+0" && !reachable[wire.Ref(rest)]:
			g.t.Errorf("%s is left", key)
		case dotted && strings.Contains("g j t u x", prefix):
			g.t.Errorf("%s is left", key)
		}
	}
	for r := range reachable {
		if _, ok := g.store["o."+string(r)]; !ok && !g.deleted[r] && strings.HasPrefix(string(r), "o+d") {
			g.t.Errorf("%s is gone, and held", r)
		}
	}
	for r := range g.imports {
		if counts[r] == 0 {
			g.t.Errorf("%s is not dropped", r)
		}
	}
	for r := range counts {
		if strings.HasPrefix(string(r), "o-") && !g.imports[r] {
			g.t.Errorf("%s was dropped, and the store has it", r)
		}
	}
}

// noteDeleted notes which objects the last crank has deleted.
func (g *garden) noteDeleted(before testStore) {
	for key := range before {
		if ref, ok := strings.CutPrefix(key, "o."); ok && g.store[key] == nil {
			g.deleted[wire.Ref(ref)] = true
		}
	}
}

// answer settles a promise for which the vat waits.
func (g *garden) answer(slots ...wire.Ref) {
	p := g.open[0]
	g.open = g.open[1:]
	value := wire.CapData{Body: "#[]", Slots: slots}
	if len(slots) > 0 {
		value.Body = `#["$0.Alleged: Thing"]`
	}
	g.deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: p, Value: value}}})
}
