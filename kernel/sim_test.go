package kernel_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
)

// sim drives a machine with random vats, deaths and host calls, and checks every invariant after every commit.
type sim struct {
	t       *testing.T
	rng     *rand.Rand
	mem     *storage.Mem
	m       *kernel.Machine
	vats    map[kernel.VatID]*simVat // memory of live incarnations
	up      map[kernel.VatID]bool    // vats with a worker
	flights map[kernel.VatID]*kernel.Crank
	now     int64
	tickets map[string]bool // settled?
	log     []string
	calm    bool // no new work: only finish the present work
	watched bool // a vat has asked for the end of another
	// waits are the promises that the store of a vat waits for, and how many workers the notification of each will kill.
	waits map[kernel.VatID]map[wire.Ref]int
	after func(kernel.Commit)
	// damaged says that rows were damaged: units that the services have lost are not searched for, and removals are
	// done as far as possible.
	damaged bool
	// lost are the results of messages in rows that were damaged, see checkStranded.
	lost map[kernel.KRef]bool

	// services are there if withServices: vats are launched with service objects, and call them.
	withServices bool
	services     simServices
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), mem: storage.NewMem(),
		vats: map[kernel.VatID]*simVat{}, up: map[kernel.VatID]bool{}, flights: map[kernel.VatID]*kernel.Crank{}, tickets: map[string]bool{}, now: 1000,
		waits: map[kernel.VatID]map[wire.Ref]int{},
	}
	s.initServices()
	s.open()
	return s
}

func (s *sim) open() {
	m, c, err := kernel.Open(s.mem, s.mem.Limits(), "E1")
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = m
	s.apply(c)
}

func (s *sim) apply(c kernel.Commit) {
	if c.Number == 0 {
		return
	}
	if err := s.mem.Commit(c.Writes); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range c.Trace {
		s.log = append(s.log, fmt.Sprintf("%d: %s", c.Number, e))
	}
	for _, e := range c.Effects {
		switch e := e.(type) {
		case kernel.StopWorker:
			delete(s.up, e.Vat)
			delete(s.flights, e.Vat)
			s.checkMemory(e.Vat)
		case kernel.Answer:
			if s.tickets[e.Ticket] {
				s.t.Fatalf("ticket %s answered twice", e.Ticket)
			}
			s.tickets[e.Ticket] = true
			s.got(must(s.m.Ticket(e.Ticket)).Value.Body, e.Ticket)
		default:
			s.serviceEffect(e)
		}
	}
	if s.withServices && !s.damaged {
		defer s.checkUnits(c)
	}
	s.checkStranded(c)
	if s.after != nil {
		s.after(c)
		return
	}
	problems, err := kernel.Check(s.mem)
	if err != nil {
		s.t.Fatal(err)
	}
	if problems = append(problems, kernel.CheckMore(s.mem)...); len(problems) > 0 {
		from := max(0, len(s.log)-12)
		s.t.Fatalf("commit %d:\n%s\nlog:\n%s", c.Number, strings.Join(problems, "\n"), strings.Join(s.log[from:], "\n"))
	}
}

func (s *sim) launch(n int) {
	l := kernel.Launch{Bootstrap: "a0"}
	for i := range n {
		l.Vats = append(l.Vats, kernel.LaunchVat{Name: "a" + strconv.Itoa(i), MaxQueue: 20, MaxRestarts: 5, MaxRecords: 40, Config: []byte("{}")})
	}
	if s.withServices {
		l.Services = append(own("in", "out"), global("clock")...)
		if c, ok := s.anyCall(); ok && s.rng.IntN(3) == 0 {
			l.By = c
		}
	}
	_, c, err := s.m.Launch(l)
	var refusal *kernel.Refusal
	if errors.As(err, &refusal) && l.By != (kernel.CallID{}) {
		return // no vat waits for it any more
	}
	if err != nil {
		s.t.Fatal(err)
	}
	delete(s.services.calls, l.By)
	s.apply(c)
}

func pick[T any](r *rand.Rand, list []T) (T, bool) {
	var zero T
	if len(list) == 0 {
		return zero, false
	}
	return list[r.IntN(len(list))], true
}

