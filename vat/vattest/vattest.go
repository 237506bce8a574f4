// Package vattest runs vats in memory for tests: the real kernel, without processes and without a store on
// disk. It launches, restarts, replays and recovers vats, and takes calls, as the program does. The same test
// has the same cranks follow each other in the same order, with the same times and random numbers.
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
// Vats get the time of [Kernel.Now], which [Kernel.Advance] drives. One crank follows the other. There are no
// deadlines, of deliveries or of launches, and the waits before a worker is started again end at once. All
// deliveries, answers and reads of a vat are encoded, validated and decoded on their way, as between two
// processes.
//
// The code of a vat runs on goroutines of the kernel. No call of this package returns while it runs. A test may
// use real time, goroutines and testing/synctest beside the kernel.
//
// # Services
//
// The test answers the calls that vats make of IO channels and other services of the kernel: see
// [Kernel.Service].
package vattest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

// Kernel runs vats, in memory. It belongs to the goroutine of its test.
type Kernel struct {
	tb      testing.TB
	program worker.Program
	mem     *storage.Mem
	// view reads the kernel's state. Between two calls of the test all of it is in the store.
	view    *kernel.View
	clock   *clock
	running // the kernel's shell

	names   map[string]kernel.VatID
	roots   map[string]kernel.KRef
	tickets int
	// launched is the last launch.
	launched kernel.SubID
	pasts    map[kernel.VatID]*past
	// unheard are, by vat, the results of messages that only the vat itself can use.
	unheard map[kernel.VatID]calls
	// complained are the mistakes of programs of which the test was told.
	complained map[string]bool
	played     played
	// helpers says that the functions which each crank calls are marked as helpers of the test. Marking one takes a
	// microsecond, and need not be done again.
	helpers bool

	mu struct { // for the goroutines of workers
		sync.Mutex
		lives map[kernel.VatID]*life
	}

	// KillAlways kills a vat's worker after every delivery, so that each crank is done by a fresh worker that
	// was given the vat's past. It finds behaviour that a replay does not repeat, and shows that no behaviour
	// depends on a worker that lives.
	KillAlways bool
	// CollectAlways has the vats of later launches asked after every delivery, as soon as they are at rest, which references
	// they no longer hold: what nothing leads to is deleted at once. It finds what a vat would keep for ever, see
	// [Kernel.Store], and what it keeps in memory alone. Otherwise a vat is asked after 1000 deliveries.
	CollectAlways bool
	// OnDivergence is called when a vat answers the same deliveries otherwise in a replay. The vat then starts
	// from its store, as it does under a real kernel. If OnDivergence is nil, the test fails.
	OnDivergence func(vat string, err error)
	// OnComplaint is called for a mistake of a program that the vat has met and that no caller gets as an
	// error: an object type that its module does not know, a call of vat.When that was refused, a continuation
	// that failed and whose result no one uses, a message that was rejected although no one uses the answer. If
	// OnComplaint is nil, the test fails.
	OnComplaint func(vat, text string)
}

