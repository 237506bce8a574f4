package enumeration_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

// actor is the vat of most scenarios: each method is a step of a program.
type actor struct {
	vat.Durable
	Peer, Third, Ledger, Line, Timer, Facet vat.Ref
	Sum                                     int
	// Log is what was noted, in its order.
	Log    []string
	Kept   vat.Map[string, vat.Ref]
	Things vat.Map[string, *thing]

	resolvers map[string]vat.Resolver `vat:"-"`
	promises  map[string]vat.Promise  `vat:"-"`
	sparks    map[string]*spark       `vat:"-"`
	lock      vat.Mutex               `vat:"-"`
}

// actors is the program of all scenarios.
var actors = sync.OnceValue(func() worker.Program {
	return program(vat.Modules{"actor": vat.Module(func() *actor { return &actor{} }, (*thing)(nil), (*spark)(nil)), "faulty": newFaulty})
})

// newFaulty is the constructor of a vat that cannot be.
func newFaulty() (*actor, error) { return nil, errors.New("it cannot be") }

// Bootstrap introduces the vats to each other.
func (a *actor) Bootstrap(ctx context.Context, vats map[string]vat.Ref, services struct{ Ledger, Line, Timer, KernelFacet vat.Ref }) error {
	a.Ledger, a.Line, a.Timer, a.Facet = services.Ledger, services.Line, services.Timer, services.KernelFacet
	a.Peer, a.Third = vats["b"], vats["c"]
	if !a.Peer.IsZero() {
		if _, err := vat.Call[vat.None](ctx, a.Peer, "meet", vat.RefOf(ctx, a), a.Third, a.Ledger); err != nil {
			return err
		}
	}
	if !a.Third.IsZero() {
		if _, err := vat.Call[vat.None](ctx, a.Third, "meet", vat.RefOf(ctx, a), a.Peer, a.Ledger); err != nil {
			return err
		}
	}
	return nil
}

// Meet keeps the others.
func (a *actor) Meet(peer, third, ledger vat.Ref) { a.Peer, a.Third, a.Ledger = peer, third, ledger }

// Add adds to the sum.
func (a *actor) Add(n int) int {
	a.Sum += n
	return a.Sum
}

// Note notes a line.
func (a *actor) Note(line string) int {
	a.Log = append(a.Log, line)
	return len(a.Log)
}

// Tell tells what was noted.
func (a *actor) Tell() []string { return a.Log }

// Wipe forgets what was noted.
func (a *actor) Wipe() { a.Log = nil }

// Count counts what was noted, whatever its order was.
func (a *actor) Count() int { return len(a.Log) }

// Refuse returns an error.
func (a *actor) Refuse(n int) error { return fmt.Errorf("refused %d", n) }

// RefuseWith rejects with a record.
func (a *actor) RefuseWith(n int) error { return vat.Reject(map[string]int{"code": n}) }

// Boom ends the worker.
func (a *actor) Boom() { panic("boom") }

// Far calls a method of the peer, and waits for the answer.
func (a *actor) Far(ctx context.Context, method string, args []any) (any, error) {
	return vat.Call[any](ctx, a.Peer, method, args...)
}

// FarOn has the answer of the peer be its own.
func (a *actor) FarOn(ctx context.Context, method string, args []any) vat.Promise {
	return vat.Send(ctx, a.Peer, method, args...)
}

// FarStored has the store wait for the answer.
func (a *actor) FarStored(ctx context.Context, method string, args []any) {
	vat.When(ctx, vat.Send(ctx, a.Peer, method, args...), a, "Heard", method)
}

// FarStoredOn has the store wait for the answer, and the caller for what comes of that.
func (a *actor) FarStoredOn(ctx context.Context, method string, args []any) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, a.Peer, method, args...), a, "Heard", method)
}

// FarUnheard does not wait for the answer.
func (a *actor) FarUnheard(ctx context.Context, method string, args []any) {
	vat.Send(ctx, a.Peer, method, args...)
}

// Heard notes an outcome.
func (a *actor) Heard(_ context.Context, o vat.Outcome[any], what string) int {
	v, err := o.Get()
	line := fmt.Sprint(what, " ", v)
	if err != nil {
		line = what + " error " + code(err)
	}
	return a.Note(line)
}

// code is the text of an error without the kernel's names.
func code(err error) string { return anonymous(err.Error()) }

// Relay sends a message around, n times, and adds in the end.
func (a *actor) Relay(ctx context.Context, n int) vat.Promise {
	if n == 0 {
		return vat.Send(ctx, a, "add", 1)
	}
	return vat.Send(ctx, a.Peer, "relay", n-1)
}

// RelayWaiting is Relay with a turn that waits in each vat.
func (a *actor) RelayWaiting(ctx context.Context, n int) (int, error) {
	if n == 0 {
		return a.Add(1), nil
	}
	return vat.Call[int](ctx, a.Peer, "relayWaiting", n-1)
}

