package testvats

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"ocapkernel.dev/vat"
)

// waiter is a vat whose turns wait: their sums live in local variables.
type waiter struct {
	vat.Durable
	Source vat.Ref
}

func newWaiter() *waiter { return &waiter{} }

// Bootstrap introduces the source.
func (w *waiter) Bootstrap(vats map[string]vat.Ref) { w.Source = vats["source"] }

// Sum asks the source n times, one after the other, and adds up the answers.
func (w *waiter) Sum(ctx context.Context, n int) (int, error) {
	total := 0
	for range n {
		x, err := vat.Call[int](ctx, w.Source, "next")
		if err != nil {
			return 0, fmt.Errorf("after %d: %w", total, err)
		}
		total += x
	}
	return total, nil
}

// source hands out numbers, each once.
type source struct {
	vat.Durable
	Last int
	// asked is not saved: while it holds a resolver, the vat is not at rest.
	asked []vat.Resolver `vat:"-"`
}

func newSource() *source { return &source{} }

// Next returns the next number.
func (s *source) Next() int {
	s.Last++
	return s.Last
}

// Count returns how many numbers were handed out.
func (s *source) Count() int { return s.Last }

// fickle behaves otherwise in a replay, each of its methods for another reason; each waits for the source in
// between, so that it has a past.
type fickle struct {
	vat.Durable
	Source vat.Ref
	Notes  vat.Map[string, int]
}

func newFickle() *fickle { return &fickle{} }

// Bootstrap introduces the source.
func (f *fickle) Bootstrap(vats map[string]vat.Ref) { f.Source = vats["source"] }

// Peer returns the source.
func (f *fickle) Peer() vat.Ref { return f.Source }

// Note counts a name, which may be new to the store, and returns how often it was noted.
func (f *fickle) Note(ctx context.Context, name string) (int, error) {
	n, _ := f.Notes.Get(ctx, name)
	return n + 1, f.Notes.Set(ctx, name, n+1)
}

// Strike makes a name as if it had never been noted, and returns whether it had been.
func (f *fickle) Strike(ctx context.Context, name string) bool {
	was := f.Notes.Has(ctx, name)
	f.Notes.Delete(ctx, name)
	return was
}

// Steady behaves the same in a replay.
func (f *fickle) Steady(ctx context.Context) (int, error) { return f.ask(ctx, "steady") }

// Clock looks at the clock of the machine instead of the crank's.
func (f *fickle) Clock(ctx context.Context) (int, error) {
	return f.ask(ctx, time.Now().Format(time.RFC3339Nano))
}

// Dice uses random numbers of its own.
func (f *fickle) Dice(ctx context.Context) (int, error) { return f.ask(ctx, fmt.Sprint(rand.Uint64())) }

// Map depends on the order of a map.
func (f *fickle) Map(ctx context.Context) (int, error) {
	m := map[string]bool{}
	for i := range 100 {
		m[fmt.Sprint(i)] = true
	}
	text := ""
	for k := range m {
		text += k
	}
	return f.ask(ctx, text)
}

// started counts in a variable of the package, which a new process begins anew.
var started atomic.Int64

// Package depends on a variable of the package.
func (f *fickle) Package(ctx context.Context) (int, error) {
	return f.ask(ctx, fmt.Sprint(started.Add(1)))
}

// Goroutine depends on how far a goroutine has come.
func (f *fickle) Goroutine(ctx context.Context) (int, error) {
	var steps atomic.Int64
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				steps.Add(1)
			}
		}
	}()
	<-time.After(20 * time.Millisecond)
	close(done)
	return f.ask(ctx, fmt.Sprint(steps.Load()))
}

// Nap holds its delivery up for some seconds, also when its memory is made again.
func (f *fickle) Nap(ctx context.Context) (int, error) {
	<-time.After(7 * time.Second)
	return f.ask(ctx, "nap")
}

// ask sends its arguments along, waits, and waits again for an answer that is a while in coming.
func (f *fickle) ask(ctx context.Context, what string) (int, error) {
	if _, err := vat.Call[string](ctx, f.Source, "echo", what); err != nil {
		return 0, err
	}
	return vat.Call[int](ctx, f.Source, "slow")
}

// Watch waits for the source in the store, for as long as it takes.
func (f *fickle) Watch(ctx context.Context, label string) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, f.Source, "slow"), f, "OnSlow", label)
}

// OnSlow goes on when the source has answered.
func (f *fickle) OnSlow(n vat.Outcome[int], label string) (string, error) {
	x, err := n.Get()
	return fmt.Sprint(label, " ", x), err
}

// Echo returns its argument.
func (s *source) Echo(what string) string { return what }

// EchoAny returns a value, or the value of a promise.
func (s *source) EchoAny(what any) any { return what }

// Slow answers when Release is called.
func (s *source) Slow(ctx context.Context) vat.Promise {
	p, r := vat.NewPromise(ctx)
	s.asked = append(s.asked, r)
	return p
}

// Release answers the calls of Slow.
func (s *source) Release(ctx context.Context) {
	for _, r := range s.asked {
		s.Last++
		r.Resolve(ctx, s.Last)
	}
	s.asked = nil
}
