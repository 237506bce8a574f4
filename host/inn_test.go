package host_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ocapkernel.dev/service"
	"ocapkernel.dev/vat"
)

// An inn is a vat that does what the workloads order, mostly with its peer, another inn.
type inn struct {
	vat.Durable
	Peer, Timer, Desk vat.Ref
	Rooms             vat.Map[int, *chamber]
	Guests            vat.Map[string, vat.Ref]
	Known             vat.Map[vat.Ref, string]
	Ticks             int
	Repeat            vat.Ref
}

// A chamber is an object of an inn.
type chamber struct {
	vat.Durable
	Inn    *inn
	Number int
	Next   *chamber
	Key    vat.Map[string, vat.Ref]
}

// A porter is an object that lives in memory.
type porter struct {
	vat.Ephemeral
	carried int
}

func (p *porter) Carry() int { p.carried++; return p.carried }

func inns() vat.Modules {
	return vat.Modules{
		"inn":    vat.Module(func() *inn { return &inn{} }, (*chamber)(nil), (*porter)(nil)),
		"closed": func() *closed { return &closed{} },
	}
}

// closed is a vat whose bootstrap fails.
type closed struct{ vat.Durable }

func (*closed) Bootstrap() error { return errors.New("the inn is closed") }

func (i *inn) Bootstrap(vats map[string]vat.Ref, services struct{ Timer, Desk vat.Ref }) {
	i.Peer, i.Timer, i.Desk = vats["b"], services.Timer, services.Desk
}

func (i *inn) Echo(x any) any                        { return x }
func (i *inn) Fail() error                           { return errors.New("no") }
func (i *inn) Room() *chamber                        { return &chamber{Inn: i} }
func (i *inn) Porter() *porter                       { return &porter{} }
func (r *chamber) Get() int                          { return r.Number }
func (r *chamber) Self() *chamber                    { return r }
func (r *chamber) On(_ vat.Outcome[any], _ *chamber) {}
func (r *chamber) Settle(x vat.Outcome[any]) any     { return x.Value }
func (i *inn) Give(_ *chamber, _ any) *inn           { return i }
func (i *inn) Panic()                                { panic("at each attempt") }
func (i *inn) Leave(ctx context.Context)             { vat.Exit(ctx, "bye") }
func (i *inn) Tick(_ context.Context, _ float64)     { i.Ticks++ }

// Ask calls a method of the peer, and waits for the answer in memory.
func (i *inn) Ask(ctx context.Context, x any) (any, error) {
	return vat.Call[any](ctx, i.Peer, "echo", x)
}

// Tell sends messages whose answers nobody wants.
func (i *inn) Tell(ctx context.Context, n int) {
	for k := range n {
		vat.Send(ctx, i.Peer, "echo", k)
	}
}

// Pipe sends messages to results that are not there yet.
func (i *inn) Pipe(ctx context.Context) (int, error) {
	r := vat.Send(ctx, i.Peer, "room")
	return vat.Await[int](ctx, vat.Send(ctx, vat.Send(ctx, vat.Send(ctx, r, "self"), "self"), "get"))
}

// PipeNowhere sends messages to a result that is an error.
func (i *inn) PipeNowhere(ctx context.Context) string {
	_, err := vat.Await[any](ctx, vat.Send(ctx, vat.Send(ctx, i.Peer, "fail"), "self"))
	return fmt.Sprint(err != nil)
}

// Later passes a promise which is settled afterwards, and waits for what becomes of it.
func (i *inn) Later(ctx context.Context, reject bool) (string, error) {
	p, r := vat.NewPromise(ctx)
	back := vat.Send(ctx, i.Peer, "echo", []any{p})
	if reject {
		r.Reject(ctx, errors.New("no"))
	} else {
		r.Resolve(ctx, []any{1, vat.RefOf(ctx, &chamber{Inn: i})})
	}
	_, err := vat.Await[any](ctx, back)
	return "done", err
}

// Chain settles promises with each other.
func (i *inn) Chain(ctx context.Context) (any, error) {
	p, r := vat.NewPromise(ctx)
	q, s := vat.NewPromise(ctx)
	back := vat.Send(ctx, i.Peer, "echo", p)
	r.Resolve(ctx, q)
	s.Resolve(ctx, 7)
	return vat.Await[any](ctx, back)
}

// Circle passes promises whose values lead to each other.
func (i *inn) Circle(ctx context.Context) error {
	p, r := vat.NewPromise(ctx)
	q, s := vat.NewPromise(ctx)
	back := vat.Send(ctx, i.Peer, "hear", []any{p, q})
	r.Resolve(ctx, []any{q})
	s.Resolve(ctx, []any{p})
	_, err := vat.Await[any](ctx, back)
	return err
}

func (i *inn) Hear(_ any) {}

// Many waits for all of some results, and for one of them.
func (i *inn) Many(ctx context.Context) error {
	ps := []vat.Promise{vat.Send(ctx, i.Peer, "echo", 1), vat.Send(ctx, i.Peer, "room"), vat.Send(ctx, i.Peer, "echo", 3)}
	if _, err := vat.Await[any](ctx, vat.Race(ctx, ps...)); err != nil {
		return err
	}
	_, err := vat.Await[any](ctx, vat.All(ctx, ps...))
	return err
}

// Fill makes durable objects, and Clear takes them away.
func (i *inn) Fill(ctx context.Context, n int) error {
	for k := range n {
		r := &chamber{Inn: i, Number: k}
		if err := errors.Join(r.Key.Set(ctx, "peer", i.Peer), i.Rooms.Set(ctx, k, r)); err != nil {
			return err
		}
	}
	return nil
}