// New returns a kernel whose worker program has the given modules. It fails the test if the modules have
// mistakes.
func New(tb testing.TB, modules vat.Modules) *Kernel {
	tb.Helper()
	k := &Kernel{
		tb: tb, mem: storage.NewMem(), clock: newClock(), names: map[string]kernel.VatID{}, roots: map[string]kernel.KRef{},
		pasts: map[kernel.VatID]*past{}, unheard: map[kernel.VatID]calls{}, complained: map[string]bool{},
	}
	k.view = kernel.NewView(k.mem)
	k.mu.lives = map[kernel.VatID]*life{}
	k.load(modules)
	k.boot()
	tb.Cleanup(func() {
		if err := k.stop(); err != nil {
			tb.Errorf("the end of the kernel: %v", err)
		}
		if !tb.Failed() {
			k.check()
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
	info, found, err := k.view.Vat(v)
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
	st, err := a.k.view.Ticket(a.ticket)
	if err != nil {
		return "", err
	}
	if st.Pending {
		return "", errPending
	}
	v, text, err := toJSON(st.Value)
	switch e, ok := v.(*capdata.Error); {
	case ok && st.Rejected:
		return "", errors.New(e.Message)
	case err == nil && st.Rejected:
		return "", fmt.Errorf("rejected with %s", text)
	}
	return text, err
}

// toJSON returns a value, and its text.
func toJSON(d kernel.Data) (v any, text string, err error) {
	if v, err = capdata.Decode(d.Body, len(d.Slots)); err != nil {
		return nil, "", err
	}
	b, err := capdata.ToJSON(v, func(slot int) string { return string(d.Slots[slot]) })
	return v, string(b), err
}

// Send queues a message and returns its Answer; it runs nothing. target is the name of a vat, whose root gets
// the message, or a reference such as ko4. The arguments are JSON.
func (k *Kernel) Send(target, method string, args ...string) *Answer {
	k.tb.Helper()
	var list []any
	var data kernel.Data
	for _, a := range args {
		v, err := fromJSON(a, &data.Slots)
		if err != nil {
			k.tb.Fatalf("argument %s: %v", a, err)
		}
		list = append(list, v)
	}
	var err error
	if data.Body, err = capdata.EncodeCall(method, list); err != nil {
		k.tb.Fatal(err)
	}
	to, ok := kernel.ParseKRef(target)
	if !ok {
		k.id(target)
		to = k.roots[target]
	}
	k.tickets++
	a, err := k.shell.Call(context.Background(), "", fmt.Sprint(k.tickets), string(to), data, false)
	if err != nil {
		return &Answer{refused: k.alive(err)}
	}
	k.settle()
	return &Answer{k: k, ticket: a.Ticket}
}

// fromJSON reads a value, and adds its references to slots.
func fromJSON[S ~string](text string, slots *[]S) (any, error) {
	return capdata.FromJSON([]byte(text), func(ref string) (int, error) {
		i := slices.Index(*slots, S(ref))
		if i < 0 {
			*slots = append(*slots, S(ref))
			i = len(*slots) - 1
		}
		return i, nil
	})
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
	if !k.helpers {
		k.tb.Helper()
	}
	for {
		k.clock.ring()
		p := k.progress((*host.Shell).Step)
		if p.Vat != "" {
			k.helpers = true
			k.clock.advance(crankTime)
			if l := k.life(p.Vat); l != nil && k.KillAlways {
				k.kill(p.Vat)
			}
			return true
		}
		if !p.More {
			return false
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
	k.workers.Signal(string(v))
	k.settle()
}

// Restart makes a vat begin again from its store. State that was in memory only is lost, and the promises that
// the memory had to settle are rejected.
func (k *Kernel) Restart(name string) {
	k.tb.Helper()
	k.do(k.shell.Restart(context.Background(), k.id(name), true))
}

// Terminate ends a vat for good, as `kernel terminate VAT` does, and runs until no work is left. Calls that the
// vat has begun are rejected with VAT_TERMINATED then; calls that were still queued for it, and later ones,
// with OBJECT_DELETED.
func (k *Kernel) Terminate(name string) {
	k.tb.Helper()
	k.do(k.shell.TerminateVat(context.Background(), k.id(name)))
	k.Run()
}

// Upgrade makes every vat begin again from its store with another set of modules. It stands for an operator who
// has rebuilt the worker program and restarts each vat with it, and accepts the loss of memory.
func (k *Kernel) Upgrade(modules vat.Modules) {
	k.tb.Helper()
	k.change(modules, true)
	for _, name := range k.sortedNames() {
		k.Restart(name)
	}
}

// Rebuild kills the worker of every vat and puts another set of modules in place, as if the worker program had
// been rebuilt while its vats went on. A vat that is not at rest has its past replayed by the new program, and
// diverges if the new program answers otherwise.
func (k *Kernel) Rebuild(modules vat.Modules) {
	k.tb.Helper()
	k.change(modules, false)
	for _, name := range k.sortedNames() {
		k.Kill(name)
	}
}

// change puts another program in place. With forget no vat keeps its memory.
func (k *Kernel) change(modules vat.Modules, forget bool) {
	k.tb.Helper()
	k.check()
	for _, p := range k.pasts {
		p.forget(forget)
	}
	k.load(modules)
}

func (k *Kernel) sortedNames() []string {
	return slices.Sorted(maps.Keys(k.names))
}

// Parked returns how many turns of a vat wait in memory, plus the calls that wait there for their arguments.
func (k *Kernel) Parked(name string) int {
	k.tb.Helper()
	if l := k.life(k.id(name)); l != nil {
		return l.parked
	}
	return 0
}

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
	view, v := k.view, k.id(name)
	for after := ""; ; {
		row, err := view.StoreNext(v, "", after)
		if err != nil {
			k.tb.Fatal(err)
		}
		if !row.Found {
			return b.String()
		}
		fmt.Fprintf(&b, "%s = %q\n", row.Key, row.Value)
		after = row.Key
	}
}
