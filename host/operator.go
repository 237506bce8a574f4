package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/workers"
)

// operator holds the questions and orders of a person. It owns no table.
type operator struct {
	*core
	vats     *vats
	work     *work
	subs     *subclusters
	names    *directory
	objects  *objects
	registry *registry

	dropped uint64 // messages without result, for full queues
}

// messageDropped counts a message without result that was dropped because a queue was full.
func (op *operator) messageDropped() { op.dropped++ }

// Revoke is [Shell.Revoke].
func (op *operator) Revoke(ctx context.Context, kref kernel.KRef) error {
	return change(ctx, op.core, func() (kernel.Commit, error) { return op.machine.Revoke(kref) })
}

// IsRevoked is [Shell.IsRevoked].
func (op *operator) IsRevoked(ctx context.Context, kref kernel.KRef) (bool, error) {
	return look(ctx, op.core, func() (bool, error) { return op.machine.Revoked(kref) })
}

// Inspect is [Shell.Inspect].
func (op *operator) Inspect(ctx context.Context, kref kernel.KRef) (kernel.Inspection, error) {
	return question(ctx, op.core, nil, func(q *kernel.View) (kernel.Inspection, error) {
		in, found, err := q.Inspect(kref)
		if err == nil && !found {
			err = &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no object or promise %s", kref)}
		}
		for after, first := kernel.VatID(""), true; err == nil && (first || after != ""); first = false {
			var page []kernel.Holder
			page, after, err = q.HoldersAfter(kref, after)
			in.Holders = append(in.Holders, page...)
		}
		return in, err
	})
}

// Holds is [Shell.Holds].
func (op *operator) Holds(ctx context.Context, kref kernel.KRef, limit int) (list []kernel.Hold, more bool, err error) {
	list, err = question(ctx, op.core, nil, func(q *kernel.View) (list []kernel.Hold, err error) {
		if _, found, err := q.Inspect(kref); err != nil || !found {
			return nil, cmp.Or(err, notThere("object or promise", string(kref)))
		}
		for after, first := kernel.VatID(""), true; err == nil && len(list) <= limit && (first || after != ""); first = false {
			var page []kernel.Hold
			page, after, err = q.VatHoldsAfter(kref, after)
			list = append(list, page...)
		}
		for after, first := "", true; err == nil && len(list) <= limit && (first || after != ""); first = false {
			var page []kernel.Hold
			page, after, err = q.HoldsAfter(kref, after)
			list = append(list, page...)
		}
		return list, err
	})
	more = len(list) > limit
	return list[:min(len(list), limit)], more, err
}

// TerminateVat is [Shell.TerminateVat].
func (op *operator) TerminateVat(ctx context.Context, v kernel.VatID) error {
	return change(ctx, op.core, func() (kernel.Commit, error) {
		return op.removal(func() (kernel.Commit, error) { return op.machine.TerminateVat(v) })
	})
}

// TerminateAll is [Shell.TerminateAll].
func (op *operator) TerminateAll(ctx context.Context) error {
	subs, err := op.subclusters(ctx, nil)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(subs) {
		if err := op.subs.Terminate(ctx, s.ID); err != nil && codeOf(err) != errcode.NotFound {
			return err
		}
	}
	return nil
}

// busyPoll is the time between two checks whether a vat has ended its delivery.
const busyPoll = 20 * time.Millisecond

// PingVat is [Shell.PingVat].
func (op *operator) PingVat(ctx context.Context, id kernel.VatID) (string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limits.Ping)
		defer cancel()
	}
	answer, err := op.pingProcess(ctx, id)
	if err != nil {
		return "", err
	}
	ticker := time.NewTicker(busyPoll)
	defer ticker.Stop()
	var first *kernel.Crank
	for begun := time.Now(); ; {
		crank, err := look(context.WithoutCancel(ctx), op.core, func() (*kernel.Crank, error) {
			return op.vats.crank(id), nil
		})
		switch {
		case err != nil:
			return "", err
		case crank == nil || first != nil && crank != first:
			return answer, nil
		}
		first = crank
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", &kernel.Refusal{Code: errcode.Timeout, Detail: fmt.Sprintf(
				"vat %s has been busy with one delivery for more than %v; its process is well", id, time.Since(begun).Round(time.Millisecond))}
		}
	}
}

// pingProcess asks the worker of a vat, if it has one.
func (op *operator) pingProcess(ctx context.Context, id kernel.VatID) (string, error) {
	w, err := look(ctx, op.core, func() (workers.Worker, error) {
		_, found, err := op.machine.Vat(id)
		if err == nil && !found {
			err = &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no vat %s", id)}
		}
		return op.vats.worker(id), err
	})
	if err != nil {
		return "", err
	}
	if w != nil {
		if err := w.Ping(ctx); err != nil && ctx.Err() != nil {
			return "", &kernel.Refusal{Code: errcode.Timeout, Detail: fmt.Sprintf("the process of vat %s does not answer", id)}
		} else if err != nil {
			return "", err
		}
	}
	return "pong", nil
}

// ServiceStatus is a service object, or a registered service of this run that no vat holds yet.
type ServiceStatus struct {
	kernel.Service
	// SystemOnly and Registered are of services that are known by name.
	SystemOnly, Registered bool
	// Where says where the other end of a channel is, Connected that there is a peer.
	Where     string
	Connected bool
}

// Placed is implemented by objects that have another end: an IO channel, a connection.
type Placed interface {
	// Where is the path or address.
	Where() string
	// Connected reports whether the other end is connected.
	Connected() bool
}

// ServiceList is [Shell.ServiceList].
func (op *operator) ServiceList(ctx context.Context) ([]ServiceStatus, error) {
	var there map[kernel.KRef]service.Object
	registered := op.registry.registered()
	out, err := question(ctx, op.core, func() { there = op.objects.all() }, func(q *kernel.View) (out []ServiceStatus, err error) {
		list, err := q.Services()
		for _, s := range list {
			st := ServiceStatus{Service: s, Registered: there[s.KRef] != nil}
			if s.Kind == kernel.GlobalKind {
				r, ok := registered[s.Name]
				st.Registered, st.SystemOnly = ok, r.SystemOnly
			}
			if p, ok := there[s.KRef].(Placed); ok {
				st.Where, st.Connected = p.Where(), p.Connected()
			}
			out = append(out, st)
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	for name, r := range registered { // sorted below
		if !slices.ContainsFunc(out, func(s ServiceStatus) bool { return s.Kind == kernel.GlobalKind && s.Name == name }) {
			out = append(out, ServiceStatus{
				Service: kernel.Service{Name: name, Kind: kernel.GlobalKind}, Registered: true, SystemOnly: r.SystemOnly,
			})
		}
	}
	slices.SortFunc(out, func(a, b ServiceStatus) int {
		if a.Name != b.Name {
			return compare(a.Name, b.Name)
		}
		return compare(string(a.KRef), string(b.KRef))
	})
	return out, nil
}

// compare orders names with numbers in them as a person would: by length first.
func compare(a, b string) int {
	if n := len(a) - len(b); n != 0 {
		return n
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
