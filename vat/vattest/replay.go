package vattest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// A record is one incarnation of a vat: what it began with, what it was given, what it answered.
type record struct {
	vat    kernel.VatID
	start  wire.Start
	before rows
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
	start.MaxFrameBytes, start.MaxSyscalls = 4<<20, 10_000
	start.Replays = k.vat(v).Records
	past, err := k.machine.Replay(v)
	if err != nil {
		k.tb.Fatal(err)
	}
	s := &store{k.machine, v, past}
	w, err := k.program.New(start, s, nil)
	if err != nil {
		k.tb.Fatalf("start of %s: %v", config.Name, err)
	}
	k.workers[v] = w
	r := &record{vat: v, start: start, before: rows{}}
	for after := ""; ; {
		key, value, found, err := s.Next("", after)
		if err != nil {
			k.tb.Fatal(err)
		}
		if !found {
			break
		}
		r.before[key] = value
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
		done := w.Deliver(d)
		frame, err := wire.AppendUp(nil, done)
		if err != nil {
			k.tb.Fatal(err)
		}
		if err := past.Answer(done, frame[wire.HeaderBytes:]); err != nil {
			k.diverged(v, err)
			return
		}
		r.cranks = append(r.cranks, recorded{d, frame})
	}
	s.past = nil
}

// diverged notes that a vat does not do the same again.
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
	k.do(k.machine.Diverged(v, vat.Incarnation, err.Error()))
}

// crank has a worker do a crank. Both frames take the way over the wire.
func (k *Kernel) crank(c *kernel.Crank) {
	k.tb.Helper()
	down, err := wire.AppendDown(nil, c.Deliver)
	if err != nil {
		k.tb.Fatalf("delivery to %s: %v", c.Vat, err)
	}
	f, err := wire.DecodeDown(down[wire.HeaderBytes:])
	if err != nil {
		k.tb.Fatalf("delivery to %s: %v", c.Vat, err)
	}
	done := k.workers[c.Vat].Deliver(f.(wire.Deliver))
	up, err := wire.AppendUp(nil, done)
	if err != nil {
		k.tb.Fatalf("answer of %s: %v", c.Vat, err)
	}
	i := len(k.records) - 1
	for k.records[i].vat != c.Vat {
		i--
	}
	k.records[i].cranks = append(k.records[i].cranks, recorded{c.Deliver, up})
	u, err := wire.DecodeUp(up[wire.HeaderBytes:], wire.Limits{})
	if err != nil {
		k.tb.Fatalf("answer of %s: %v", c.Vat, err)
	}
	done = u.(wire.Done)
	commit, err := k.machine.Finish(c, done, up[wire.HeaderBytes:], k.now)
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
	if k.KillAlways && k.workers[c.Vat] != nil {
		k.kill(c.Vat)
	}
}

// check checks the kernel's state, and replays what every vat did.
func (k *Kernel) check() {
	k.tb.Helper()
	problems, err := kernel.Check(k.mem)
	if err != nil || len(problems) > 0 {
		k.tb.Errorf("the kernel's state: %v %s", err, strings.Join(problems, "\n"))
	}
	for _, r := range k.records {
		k.replay(r)
	}
}

func (k *Kernel) replay(r *record) {
	k.tb.Helper()
	view := maps.Clone(r.before)
	w, err := k.program.New(r.start, view, nil)
	if err != nil {
		k.tb.Fatal(err)
	}
	defer closeVat(w)
	for _, c := range r.cranks {
		done := w.Deliver(c.deliver)
		frame, err := wire.AppendUp(nil, done)
		if err != nil {
			k.tb.Fatal(err)
		}
		if !bytes.Equal(frame, c.frame) {
			k.tb.Errorf("vat %s does not do the same again in delivery %d (%T):\nfirst %q\nthen  %q", r.start.Name, c.deliver.Number, c.deliver.Delivery, c.frame, frame)
			return
		}
		if done.Outcome.Fault == "" {
			view.apply(done.Syscalls)
		}
	}
}

// rows is the store of a vat that is replayed.
type rows map[string][]byte

func (r rows) Get(key string) ([]byte, bool, error) {
	v, ok := r[key]
	return v, ok, nil
}

func (r rows) Next(prefix, after string) (string, []byte, bool, error) {
	var keys []string
	for key := range r {
		if key > after && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return "", nil, false, nil
	}
	key := slices.Min(keys)
	return key, r[key], true, nil
}

func (r rows) apply(syscalls []wire.Syscall) {
	for _, s := range syscalls {
		switch s := s.(type) {
		case wire.StoreSet:
			r[s.Key] = s.Value
		case wire.StoreDelete:
			delete(r, s.Key)
		case wire.Send, wire.Subscribe, wire.Resolve, wire.Exit, wire.DropImports, wire.RetireImportsCall,
			wire.RetireExportsCall, wire.AbandonExports, wire.Keep:
			// not about the store
		}
	}
}

var _ worker.Store = rows{}
