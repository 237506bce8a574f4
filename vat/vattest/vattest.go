// Package vattest runs vats in memory, without processes and without a store on disk, for tests.
//
//	k := vattest.New(t, bank.Modules())
//	k.Launch("teller", vattest.Vat{Name: "teller", Module: "bank.teller"}, …)
//	sum, err := k.Call("teller", "audit")
//
// Arguments and answers are JSON, as on the kernel's command line; a reference is {"$ref":"ko4"}.
//
// The kernel in here is small but strict: it checks every syscall by the rules of the real one, and
// fails the test for a breach. After the test it replays what each vat was given to a fresh one, and
// fails the test if that does anything else: such a vat could not be brought back to where it was after
// its worker died.
//
// It has no limits, queues or deadlines, and one crank follows the other. What a vat does in the face of
// those is for a test with the real kernel.
package vattest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// Vat configures a vat, as in a cluster's configuration.
type Vat struct {
	Name, Module string
	// Parameters is JSON, or empty.
	Parameters string
}

// Kernel runs vats. It belongs to the goroutine of its test.
type Kernel struct {
	tb       testing.TB
	program  worker.Program
	log      hclog.Logger
	vats     []*vatState
	objects  map[kref]*vatState // owners; nil for an object without one
	promises map[kref]*promise
	queue    []item
	last     int // of krefs
	now      int64
	failure  error // of the start of a vat
}

type kref string

func (k kref) promise() bool { return k[1] == 'p' }

type data = capdata.Data[kref]

type promise struct {
	decider     *vatState
	subscribers []*vatState
	parked      []message
	settled     bool
	rejected    bool
	value       data
}

type message struct {
	target   kref
	methargs data
	result   kref
}

// An item is a message, or the notification of a promise, or else the start of a vat.
type item struct {
	message *message
	vat     *vatState
	notify  kref
}

type vatState struct {
	Vat
	id          string
	incarnation uint64
	worker      worker.Vat
	rows        *rows
	root        kref
	byRef       map[wire.Ref]kref
	byKref      map[kref]wire.Ref
	imports     [2]uint64 // objects, promises
	high        [2]uint64
	number      uint64
	gone        bool
	used        map[wire.Ref]bool // own names that were given
	record      []delivered
}

// delivered is what a replay needs.
type delivered struct {
	incarnation uint64
	start       wire.Start
	before      map[string][]byte // the store, at the start of an incarnation
	deliver     wire.Deliver
	frame       []byte
	parked      int
}

// New makes a kernel whose worker program has the given modules. It fails the test if they are not sound.
func New(tb testing.TB, modules vat.Modules) *Kernel {
	tb.Helper()
	p, err := vat.Program(modules)
	if err != nil {
		tb.Fatal(err)
	}
	k := &Kernel{
		tb: tb, program: p, objects: map[kref]*vatState{}, promises: map[kref]*promise{}, now: 1_700_000_000_000,
		log: hclog.NewNullLogger(),
	}
	tb.Cleanup(func() {
		if !tb.Failed() {
			k.replay()
		}
		for _, v := range k.vats {
			closeVat(v.worker)
		}
	})
	return k
}

func closeVat(w worker.Vat) {
	if c, ok := w.(interface{ Close() }); ok {
		c.Close()
	}
}

// Launch starts vats and calls bootstrap on the root of the one that is named, as a launch of a cluster
// does. It returns how bootstrap ended, once nothing is left to do.
func (k *Kernel) Launch(bootstrap string, vats ...Vat) error {
	k.tb.Helper()
	roots := &capdata.Record{}
	var args data
	for _, cfg := range vats {
		v := &vatState{
			Vat: cfg, id: fmt.Sprintf("v%d", len(k.vats)+1), rows: &rows{data: map[string][]byte{}},
			byRef: map[wire.Ref]kref{}, byKref: map[kref]wire.Ref{},
		}
		v.root = k.newObject(v)
		v.name(v.root, wire.RootRef)
		k.vats = append(k.vats, v)
		k.boot(v)
		k.queue = append(k.queue, item{vat: v})
		roots.Fields = append(roots.Fields, capdata.Field{Name: cfg.Name, Value: capdata.Remotable{Slot: len(args.Slots), Iface: "Alleged: vatRoot"}})
		args.Slots = append(args.Slots, v.root)
	}
	body, err := capdata.EncodeCall("bootstrap", []any{roots, &capdata.Record{}})
	if err != nil {
		k.tb.Fatal(err)
	}
	args.Body = body
	a := k.post(k.vat(bootstrap).root, args)
	k.Run()
	if k.failure != nil {
		return k.failure
	}
	_, err = a.Result()
	return err
}