// Give makes a thing, keeps it, and gives it away.
func (a *actor) Give(ctx context.Context, key string, n int) (*thing, error) {
	t := &thing{N: n}
	return t, a.Things.Set(ctx, key, t)
}

// Make makes a thing that only the caller keeps.
func (a *actor) Make(n int) *thing { return &thing{N: n} }

// Pipe sends messages to a thing before it is there.
func (a *actor) Pipe(ctx context.Context, n int) (int, error) {
	t := vat.Send(ctx, a.Peer, "make", n)
	vat.Send(ctx, t, "bump", 1)
	return vat.Call[int](ctx, t, "bump", 2)
}

// PipeBroken sends messages to a promise that is rejected.
func (a *actor) PipeBroken(ctx context.Context) (int, error) {
	return vat.Call[int](ctx, vat.Send(ctx, vat.Send(ctx, a.Peer, "refuse", 1), "bump", 1), "bump", 2)
}

// PipeDeep sends a message to the answer of a message to an answer.
func (a *actor) PipeDeep(ctx context.Context) (int, error) {
	first := vat.Send(ctx, a.Peer, "self")
	return vat.Call[int](ctx, vat.Send(ctx, vat.Send(ctx, first, "self"), "make", 3), "bump", 4)
}

// Self returns the vat's root.
func (a *actor) Self() *actor { return a }

// Promised has the peer add what the third one answers.
func (a *actor) Promised(ctx context.Context, n int) vat.Promise {
	return vat.Send(ctx, a.Peer, "add", vat.Send(ctx, a.Third, "add", n))
}

// Order sends messages to a promise, and to what it becomes.
func (a *actor) Order(ctx context.Context) error {
	p, r := vat.NewPromise(ctx)
	for i := range 3 {
		vat.Send(ctx, p, "note", fmt.Sprint("promise ", i))
	}
	r.Resolve(ctx, a.Peer)
	for i := range 3 {
		vat.Send(ctx, a.Peer, "note", fmt.Sprint("object ", i))
	}
	_, err := vat.Call[int](ctx, p, "note", "last")
	return err
}

// Begin makes a promise, and sends it to a method of the peer.
func (a *actor) Begin(ctx context.Context, key, method string) {
	if a.resolvers == nil {
		a.resolvers, a.promises = map[string]vat.Resolver{}, map[string]vat.Promise{}
	}
	p, r := vat.NewPromise(ctx)
	a.resolvers[key], a.promises[key] = r, p
	vat.Send(ctx, a.Peer, method, key, []vat.Promise{p})
}

// Settle fulfils such a promise.
func (a *actor) Settle(ctx context.Context, key string, n int) bool {
	r, ok := a.resolvers[key]
	if ok {
		delete(a.resolvers, key)
		r.Resolve(ctx, n)
	}
	return ok
}

// Break rejects such a promise.
func (a *actor) Break(ctx context.Context, key string) bool {
	r, ok := a.resolvers[key]
	if ok {
		delete(a.resolvers, key)
		r.Reject(ctx, errors.New("broken"))
	}
	return ok
}

// Hand has such a promise follow what the third vat answers.
func (a *actor) Hand(ctx context.Context, key string, n int) bool {
	r, ok := a.resolvers[key]
	if ok {
		delete(a.resolvers, key)
		r.Resolve(ctx, vat.Send(ctx, a.Third, "add", n))
	}
	return ok
}

// Wait notes how a promise settles, and waits for that in memory.
func (a *actor) Wait(ctx context.Context, key string, ps []vat.Promise) {
	n, err := vat.Await[int](ctx, ps[0])
	if err != nil {
		a.Note(key + " error " + code(err))
		return
	}
	a.Note(fmt.Sprint(key, " ", n))
}

// WaitStored notes how a promise settles, and has the store wait for that.
func (a *actor) WaitStored(ctx context.Context, key string, ps []vat.Promise) {
	vat.When(ctx, ps[0], a, "Heard", key)
}

// Take calls a thing of its own with a promise as argument: the store waits for that.
func (a *actor) Take(ctx context.Context, key string, ps []vat.Promise) error {
	t, err := a.Give(ctx, key, 1)
	vat.Send(ctx, t, "bump", ps[0])
	return err
}

// Value returns the number of a thing.
func (a *actor) Value(ctx context.Context, key string) int {
	t, ok := a.Things.Get(ctx, key)
	if !ok {
		return -1
	}
	return t.N
}

