package backend

import (
	"cmp"
	"context"
	"slices"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/ioservice"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// subID finds the subcluster that a client names.
func (b *Backend) subID(ctx context.Context, s string) (kernel.SubID, error) {
	sub, err := b.host.FindSubcluster(ctx, s)
	return sub.ID, coded(err)
}

// vatID finds the vat that a client names.
func (b *Backend) vatID(ctx context.Context, s string) (kernel.VatID, error) {
	v, err := b.host.FindVat(ctx, s)
	return v.ID, coded(err)
}

// Stored implements [control.Backend].
func (b *Backend) Stored(ctx context.Context, q control.StoredRows) (control.StoredPage, error) {
	v, rows, more, err := b.host.Stored(ctx, q.Vat, string(q.Prefix), string(q.After), q.Limit)
	if err != nil {
		return control.StoredPage{}, coded(err)
	}
	out := control.StoredPage{Vat: string(v.ID), Name: v.Name, Subcluster: string(v.Sub), More: more}
	for _, r := range rows {
		out.Rows = append(out.Rows, control.StoredRow{Key: []byte(r.Key), Value: r.Value, Size: r.Size})
	}
	return out, nil
}

// FindVat implements [control.Backend].
func (b *Backend) FindVat(ctx context.Context, s string) (control.FoundVat, error) {
	v, err := b.host.FindVat(ctx, s)
	return control.FoundVat{ID: string(v.ID), Name: v.Name, Subcluster: string(v.Sub), Root: string(v.Root)}, coded(err)
}

func kref(s string) (kernel.KRef, error) {
	k, ok := kernel.ParseKRef(s)
	if !ok {
		return "", control.Errorf(errcode.Invalid, "%q is no reference: want ko4 or kp7", s)
	}
	return k, nil
}

// IO implements [control.Backend].
func (b *Backend) IO(ctx context.Context) ([]control.Channel, error) {
	list, err := b.host.ServiceList(ctx)
	var out []control.Channel
	for _, s := range list {
		if s.Kind != host.KindIO {
			continue
		}
		c, err := channelOf(s)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, coded(err)
}

// Services implements [control.Backend].
func (b *Backend) Services(ctx context.Context) ([]control.Service, error) {
	list, err := b.host.ServiceList(ctx)
	var out []control.Service
	for _, s := range list {
		out = append(out, control.Service{
			Name: serviceName(s), KRef: string(s.KRef), SystemOnly: s.SystemOnly, Registered: s.Registered, Subcluster: string(s.Sub),
			Pending: int(s.Calls), Queued: int(s.Queued),
		})
	}
	return out, coded(err)
}

// serviceName is the name of a service object; one that a call has made has none but its kind.
func serviceName(s host.ServiceStatus) string {
	if s.Name == "" {
		return s.Kind
	}
	return s.Name
}

// System implements [control.Backend].
func (b *Backend) System(ctx context.Context) ([]control.System, error) {
	list, err := b.host.SystemList(ctx)
	var out []control.System
	for _, s := range list {
		out = append(out, control.System{
			Name: s.Name, Subcluster: string(s.Sub), Root: string(s.Root), State: control.SystemState(s.State), Declared: s.Declared, Changed: s.Changed, Why: s.Why, Deletes: s.Deletes,
		})
	}
	return out, coded(err)
}

// Reload implements [control.Backend].
func (b *Backend) Reload(ctx context.Context, which string) ([]control.Subcluster, error) {
	if err := control.CheckSubcluster(which); err != nil { // the host takes no name for all of them
		return nil, err
	}
	return b.reload(ctx, which)
}

// ReloadAll implements [control.Backend].
func (b *Backend) ReloadAll(ctx context.Context) ([]control.Subcluster, error) {
	return b.reload(ctx, "")
}

func (b *Backend) reload(ctx context.Context, which string) ([]control.Subcluster, error) {
	list, err := b.host.Reload(ctx, which)
	var out []control.Subcluster
	for _, s := range list {
		out = append(out, subcluster(s))
	}
	return out, coded(err)
}

// Revoke implements [control.Backend].
func (b *Backend) Revoke(ctx context.Context, object string) error {
	ref, err := kref(object)
	if err != nil {
		return err
	}
	return coded(b.host.Revoke(ctx, ref))
}

// IsRevoked implements [control.Backend].
func (b *Backend) IsRevoked(ctx context.Context, object string) (bool, error) {
	ref, err := kref(object)
	if err != nil {
		return false, err
	}
	revoked, err := b.host.IsRevoked(ctx, ref)
	return revoked, coded(err)
}

// Inspect implements [control.Backend].
func (b *Backend) Inspect(ctx context.Context, s string) (control.Inspection, error) {
	ref, err := kref(s)
	if err != nil {
		return control.Inspection{}, err
	}
	in, err := b.host.Inspect(ctx, ref)
	if err != nil {
		return control.Inspection{}, coded(err)
	}
	out := control.Inspection{
		Ref: s, Kind: control.KindObject, Owner: string(in.Owner), Revoked: in.Revoked, Reachable: int(in.Reachable),
		Recognizable: int(in.Recognizable), State: in.State, Decider: string(in.Decider), Parked: int(in.Parked), Holders: []control.Holder{},
	}
	switch {
	case ref.IsPromise():
		out.Kind = control.KindPromise
	case in.IsService:
		out.Kind, out.Owner = control.KindService, in.Service
	}
	for _, h := range in.Holders {
		if h.Vat == in.Owner {
			out.OwnerName = h.Name
		}
		out.Holders = append(out.Holders, control.Holder{Vat: string(h.Vat), Name: h.Name, VRef: string(h.Ref), Reachable: h.Reachable})
	}
	for _, v := range in.Subscribers {
		out.Subscribers = append(out.Subscribers, string(v))
	}
	if in.State == control.PromiseFulfilled || in.State == control.PromiseRejected {
		// A value that cannot be shown is a vat's doing, and no reason to withhold the rest.
		out.Value, _ = control.ToJSON(data(in.Value))
	}
	return out, nil
}

// Holds implements [control.Backend].
func (b *Backend) Holds(ctx context.Context, s string) (out control.HoldPage, err error) {
	ref, err := kref(s)
	if err != nil {
		return out, err
	}
	list, more, err := b.host.Holds(ctx, ref, control.MaxHolds)
	if err != nil {
		return out, coded(err)
	}
	out.More = more
	for _, h := range list {
		out.Holds = append(out.Holds, control.Hold{
			Kind: string(h.Kind), Vat: string(h.Vat), Name: h.Name, VRef: string(h.Ref), Recognized: h.Ref != "" && !h.Reachable, In: string(h.In),
		})
	}
	return out, nil
}

// PingVat implements [control.Backend].
func (b *Backend) PingVat(ctx context.Context, vat string) (string, error) {
	id, err := b.vatID(ctx, vat)
	if err != nil {
		return "", err
	}
	answer, err := b.host.PingVat(ctx, id)
	return answer, coded(err)
}

// TerminateVat implements [control.Backend].
func (b *Backend) TerminateVat(ctx context.Context, vat string) error {
	id, err := b.vatID(ctx, vat)
	if err != nil {
		return err
	}
	return coded(b.host.TerminateVat(ctx, id))
}

// TerminateAllVats implements [control.Backend].
func (b *Backend) TerminateAllVats(ctx context.Context) error { return coded(b.host.TerminateAll(ctx)) }

// CollectGarbage implements [control.Backend].
func (b *Backend) CollectGarbage(ctx context.Context, vat string) (out control.Collected, err error) {
	var only kernel.VatID
	if vat != "" {
		if only, err = b.vatID(ctx, vat); err != nil {
			return out, err
		}
	}
	c, err := b.host.Collect(ctx, only)
	if err != nil {
		return out, coded(err)
	}
	return control.Collected{Asked: texts(c.Asked), Busy: texts(c.Busy)}, nil
}

// Tally implements [control.Backend].
func (b *Backend) Tally(ctx context.Context) (out control.Tally, err error) {
	t, err := b.host.Tally(ctx)
	if err != nil {
		return out, coded(err)
	}
	out.Objects, out.Promises = t.Objects, t.Promises
	for v, n := range t.Vats { // sorted below
		out.Vats = append(out.Vats, control.VatTally{
			ID: string(v), Held: n.Held, Exported: n.Exported, Promises: n.Promises, Rows: n.Rows, Bytes: n.Bytes,
		})
	}
	slices.SortFunc(out.Vats, func(a, b control.VatTally) int {
		return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// texts returns ids as texts.
func texts[ID ~string](ids []ID) (out []string) {
	for _, id := range ids {
		out = append(out, string(id))
	}
	return out
}

// ClearState implements [control.Backend].
func (b *Backend) ClearState(ctx context.Context) error { return coded(b.host.Reset(ctx)) }

// Register adds a service to this run, beside those of Options.Services: clusters that are launched from now on may name
// it. A service that an earlier run had under the name is the same one for the vats that hold it. The error is
// INVALID if there is one of that name already, or the name or the object is none.
func (b *Backend) Register(ctx context.Context, name string, s service.Registration) error {
	if name == host.KindIO || name == ioservice.ConnectionKind {
		return control.Errorf(errcode.Invalid, "service %q: there is a built-in one of this name", name)
	}
	return coded(b.host.Register(ctx, name, s))
}

// Unregister takes a service away from this run, for good: pending calls are rejected with SERVICE_GONE, their contexts
// end, and later calls are rejected too. A service that a later run registers under the name is
// another one. The error is NOT_FOUND if there is none.
func (b *Backend) Unregister(ctx context.Context, service string) error {
	return coded(b.host.Unregister(ctx, service))
}