func (k *Kernel) boot(v *vatState) {
	k.tb.Helper()
	v.incarnation++
	start := wire.Start{
		Vat: v.id, Name: v.Name, Module: v.Module, Parameters: v.Parameters, Incarnation: v.incarnation,
		HighObject: v.high[0], HighPromise: v.high[1], MaxFrameBytes: 4 << 20, MaxSyscalls: 10_000,
	}
	w, err := k.program.New(start, v.rows, k.log)
	if err != nil {
		k.tb.Fatalf("start of %s: %v", v.Name, err)
	}
	v.worker = w
	v.record = append(v.record, delivered{incarnation: v.incarnation, start: start, before: v.rows.copy()})
}

func (k *Kernel) vat(name string) *vatState {
	k.tb.Helper()
	i := slices.IndexFunc(k.vats, func(v *vatState) bool { return v.Name == name })
	if i < 0 {
		k.tb.Fatalf("there is no vat %q", name)
	}
	return k.vats[i]
}

// Answer is the answer to a message, once there is one.
type Answer struct{ p *promise }

// Done says whether there is an answer.
func (a *Answer) Done() bool { return a.p.settled }

// Result returns the answer as JSON, or the rejection as an error. Before there is an answer, that is an
// error too.
func (a *Answer) Result() (string, error) {
	if !a.p.settled {
		return "", errors.New("there is no answer yet")
	}
	v, err := capdata.Decode(a.p.value.Body, len(a.p.value.Slots))
	if err != nil {
		return "", err
	}
	if e, ok := v.(*capdata.Error); ok && a.p.rejected {
		return "", errors.New(e.Message)
	}
	text, err := capdata.ToJSON(v, func(slot int) string { return string(a.p.value.Slots[slot]) })
	if err == nil && a.p.rejected {
		return "", fmt.Errorf("rejected with %s", text)
	}
	return string(text), err
}

