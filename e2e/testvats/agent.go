package testvats

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"ocapkernel.dev/vat"
)

// agent follows the orders of a test with the references that it has: the roots and services of its bootstrap
// under their names, and those that it has kept since.
type agent struct {
	vat.Durable
	Refs  vat.Map[string, vat.Ref]
	Ticks int64
	// Failures are the rejections of calls whose answers were to be kept.
	Failures []string
}

func newAgent() *agent { return &agent{} }

func (a *agent) Bootstrap(ctx context.Context, vats, services map[string]vat.Ref) error {
	for _, refs := range []map[string]vat.Ref{vats, services} {
		for _, name := range slices.Sorted(maps.Keys(refs)) {
			if err := a.Refs.Set(ctx, name, refs[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Do sends a message, and answers as its target does.
func (a *agent) Do(ctx context.Context, name, method string, args []any) (vat.Promise, error) {
	r, ok := a.Refs.Get(ctx, name)
	if !ok {
		return vat.Promise{}, fmt.Errorf("it has no %q", name)
	}
	return vat.Send(ctx, r, method, args...), nil
}

// Keep sends a message, and keeps the reference that is the answer.
func (a *agent) Keep(ctx context.Context, as, name, method string, args []any) (vat.Promise, error) {
	p, err := a.Do(ctx, name, method, args)
	if err != nil {
		return p, err
	}
	return vat.When(ctx, p, a, "Kept", as), nil
}

// Kept gets the answer of Keep: a reference, or a record with a root.
func (a *agent) Kept(ctx context.Context, o vat.Outcome[any], as string) error {
	v, err := o.Get()
	if err != nil {
		a.Failures = append(a.Failures, err.Error())
		return err
	}
	if m, ok := v.(map[string]any); ok {
		v = m["root"]
	}
	r, ok := v.(vat.Ref)
	if !ok {
		return fmt.Errorf("got a %T", v)
	}
	return a.Refs.Set(ctx, as, r)
}

// Take keeps a reference.
func (a *agent) Take(ctx context.Context, as string, r vat.Ref) error { return a.Refs.Set(ctx, as, r) }

// Give hands a reference on.
func (a *agent) Give(ctx context.Context, name string) (vat.Ref, error) {
	r, ok := a.Refs.Get(ctx, name)
	if !ok {
		return r, fmt.Errorf("it has no %q", name)
	}
	return r, nil
}

// Names are the names of its references.
func (a *agent) Names(ctx context.Context) (names []string) {
	for name := range a.Refs.All(ctx) {
		names = append(names, name)
	}
	return names
}

// Failed returns the rejections of Keep.
func (a *agent) Failed() []string { return a.Failures }

// Repeat has the timer called timer call Tick.
func (a *agent) Repeat(ctx context.Context, ms int) vat.Promise {
	timer, _ := a.Refs.Get(ctx, "timer") // without one, the rejection of the message says so
	return vat.When(ctx, vat.Send(ctx, timer, "repeat", ms, vat.RefOf(ctx, a)), a, "Kept", "repetition")
}

// Tick counts.
func (a *agent) Tick(int64) { a.Ticks++ }

// Ticked returns the number of ticks.
func (a *agent) Ticked() int64 { return a.Ticks }
