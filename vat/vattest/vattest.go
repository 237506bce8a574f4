// Package vattest runs vats in memory for tests: the real kernel, without processes and without a store on
// disk.
//
//	k := vattest.New(t, bank.Modules())
//	k.Launch("teller", vattest.Vat{Name: "teller", Module: "bank.teller"}, …)
//	sum, err := k.Call("teller", "audit")
//
// Arguments and answers are JSON, as on the kernel's command line; a reference is {"$ref":"ko4"}.
//
// # Kills
//
// A vat must do the same again when its past is replayed to a fresh worker, or turns that wait are lost when a
// worker dies. [Kernel.KillAlways] has each delivery done by a fresh worker which was given the vat's past, as
// if kill -9 had hit after every single delivery; [Kernel.Kill] does so once. If the vat then answers
// otherwise, the test fails with the recorded and the new answer, or [Kernel.OnDivergence] gets them.
// [Kernel.Restart] takes the memory away altogether, and [Kernel.Rebuild] replays to another program.
//
// After the test the kernel's state is checked, and each vat's deliveries are given to fresh workers once more,
// a new one whenever the vat was at rest. The test fails if they answer otherwise. (If OnDivergence is set,
// there is no such replay.)
//
// # Errors that no caller gets
//
// The log of a vat is part of the test's log, panics with their stacks. A test fails if a vat's continuation is
// refused, or if an error is lost: see [Kernel.OnComplaint].
//
// # Time
//
// Vats get the time of [Kernel.Now], which [Kernel.Advance] drives. There are no deadlines, and one crank
// follows the other. All deliveries, answers and reads of a vat are encoded, validated and decoded on their
// way, as between two processes.
//
// # Services
//
// The test answers the calls that vats make of IO channels and other services of the kernel: see
// [Kernel.Service].
package vattest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

// Vat configures a vat, as in a cluster's configuration.
type Vat struct {
	Name, Module string
	// Parameters is JSON, or empty.
	Parameters string
}

// Kernel runs vats, in memory. It belongs to the goroutine of its test.
type Kernel struct {
	tb      testing.TB
	program worker.Program
	mem     *storage.Mem
	machine *kernel.Machine
	// woken are vats that may have work, in the order in which they get it.
	woken   []kernel.VatID
	workers map[kernel.VatID]*process
	records []*record
	names   map[string]kernel.VatID
	roots   map[string]kernel.KRef
	parked  map[kernel.VatID]int
	tickets int
	now     int64
	// launched is the last launch; settled is set once it is over, and failure is the reason why it failed.
	launched kernel.SubID
	settled  bool
	failure  string
	// services are the services of the next launch, played those of all launches, timers those among them that
	// follow the clock.
	services, played, timers []*Service
	repetitions              []*repetition
	// unheard are, by vat, the results of messages that only the vat itself can use.
	unheard map[kernel.VatID]calls
	// back are service objects of which units of input and waiting calls may be there.
	back []kernel.KRef

	// complained are the mistakes of programs of which the test was told.
	complained map[string]bool

	// KillAlways kills a vat's worker after every delivery, so that each crank is done by a fresh worker that
	// was given the vat's past. It finds behaviour that a replay does not repeat, and shows that no behaviour
	// depends on a worker that lives.
	KillAlways bool
	// OnDivergence is called when a vat answers the same deliveries otherwise in a replay. The vat then starts
	// from its store, as it does under a real kernel. If OnDivergence is nil, the test fails.
	OnDivergence func(vat string, err error)
	// OnComplaint is called for a mistake of a program that the vat has met and that no caller gets as an
	// error: an object type that its module does not know, a call of vat.When that was refused, a continuation
	// that failed and whose result no one uses, a message that was rejected although no one uses the answer. If
	// OnComplaint is nil, the test fails.
	OnComplaint func(vat, text string)
}

const epoch = "test"

