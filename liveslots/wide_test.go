package liveslots_test

import (
	"context"
	"fmt"

	"ocapkernel.dev/vat"
)

// Wide is a Hoard with objects in rows that hold many references.
type Wide struct {
	vat.Durable
	Named  vat.Map[string, *Thing]
	Lists  vat.Map[string, []*Thing]
	List   []*Thing
	Friend vat.Ref
}

func NewWide() *Wide { return &Wide{} }

func things(n int) []*Thing {
	list := make([]*Thing, n)
	for i := range list {
		list[i] = &Thing{Name: fmt.Sprint(i)}
	}
	return list
}

func (w *Wide) PushMany(n int)                         { w.List = append(w.List, things(n)...) }
func (w *Wide) ListMany(ctx context.Context, n int)    { _ = w.Lists.Set(ctx, "wide", things(n)) }
func (w *Wide) On(x vat.Outcome[any], things []*Thing) {}
func (w *Wide) Befriend(r vat.Ref)                     { w.Friend = r }

// WatchMany has many Things held by a call that waits.
func (w *Wide) WatchMany(ctx context.Context, p vat.Promise, n int) {
	vat.When(ctx, p, w, "On", things(n))
}

func (w *Wide) PutAll(ctx context.Context, from, to int) {
	for i := from; i < to; i++ {
		_ = w.Named.Set(ctx, fmt.Sprint("n", i), &Thing{Name: "n"})
	}
}

func (w *Wide) Get(ctx context.Context, name string) *Thing {
	t, _ := w.Named.Get(ctx, name)
	return t
}

func (w *Wide) Remove(ctx context.Context, name string) { w.Named.Delete(ctx, name) }

func (w *Wide) RemoveAll(ctx context.Context) {
	for name := range w.Named.All(ctx) {
		w.Named.Delete(ctx, name)
	}
}

// Swap puts a new Thing and removes it in the same crank.
func (w *Wide) Swap(ctx context.Context) {
	_ = w.Named.Set(ctx, "swap", &Thing{Name: "swap"})
	w.Named.Delete(ctx, "swap")
}
