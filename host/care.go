package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/workers"
)

// Revoke makes an object refuse every message from now on, those in queues included. It cannot be undone.
func (k *Shell) Revoke(ctx context.Context, kref kernel.KRef) error {
	return change(ctx, k, func() (kernel.Commit, error) { return k.machine.Revoke(kref) })
}

// IsRevoked says whether an object is revoked.
func (k *Shell) IsRevoked(ctx context.Context, kref kernel.KRef) (bool, error) {
	return look(ctx, k, func() (bool, error) { return k.machine.Revoked(kref) })
}

// look asks the machine something.
func look[T any](ctx context.Context, k *Shell, f func() (T, error)) (T, error) {
	return ask(ctx, k, func(done func(T, error)) {
		var v T
		err := k.isolated(func() (err error) {
			v, err = f()
			return err
		})
		if err != nil {
			k.refuse(err, func(err error) { done(v, err) })
			return
		}
		done(v, nil)
	})
}

// Inspect tells what a reference is, and who has to do with it.
func (k *Shell) Inspect(ctx context.Context, kref kernel.KRef) (kernel.Inspection, error) {
	in, err := look(ctx, k, func() (kernel.Inspection, error) {
		in, found, err := k.machine.Inspect(kref)
		if err == nil && !found {
			err = &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no object or promise %s", kref)}
		}
		return in, err
	})
	if err != nil {
		return kernel.Inspection{}, err
	}
	in.Holders, err = paged(ctx, k, func(after kernel.VatID) ([]kernel.Holder, kernel.VatID, error) {
		return k.machine.HoldersAfter(kref, after)
	})
	return in, err
}

// Register adds a service to this run, under a name that has none: subclusters that are launched from now on may name
// it. If an earlier run had one under the name, those who hold that hold this one now, and what is sent to it is
// answered again; calls that waited for it go on.
func (k *Shell) Register(ctx context.Context, name string, s service.Registration) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		_, kind := k.cfg.Kinds[name]
		_, taken := k.registered()[name]
		if kind || taken || s.Object == nil || !cluster.ValidServiceName(name) {
			detail := fmt.Sprintf("service %q: there is one of this name already", name)
			switch {
			case s.Object == nil:
				detail = fmt.Sprintf("service %q has no object", name)
			case !kind && !taken:
				detail = fmt.Sprintf("service %q: a name is a letter, then up to 63 letters, digits, _, - and .", name)
			}
			done(struct{}{}, &kernel.Refusal{Code: kernel.CodeInvalid, Detail: detail})
			return
		}
		all := maps.Clone(k.registered())
		all[name] = s
		k.byName.Store(&all)
		k.log.Info("service registered", "service", name)
		kref, err := k.machine.ServiceNamed(name)
		if err != nil {
			k.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		if kref != "" {
			k.beginRefused(kref)
		}
		done(struct{}{}, nil)
	})
	return err
}

// Unregister takes a service away from this run. What is pending is rejected with SERVICE_GONE, and so is what
// comes later: its object is gone for good, and a service that is registered under the name in a later
// run is another one.
func (k *Shell) Unregister(ctx context.Context, name string) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		if name == FacetName {
			return kernel.Commit{}, &kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("%s is the kernel's own service, and stays", name)}
		}
		if _, ok := k.registered()[name]; !ok {
			return kernel.Commit{}, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no service %q", name)}
		}
		left := maps.Clone(k.registered())
		delete(left, name)
		k.byName.Store(&left)
		kref, err := k.machine.ServiceNamed(name)
		if err != nil || kref == "" {
			return kernel.Commit{}, err
		}
		return k.machine.EndService(kref)
	})
}

// TerminateVat ends one vat. Its subcluster goes on without it, and ends with the last one.
func (k *Shell) TerminateVat(ctx context.Context, v kernel.VatID) error {
	return change(ctx, k, func() (kernel.Commit, error) { return k.machine.TerminateVat(v) })
}

// TerminateAll removes all subclusters, and returns when nothing is left of them.
func (k *Shell) TerminateAll(ctx context.Context) error {
	subs, err := k.subclusters(ctx)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(subs) {
		if err := k.Terminate(ctx, s.ID); err != nil && codeOf(err) != kernel.CodeNotFound {
			return err
		}
	}
	return nil
}

// Collect does what earlier commits have left to be done, and returns when there is nothing more of it.
func (k *Shell) Collect(ctx context.Context) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		var step func()
		step = func() {
			if k.canWork() && !k.stopping {
				k.services.later(step)
				return
			}
			k.whenDurable(func() { done(struct{}{}, nil) })
		}
		step()
	})
	return err
}

// busyPoll is how often it is looked whether a vat has ended its delivery.
const busyPoll = 20 * time.Millisecond

// defaultPing is how long a vat has for a sign of life if ctx does not say it.
const defaultPing = 10 * time.Second

// PingVat asks a vat for a sign of life, and answers pong: its process is well, and it is not in the middle of a
// delivery, or ends the one that it has before ctx does. A vat without a process is well, too: it needs none.
func (k *Shell) PingVat(ctx context.Context, id kernel.VatID) (string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultPing)
		defer cancel()
	}
	answer, err := k.pingProcess(ctx, id)
	if err != nil {
		return "", err
	}
	ticker := time.NewTicker(busyPoll)
	defer ticker.Stop()
	var first *kernel.Crank
	for begun := time.Now(); ; {
		crank, err := look(context.WithoutCancel(ctx), k, func() (*kernel.Crank, error) {
			if v := k.vats[id]; v != nil {
				return v.crank, nil
			}
			return nil, nil
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
			return "", &kernel.Refusal{Code: CodeBusy, Detail: fmt.Sprintf(
				"vat %s has been busy with one delivery for more than %v; its process is well", id, time.Since(begun).Round(time.Millisecond))}
		}
	}
}