// Send queues a message to the root of a vat, by the vat's name, or to a reference such as ko4. Its
// arguments are JSON.
func (k *Kernel) Send(target, method string, args ...string) *Answer {
	k.tb.Helper()
	var d data
	var list []any
	for _, a := range args {
		v, err := capdata.FromJSON([]byte(a), func(ref string) (int, error) {
			i := slices.Index(d.Slots, kref(ref))
			if i < 0 {
				d.Slots = append(d.Slots, kref(ref))
				i = len(d.Slots) - 1
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
	d.Body = body
	to := kref(target)
	if _, ok := k.objects[to]; !ok && k.promises[to] == nil {
		to = k.vat(target).root
	}
	return k.post(to, d)
}

func (k *Kernel) post(target kref, methargs data) *Answer {
	result := k.newPromise(nil)
	k.route(message{target, methargs, result})
	return &Answer{k.promises[result]}
}

// Call sends a message, runs until nothing is left to do, and returns the answer.
func (k *Kernel) Call(target, method string, args ...string) (string, error) {
	k.tb.Helper()
	a := k.Send(target, method, args...)
	k.Run()
	return a.Result()
}

// Run runs cranks until nothing is left to do.
func (k *Kernel) Run() {
	k.tb.Helper()
	for k.Step() {
	}
}

// Step runs the next crank and says whether there was one.
func (k *Kernel) Step() bool {
	k.tb.Helper()
	if len(k.queue) == 0 {
		return false
	}
	it := k.queue[0]
	k.queue = k.queue[1:]
	k.now++
	switch {
	case it.message != nil:
		k.deliverMessage(*it.message)
	case it.notify != "":
		k.deliverNotify(it.vat, it.notify)
	default:
		if fault := k.crank(it.vat, wire.StartVat{}, nil); fault != "" && k.failure == nil {
			k.failure = fmt.Errorf("vat %s did not start: %s", it.vat.Name, fault)
		}
	}
	return true
}

// Restart kills a vat's worker between two cranks and starts another from the vat's store: what was in
// memory only is lost, and the promises that it had to settle are rejected with VAT_RESTARTED.
func (k *Kernel) Restart(name string) {
	k.tb.Helper()
	v := k.vat(name)
	closeVat(v.worker)
	k.rejectDecided(v, capdata.VAT_RESTARTED, "vat "+v.id+" was restarted")
	for _, ref := range v.refs() {
		if strings.HasPrefix(string(ref), "o+") && ref != wire.RootRef && ref[2] != 'd' {
			k.objects[v.byRef[ref]] = nil
			v.forget(v.byRef[ref])
		}
	}
	k.boot(v)
}

// Parked returns how many turns of a vat wait in memory.
func (k *Kernel) Parked(name string) int {
	v := k.vat(name)
	return v.record[len(v.record)-1].parked
}

// Store returns the rows of a vat's store, one a line.
func (k *Kernel) Store(name string) string {
	var b strings.Builder
	rows := k.vat(name).rows
	for _, key := range rows.keys() {
		fmt.Fprintf(&b, "%s = %q\n", key, rows.data[key])
	}
	return b.String()
}

// Upgrade restarts every vat with another set of modules, as if the worker program had been rebuilt.
func (k *Kernel) Upgrade(modules vat.Modules) {
	k.tb.Helper()
	p, err := vat.Program(modules)
	if err != nil {
		k.tb.Fatal(err)
	}
	k.replay()
	k.program = p
	for _, v := range k.vats {
		v.record = nil
		k.Restart(v.Name)
	}
}

// replay gives each vat's last incarnations what they were given, and compares what comes back.
func (k *Kernel) replay() {
	k.tb.Helper()
	for _, v := range k.vats {
		var w worker.Vat
		var view *rows
		for _, d := range v.record {
			if d.before != nil {
				if w != nil {
					closeVat(w)
				}
				view = &rows{data: d.before}
				var err error
				if w, err = k.program.New(d.start, view, k.log); err != nil {
					k.tb.Fatal(err)
				}
				continue
			}
			done := w.Deliver(d.deliver)
			frame, err := wire.AppendUp(nil, done)
			if err != nil {
				k.tb.Fatal(err)
			}
			if !bytes.Equal(frame, d.frame) {
				k.tb.Errorf("vat %s does not do the same again in delivery %d (%T):\nfirst %q\nthen  %q", v.Name, d.deliver.Number, d.deliver.Delivery, d.frame, frame)
				break
			}
			if done.Outcome.Fault == "" {
				view.apply(done.Syscalls)
			}
		}
		if w != nil {
			closeVat(w)
		}
	}
}

// rows is a vat's store.
type rows struct {
	data   map[string][]byte
	sorted []string
}

func (r *rows) copy() map[string][]byte {
	c := make(map[string][]byte, len(r.data))
	for key, v := range r.data {
		c[key] = v
	}
	return c
}

func (r *rows) keys() []string {
	if r.sorted == nil {
		for key := range r.data {
			r.sorted = append(r.sorted, key)
		}
		sort.Strings(r.sorted)
	}
	return r.sorted
}

// Get is worker.Store's.
func (r *rows) Get(key string) ([]byte, bool, error) {
	v, ok := r.data[key]
	return v, ok, nil
}

// Next is worker.Store's.
func (r *rows) Next(prefix, after string) (string, []byte, bool, error) {
	keys := r.keys()
	for i := sort.SearchStrings(keys, max(prefix, after)); i < len(keys); i++ {
		if !strings.HasPrefix(keys[i], prefix) {
			break
		}
		if keys[i] > after {
			return keys[i], r.data[keys[i]], true, nil
		}
	}
	return "", nil, false, nil
}

func (r *rows) apply(syscalls []wire.Syscall) {
	for _, s := range syscalls {
		switch s := s.(type) {
		case wire.StoreSet:
			r.data[s.Key] = s.Value
			r.sorted = nil
		case wire.StoreDelete:
			delete(r.data, s.Key)
			r.sorted = nil
		}
	}
}
