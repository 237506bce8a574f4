package controltest

import (
	"context"
	"maps"
	"slices"

	"ocapkernel.dev/control"
)

// PingVat implements [control.Backend].
func (f *Fake) PingVat(_ context.Context, vat string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.vat(vat)
	return "pong", err
}

// TerminateVat implements [control.Backend].
func (f *Fake) TerminateVat(_ context.Context, vat string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.vat(vat)
	if err != nil {
		return err
	}
	gone := v.ID
	f.mu.vats = slices.DeleteFunc(f.mu.vats, func(v control.Vat) bool { return v.ID == gone })
	for _, s := range f.mu.clusters {
		maps.DeleteFunc(s.Vats, func(_, id string) bool { return id == gone })
	}
	return nil
}

// TerminateAllVats implements [control.Backend].
func (f *Fake) TerminateAllVats(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.vats = nil
	for _, s := range f.mu.clusters {
		clear(s.Vats)
	}
	return nil
}

// CollectGarbage implements [control.Backend]. It forgets the results of calls that were acknowledged.
func (f *Fake) CollectGarbage(_ context.Context, vat string) (control.Collected, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.mu.calls {
		if c.dropped {
			c.promise = ""
		}
	}
	var out control.Collected
	if vat != "" {
		out.Asked = []string{vat}
	}
	return out, nil
}

// Holds implements [control.Backend]. Of an object that exists it says that it is a root.
func (f *Fake) Holds(ctx context.Context, kref string) (control.HoldPage, error) {
	i, err := f.Inspect(ctx, kref)
	if err != nil {
		return control.HoldPage{}, err
	}
	return control.HoldPage{Holds: []control.Hold{{Kind: "root", Vat: i.Owner, Name: i.OwnerName}}}, nil
}

// Tally implements [control.Backend]. It counts the vats.
func (f *Fake) Tally(context.Context) (out control.Tally, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.mu.vats {
		out.Vats = append(out.Vats, control.VatTally{ID: v.ID, Exported: 1})
	}
	return out, nil
}

// ClearState implements [control.Backend].
func (f *Fake) ClearState(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.epochs++
	f.mu.clusters, f.mu.vats, f.mu.channels, f.mu.poisoned = nil, nil, nil, nil
	clear(f.mu.calls)
	clear(f.mu.revoked)
	return nil
}
