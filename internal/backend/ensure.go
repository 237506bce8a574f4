package backend

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
)

// Ensured is a subcluster that runs.
type Ensured struct {
	Subcluster control.Subcluster
	// Launched says that this call of Ensure has launched the subcluster; otherwise it ran before.
	Launched bool
	// Result is the answer of the subcluster's bootstrap method, however long ago it answered.
	Result control.Data
}

// Ensure launches a cluster unless it runs already, launched under the same path by this run or an earlier one, and
// returns when it runs. It waits for a launch, a reload or a removal of the cluster that is under way: a launch that a
// killed kernel had not finished is never taken for a cluster that runs. If the cluster was launched with another text, the
// error is errcode.Conflict, and the cluster goes on unchanged.
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

// EarlierDeaths returns how many kernels in a row, right before this one, died by themselves before they had run for a
// while.
func (b *Backend) EarlierDeaths() int { return b.host.EarlierDeaths() }

// SystemReady returns when each declared system subcluster runs, or could not be launched. Run launches them one after the
// other, in the order of the declaration. If some do not run, the error is an *[control.Error] with the code REJECTED, whose
// Details name each of them and the reason; the kernel and the other subclusters go on.
func (b *Backend) SystemReady(ctx context.Context) error {
	err := b.host.SystemReady(ctx)
	failed, ok := errors.AsType[*host.SystemError](err)
	if !ok {
		return coded(err)
	}
	out := control.Errorf(errcode.Rejected, "%s", failed.Error())
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

// KeepAnswers returns how long a kernel keeps answers whose options say keep.
func KeepAnswers(keep time.Duration) time.Duration {
	if keep <= 0 {
		return host.DefaultKeepAnswers
	}
	return keep
}

// Release is Acknowledge without waiting until the acknowledgement is durable. If the kernel dies before it is, the answer is
// kept for KeepAnswers.
func (b *Backend) Release(t control.Ticket) { b.host.Release(t.Epoch, t.ID) }
