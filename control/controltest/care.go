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
	if !slices.ContainsFunc(f.mu.vats, func(v control.Vat) bool { return v.ID == vat }) {
		return "", control.Errorf(control.CodeNotFound, "there is no vat %s", vat)
	}
	return "pong", nil
}

// TerminateVat implements [control.Backend].
func (f *Fake) TerminateVat(_ context.Context, vat string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.mu.vats, func(v control.Vat) bool { return v.ID == vat })
	if i < 0 {
		return control.Errorf(control.CodeNotFound, "there is no vat %s", vat)
	}
	f.mu.vats = slices.Delete(f.mu.vats, i, i+1)
	for _, s := range f.mu.clusters {
		maps.DeleteFunc(s.Vats, func(_, id string) bool { return id == vat })
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
func (f *Fake) CollectGarbage(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.mu.calls {
		if c.dropped {
			c.promise = ""
		}
	}
	return nil
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
