package testvats

import (
	"context"
	"fmt"

	"ocapkernel.dev/vat"
)

// fragile has a continuation that panics until it is mended.
type fragile struct {
	vat.Durable
	Source vat.Ref
	Mended bool
	Log    []string
}

func newFragile() *fragile { return &fragile{} }

// Bootstrap introduces the source.
func (f *fragile) Bootstrap(vats map[string]vat.Ref) { f.Source = vats["source"] }

// Mend makes the continuation work.
func (f *fragile) Mend() { f.Mended = true }

// GetLog returns the outcomes with which the continuation was called.
func (f *fragile) GetLog() []string { return f.Log }

// Watch waits for the source in the store, for as long as it takes.
func (f *fragile) Watch(ctx context.Context, label string) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, f.Source, "slow"), f, "OnSlow", label)
}

// Release has the source answer.
func (f *fragile) Release(ctx context.Context) { vat.Send(ctx, f.Source, "release") }

// Own waits for a promise of this vat's own, which is never settled.
func (f *fragile) Own(ctx context.Context, label string) {
	p, _ := vat.NewPromise(ctx)
	vat.When(ctx, p, f, "OnSlow", label)
}

// OnSlow goes on when the source has answered.
func (f *fragile) OnSlow(n vat.Outcome[int], label string) string {
	if !f.Mended {
		panic("not mended")
	}
	f.Log = append(f.Log, fmt.Sprint(label, " ", n.Value, " ", n.Err))
	return label
}

// Circle answers with a promise that leads to itself, by way of n others.
func (f *fragile) Circle(ctx context.Context, n int) vat.Promise {
	ps, rs := make([]vat.Promise, n+1), make([]vat.Resolver, n+1)
	for i := range ps {
		ps[i], rs[i] = vat.NewPromise(ctx)
	}
	for i := range ps {
		rs[i].Resolve(ctx, []any{i, ps[(i+1)%len(ps)]})
	}
	return vat.Send(ctx, f.Source, "echoAny", ps[0])
}
