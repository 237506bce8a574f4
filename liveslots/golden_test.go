package liveslots_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
	"ocapkernel.dev/worker"
)

// testdata/uncounted.json is the state of a kernel whose vats were run by the last version of this package that counted
// no references. The hoards a (v1), b (v2) and c (v3) are in the middle of spans: a and b hold references in all ways,
// and have garbage; c has been in its first span since its first delivery.

// An oldState is that kernel, and goes on with vats of this version.
type oldState struct {
	t       *testing.T
	mem     *storage.Mem
	m       *kernel.Machine
	program worker.Program
	vats    map[kernel.VatID]worker.Vat
	woken   []kernel.VatID
	now     int64
	tickets int
	epoch   string
}

func openOldState(t *testing.T) *oldState {
	t.Helper()
	f, err := os.Open("testdata/uncounted.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	o := &oldState{t: t, mem: storage.NewMem(), vats: map[kernel.VatID]worker.Vat{}, now: 1_800_000_000_000, epoch: "test"}
	var writes []storage.Write
	for in := bufio.NewScanner(f); in.Scan(); {
		var row struct {
			Key   string `json:"key"`
			Value []byte `json:"value"`
		}
		if err := json.Unmarshal(in.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		if row.Value == nil {
			row.Value = []byte{}
		}
		writes = append(writes, storage.Write{Key: row.Key, Value: row.Value})
	}
	if err := o.mem.Commit(writes); err != nil {
		t.Fatal(err)
	}
	if o.program, err = vat.Program(vat.Modules{"hoard": NewHoard, "busy": NewBusyHoard}); err != nil {
		t.Fatal(err)
	}
	m, first, err := kernel.Open(o.mem, o.mem.Limits(), o.epoch)
	if err != nil {
		t.Fatal(err)
	}
	o.m = m
	o.apply(first, nil)
	for _, v := range []kernel.VatID{"v1", "v2", "v3"} {
		row, _, err := m.Vat(v)
		if err != nil {
			t.Fatal(err)
		}
		o.apply(m.Died(kernel.Death{Vat: v, Incarnation: row.Incarnation, Cause: kernel.CauseKernel}, o.now))
	}
	return o
}

func (o *oldState) apply(c kernel.Commit, err error) {
	o.t.Helper()
	if err == nil && c.Number != 0 {
		err = o.mem.Commit(c.Writes)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	for _, e := range c.Effects {
		if w, ok := e.(kernel.Wake); ok && !slices.Contains(o.woken, w.Vat) {
			o.woken = append(o.woken, w.Vat)
		}
	}
}

// boot starts a worker, which is given its vat's past. It returns how many records were replayed.
func (o *oldState) boot(v kernel.VatID) (records int) {
	o.t.Helper()
	row, _, err := o.m.Vat(v)
	if err != nil {
		o.t.Fatal(err)
	}
	start, c, err := o.m.StartWorker(v)
	o.apply(c, err)
	var config vattest.Vat
	if err := json.Unmarshal(row.Config, &config); err != nil {
		o.t.Fatal(err)
	}
	start.Name, start.Module, start.Parameters = config.Name, config.Module, config.Parameters
	start.MaxFrameBytes, start.MaxSyscalls, start.Replays = limits.FrameBytes, limits.Syscalls, row.Records
	past, err := o.m.Replay(v)
	if err != nil {
		o.t.Fatal(err)
	}
	s := &oldStore{o.m, v, past}
	w, err := o.program.New(start, s, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	o.vats[v] = w
	for past != nil {
		d, more, err := past.Next()
		if err != nil {
			o.t.Fatal(err)
		}
		if !more {
			break
		}
		done, frame := o.exchange(w, d)
		if err := past.Answer(done, frame); err != nil {
			o.t.Fatalf("%s does not do the same again: %v", v, err)
		}
		records++
	}
	s.past = nil
	return records
}

func (o *oldState) exchange(w worker.Vat, d wire.Deliver) (wire.Done, []byte) {
	o.t.Helper()
	d, err := wiretest.Down(d)
	if err != nil {
		o.t.Fatal(err)
	}
	done := w.Deliver(d)
	done.Number = d.Number
	done, _, err = wiretest.Up(done, wire.Limits{})
	if err != nil {
		o.t.Fatal(err)
	}
	frame, err := wire.AppendUp(nil, done)
	if err != nil {
		o.t.Fatal(err)
	}
	return done, frame[wire.HeaderBytes:]
}

// run does what is to do.
func (o *oldState) run() {
	o.t.Helper()
	for {
		c, more, err := o.m.Work(o.now)
		o.apply(c, err)
		if more {
			continue
		}
		if len(o.woken) == 0 {
			return
		}
		v := o.woken[0]
		step, err := o.m.Begin(v, o.now, 1, false)
		if err != nil {
			o.t.Fatal(err)
		}
		switch {
		case step.NeedsWorker, step.Crank != nil && o.vats[v] == nil:
			o.boot(v)
		case step.Commit != nil:
			o.apply(*step.Commit, nil)
		case step.Crank != nil:
			o.now++
			done, frame := o.exchange(o.vats[v], step.Crank.Deliver)
			if done.Outcome.Fault != "" {
				o.t.Fatalf("%s: %s", v, done.Outcome.Fault)
			}
			o.apply(o.m.Finish(step.Crank, done, frame, o.now))
		default:
			o.woken = o.woken[1:]
		}
	}
}

// kill ends all workers.
func (o *oldState) kill() {
	o.t.Helper()
	for _, v := range []kernel.VatID{"v1", "v2", "v3"} {
		if row, _, _ := o.m.Vat(v); row.Live {
			delete(o.vats, v)
			o.apply(o.m.Died(kernel.Death{Vat: v, Incarnation: row.Incarnation, Cause: kernel.CauseKilled}, o.now))
		}
	}
}

func (o *oldState) call(v kernel.VatID, method string, args ...any) {
	o.t.Helper()
	body := fmt.Sprintf(`#["%s",%s]`, method, mustJSON(args))
	row, _, err := o.m.Vat(v)
	if err != nil {
		o.t.Fatal(err)
	}
	o.tickets++
	_, c, err := o.m.Call(kernel.HostCall{Ticket: fmt.Sprint(o.epoch, ".new", o.tickets), Target: row.Root, MethArgs: kernel.Data{Body: body}}, o.now)
	o.apply(c, err)
	o.run()
}

func mustJSON(args []any) string {
	if args == nil {
		args = []any{}
	}
	b, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// garden returns the store and c-list of a vat that is at rest.
func (o *oldState) garden(v kernel.VatID) *garden {
	o.t.Helper()
	row, _, err := o.m.Vat(v)
	if err != nil || row.Records != 0 {
		o.t.Fatalf("%s is not at rest: %d records, %v", v, row.Records, err)
	}
	g := emptyGarden(o.t, NewHoard, wire.Start{}, testStore{})
	g.n, g.highest, g.lastPromise, g.lastImport = 1000, 1_000_000, 1000, 1000
	for _, r := range o.mem.Snapshot() {
		if key, ok := strings.CutPrefix(r.Key, "s."+string(v)+"."); ok {
			g.store[key] = r.Value
		}
		if name, ok := strings.CutPrefix(r.Key, "c."+string(v)+".o"); ok {
			switch {
			case name[0] == '-':
				g.imports[wire.Ref("o"+name)] = true
			case strings.HasPrefix(name, "+d"):
				g.exports[wire.Ref("o"+name)] = true
			}
		}
	}
	g.restart()
	return g
}

type oldStore struct {
	m    *kernel.Machine
	v    kernel.VatID
	past *kernel.Replay
}

func (s *oldStore) Get(key string) ([]byte, bool, error) {
	if s.past != nil {
		r, err := s.past.Get(key)
		return r.Value, r.Found, err
	}
	r, err := s.m.StoreGet(s.v, key)
	return r.Value, r.Found, err
}

func (s *oldStore) Next(prefix, after string) (string, []byte, bool, error) {
	if s.past != nil {
		r, ready, err := s.past.After(prefix, after)
		for !ready && err == nil {
			r, ready, err = s.past.After(prefix, after)
		}
		return r.Key, r.Value, r.Found, err
	}
	r, err := s.m.StoreNext(s.v, prefix, after)
	return r.Key, r.Value, r.Found, err
}

// hasRow reports whether a vat's store has a row.
func (o *oldState) hasRow(v kernel.VatID, key string) bool {
	o.t.Helper()
	r, err := o.m.StoreGet(v, key)
	if err != nil {
		o.t.Fatal(err)
	}
	return r.Found
}

// A span that an earlier version has begun is replayed byte for byte, goes on and is replayed again, and counts nothing.
// Once the vat is at rest its store is counted, and what that version has left is collected.
func TestStateOfAVersionThatDidNotCount(t *testing.T) {
	o := openOldState(t)
	for v, want := range map[kernel.VatID]int{"v1": 57, "v2": 4, "v3": 4} {
		if got := o.boot(v); got != want {
			t.Errorf("%s: %d records were replayed, want %d", v, got, want)
		}
	}
	o.run()
	for round := range 3 {
		o.call("v1", "put", fmt.Sprint("new", round))
		o.call("v1", "remove", "s3")
		o.call("v2", "number", "x", 1)
		o.call("v3", "put", "x")
		o.kill()
	}
	for _, v := range []kernel.VatID{"v1", "v2", "v3"} {
		if o.hasRow(v, "g") {
			t.Errorf("%s counts in a span that was begun without", v)
		}
	}
	o.call("v2", "open", "t1", 1)
	o.call("v2", "open", "later", 2)
	o.call("v3", "open", "start", 2)
	for _, v := range []kernel.VatID{"v1", "v2", "v3"} {
		if !o.hasRow(v, "g") {
			t.Errorf("%s does not count, and is at rest", v)
		}
		g := o.garden(v)
		before := g.objectRows()
		g.round(7)
		g.checkKept(t)
		g.checkClean()
		if left := g.objectRows(); v != "v3" && left > before-8 {
			t.Errorf("%s has %d objects, and had %d before", v, left, before)
		}
	}
}

// The store of such a vat is counted in slices while the vat goes on.
func TestOldStoreIsCountedWhileItChanges(t *testing.T) {
	o := openOldState(t)
	o.call("v2", "open", "t1", 1)
	o.call("v2", "open", "later", 2)
	for i, syscalls := range []int{30, 50, 100, 10_000, 50} {
		for _, old := range []kernel.VatID{"v1", "v2"} {
			g := o.garden(old)
			if i%2 == 0 { // the first crank of this version is a bring out your dead
				maps.DeleteFunc(g.store, func(key string, _ []byte) bool { return key[0] == 'g' || key[0] == 'c' })
			}
			g.make = emptyGarden(t, NewHoard, wire.Start{MaxSyscalls: syscalls}, g.store).make
			g.restart()
			for i := range 400 {
				g.asked = false
				var known []wire.Ref
				if g.first {
					g.first = false
					for r := range g.imports {
						known = append(known, r)
					}
					for r := range g.exports {
						known = append(known, r)
					}
					slices.Sort(known)
				}
				g.deliver(wire.BringOutYourDead{Known: known})
				switch i % 6 {
				case 0:
					g.call("put", fmt.Sprint("during", i))
				case 1:
					g.call("remove", fmt.Sprint("t", i%11))
				case 2:
					g.call("pop")
				case 3:
					g.call("markRef", g.ref("X"), "y")
				case 4:
					g.call("markObj", fmt.Sprint("during", i-4), 1)
				case 5:
					g.call("get", fmt.Sprint("during", i-5))
				}
				if !g.asked && i > 40 {
					break
				}
			}
			g.round(1000)
			g.checkClean()
		}
	}
}

func (g *garden) objectRows() (n int) {
	for key := range g.store {
		if strings.HasPrefix(key, "o.") {
			n++
		}
	}
	return n
}

// checkKept checks that no row of what can be reached was changed by collection.
func (g *garden) checkKept(t *testing.T) {
	t.Helper()
	_, reachable := g.mentions()
	if len(reachable) < 3 || !bytes.Contains(g.store["o.o+0"], []byte("named")) {
		t.Errorf("only %d objects are left", len(reachable))
	}
}