// step does one random thing; it says whether there was anything to do.
func (s *sim) step() bool {
	s.now++
	vats, err := s.m.Vats()
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []kernel.VatID
	for _, v := range vats {
		ids = append(ids, v.ID)
	}
	if s.withServices && s.calm {
		if c, ok := s.anyCall(); ok {
			s.answerCall(c, completion("null"))
			return true
		}
	}
	if s.withServices && !s.calm && s.rng.IntN(3) == 0 {
		s.serviceStep()
		return true
	}
	if !s.calm && !s.damaged && s.rng.IntN(100) == 0 {
		kernel.AskForSearch(s.mem) // which finds nothing
	}
	if !s.calm {
		switch s.rng.IntN(40) {
		case 0:
			if len(vats) < 8 {
				s.launch(1 + s.rng.IntN(3))
			}
			return true
		case 1:
			subs, _ := s.m.Subclusters()
			if sub, ok := pick(s.rng, subs); ok && s.rng.IntN(3) == 0 {
				c, err := s.m.Terminate(sub.ID)
				if err != nil {
					s.t.Fatal(err)
				}
				s.apply(c)
			}
			return true
		case 2, 3:
			if v, ok := pick(s.rng, vats); ok && v.Live && !v.Terminated {
				s.die(v.ID, v.Incarnation, kernel.Cause(s.rng.IntN(10)))
			}
			return true
		case 4, 5, 6, 7:
			if v, ok := pick(s.rng, vats); ok {
				id := fmt.Sprintf("E1.t%d", len(s.tickets))
				_, c, err := s.m.Call(kernel.HostCall{Ticket: id, Hash: "h", Target: v.Root, MethArgs: kernel.Data{Body: "#[]", Slots: []kernel.KRef{v.Root}}}, s.now)
				var refusal *kernel.Refusal
				if errors.As(err, &refusal) {
					return true
				} else if err != nil {
					s.t.Fatal(err)
				}
				s.tickets[id] = false
				s.apply(c)
			}
			return true
		case 8:
			if v, ok := pick(s.rng, vats); ok && v.Stopped != "" {
				c, err := s.m.Restart(v.ID, s.rng.IntN(2) == 0)
				if err == nil {
					s.apply(c)
				}
			}
			return true
		case 9:
			if v, ok := pick(s.rng, vats); ok {
				ps, _ := s.m.Poisoned(v.ID)
				if p, ok := pick(s.rng, ps); ok {
					if c, err := s.m.Unpoison(v.ID, p.N, s.rng.IntN(2) == 0); err == nil {
						s.apply(c)
					}
				}
			}
			return true
		case 12:
			if v, ok := pick(s.rng, vats); ok && !v.Terminated {
				c, err := s.m.Collect(v.ID, s.rng.IntN(2) == 0)
				if err != nil {
					s.t.Fatal(err)
				}
				s.apply(c)
			}
			return true
		case 11:
			if s.rng.IntN(2) == 0 {
				c, _, err := s.m.Expire(s.now - int64(s.rng.IntN(300)))
				if err != nil {
					s.t.Fatal(err)
				}
				s.apply(c)
				return true
			}
			c, err := s.m.Acknowledge(fmt.Sprintf("E1.t%d", s.rng.IntN(len(s.tickets)+1)))
			if err != nil {
				s.t.Fatal(err)
			}
			s.apply(c)
			return true
		case 10:
			if s.rng.IntN(6) == 0 {
				s.kill()
			}
			return true
		}
	}
	if s.calm || s.rng.IntN(4) == 0 {
		c := s.work()
		s.apply(c)
		if c.Number != 0 {
			return true
		}
	}
	s.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, v := range ids {
		if c := s.flights[v]; c != nil {
			if !s.calm && s.rng.IntN(2) == 0 {
				continue // still in flight
			}
			delete(s.flights, v)
			memory := s.vats[v].clone()
			s.learnServices(memory, kernel.Named(c))
			down := must(wiretest.Down(c.Deliver))
			done := s.answer(memory, down)
			if !s.calm && s.rng.IntN(12) == 0 {
				number, hash := s.m.CommitNumber(), s.m.Hash()
				bad, frame := up(s.t, s.hostile(memory, done))
				_, err := s.m.Finish(c, bad, frame, s.now)
				var fault *kernel.Fault
				if !errors.As(err, &fault) || s.m.CommitNumber() != number || s.m.Hash() != hash {
					s.t.Fatalf("finish %s, which ends with %#v: got %v, want a fault that changes nothing", v, bad.Syscalls[len(bad.Syscalls)-1], err)
				}
				s.flights[v] = c
				s.die(v, c.Incarnation, fault.Cause)
				return true
			}
			if p := s.deadly(v, down.Delivery); p != "" && !s.calm {
				s.waits[v][p]--
				s.flights[v] = c
				s.die(v, c.Incarnation, kernel.CauseCrash)
				return true
			}
			store := s.rows(v)
			done, frame := up(s.t, done)
			commit, err := s.m.Finish(c, done, frame, s.now)
			if err != nil {
				s.t.Fatalf("finish %s %+v\n%+v: %v\n%s", v, c.Deliver, done, err, strings.Join(s.log[max(0, len(s.log)-20):], "\n"))
			}
			if n, ok := c.Deliver.Delivery.(wire.Notify); ok && !failed(done) {
				names := kernel.Named(c)
				before := s.vats[v]
				for i, r := range n.Resolutions {
					if i == 0 && !slices.Contains(slices.Concat(before.promises, before.decides, before.rested), r.Promise) {
						continue // another memory wanted to know
					}
					s.got(r.Value.Body, string(names[r.Promise]))
				}
			}
			memory.history = append(memory.history, exchange{down, done, store})
			s.vats[v] = memory
			s.noteWaits(v, down.Delivery, done)
			s.services.knows[v] = memory.services
			s.apply(commit)
			s.checkMemory(v)
			return true
		}
		step, err := s.m.Begin(v, s.now, 7, !s.calm && s.rng.IntN(3) == 0)
		if err != nil {
			s.t.Fatal(err)
		}
		switch {
		case step.Commit != nil:
			s.apply(*step.Commit)
			return true
		case step.NeedsWorker:
			start, c, err := s.m.StartWorker(v)
			if err != nil {
				s.t.Fatal(err)
			}
			s.apply(c)
			s.vats[v] = &simVat{objects: []wire.Ref{wire.RootRef}, highO: start.HighObject, highP: start.HighPromise, services: s.services.knows[v]}
			s.up[v] = true
			return true
		case step.Crank != nil && !s.up[v]:
			s.replay(v)
			return true
		case step.Crank != nil:
			s.flights[v] = step.Crank
			return true
		}
	}
	return false
}

