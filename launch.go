package ocapkernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/host"
)

// Subcluster describes what was launched: its id, by which it is called and terminated, its root, its vats.
type Subcluster = control.Subcluster

// LaunchRequest is a configuration, as docs/config.md describes it, and the path that it is known by. Paths in
// the configuration are relative to the directory of that; the file itself need not be there.
type LaunchRequest = control.LaunchRequest

// LaunchFile launches the cluster that a file describes, and returns when its bootstrap method has answered.
func (k *Kernel) LaunchFile(ctx context.Context, path string) (Subcluster, error) {
	r, err := readRequest(path)
	if err != nil {
		return Subcluster{}, err
	}
	sub, _, err := k.Launch(ctx, r)
	return sub, err
}

// EnsureFile is Ensure with what a file describes.
func (k *Kernel) EnsureFile(ctx context.Context, path string) (Subcluster, error) {
	r, err := readRequest(path)
	if err != nil {
		return Subcluster{}, err
	}
	return k.Ensure(ctx, r)
}

func readRequest(path string) (LaunchRequest, error) {
	text, err := os.ReadFile(path)
	return LaunchRequest{Path: path, Config: text}, err
}

// Ensure launches a cluster unless it runs already, launched under the same path by this run or an earlier one, and
// returns when it runs. It is for programs that want, at each start, what the first one has launched. A launch, a
// reload or a removal of it that is under way is waited for: what a kernel that was killed had not finished is
// never taken for a cluster that runs. If it was launched with another text, Ensure fails with [ErrConflict]; what
// runs is not touched.
func (k *Kernel) Ensure(ctx context.Context, r LaunchRequest) (Subcluster, error) {
	e, err := k.EnsureLaunched(ctx, r)
	return e.Subcluster, err
}

// Ensured is a subcluster that runs.
type Ensured struct {
	Subcluster Subcluster
	// Launched says that it was launched for the caller; otherwise it ran before.
	Launched bool
	// Result is what its bootstrap method answered, whenever that was.
	Result control.Data
}

// EnsureLaunched is Ensure, and tells whether the cluster ran before.
func (k *Kernel) EnsureLaunched(ctx context.Context, r LaunchRequest) (Ensured, error) {
	cfg, err := k.parse(ctx, r)
	if err != nil {
		return Ensured{}, err
	}
	e, err := k.host.Ensure(ctx, cfg)
	if err != nil {
		return Ensured{}, coded(err)
	}
	return Ensured{subcluster(e.Subcluster), e.Launched, data(e.Subcluster.Result)}, nil
}

// EarlierDeaths is how many starts in a row before this one have ended by the kernel's own doing, before it had run well
// for a while.
func (k *Kernel) EarlierDeaths() int { return k.host.EarlierDeaths() }

// SystemReady returns when each declared system subcluster runs, or could not be launched. They are launched one after
// the other, in the order of the declaration, from Run on. If some do not run the error is an *[Error] with the code
// REJECTED, whose Details say which and why; the kernel and the others go on.
func (k *Kernel) SystemReady(ctx context.Context) error {
	err := k.host.SystemReady(ctx)
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
func (k *Kernel) parse(ctx context.Context, r LaunchRequest) (*cluster.Config, error) {
	path, err := filepath.Abs(r.Path)
	if err != nil {
		return nil, err
	}
	cfg, err := cluster.Parse(path, r.Config)
	if err = k.check(false)(ctx, cfg, err); err != nil {
		return nil, ConfigError(r.Path, err)
	}
	return cfg, nil
}