// Circle settles n promises with each other, in one crank, and has the peer walk around.
func (a *actor) Circle(ctx context.Context, n int) (int, error) {
	ps, rs := make([]vat.Promise, n), make([]vat.Resolver, n)
	for i := range ps {
		ps[i], rs[i] = vat.NewPromise(ctx)
	}
	for i, r := range rs {
		r.Resolve(ctx, link{N: i, Next: ps[(i+1)%n]})
	}
	return vat.Call[int](ctx, a.Peer, "walk", []vat.Promise{ps[0]}, 2*n+1)
}

// Walk follows links and adds their numbers.
func (a *actor) Walk(ctx context.Context, at []vat.Promise, steps int) (sum int, err error) {
	next := at[0]
	for range steps {
		l, err := vat.Await[link](ctx, next)
		if err != nil {
			return sum, err
		}
		sum += l.N
		next = l.Next
	}
	return sum, nil
}

// Row settles n promises, each with the next one itself, the last one first or last.
func (a *actor) Row(ctx context.Context, n int) (int, error) {
	first, r := vat.NewPromise(ctx)
	for range n {
		next, nr := vat.NewPromise(ctx)
		r.Resolve(ctx, next)
		r = nr
	}
	far := vat.Send(ctx, a.Peer, "add", first)
	r.Resolve(ctx, n)
	return vat.Await[int](ctx, far)
}

// Both waits for both others.
func (a *actor) Both(ctx context.Context) ([]int, error) {
	return vat.Await[[]int](ctx, vat.All(ctx, vat.Send(ctx, a.Peer, "add", 1), vat.Send(ctx, a.Third, "add", 2)))
}

// First waits for the first of an answer and one that never comes.
func (a *actor) First(ctx context.Context) (int, error) {
	never, _ := vat.NewPromise(ctx)
	return vat.Await[int](ctx, vat.Race(ctx, never, vat.Send(ctx, a.Peer, "add", 1)))
}

// Locked adds to the peer's sum while no other call of it does.
func (a *actor) Locked(ctx context.Context, n int) (int, error) {
	a.lock.Lock(ctx)
	defer a.lock.Unlock(ctx)
	before := a.Sum
	if _, err := vat.Call[int](ctx, a.Peer, "add", n); err != nil {
		return 0, err
	}
	a.Sum = before + n
	return a.Sum, nil
}

// Lend has the peer poke an object that lives in memory.
func (a *actor) Lend(ctx context.Context) (int, error) {
	return vat.Call[int](ctx, a.Peer, "pokeTwice", &spark{n: 5})
}

// PokeTwice pokes an object.
func (a *actor) PokeTwice(ctx context.Context, r vat.Ref) (int, error) {
	vat.Send(ctx, r, "poke")
	return vat.Call[int](ctx, r, "poke")
}

// LendKept has the peer keep an object that lives in memory.
func (a *actor) LendKept(ctx context.Context, key string) error {
	if a.sparks == nil {
		a.sparks = map[string]*spark{}
	}
	a.sparks[key] = &spark{n: 5}
	_, err := vat.Call[vat.None](ctx, a.Peer, "keep", key, a.sparks[key])
	return err
}

// Keep keeps a reference.
func (a *actor) Keep(ctx context.Context, key string, r vat.Ref) error {
	return a.Kept.Set(ctx, key, r)
}

// Drop drops a reference.
func (a *actor) Drop(ctx context.Context, key string) { a.Kept.Delete(ctx, key) }

// Use calls a method of a reference that is kept.
func (a *actor) Use(ctx context.Context, key, method string, args []any) (any, error) {
	r, ok := a.Kept.Get(ctx, key)
	if !ok {
		return nil, errors.New("it is not kept")
	}
	return vat.Call[any](ctx, r, method, args...)
}

// Show returns a reference that is kept.
func (a *actor) Show(ctx context.Context, key string) (vat.Ref, error) {
	r, ok := a.Kept.Get(ctx, key)
	if !ok {
		return vat.Ref{}, errors.New("it is not kept")
	}
	return r, nil
}

// LendThing makes a thing and has the peer keep it.
func (a *actor) LendThing(ctx context.Context, key string) error {
	t, err := a.Give(ctx, key, 1)
	if err != nil {
		return err
	}
	_, err = vat.Call[vat.None](ctx, a.Peer, "keep", key, t)
	return err
}

// LetGo keeps a thing no more.
func (a *actor) LetGo(ctx context.Context, key string) { a.Things.Delete(ctx, key) }

// Delete deletes a thing.
func (a *actor) Delete(ctx context.Context, key string) error {
	t, ok := a.Things.Get(ctx, key)
	if !ok {
		return errors.New("there is no such thing")
	}
	a.Things.Delete(ctx, key)
	return vat.Delete(ctx, t)
}

// Ring makes n things that lead to each other in a circle, and keeps one of them.
func (a *actor) Ring(ctx context.Context, key string, n int) error {
	first := &thing{}
	last := first
	for i := range n - 1 {
		last.Next = &thing{N: i}
		last = last.Next
	}
	last.Next = first
	return a.Things.Set(ctx, key, first)
}