// checkMemory forgets the memory of a vat if the kernel says that there is none to keep, because the vat is quiescent
// or its incarnation is over.
func (s *sim) checkMemory(v kernel.VatID) {
	vat, found, err := s.m.Vat(v)
	if err != nil {
		s.t.Fatal(err)
	}
	memory := s.vats[v]
	switch {
	case memory == nil:
	case !found || !vat.Live || vat.Terminated:
		delete(s.vats, v)
	case vat.Records == 0 && !vat.Lost:
		s.vats[v] = &simVat{
			objects: []wire.Ref{wire.RootRef}, highO: memory.highO, highP: memory.highP,
			rested: slices.Concat(memory.rested, memory.promises), services: memory.services,
		}
	}
}

// replay gives a fresh worker the memory of its incarnation, and checks that it is the right one.
func (s *sim) replay(v kernel.VatID) {
	start, c, err := s.m.StartWorker(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(c)
	memory := s.vats[v]
	if memory == nil {
		s.t.Fatalf("%s has a live incarnation and no memory", v)
	}
	r, err := s.m.Replay(v)
	if err != nil {
		s.t.Fatal(err)
	}
	n := uint64(0)
	if r != nil {
		n = r.Records()
	}
	if n != uint64(len(memory.history)) {
		s.t.Fatalf("%s: a replay of %d deliveries, want %d", v, n, len(memory.history))
	}
	if n == 0 && (start.HighObject != memory.highO || start.HighPromise != memory.highP) {
		s.t.Fatalf("%s starts with %+v, want %d and %d", v, start, memory.highO, memory.highP)
	}
	p := past{s.t, r}
	next := 0 // of the deliveries handed out, some of them ahead of the answers
	for i, x := range memory.history {
		for next == i || s.rng.IntN(3) == 0 {
			d, ready := p.next()
			if !ready && next == i {
				s.t.Fatalf("%s: ready %v", v, ready)
			}
			if !ready {
				break
			}
			d.State, memory.history[next].deliver.State = nil, nil
			if diff := cmp.Diff(memory.history[next].deliver, d); diff != "" {
				s.t.Fatalf("%s: replayed delivery (-was +is):\n%s", v, diff)
			}
			next++
		}
		if got := p.rows(); got != x.store {
			s.t.Fatalf("%s: before delivery %d of the span the store is %s, want %s", v, i, got, x.store)
		}
		if err := p.answer(x.done); err != nil {
			s.t.Fatalf("%s: %v", v, err)
		}
	}
	if r != nil && !r.Done() {
		s.t.Fatalf("%s: the replay is not done", v)
	}
	s.up[v] = true
}

// simKeys are the keys of the store that vats of the simulation write.
var simKeys = []string{"k0", "k1", "k2", "k3", "k4"}

// rows is the store of a vat as its worker reads it: by key, those that are absent too, and in order.
func (s *sim) rows(v kernel.VatID) string {
	return storeText(func(key string) wire.Row {
		return must(wiretest.Down(must(s.m.StoreGet(v, key))))
	}, func(after string) wire.Row {
		return must(wiretest.Down(must(s.m.StoreNext(v, "", after))))
	})
}

// rows is the same of the store in a replay.
func (p past) rows() string {
	return storeText(p.get, func(after string) wire.Row { return p.after("", after) })
}

func storeText(get, next func(string) wire.Row) string {
	var out strings.Builder
	for _, key := range simKeys {
		fmt.Fprintf(&out, "%+v ", get(key))
	}
	for row := next(""); row.Found; row = next(row.Key) {
		fmt.Fprintf(&out, "%s=%q ", row.Key, row.Value)
	}
	return out.String()
}

func (s *sim) die(v kernel.VatID, inc uint64, cause kernel.Cause) {
	death := kernel.Death{Vat: v, Incarnation: inc, Cause: cause, Crank: s.flights[v]}
	death.Replaying = death.Crank == nil && s.rng.IntN(4) == 0
	delete(s.up, v)
	delete(s.flights, v)
	c, err := s.m.Died(death, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(c)
	s.checkMemory(v)
}

// TestEverySequenceKeepsTheInvariants drives random vats through deaths, terminations and kernel restarts. In the end
// all vats answer, all subclusters are terminated, and no row is left.
func TestEverySequenceKeepsTheInvariants(t *testing.T) {
	t.Parallel()
	seeds, first := 60, uint64(1)
	if v := os.Getenv("SIM_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds, first = 1, n
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		t.Run(fmt.Sprintf("SIM_SEED=%d", seed), func(t *testing.T) { runSim(t, seed, 600) })
	}
}

func runSim(t *testing.T, seed uint64, steps int) *sim { return runSimWith(t, seed, steps, false) }

func runSimWith(t *testing.T, seed uint64, steps int, services bool) *sim {
	s := newSim(t, seed)
	s.withServices = services
	s.launch(3)
	for range steps {
		s.step()
	}
	s.calm = true
	vats, err := s.m.Vats()
	if err != nil {
		t.Fatal(err)
	}
	launching, err := s.m.Subclusters()
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range launching {
		c, err := s.m.FailLaunch(sub.ID, "its time is over")
		if err != nil {
			t.Fatal(err)
		}
		s.apply(c)
	}
	for _, v := range vats { // a new incarnation: the promises that the old one forgot to settle are rejected
		if !v.Terminated {
			if c, err := s.m.Restart(v.ID, true); err == nil {
				s.apply(c)
			}
		}
	}
	for i := 0; s.step(); i++ {
		if i > 20000 {
			t.Fatal("does not come to rest")
		}
	}
	allSettled := func() {
		for id, settled := range s.tickets {
			if !settled {
				t.Errorf("ticket %s waits for ever", id)
			}
		}
	}
	if !s.watched { // else some may wait for the end of a vat
		allSettled()
	}
	s.checkWaits()
	s.checkCollected()
	subs, err := s.m.Subclusters()
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range subs {
		c, err := s.m.Terminate(sub.ID)
		if err != nil {
			t.Fatal(err)
		}
		s.apply(c)
	}
	for s.step() {
	}
	allSettled()
	list, err := s.m.Services()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list { // those of the kernel
		c, err := s.m.EndService(x.KRef)
		if err != nil {
			t.Fatal(err)
		}
		s.apply(c)
	}
	for s.step() {
	}
	for {
		c, _, err := s.m.Expire(s.now + 1)
		if err != nil {
			t.Fatal(err)
		}
		if c.Number == 0 {
			break
		}
		s.apply(c)
	}
	for s.step() { // answers that are forgotten may have held circles of promises
	}
	for _, w := range s.mem.Snapshot() {
		switch {
		case w.Key == "schema", w.Key == "epoch", w.Key == "commit", w.Key == "work", w.Key == "count.v", w.Key == "swept", w.Key == "expired", strings.HasPrefix(w.Key, "next."):
		default:
			t.Errorf("left over: %s", w.Key)
		}
	}
	return s
}

// The same with service objects, whose calls are answered at any time, or never: beside the invariants, each
// unit of input is got once, or is still there.
func TestEverySequenceOfServiceCallsKeepsTheInvariants(t *testing.T) {
	t.Parallel()
	seeds, first := 40, uint64(1)
	if v := os.Getenv("SIM_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds, first = 1, n
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		t.Run(fmt.Sprintf("SIM_SEED=%d", seed), func(t *testing.T) { runSimWith(t, seed, 900, true) })
	}
}

func TestTwoRunsAgree(t *testing.T) {
	if a, b := runSimWith(t, 42, 400, true), runSimWith(t, 42, 400, true); a.m.Hash() != b.m.Hash() || a.m.CommitNumber() != b.m.CommitNumber() {
		t.Fatalf("with services: got %x after %d commits, then %x after %d", a.m.Hash(), a.m.CommitNumber(), b.m.Hash(), b.m.CommitNumber())
	}
	if a, b := runSim(t, 42, 400), runSim(t, 42, 400); a.m.Hash() != b.m.Hash() || a.m.CommitNumber() != b.m.CommitNumber() {
		t.Fatalf("got %x after %d commits, then %x after %d", a.m.Hash(), a.m.CommitNumber(), b.m.Hash(), b.m.CommitNumber())
	}
}