// CodeBusy is the code of a vat that gives no sign of life in time.
const CodeBusy capdata.Code = "TIMEOUT"

// pingProcess asks the worker of a vat, if it has one.
func (k *Shell) pingProcess(ctx context.Context, id kernel.VatID) (string, error) {
	w, err := look(ctx, k, func() (workers.Worker, error) {
		_, found, err := k.machine.Vat(id)
		if err == nil && !found {
			err = &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no vat %s", id)}
		}
		if v := k.vats[id]; v != nil && v.up {
			return v.worker, err
		}
		return nil, err
	})
	if err != nil {
		return "", err
	}
	if w != nil {
		if err := w.Ping(ctx); err != nil && ctx.Err() != nil {
			return "", &kernel.Refusal{Code: CodeBusy, Detail: fmt.Sprintf("the process of vat %s does not answer", id)}
		} else if err != nil {
			return "", err
		}
	}
	return "pong", nil
}

// ServiceStatus is a service object, or a service of this run that nobody was given yet.
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
	// Connected says whether somebody is there.
	Connected() bool
}

// ServiceList describes all service objects.
func (k *Shell) ServiceList(ctx context.Context) ([]ServiceStatus, error) {
	out, err := paged(ctx, k, func(after kernel.KRef) (out []ServiceStatus, next kernel.KRef, err error) {
		list, next, err := k.machine.ServicesAfter(after)
		for _, s := range list {
			st := ServiceStatus{Service: s, Registered: k.services.bound[s.KRef] != nil}
			if s.Kind == kernel.GlobalKind {
				r, ok := k.registered()[s.Name]
				st.Registered, st.SystemOnly = ok, r.SystemOnly
			}
			if p, ok := objectOf(k.services.bound[s.KRef]).(Placed); ok {
				st.Where, st.Connected = p.Where(), p.Connected()
			}
			out = append(out, st)
		}
		return out, next, err
	})
	if err != nil {
		return nil, err
	}
	for name, r := range k.registered() { // sorted below
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

// SystemState is what a system subcluster is doing.
type SystemState string

// The states of a system subcluster: a closed set.
const (
	// SystemRunning: its vats are there.
	SystemRunning SystemState = "running"
	// SystemLaunching: its bootstrap method has not answered yet, or its turn to be launched has not come.
	SystemLaunching SystemState = "launching"
	// SystemSuspended: it is not declared in this run.
	SystemSuspended SystemState = "suspended"
	// SystemFailed: it is declared, and not there.
	SystemFailed SystemState = "failed"
)

// SystemStatus is a system subcluster, declared or there.
type SystemStatus struct {
	Name  string
	Sub   kernel.SubID
	Root  kernel.KRef
	State SystemState
	// Why says why it failed, or why what it runs was not changed to what is declared.
	Why      string
	Declared bool
	Changed  bool
	// Deletes is whether the change would delete something that is stored, so that only Replace has it made.
	Deletes bool
}

// SystemList describes the system subclusters: those that are declared in the order of their declaration, then the
// others.
func (k *Shell) SystemList(ctx context.Context) ([]SystemStatus, error) {
	return look(ctx, k, k.systemList)
}

func (k *Shell) systemList() ([]SystemStatus, error) {
	subs, err := k.machine.Systems()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(subs, func(a, b kernel.Subcluster) int { return compare(string(a.ID), string(b.ID)) })
	var out []SystemStatus
	hashes := map[string]string{}
	if k.cfg.System != nil {
		for _, d := range k.cfg.System.Subclusters {
			hashes[d.Name] = d.Config.Hash
			st := SystemStatus{Name: d.Name, State: SystemFailed, Declared: true, Why: k.turns.failed[d.Name]}
			switch {
			case k.turns.busy == d.Name || slices.ContainsFunc(k.turns.waiting, func(t turn) bool { return t.name == d.Name }):
				st.State, st.Why = SystemLaunching, ""
			case st.Why == "":
				st.Why = "it has ended, or was terminated"
			}
			out = append(out, st)
		}
	}
	reloads, err := k.machine.Reloads()
	if err != nil {
		return nil, err
	}
	for _, r := range reloads { // between two subclusters
		i := slices.IndexFunc(out, func(st SystemStatus) bool { return st.Name == r.System })
		switch {
		case i >= 0:
			out[i].State, out[i].Why = SystemLaunching, ""
		case r.System != "":
			out = append(out, SystemStatus{Name: r.System, State: SystemSuspended})
		}
	}
	for _, s := range subs {
		if s.System == "" || s.State.Leaving() {
			continue
		}
		i := slices.IndexFunc(out, func(st SystemStatus) bool { return st.Name == s.System })
		if i < 0 {
			i = len(out)
			out = append(out, SystemStatus{Name: s.System})
		}
		st := &out[i]
		st.Sub, st.Root, st.State, st.Why = s.ID, s.Root, SystemState(s.State.String()), ""
		if k.suspended[s.ID] && s.State == kernel.SubRunning {
			st.State = SystemSuspended
		}
		if st.Changed = st.Declared && hashes[s.System] != s.Hash; st.Changed {
			refused := k.notUpgraded[s.System]
			st.Why, st.Deletes = refused.why, refused.deletes
		}
	}
	return out, nil
}

// Suspended says which subclusters are there and do not run in this run.
func (k *Shell) Suspended(ctx context.Context) (map[kernel.SubID]bool, error) {
	return look(ctx, k, func() (map[kernel.SubID]bool, error) {
		out := map[kernel.SubID]bool{}
		for s := range k.suspended {
			out[s] = true
		}
		return out, nil
	})
}
