package vattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

// past is all that a vat has done since it was made, or since the program changed.
type past struct {
	start  wire.Start
	before *storage.Mem // the vat's store before the first of cranks
	cranks []crank
}

// crank is a delivery, and the answer of the vat.
type crank struct {
	deliver  wire.Deliver
	syscalls []wire.Syscall
	frame    []byte // the whole answer
	// rest says that all of the vat's state was in its store then, or that its memory was lost.
	rest bool
}

// past returns the past of the vat of a worker.
func (k *Kernel) past(l *life) *past {
	id := kernel.VatID(l.start.Vat)
	p := k.pasts[id]
	if p == nil {
		p = &past{start: l.start, before: storage.NewMem()}
		k.pasts[id] = p
	}
	return p
}

func (p *past) add(c crank) { p.cranks = append(p.cranks, c) }

// lose notes that the memory is lost: what follows is done by a fresh worker.
func (p *past) lose() {
	if n := len(p.cranks); n > 0 {
		p.cranks[n-1].rest = true
	}
}

// forget drops the cranks that another program need not do again: those until the vat was at rest for the last time, or all.
func (p *past) forget(all bool) {
	n := len(p.cranks)
	for n > 0 && !all && !p.cranks[n-1].rest {
		n--
	}
	for _, c := range p.cranks[:n] {
		p.apply(c.syscalls)
	}
	p.cranks = slices.Clone(p.cranks[n:])
}

// apply has the syscalls of a crank be before all others.
func (p *past) apply(syscalls []wire.Syscall) {
	for _, s := range syscalls {
		p.start.HighObject, p.start.HighPromise = highest(s, p.start.HighObject, p.start.HighPromise)
		if set, ok := s.(wire.StoreSet); ok {
			p.set(storage.Write{Key: set.Key, Value: append([]byte{}, set.Value...)})
		} else if del, ok := s.(wire.StoreDelete); ok {
			p.set(storage.Write{Key: del.Key})
		}
	}
}

// set writes a row.
func (p *past) set(w storage.Write) {
	if err := p.before.Commit([]storage.Write{w}); err != nil {
		panic(err) // the kernel's own store has taken the row
	}
}

// read answers a read of the store.
func (p *past) read(f wire.UpFrame) (row wire.Row, err error) {
	switch f := f.(type) {
	case wire.Get:
		row.Key = f.Key
		row.Value, row.Found, err = p.before.Get(f.Key)
	case wire.Next:
		row.Key, row.Value, row.Found, err = p.before.Next(f.Prefix, f.After)
	default:
		panic(fmt.Sprintf("vattest: a read by %T", f))
	}
	return row, err
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
	fresh := inproc.New(inproc.Config{Program: k.program})
	for _, id := range slices.Sorted(maps.Keys(k.pasts)) {
		k.replay(fresh, k.pasts[id])
	}
	if err := fresh.Close(context.Background()); err != nil {
		k.tb.Error(err)
	}
}

// replay gives the deliveries of a vat to a fresh worker. Whenever the vat was at rest, another fresh worker goes on: to a
// vat at rest it must make no difference whether its worker lives.
func (k *Kernel) replay(fresh *inproc.Starter, p *past) {
	k.tb.Helper()
	view := &past{start: p.start, before: storage.NewMem()}
	view.start.Replays = 0
	for _, row := range p.before.Snapshot() {
		view.set(row)
	}
	events := make(chan workers.Event)
	var w workers.Worker
	for _, c := range p.cranks {
		if w == nil {
			w = fresh.Start(workers.Spec{Start: view.start, DeliveryTime: forever}, events)
			if e, ok := (<-events).(workers.Exited); ok {
				k.tb.Errorf("start of %s: %s", p.start.Name, e.Detail)
				return
			}
		}
		e, err := view.deliver(w, events, c.deliver)
		if err != nil || !bytes.Equal(e.Frame, c.frame) {
			k.tb.Errorf("vat %s does not do the same again in delivery %d (%s):\n%s", p.start.Name, c.deliver.Number,
				kernel.DescribeDelivery(c.deliver.Delivery), difference(p.start, c.frame, e.Done, err))
			break
		}
		view.apply(e.Done.Syscalls)
		if c.rest {
			end(w, events)
			w = nil
		}
	}
	if w != nil {
		end(w, events)
	}
}

// deliver has a worker do a delivery, and answers its reads.
func (p *past) deliver(w workers.Worker, events chan workers.Event, d wire.Deliver) (workers.Done, error) {
	if err := w.Deliver(d); err != nil {
		return workers.Done{}, err
	}
	for {
		switch e := (<-events).(type) {
		case workers.Done:
			return e, nil
		case workers.Ready:
			return workers.Done{}, errors.New("it is ready twice")
		case workers.Exited:
			return workers.Done{}, fmt.Errorf("%s: %s", e.Cause, e.Detail)
		case workers.Read:
			row, err := p.read(e.Frame)
			if err = errors.Join(err, w.Reply(row)); err != nil {
				return workers.Done{}, err
			}
		}
	}
}

// end ends a worker.
func end(w workers.Worker, events chan workers.Event) {
	w.Kill()
	for e := range events {
		if _, ok := e.(workers.Exited); ok {
			return
		}
	}
}

// difference describes the first difference between two answers; err is not nil if there is no second one.
func difference(start wire.Start, first []byte, then wire.Done, err error) string {
	f, decodeErr := wire.DecodeUp(first, wire.Limits{FrameBytes: start.MaxFrameBytes, Syscalls: start.MaxSyscalls})
	if err = errors.Join(err, decodeErr); err != nil {
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
