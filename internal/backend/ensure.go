package backend

import (
	"context"
	"errors"
	"path/filepath"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/host"
)

// Ensured is a subcluster that runs.
type Ensured struct {
	Subcluster control.Subcluster
	// Launched says that it was launched for the caller; otherwise it ran before.
	Launched bool
	// Result is what its bootstrap method answered, whenever that was.
	Result control.Data
}

// Ensure launches a cluster unless it runs already, launched under the same path by this run or an earlier one, and
// returns when it runs. A launch, a reload or a removal of it that is under way is waited for: what a kernel that was
// killed had not finished is never taken for a cluster that runs. If it was launched with another text, the error is
// CodeConflict, and what runs is not touched.
func (b *Backend) Ensure(ctx context.Context, r control.LaunchRequest) (Ensured, error) {
	cfg, err := b.parse(ctx, r)
	if err != nil {
		return Ensured{}, err
	}
	e, err := b.host.Ensure(ctx, cfg)
	if err != nil {
		return Ensured{}, coded(err)
	}
	return Ensured{subcluster(e.Subcluster), e.Launched, data(e.Subcluster.Result)}, nil
}

// EarlierDeaths is how many starts in a row before this one have ended by the kernel's own doing, before it had run well
// for a while.
func (b *Backend) EarlierDeaths() int { return b.host.EarlierDeaths() }

// SystemReady returns when each declared system subcluster runs, or could not be launched. They are launched one after
// the other, in the order of the declaration, from Run on. If some do not run the error is an *[control.Error] with the code
// REJECTED, whose Details say which and why; the kernel and the others go on.
func (b *Backend) SystemReady(ctx context.Context) error {
	err := b.host.SystemReady(ctx)
	failed, ok := errors.AsType[*host.SystemError](err)
	if !ok {
		return coded(err)
	}
	out := control.Errorf(control.CodeRejected, "%s", failed.Error())
	for _, s := range failed.Failed {
		out.Details = append(out.Details, "system subcluster "+s.Name+": "+s.Why)
	}
	return out
}

// parse reads and checks a configuration.
func (b *Backend) parse(ctx context.Context, r control.LaunchRequest) (*cluster.Config, error) {
	path, err := filepath.Abs(r.Path)
	if err != nil {
		return nil, err
	}
	cfg, err := cluster.Parse(path, r.Config)
	if err = b.check(false)(ctx, cfg, err); err != nil {
		return nil, ConfigError(r.Path, err)
	}
	return cfg, nil
}

// Release is Acknowledge by a caller who does not wait for it. A kernel that dies before that is durable keeps the answer
// for KeepAnswers.
func (b *Backend) Release(t control.Ticket) { b.host.Release(t.Epoch, t.ID) }
