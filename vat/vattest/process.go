package vattest

import (
	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
	"ocapkernel.dev/worker"
)

// process stands for the process of a worker. All deliveries, answers and rows that go to its vat or come from
// it are encoded, validated and decoded, as they are on descriptor 3.
type process struct {
	k     *Kernel
	start wire.Start
	vat   worker.Vat
	// again is set while the vat is given its past, of which it has logged already.
	again bool
}

// spawn starts a worker. Its vat reads the given store.
func (k *Kernel) spawn(start wire.Start, s worker.Store) *process {
	k.tb.Helper()
	start, err := wiretest.Down(start)
	if err != nil {
		k.tb.Fatalf("start of %s: %v", start.Name, err)
	}
	p := &process{k: k, start: start, again: true}
	if p.vat, err = k.program.New(start, &reads{k, s}, k.logger(p)); err != nil {
		k.tb.Fatalf("start of %s: %v", start.Name, err)
	}
	return p
}

// deliver has the vat do a delivery, and returns its answer, and the answer's frame without the header.
func (p *process) deliver(d wire.Deliver) (wire.Done, []byte) {
	p.k.tb.Helper()
	down, err := wiretest.Down(d)
	if err != nil {
		p.k.tb.Fatalf("delivery %d: %v", d.Number, err)
	}
	done := p.vat.Deliver(down)
	done.Number = d.Number
	up, err := worker.AppendDone(nil, done, p.start)
	if err != nil {
		p.k.tb.Fatalf("answer to delivery %d: %v", d.Number, err)
	}
	frame := up[wire.HeaderBytes:]
	f, err := wire.DecodeUp(frame, wire.Limits{FrameBytes: p.start.MaxFrameBytes, Syscalls: p.start.MaxSyscalls})
	if err != nil {
		p.k.tb.Fatalf("answer to delivery %d: %v", d.Number, err)
	}
	return f.(wire.Done), frame
}

// atRest asks the vat whether it is at rest; known is false for a vat that cannot tell.
func (p *process) atRest() (rest, known bool) {
	r, ok := p.vat.(interface{ AtRest() bool })
	return ok && r.AtRest(), ok
}

// close ends the vat's goroutines.
func (p *process) close() {
	if p == nil {
		return
	}
	if c, ok := p.vat.(interface{ Close() }); ok {
		c.Close()
	}
}

// reads is the store of a vat as its worker reads it: by frames. A frame that cannot be sent fails the test;
// the vat gets an error, for it may read on a goroutine that is not the test's.
type reads struct {
	k     *Kernel
	store worker.Store
}

// Get is part of [worker.Store].
func (r *reads) Get(key string) ([]byte, bool, error) {
	ask, _, err := wiretest.Up(wire.Get{Key: key}, wire.Limits{})
	if err != nil {
		return nil, false, err // as in a process
	}
	value, found, err := r.store.Get(ask.Key)
	if err != nil {
		return nil, false, r.failed(err)
	}
	row, err := wiretest.Down(wire.Row{Key: ask.Key, Value: value, Found: found})
	return row.Value, row.Found, r.failed(err)
}

// Next is part of [worker.Store].
func (r *reads) Next(prefix, after string) (string, []byte, bool, error) {
	ask, _, err := wiretest.Up(wire.Next{After: after, Prefix: prefix}, wire.Limits{})
	if err != nil {
		return "", nil, false, err
	}
	key, value, found, err := r.store.Next(ask.Prefix, ask.After)
	if err != nil {
		return "", nil, false, r.failed(err)
	}
	row, err := wiretest.Down(wire.Row{Key: key, Value: value, Found: found})
	return row.Key, row.Value, row.Found, r.failed(err)
}

func (r *reads) failed(err error) error {
	if err != nil {
		r.k.tb.Errorf("a vat reads its store: %v", err)
	}
	return err
}
