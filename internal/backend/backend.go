package backend

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/supervisor/sandbox"
)

// coded returns an error of the host with the code that clients branch on.
func coded(err error) error {
	var refusal *kernel.Refusal
	var launch *host.LaunchError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return control.Errorf(refusal.Code, "%s", refusal.Detail)
	case errors.As(err, &launch):
		return control.Errorf(errcode.Rejected, "%s", err)
	case errors.Is(err, host.ErrStopping):
		return control.Errorf(errcode.Stopping, "%s", err)
	case errors.Is(err, host.ErrDiskFull):
		return control.Errorf(errcode.DiskFull, "%s", err)
	}
	return err
}

// Shutdown implements [control.Backend].
func (b *Backend) Shutdown(context.Context) error {
	b.stopping.Store(true)
	b.host.Stop()
	return nil
}

// Status implements [control.Backend].
func (b *Backend) Status(ctx context.Context) (control.Status, error) {
	s, err := b.host.Status(ctx)
	if err != nil {
		return control.Status{}, coded(err)
	}
	out := control.Status{
		PID: os.Getpid(), State: control.Running, Durability: b.opts.Durability.String(), Cranks: s.Cranks, Commit: s.Commit,
		Epoch: s.Epoch, Vats: s.Vats, Dropped: s.Dropped, Pauses: s.Pauses, Version: b.opts.Version, Clusters: []control.Subcluster{},
	}
	if b.opts.Sandbox != sandbox.Off {
		active, missing := supervisor.Layers(b.opts.Sandbox)
		out.Sandbox = &control.Sandbox{Mode: b.opts.Sandbox.String(), Layers: active, Missing: missing}
	}
	switch {
	case b.stopping.Load():
		out.State = control.Stopping
	case s.DiskFull:
		out.State = control.DiskFull
	}
	for id, why := range s.Held {
		if out.Held == nil {
			out.Held = map[string]string{}
		}
		out.Held[string(id)] = why
	}
	for _, sub := range s.Subclusters {
		c := subcluster(sub)
		if s.Suspended[sub.ID] && sub.State == kernel.SubRunning {
			c.State = control.SubclusterSuspended
		}
		out.Clusters = append(out.Clusters, c)
	}
	out.Subclusters = len(out.Clusters)
	return out, nil
}

func subcluster(s kernel.Subcluster) control.Subcluster {
	out := control.Subcluster{ID: string(s.ID), State: control.SubclusterState(s.State.String()), Root: string(s.Root), Vats: map[string]string{}, Source: s.Source, Hash: s.Hash, System: s.System}
	for _, v := range s.Vats {
		out.Vats[v.Name] = string(v.Vat)
	}
	if s.Corrupt != nil {
		out.State = control.SubclusterDamaged
	}
	return out
}

// PS implements [control.Backend].
func (b *Backend) PS(ctx context.Context) ([]control.Vat, error) {
	list, err := b.host.Vats(ctx)
	if err != nil {
		return nil, coded(err)
	}
	suspended, err := b.host.Suspended(ctx)
	if err != nil {
		return nil, coded(err)
	}
	out := make([]control.Vat, len(list))
	for i, v := range list {
		out[i] = control.Vat{
			ID: string(v.ID), Name: v.Name, Subcluster: string(v.Sub), PID: v.Pid, State: vatState(v),
			Restarts: int(v.Restarts), Queue: int(v.Queue), RSSBytes: v.RSSBytes, Transcript: int(v.Records), Why: v.Why,
		}
		if suspended[v.Sub] && !v.Terminated && !v.Held && v.Stopped == "" {
			out[i].State = control.VatSuspended
		}
		switch out[i].State {
		case control.VatFailed:
			out[i].Why = v.Why
		case control.VatStopped:
			out[i].Why = v.Stopped
		}
		if v.Lost {
			out[i].Transcript = -1
		}
		if v.SpanAt != 0 {
			out[i].SpanMillis = max(time.Now().UnixMilli()-v.SpanAt, 1)
		}
	}
	return out, nil
}

func vatState(v host.VatStatus) control.VatState {
	switch {
	case v.Terminated:
		return control.VatTerminating
	case v.Held:
		return control.VatHeld
	case v.Stopped != "":
		return control.VatStopped
	case v.Failed:
		return control.VatFailed
	case v.Starting:
		return control.VatStarting
	case v.Pid != 0:
		return control.VatRunning
	}
	return control.VatIdle
}