// Grow makes a row of n things, and keeps the first.
func (a *actor) Grow(ctx context.Context, key string, n int) error {
	var t *thing
	for i := range n {
		t = &thing{N: i, Next: t}
	}
	return a.Things.Set(ctx, key, t)
}

// Leave ends the vat.
func (a *actor) Leave(ctx context.Context, info string) string {
	vat.Exit(ctx, info)
	return "leaving"
}

// GiveUp ends the vat with an error.
func (a *actor) GiveUp(ctx context.Context) { vat.Fail(ctx, errors.New("given up")) }

// Mourn notes how the peer ends.
func (a *actor) Mourn(ctx context.Context) {
	vat.When(ctx, vat.Done(ctx, a.Peer), a, "Heard", "the end")
}

// Hang waits for ever.
func (a *actor) Hang(ctx context.Context) error {
	p, _ := vat.NewPromise(ctx)
	_, err := vat.Await[vat.None](ctx, p)
	return err
}

// Pay calls a method of the ledger, and waits for the answer.
func (a *actor) Pay(ctx context.Context, method, what string) (string, error) {
	return vat.Call[string](ctx, a.Ledger, method, what)
}

// PayStored calls a method of the ledger, and has the store wait for the answer. Which one comes is not noted.
func (a *actor) PayStored(ctx context.Context, method, what string) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, a.Ledger, method, what), a, "Paid")
}

// Paid passes an outcome on.
func (a *actor) Paid(_ context.Context, o vat.Outcome[string]) (string, error) {
	a.Sum++
	return o.Get()
}

// PayOn passes the promise of the ledger on.
func (a *actor) PayOn(ctx context.Context, method, what string) vat.Promise {
	return vat.Send(ctx, a.Ledger, method, what)
}

// Read notes n lines, one after the other.
func (a *actor) Read(ctx context.Context, n int) error {
	for range n {
		line, err := vat.Call[any](ctx, a.Line, "read")
		if err != nil {
			return err
		}
		a.Note(fmt.Sprint(line))
	}
	return nil
}

// Listen has the store wait for lines, until the end.
func (a *actor) Listen(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, a.Line, "read"), a, "OnLine")
}

// OnLine notes a line.
func (a *actor) OnLine(ctx context.Context, line vat.Outcome[any]) {
	v, err := line.Get()
	switch {
	case err != nil:
		a.Note("error " + code(err))
	case v == nil:
		a.Note("end")
	default:
		a.Note(fmt.Sprint(v))
		a.Listen(ctx)
	}
}

// Write writes.
func (a *actor) Write(ctx context.Context, text string) error {
	_, err := vat.Call[any](ctx, a.Line, "write", text)
	return err
}

// Accept keeps a connection.
func (a *actor) Accept(ctx context.Context, key string) error {
	c, err := vat.Call[vat.Ref](ctx, a.Line, "accept")
	if err != nil {
		return err
	}
	return a.Kept.Set(ctx, key, c)
}

// AcceptStored has the store wait for a connection.
func (a *actor) AcceptStored(ctx context.Context, key string) {
	vat.When(ctx, vat.Send(ctx, a.Line, "accept"), a, "OnConnection", key)
}

// OnConnection keeps a connection.
func (a *actor) OnConnection(ctx context.Context, c vat.Ref, key string) error {
	return a.Kept.Set(ctx, key, c)
}

// Nap waits.
func (a *actor) Nap(ctx context.Context, ms int) error {
	_, err := vat.Call[any](ctx, a.Timer, "delay", ms)
	return err
}

// NapStored has the store wait.
func (a *actor) NapStored(ctx context.Context, ms int) {
	vat.When(ctx, vat.Send(ctx, a.Timer, "delay", ms), a, "Rested")
}

// Rested counts.
func (a *actor) Rested(context.Context, any) { a.Sum++ }

// Repeat begins a repetition.
func (a *actor) Repeat(ctx context.Context, key string, ms int) error {
	r, err := vat.Call[vat.Ref](ctx, a.Timer, "repeat", ms, a)
	if err != nil {
		return err
	}
	return a.Kept.Set(ctx, key, r)
}

// Tick notes that there was a tick: how many come depends on when a kernel dies.
func (a *actor) Tick(float64) {
	if len(a.Log) == 0 {
		a.Note("ticks")
	}
}

// Manage calls a method of the kernel's facet.
func (a *actor) Manage(ctx context.Context, method string, args []any) (any, error) {
	return vat.Call[any](ctx, a.Facet, method, args...)
}

// Spam sends n messages, and waits for no answer.
func (a *actor) Spam(ctx context.Context, n int) {
	for range n {
		vat.Send(ctx, a.Peer, "add", 1)
	}
}
