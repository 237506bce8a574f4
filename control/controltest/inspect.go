package controltest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// Facet is the kref of the one service that is registered. Another, ticker, was registered in an earlier life.
const Facet = "ko901"

// open makes a channel. The fake's mu is held, here and below.
func (f *Fake) open(subcluster string) {
	f.mu.channels = append(f.mu.channels, control.Channel{
		Name: "console", Subcluster: subcluster, Type: "socket", Direction: "inout", Unit: "line",
		Where: "/run/" + subcluster + ".sock", Client: true, Pending: 1, Queued: 2,
	})
}

// IO implements [control.Backend].
func (f *Fake) IO(context.Context) ([]control.Channel, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mu.channels), nil
}

// Services implements [control.Backend].
func (f *Fake) Services(context.Context) ([]control.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []control.Service
	for _, c := range f.mu.channels {
		out = append(out, control.Service{
			Name: fmt.Sprintf("io:%s:%s", c.Subcluster, c.Name), KRef: c.KRef, Registered: true, Subcluster: c.Subcluster,
			Pending: c.Pending, Queued: c.Queued,
		})
	}
	return append(out,
		control.Service{Name: "kernelFacet", KRef: Facet, SystemOnly: true, Registered: true},
		control.Service{Name: "ticker", KRef: "ko902", Queued: 3},
	), nil
}

// Revoke implements [control.Backend].
func (f *Fake) Revoke(_ context.Context, kref string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.inspect(kref); err != nil {
		return err
	}
	f.mu.revoked[kref] = true
	return nil
}

// IsRevoked implements [control.Backend].
func (f *Fake) IsRevoked(_ context.Context, kref string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.revoked[kref], nil
}

// Inspect implements [control.Backend]. There are the roots of the subclusters, the service kernelFacet, and the
// results of calls, until garbage is collected after they were acknowledged.
func (f *Fake) Inspect(_ context.Context, kref string) (control.Inspection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inspect(kref)
}

func (f *Fake) inspect(kref string) (control.Inspection, error) {
	i := control.Inspection{Ref: kref, Kind: control.KindObject, Revoked: f.mu.revoked[kref], Reachable: 1, Recognizable: 1}
	if kref == Facet {
		i.Kind, i.Owner = control.KindService, "kernelFacet"
		return i, nil
	}
	for _, s := range f.mu.clusters {
		if s.Root == kref {
			i.Owner, i.OwnerName = s.Vats["root"], "root"
			i.Holders = []control.Holder{{Vat: i.Owner, Name: "root", VRef: "o+0", Reachable: true}}
			return i, nil
		}
	}
	for _, c := range f.mu.calls {
		if c.promise == kref {
			return f.inspectPromise(i, c)
		}
	}
	return control.Inspection{}, control.Errorf(errcode.NotFound, "there is no %s", kref)
}

func (f *Fake) inspectPromise(i control.Inspection, c *call) (control.Inspection, error) {
	i.Kind, i.State, i.Decider = control.KindPromise, control.PromiseUnresolved, "v"+strings.TrimPrefix(c.target, "ko")
	switch c.answer.Status {
	case control.Pending:
		i.Holders = []control.Holder{{Vat: i.Decider, Name: "root", VRef: "p-1", Reachable: true}}
		i.Subscribers, i.Parked = []string{i.Decider}, 1
		return i, nil
	case control.Fulfilled:
		i.State, i.Decider = control.PromiseFulfilled, ""
	case control.Rejected:
		i.State, i.Decider = control.PromiseRejected, ""
	}
	slots := c.answer.Value.Slots
	v, err := capdata.Decode(c.answer.Value.Body, len(slots))
	if err != nil {
		return i, nil // there is nothing to show
	}
	i.Value, err = capdata.ToJSON(v, func(slot int) string { return slots[slot] })
	return i, err
}
