package vattest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// A record is one incarnation of a vat: its store at the beginning, its deliveries, and its answers.
type record struct {
	vat    kernel.VatID
	start  wire.Start
	before *rows
	cranks []recorded
}

type recorded struct {
	deliver wire.Deliver
	frame   []byte
}

// boot starts a worker of a vat.
func (k *Kernel) boot(v kernel.VatID) {
	k.tb.Helper()
	start, c, err := k.machine.StartWorker(v)
	k.do(c, err)
	var config Vat
	if err := json.Unmarshal(k.vat(v).Config, &config); err != nil {
		k.tb.Fatal(err)
	}
	start.Name, start.Module, start.Parameters = config.Name, config.Module, config.Parameters
	start.MaxFrameBytes, start.MaxSyscalls = limits.FrameBytes, limits.Syscalls
	start.Replays = k.vat(v).Records
	past, err := k.machine.Replay(v)
	if err != nil {
		k.tb.Fatal(err)
	}
	s := &store{k.machine, v, past}
	w := k.spawn(start, s)
	k.workers[v] = w
	r := &record{vat: v, start: start, before: &rows{values: map[string][]byte{}}}
	for after := ""; ; {
		key, value, found, err := s.Next("", after)
		if err != nil {
			k.tb.Fatal(err)
		}
		if !found {
			break
		}
		r.before.set(key, value)
		after = key
	}
	k.records = append(k.records, r)
	for past != nil {
		d, more, err := past.Next()
		if err != nil {
			k.tb.Fatal(err)
		}
		if !more {
			break
		}
		done, frame := w.deliver(d)
		if err := past.Answer(done, frame); err != nil {
			k.diverged(v, err)
			return
		}
		r.cranks = append(r.cranks, recorded{d, frame})
	}
	s.past = nil
	w.again = false
}

// diverged notes that a vat answered a replayed delivery otherwise.
func (k *Kernel) diverged(v kernel.VatID, err error) {
	k.tb.Helper()
	vat := k.vat(v)
	if k.OnDivergence == nil {
		k.tb.Errorf("vat %s does not do the same again: %v", vat.Name, err)
	} else {
		k.OnDivergence(vat.Name, err)
	}
	k.records = slices.DeleteFunc(k.records, func(r *record) bool { return r.vat == v })
	k.stop(v)
	k.do(k.machine.Diverged(v, vat.Incarnation, "its replay diverged: "+err.Error()))
}

// crank has a worker do a crank.
func (k *Kernel) crank(c *kernel.Crank) {
	k.tb.Helper()
	done, frame := k.workers[c.Vat].deliver(c.Deliver)
	k.complain(c.Vat)
	k.follow(c.Vat, done.Syscalls)
	i := len(k.records) - 1
	for k.records[i].vat != c.Vat {
		i--
	}
	k.records[i].cranks = append(k.records[i].cranks, recorded{c.Deliver, frame})
	commit, err := k.machine.Finish(c, done, frame, k.now)
	var fault *kernel.Fault
	if errors.As(err, &fault) {
		if fault.Cause != kernel.CauseFault {
			k.tb.Errorf("vat %s: %v", c.Vat, fault)
		}
		k.stop(c.Vat)
		k.do(k.machine.Died(kernel.Death{Vat: c.Vat, Incarnation: c.Incarnation, Cause: fault.Cause, Detail: fault.Reason, Crank: c}, k.now))
		return
	}
	k.do(commit, err)
	k.parked[c.Vat] = done.Outcome.Parked
	k.checkRest(c.Vat)
	if k.workers[c.Vat] != nil {
		k.unused(c.Vat, c.Deliver.Delivery)
	}
	if k.KillAlways && k.workers[c.Vat] != nil {
		k.kill(c.Vat)
	}
}

// complain fails the test for the mistakes of the program that the vat itself can report to no caller.
func (k *Kernel) complain(v kernel.VatID) {
	k.tb.Helper()
	p := k.workers[v]
	if p == nil {
		return
	}
	w, ok := p.vat.(interface{ Complaints() []string })
	if !ok {
		return
	}
	for _, text := range w.Complaints() {
		k.complainOf(v, text)
	}
}

func (k *Kernel) complainOf(v kernel.VatID, text string) {
	k.tb.Helper()
	name := k.vat(v).Name
	if k.complained[name+": "+text] {
		return
	}
	k.complained[name+": "+text] = true
	if k.OnComplaint != nil {
		k.OnComplaint(name, text)
	} else {
		k.tb.Errorf("vat %s: %s", name, text)
	}
}

// checkRest checks that vat and kernel agree whether any state of the vat lives in memory only.
func (k *Kernel) checkRest(v kernel.VatID) {
	k.tb.Helper()
	w := k.workers[v]
	info, found, err := k.machine.Vat(v)
	if w == nil || !found || err != nil || info.Lost {
		return
	}
	if own, known := w.atRest(); known && own != (info.Records == 0) {
		k.tb.Errorf("vat %s: the kernel says that it is at rest: %t, and the vat itself: %t", info.Name, !own, own)
	}
}