// Launch implements [control.Backend].
func (b *Backend) Launch(ctx context.Context, r control.LaunchRequest) (control.Subcluster, control.Data, error) {
	cfg, err := b.parse(ctx, r)
	if err != nil {
		return control.Subcluster{}, control.Data{}, err
	}
	sub, err := b.host.Launch(ctx, cfg)
	return subcluster(sub), data(sub.Result), coded(err)
}

// Apply implements [control.Backend].
func (b *Backend) Apply(ctx context.Context, r control.ApplyRequest) (control.Applied, error) {
	cfg, err := b.parse(ctx, control.LaunchRequest{Path: r.Path, Config: r.Config})
	if err != nil {
		return control.Applied{}, err
	}
	a, err := b.host.Apply(ctx, r.Subcluster, cfg, host.ApplyOptions{DryRun: r.DryRun, Replace: r.Replace})
	var deletes *host.ReplaceError
	if errors.As(err, &deletes) {
		return control.Applied{}, cannotApply(cfg, deletes)
	}
	if err != nil {
		return control.Applied{}, coded(err)
	}
	out := control.Applied{Subcluster: string(a.Sub), DryRun: r.DryRun, Replaced: string(a.Replaced)}
	for _, v := range a.Deleted {
		out.Deleted = append(out.Deleted, control.DeletedVat{Name: v.Name, ID: string(v.Vat)})
	}
	for _, c := range a.Changes {
		out.Changes = append(out.Changes, control.Change{Field: c.Field, Kind: string(c.Kind), Applies: string(c.Applies), Old: c.Old, New: c.New})
	}
	for _, v := range a.Vats {
		out.Vats = append(out.Vats, control.AddedVat{Name: v.Name, ID: string(v.Vat), Root: string(v.Root)})
	}
	for _, s := range a.Services {
		out.Services = append(out.Services, control.AddedService{Name: s.Name, KRef: string(s.KRef), Problem: s.Problem})
	}
	return out, nil
}

// cannotApply returns an error that names the fields that cannot be changed, with their places in the file.
func cannotApply(cfg *cluster.Config, e *host.ReplaceError) error {
	changes := "1 change"
	if n := len(e.Changes); n > 1 {
		changes = strconv.Itoa(n) + " changes"
	}
	err := control.Errorf(errcode.Conflict, "%s cannot be made to %s, which keeps what it has stored; nothing is changed (--replace %s deletes what it has stored, and launches it anew)", changes, e.Sub, e.Sub)
	for _, c := range e.Changes {
		message := "it is removed; it cannot be taken away from what runs"
		if c.Kind == cluster.Changed {
			message = "it is changed from " + c.Old + " to " + c.New + "; it cannot be changed in what runs"
		}
		err.Details = append(err.Details, cfg.ProblemAt(c.Field, message).String())
	}
	return err
}

// CheckConfig implements [control.Backend].
func (b *Backend) CheckConfig(ctx context.Context, r control.LaunchRequest) error {
	_, err := b.parse(ctx, r)
	return err
}

// CheckSystem implements [control.Backend].
func (b *Backend) CheckSystem(ctx context.Context, r control.LaunchRequest) error {
	path, err := filepath.Abs(r.Path)
	if err != nil {
		return err
	}
	sys, err := cluster.ParseSystem(path, r.Config)
	err = cluster.CheckSystem(sys, err, func(cfg *cluster.Config, err error) error { return b.check(true)(ctx, cfg, err) })
	if err != nil {
		return ConfigError(r.Path, err)
	}
	return nil
}

// check returns a function that completes the check of a configuration: the worker programs must contain its modules, and
// its services must exist. It takes the result of the parser, and returns all mistakes together.
func (b *Backend) check(system bool) func(context.Context, *cluster.Config, error) error {
	return func(ctx context.Context, cfg *cluster.Config, err error) error {
		return checkConfig(ctx, cfg, err, b.modules, b.host.ServiceNames(system))
	}
}

func checkConfig(ctx context.Context, cfg *cluster.Config, err error, modules func(ctx context.Context, program, sha256 string) ([]string, error), services []string) error {
	err = cluster.CheckModules(cfg, err, func(program, sha256 string) ([]string, error) { return modules(ctx, program, sha256) })
	return cluster.CheckServices(cfg, err, func(name string) bool { return slices.Contains(services, name) }, services)
}

