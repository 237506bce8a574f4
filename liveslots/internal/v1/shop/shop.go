// Package shop is the first version of a program, for tests of what happens to its state.
package shop

import (
	"context"

	"ocapkernel.dev/liveslots"
)

// Stock is a root.
type Stock struct {
	liveslots.Durable
	Kept    string
	Gone    int
	Retyped int
	Plain   Plain
}

// Plain is passed by copy.
type Plain struct{ A int }

// New makes the root.
func New() *Stock { return &Stock{} }

// Set sets fields.
func (s *Stock) Set(gone, retyped, a int) {
	s.Kept, s.Gone, s.Retyped, s.Plain.A = "kept", gone, retyped, a
}

// Watch has OnGate called when b settles a promise. The second version has no such method.
func (s *Stock) Watch(ctx context.Context, b liveslots.Ref) liveslots.Promise {
	return liveslots.When(ctx, liveslots.Send(ctx, b, "gate", "g"), s, "OnGate")
}

// WatchItem has a method of an Item called, which the second version does not have.
func (s *Stock) WatchItem(ctx context.Context, b liveslots.Ref) liveslots.Promise {
	return liveslots.When(ctx, liveslots.Send(ctx, b, "gate", "g"), &Item{}, "OnGate")
}

// OnGate is called when a promise is settled.
func (s *Stock) OnGate(x liveslots.Outcome[string]) string { return x.Value }

// Item is another object.
type Item struct{ liveslots.Durable }

// GetItem makes Item known.
func (s *Stock) GetItem() *Item { return nil }

// OnGate is called when a promise is settled.
func (i *Item) OnGate(x liveslots.Outcome[string]) string { return x.Value }