func (i *inn) Clear(ctx context.Context) {
	for k := range i.Rooms.All(ctx) {
		i.Rooms.Delete(ctx, k)
	}
}

// Ring makes objects that lead to each other in a circle, and takes them away.
func (i *inn) Ring(ctx context.Context, n int) error {
	first := &chamber{Inn: i}
	last := first
	for k := range n {
		last = &chamber{Inn: i, Number: k, Next: last}
	}
	first.Next = last
	if err := i.Rooms.Set(ctx, -1, first); err != nil {
		return err
	}
	i.Rooms.Delete(ctx, -1)
	return nil
}

// Destroy deletes an object by name that the peer holds.
func (i *inn) Destroy(ctx context.Context) (string, error) {
	r := &chamber{Inn: i}
	if err := i.Rooms.Set(ctx, 99, r); err != nil {
		return "", err
	}
	if _, err := vat.Call[any](ctx, i.Peer, "note", "gone", vat.RefOf(ctx, r)); err != nil {
		return "", err
	}
	if err := vat.Delete(ctx, r); err != nil {
		return "", err
	}
	i.Rooms.Delete(ctx, 99)
	_, err := vat.Call[any](ctx, i.Peer, "forget", "gone")
	return "done", err
}

// Note keeps a reference, Forget lets go of it.
func (i *inn) Note(ctx context.Context, name string, r vat.Ref) error {
	return errors.Join(i.Guests.Set(ctx, name, r), i.Known.Set(ctx, r, name))
}

func (i *inn) Forget(ctx context.Context, name string) {
	if r, ok := i.Guests.Get(ctx, name); ok {
		i.Guests.Delete(ctx, name)
		i.Known.Delete(ctx, r)
	}
}

// Visit opens sessions of the peer, one after the other, and closes each.
func (i *inn) Visit(ctx context.Context, n int) error {
	for k := range n {
		p, err := vat.Call[vat.Ref](ctx, i.Peer, "open", k)
		if err != nil {
			return err
		}
		if _, err := vat.Call[int](ctx, p, "get"); err != nil {
			return err
		}
		if _, err := vat.Call[any](ctx, i.Peer, "shut", k); err != nil {
			return err
		}
	}
	return nil
}

func (i *inn) Open(ctx context.Context, n int) (*chamber, error) {
	r := &chamber{Inn: i, Number: n}
	return r, i.Rooms.Set(ctx, 1000+n, r)
}

func (i *inn) Shut(ctx context.Context, n int) { i.Rooms.Delete(ctx, 1000+n) }

// Carry uses an object in the memory of the peer.
func (i *inn) Carry(ctx context.Context) (int, error) {
	p, err := vat.Call[vat.Ref](ctx, i.Peer, "porter")
	if err != nil {
		return 0, err
	}
	return vat.Call[int](ctx, p, "carry")
}

// Nap waits for the timer in memory, Doze with a continuation in the store.
func (i *inn) Nap(ctx context.Context) (float64, error) {
	return vat.Call[float64](ctx, i.Timer, "delay", 10)
}

func (i *inn) Doze(ctx context.Context) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, i.Timer, "delay", 10), &chamber{Inn: i}, "Settle")
}

// Wind has the timer tick, and Stop has it stop.
func (i *inn) Wind(ctx context.Context) (err error) {
	i.Repeat, err = vat.Call[vat.Ref](ctx, i.Timer, "repeat", 10, i)
	return err
}

func (i *inn) Stop(ctx context.Context) error {
	r := i.Repeat
	i.Repeat = vat.Ref{}
	if r.IsZero() {
		return nil
	}
	_, err := vat.Call[any](ctx, r, "cancel")
	return err
}

// Unwind forgets the repetition, which ends since nobody can hear of it.
func (i *inn) Unwind() { i.Repeat = vat.Ref{} }

// Check gets an object of the desk, which is a service, uses it, and forgets it.
func (i *inn) Check(ctx context.Context, n int) error {
	for range n {
		b, err := vat.Call[vat.Ref](ctx, i.Desk, "bell")
		if err == nil {
			_, err = vat.Call[string](ctx, b, "ring")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Wait has the peer make a call with promises as arguments, which waits in the peer's store, and settles them.
func (i *inn) Wait(ctx context.Context, n int) (any, error) {
	var all []vat.Promise
	for k := range n {
		p, r := vat.NewPromise(ctx)
		q, s := vat.NewPromise(ctx)
		all = append(all, vat.Send(ctx, i.Peer, "give", p, q))
		r.Resolve(ctx, &chamber{Inn: i, Number: k})
		if k%2 == 0 {
			s.Resolve(ctx, []any{q, k})
		} else {
			s.Reject(ctx, errors.New("no"))
		}
	}
	for _, p := range all {
		_, _ = vat.Await[any](ctx, p) // half of them are rejected
	}
	return nil, nil
}

// Watch has a continuation in the store called for the answer of the peer.
func (i *inn) Watch(ctx context.Context) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, i.Peer, "room"), &chamber{Inn: i}, "Settle")
}

// bells are the objects that the desk makes.
type desk struct {
	mu   sync.Mutex
	open int
}

type bell struct{ desk *desk }

func (d *desk) Bell(ctx context.Context) (service.Ref, error) {
	r, err := service.ExportObject(ctx, &bell{d})
	if err == nil {
		d.mu.Lock()
		d.open++
		d.mu.Unlock()
	}
	return r, err
}

func (b *bell) Ring() string { return "ring" }

// Close is part of io.Closer.
func (b *bell) Close() error {
	b.desk.mu.Lock()
	defer b.desk.mu.Unlock()
	b.desk.open--
	return nil
}