// check checks the kernel's state, and replays the deliveries of every vat.
func (k *Kernel) check() {
	k.tb.Helper()
	problems, err := kernel.Check(k.mem)
	if err != nil || len(problems) > 0 {
		k.tb.Errorf("the kernel's state: %v %s", err, strings.Join(problems, "\n"))
	}
	if k.OnDivergence != nil {
		return // a test that is told of divergences has vats that diverge
	}
	for _, r := range k.records {
		k.replay(r)
	}
}

// replay gives the deliveries of an incarnation to a fresh worker. Whenever the incarnation was at rest,
// another fresh worker goes on: to a vat at rest it must make no difference whether its worker lives.
func (k *Kernel) replay(r *record) {
	k.tb.Helper()
	view, start := r.before.clone(), r.start
	var w *process
	defer func() { w.close() }()
	for _, c := range r.cranks {
		if w == nil {
			w = k.spawn(start, view)
		}
		done, frame := w.deliver(c.deliver)
		if !bytes.Equal(frame, c.frame) {
			k.tb.Errorf("vat %s does not do the same again in delivery %d (%s):\n%s", r.start.Name, c.deliver.Number,
				kernel.DescribeDelivery(c.deliver.Delivery), difference(r.start, c.frame, done))
			return
		}
		if done.Outcome.Fault != "" {
			continue
		}
		view.apply(done.Syscalls)
		for _, s := range done.Syscalls {
			start.HighObject, start.HighPromise = highest(s, start.HighObject, start.HighPromise)
		}
		if rest, _ := w.atRest(); rest {
			w.close()
			w = nil
		}
	}
}

// difference describes the first difference between two answers.
func difference(start wire.Start, first []byte, then wire.Done) string {
	f, err := wire.DecodeUp(first, wire.Limits{FrameBytes: start.MaxFrameBytes, Syscalls: start.MaxSyscalls})
	if err != nil {
		return err.Error()
	}
	was := f.(wire.Done)
	text := func(d wire.Done, i int) string {
		if i < len(d.Syscalls) {
			return kernel.DescribeSyscall(d.Syscalls[i])
		}
		return fmt.Sprintf("its end: %+v", d.Outcome)
	}
	for i := range max(len(was.Syscalls), len(then.Syscalls)) + 1 {
		if a, b := text(was, i), text(then, i); a != b {
			return "first " + a + "\nthen  " + b
		}
	}
	return "texts that are cut to the same" // the frames differ in a text that is too long to be shown
}

// highest returns the highest numbers of a vat's own names, with those in a syscall.
func highest(s wire.Syscall, object, promise uint64) (uint64, uint64) {
	see := func(refs ...wire.Ref) {
		for _, ref := range refs {
			parts, err := wire.ParseRef(string(ref))
			switch {
			case err != nil, !parts.Own, parts.Durable:
			case parts.Promise:
				promise = max(promise, parts.Number)
			default:
				object = max(object, parts.Number)
			}
		}
	}
	switch s := s.(type) {
	case wire.Send:
		see(s.Target, s.Message.Result)
		see(s.Message.MethArgs.Slots...)
	case wire.Resolve:
		for _, r := range s.Resolutions {
			see(r.Promise)
			see(r.Value.Slots...)
		}
	case wire.Exit:
		see(s.Info.Slots...)
	case wire.Watch:
		see(s.Target, s.Result)
	case wire.Subscribe, wire.Keep, wire.StoreSet, wire.StoreDelete, wire.DropImports, wire.RetireImportsCall,
		wire.RetireExportsCall, wire.AbandonExports, wire.Collect:
		// these make no names
	}
	return object, promise
}

// rows is the store of a vat that is replayed.
type rows struct {
	values map[string][]byte
	keys   []string // sorted
}

func (r *rows) clone() *rows { return &rows{maps.Clone(r.values), slices.Clone(r.keys)} }

func (r *rows) Get(key string) ([]byte, bool, error) {
	v, ok := r.values[key]
	return v, ok, nil
}

func (r *rows) Next(prefix, after string) (string, []byte, bool, error) {
	i, found := slices.BinarySearch(r.keys, max(prefix, after))
	if found && r.keys[i] == after {
		i++
	}
	if i == len(r.keys) || !strings.HasPrefix(r.keys[i], prefix) {
		return "", nil, false, nil
	}
	return r.keys[i], r.values[r.keys[i]], true, nil
}

func (r *rows) set(key string, value []byte) {
	if i, found := slices.BinarySearch(r.keys, key); !found {
		r.keys = slices.Insert(r.keys, i, key)
	}
	r.values[key] = value
}

func (r *rows) apply(syscalls []wire.Syscall) {
	for _, s := range syscalls {
		switch s := s.(type) {
		case wire.StoreSet:
			r.set(s.Key, s.Value)
		case wire.StoreDelete:
			if i, found := slices.BinarySearch(r.keys, s.Key); found {
				r.keys = slices.Delete(r.keys, i, i+1)
				delete(r.values, s.Key)
			}
		case wire.Send, wire.Subscribe, wire.Resolve, wire.Exit, wire.DropImports, wire.RetireImportsCall,
			wire.RetireExportsCall, wire.AbandonExports, wire.Keep, wire.Watch, wire.Collect:
			// no change of the store
		}
	}
}

var _ worker.Store = &rows{}