func data(d kernel.Data) control.Data {
	out := control.Data{Body: d.Body}
	for _, s := range d.Slots {
		out.Slots = append(out.Slots, string(s))
	}
	return out
}

// Terminate implements [control.Backend].
func (b *Backend) Terminate(ctx context.Context, s string) error {
	id, err := b.subID(ctx, s)
	if named, ok := kernel.ParseSubID(s); err != nil && ok {
		id, err = named, nil // its row may be missing, or not be readable
	}
	if err != nil {
		return err
	}
	return coded(b.host.Terminate(ctx, id))
}

// RestartVat implements [control.Backend].
func (b *Backend) RestartVat(ctx context.Context, s string, forget bool) error {
	id, err := b.vatID(ctx, s)
	if err != nil {
		return err
	}
	return coded(b.host.Restart(ctx, id, forget))
}

// ReplayVat implements [control.Backend].
func (b *Backend) ReplayVat(ctx context.Context, s string) ([]string, error) {
	id, err := b.vatID(ctx, s)
	if err != nil {
		return nil, err
	}
	lines, err := b.host.Rehearse(ctx, id)
	return lines, coded(err)
}

// Send implements [control.Backend].
func (b *Backend) Send(ctx context.Context, c control.Call) (control.Answer, error) {
	methArgs := kernel.Data{Body: c.MethArgs.Body}
	for _, s := range c.MethArgs.Slots {
		ref, err := kref(s)
		if err != nil {
			return control.Answer{}, err
		}
		methArgs.Slots = append(methArgs.Slots, ref)
	}
	a, err := b.host.Call(ctx, c.Ticket.Epoch, c.Ticket.ID, c.Target, methArgs, c.Wait)
	return answer(a, err)
}

func answer(a host.Answer, err error) (control.Answer, error) {
	if err != nil {
		return control.Answer{}, coded(err)
	}
	t, err := control.ParseTicket(a.Ticket)
	if err != nil {
		return control.Answer{}, err
	}
	out := control.Answer{Ticket: t, Status: control.Fulfilled, Value: data(a.Value)}
	switch {
	case a.Acknowledged:
		return control.Answer{}, control.Errorf(errcode.Unknown, "the answer of ticket %s was acknowledged and let go", a.Ticket)
	case a.Pending:
		out.Status = control.Pending
	case a.Rejected:
		out.Status = control.Rejected
	}
	return out, nil
}

// Await implements [control.Backend].
func (b *Backend) Await(ctx context.Context, t control.Ticket) (control.Answer, error) {
	return answer(b.host.Await(ctx, t.Epoch, t.ID))
}

// Acknowledge implements [control.Backend].
func (b *Backend) Acknowledge(ctx context.Context, t control.Ticket) error {
	return coded(b.host.Acknowledge(ctx, t.Epoch, t.ID))
}

// PoisonedList implements [control.Backend].
func (b *Backend) PoisonedList(ctx context.Context, after string, limit int) ([]control.Poisoned, bool, error) {
	var from uint64
	if after != "" {
		var err error
		if from, err = poisonNumber(after); err != nil {
			return nil, false, err
		}
	}
	list, more, err := b.host.Poisoned(ctx, from, limit)
	if err != nil {
		return nil, false, coded(err)
	}
	out := make([]control.Poisoned, len(list))
	for i, p := range list {
		out[i] = control.Poisoned{
			ID: strconv.FormatUint(p.N, 10), Vat: string(p.Vat), Name: p.Name, Target: string(p.Target), Method: p.Method,
			Attempts: int(p.Attempts), Code: errcode.Code(p.Code), Message: p.Why,
		}
	}
	return out, more, nil
}

func poisonNumber(id string) (uint64, error) {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0, control.Errorf(errcode.Invalid, "%q is no poisoned message: want its number, see poisoned ls", id)
	}
	return n, nil
}

// PoisonedRetry implements [control.Backend].
func (b *Backend) PoisonedRetry(ctx context.Context, id string) error {
	return b.unpoison(ctx, id, true)
}

// PoisonedDrop implements [control.Backend].
func (b *Backend) PoisonedDrop(ctx context.Context, id string) error {
	return b.unpoison(ctx, id, false)
}

func (b *Backend) unpoison(ctx context.Context, id string, retry bool) error {
	n, err := poisonNumber(id)
	if err != nil {
		return err
	}
	return coded(b.host.Unpoison(ctx, n, retry))
}