// New returns a kernel whose worker program has the given modules. It fails the test if the modules have
// mistakes.
func New(tb testing.TB, modules vat.Modules) *Kernel {
	tb.Helper()
	k := &Kernel{
		tb: tb, mem: storage.NewMem(), now: 1_700_000_000_000,
		workers: map[kernel.VatID]*process{}, names: map[string]kernel.VatID{}, roots: map[string]kernel.KRef{}, parked: map[kernel.VatID]int{}, complained: map[string]bool{}, unheard: map[kernel.VatID]calls{},
	}
	k.load(modules)
	m, first, err := kernel.Open(k.mem, k.mem.Limits(), epoch)
	if err != nil {
		tb.Fatal(err)
	}
	k.machine = m
	k.apply(first)
	tb.Cleanup(func() {
		if !tb.Failed() {
			k.check()
		}
		for _, w := range k.workers {
			w.close()
		}
	})
	return k
}

func (k *Kernel) load(modules vat.Modules) {
	k.tb.Helper()
	p, err := vat.Program(modules)
	if err != nil {
		k.tb.Fatal(err)
	}
	k.program = p
}

// Launch starts vats and calls bootstrap on the root of the vat that bootstrap names, as a launch of a cluster
// does. It runs until no work is left and returns the reason why the launch failed, if it did. A bootstrap that
// has not answered then is a failure, unless a vat waits for the test to answer a call of a [Service].
func (k *Kernel) Launch(bootstrap string, vats ...Vat) error {
	k.tb.Helper()
	l := kernel.Launch{Bootstrap: bootstrap}
	for _, v := range vats {
		config, err := json.Marshal(v)
		if err != nil {
			k.tb.Fatal(err)
		}
		l.Vats = append(l.Vats, kernel.LaunchVat{Name: v.Name, Config: config, MaxQueue: 10_000, MaxRestarts: 1000, MaxRecords: 100_000})
	}
	found := k.launchServices(&l)
	s, c, err := k.machine.Launch(l)
	if err != nil {
		return err
	}
	k.apply(c)
	found(s)
	sub, _, err := k.machine.Subcluster(s)
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, m := range sub.Vats {
		k.names[m.Name], k.roots[m.Name] = m.Vat, k.vat(m.Vat).Root
	}
	k.launched, k.settled, k.failure = s, false, ""
	k.Run()
	switch {
	case !k.settled:
		return k.unanswered(bootstrap)
	case k.failure != "":
		return errors.New(k.failure)
	}
	return nil
}

func (k *Kernel) apply(c kernel.Commit) {
	k.tb.Helper()
	if c.Number == 0 {
		return
	}
	if err := k.mem.Commit(c.Writes); err != nil {
		k.tb.Fatal(err)
	}
	for _, e := range c.Effects {
		switch e := e.(type) {
		case kernel.Wake:
			if !slices.Contains(k.woken, e.Vat) {
				k.woken = append(k.woken, e.Vat)
			}
		case kernel.StopWorker:
			k.stop(e.Vat)
		case kernel.LaunchSettled:
			k.settled, k.failure = true, e.Failure
		case kernel.Invoke:
			k.back = append(k.back, e.Call.Service)
		case kernel.UnitBack:
			k.back = append(k.back, e.Service)
		case kernel.Answer, kernel.Gone, kernel.CancelCall, kernel.EndService:
			// not the test's concern unless it inspects them
		}
	}
}

func (k *Kernel) do(c kernel.Commit, err error) {
	k.tb.Helper()
	if err != nil {
		k.tb.Fatal(err)
	}
	k.apply(c)
}

func (k *Kernel) stop(v kernel.VatID) {
	if w := k.workers[v]; w != nil {
		w.close()
		delete(k.workers, v)
		k.parked[v] = 0
	}
}

func (k *Kernel) id(name string) kernel.VatID {
	k.tb.Helper()
	v, ok := k.names[name]
	if !ok {
		k.tb.Fatalf("there is no vat %q", name)
	}
	return v
}

