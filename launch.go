package ocapkernel

import (
	"context"
	"os"
	"path/filepath"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
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

// Ensure launches a cluster unless it is there already, launched under the same path by this run or an earlier
// one. It is for programs that want, at each start, what the first one has launched. If it was launched with
// another text it fails with [ErrConflict]; what runs is not touched.
func (k *Kernel) Ensure(ctx context.Context, r LaunchRequest) (Subcluster, error) {
	cfg, err := k.parse(ctx, r)
	if err != nil {
		return Subcluster{}, err
	}
	// One at a time: who comes second finds what the first has launched.
	select {
	case k.ensuring <- struct{}{}:
		defer func() { <-k.ensuring }()
	case <-ctx.Done():
		return Subcluster{}, ctx.Err()
	}
	s, err := k.host.Status(ctx)
	if err != nil {
		return Subcluster{}, coded(err)
	}
	var other *Subcluster
	for _, known := range s.Subclusters {
		if known.State != "running" || known.System != "" || known.Source != cfg.Source {
			continue
		}
		sub := subcluster(known)
		if known.Hash == cfg.Hash {
			return sub, nil
		}
		other = &sub
	}
	if other != nil {
		return Subcluster{}, control.Errorf(control.CodeConflict, "%s changed since it was launched as %s", cfg.Source, other.ID)
	}
	sub, err := k.host.Launch(ctx, cfg)
	return subcluster(sub), coded(err)
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