func (k *Kernel) vat(v kernel.VatID) kernel.Vat {
	k.tb.Helper()
	info, found, err := k.machine.Vat(v)
	if err != nil || !found {
		k.tb.Fatalf("vat %s: %v", v, err)
	}
	return info
}

// Answer is the answer to a message that [Kernel.Send] sent. It may be there or not.
type Answer struct {
	k       *Kernel
	ticket  string
	refused error
}

// Done reports whether the answer is there.
func (a *Answer) Done() bool {
	_, err := a.Result()
	return !errors.Is(err, errPending)
}

var errPending = errors.New("there is no answer yet")

// Result returns the answer as JSON, or the rejection as an error. It returns an error too while the answer is
// not there.
func (a *Answer) Result() (string, error) {
	if a.refused != nil {
		return "", a.refused
	}
	st, err := a.k.machine.Ticket(a.ticket)
	if err != nil {
		return "", err
	}
	if st.Pending {
		return "", errPending
	}
	v, err := capdata.Decode(st.Value.Body, len(st.Value.Slots))
	if err != nil {
		return "", err
	}
	if e, ok := v.(*capdata.Error); ok && st.Rejected {
		return "", errors.New(e.Message)
	}
	text, err := capdata.ToJSON(v, func(slot int) string { return string(st.Value.Slots[slot]) })
	if err == nil && st.Rejected {
		return "", fmt.Errorf("rejected with %s", text)
	}
	return string(text), err
}

// Send queues a message and returns its Answer; it runs nothing. target is the name of a vat, whose root gets
// the message, or a reference such as ko4. The arguments are JSON.
func (k *Kernel) Send(target, method string, args ...string) *Answer {
	k.tb.Helper()
	var list []any
	var slots []kernel.KRef
	for _, a := range args {
		v, err := capdata.FromJSON([]byte(a), func(ref string) (int, error) {
			i := slices.Index(slots, kernel.KRef(ref))
			if i < 0 {
				slots = append(slots, kernel.KRef(ref))
				i = len(slots) - 1
			}
			return i, nil
		})
		if err != nil {
			k.tb.Fatalf("argument %s: %v", a, err)
		}
		list = append(list, v)
	}
	body, err := capdata.EncodeCall(method, list)
	if err != nil {
		k.tb.Fatal(err)
	}
	to, ok := kernel.ParseKRef(target)
	if !ok {
		k.id(target)
		to = k.roots[target]
	}
	k.tickets++
	call := kernel.HostCall{Ticket: fmt.Sprint(epoch, ".", k.tickets), Target: to, MethArgs: kernel.Data{Body: body, Slots: slots}}
	_, c, err := k.machine.Call(call, k.now)
	if err != nil {
		return &Answer{refused: err}
	}
	k.apply(c)
	return &Answer{k: k, ticket: call.Ticket}
}

// Call sends a message as [Kernel.Send] does, runs until no work is left, and returns the answer.
func (k *Kernel) Call(target, method string, args ...string) (string, error) {
	k.tb.Helper()
	a := k.Send(target, method, args...)
	k.Run()
	return a.Result()
}

// Run runs cranks until no work is left.
func (k *Kernel) Run() {
	k.tb.Helper()
	for k.Step() {
	}
}

// Step runs the next crank and reports whether there was one.
func (k *Kernel) Step() bool {
	k.tb.Helper()
	for {
		k.giveUnits()
		k.tick()
		c, more, err := k.machine.Work(k.now)
		k.do(c, err)
		if more {
			continue
		}
		if len(k.woken) == 0 {
			return false
		}
		v := k.woken[0]
		k.woken = k.woken[1:]
		step, err := k.machine.Begin(v, k.now+1, uint64(k.now), false)
		if err != nil {
			k.tb.Fatal(err)
		}
		switch {
		case step.NeedsWorker, step.Crank != nil && k.workers[v] == nil:
			k.boot(v)
		case step.Commit != nil:
			k.apply(*step.Commit)
		case step.Crank != nil:
			k.now++
			k.woken = append(k.woken, v)
			k.crank(step.Crank)
			return true
		default:
			continue
		}
		if !slices.Contains(k.woken, v) {
			k.woken = append(k.woken, v)
		}
	}
}

// Kill kills a vat's worker between two cranks. The next worker is given the vat's past, and goes on at the
// same line.
func (k *Kernel) Kill(name string) {
	k.tb.Helper()
	k.kill(k.id(name))
}

func (k *Kernel) kill(v kernel.VatID) {
	k.tb.Helper()
	if row := k.vat(v); row.Live {
		k.stop(v)
		k.do(k.machine.Died(kernel.Death{Vat: v, Incarnation: row.Incarnation, Cause: kernel.CauseKilled}, k.now))
	}
}

// Restart makes a vat begin again from its store. State that was in memory only is lost, and the promises that
// the memory had to settle are rejected.
func (k *Kernel) Restart(name string) {
	k.tb.Helper()
	k.do(k.machine.Restart(k.id(name), true))
}

// Upgrade makes every vat begin again from its store with another set of modules. It stands for an operator who
// has rebuilt the worker program and restarts each vat with it, and accepts the loss of memory.
func (k *Kernel) Upgrade(modules vat.Modules) {
	k.tb.Helper()
	k.change(modules)
	for _, name := range k.sortedNames() {
		k.Restart(name)
	}
}

// Rebuild kills the worker of every vat and puts another set of modules in place, as if the worker program had
// been rebuilt while its vats went on. A vat that is not at rest has its past replayed by the new program, and
// diverges if the new program answers otherwise.
func (k *Kernel) Rebuild(modules vat.Modules) {
	k.tb.Helper()
	k.change(modules)
	for _, name := range k.sortedNames() {
		k.Kill(name)
	}
}

func (k *Kernel) change(modules vat.Modules) {
	k.tb.Helper()
	k.check()
	k.records = nil
	k.load(modules)
}

func (k *Kernel) sortedNames() []string {
	return slices.Sorted(maps.Keys(k.names))
}

// Parked returns how many turns of a vat wait in memory, plus the calls that wait there for their arguments.
func (k *Kernel) Parked(name string) int { return k.parked[k.id(name)] }

// Root returns the reference to the root of a vat, such as ko4.
func (k *Kernel) Root(name string) string {
	k.tb.Helper()
	k.id(name)
	return string(k.roots[name])
}

// Records returns how many deliveries would be given again to a fresh worker of a vat, to make its memory. It
// is 0 if the vat is at rest: then all of its state is in its store.
func (k *Kernel) Records(name string) int {
	k.tb.Helper()
	return int(k.vat(k.id(name)).Records)
}

// Store returns the rows of a vat's store, a line each.
func (k *Kernel) Store(name string) string {
	k.tb.Helper()
	var b strings.Builder
	s := &store{m: k.machine, v: k.id(name)}
	for after := ""; ; {
		key, value, found, err := s.Next("", after)
		if err != nil {
			k.tb.Fatal(err)
		}
		if !found {
			return b.String()
		}
		fmt.Fprintf(&b, "%s = %q\n", key, value)
		after = key
	}
}

// store is a vat's own store.
type store struct {
	m    *kernel.Machine
	v    kernel.VatID
	past *kernel.Replay // not nil while the worker is given its past
}

func (s *store) Get(key string) ([]byte, bool, error) {
	if s.past != nil {
		r, err := s.past.Get(key)
		return r.Value, r.Found, err
	}
	r, err := s.m.StoreGet(s.v, key)
	return r.Value, r.Found, err
}

func (s *store) Next(prefix, after string) (string, []byte, bool, error) {
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
