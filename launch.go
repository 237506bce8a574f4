package ocapkernel

import (
	"context"
	"encoding/json"
	"os"

	"ocapkernel.dev/control"
)

// LaunchRequest is the configuration of a cluster.
type LaunchRequest struct {
	// Path is the path that the configuration is known by. Paths in the configuration are relative to the directory of
	// Path. The file itself need not be there.
	Path string
	// Config is the text, as docs/config.md describes it.
	Config []byte
}

// Subcluster is a cluster that was launched.
type Subcluster struct {
	// ID is the subcluster's id, such as s1: a target of calls, and the name by which it is changed and terminated.
	ID string
	// Root is the kernel's name of the bootstrap vat's root object.
	Root string
	// Vats has the ids of the vats by their names in the configuration.
	Vats map[string]string
	// Source is the absolute path that the configuration is known by, and Hash the SHA-256 of its text, in hexadecimal.
	Source string
	Hash   string
	// System is the name of a system subcluster, and empty for any other.
	System string
	// State is where the subcluster is in its life.
	State SubclusterState
	// Result is the answer of the bootstrap method, as JSON, after a launch. It is nil in a [Status] and after
	// [Kernel.Reload], and if the answer has no JSON.
	Result json.RawMessage
}

// SubclusterState is where a subcluster is in its life.
type SubclusterState string

// The states of a subcluster.
const (
	// SubclusterLaunching: its bootstrap method has not answered yet.
	SubclusterLaunching = SubclusterState(control.SubclusterLaunching)
	// SubclusterRunning: it was launched, and can be called.
	SubclusterRunning = SubclusterState(control.SubclusterRunning)
	// SubclusterSuspended: it is a system subcluster that this run does not declare. Its vats do nothing.
	SubclusterSuspended = SubclusterState(control.SubclusterSuspended)
	// SubclusterDamaged: its stored state cannot be read. Its vats are held back.
	SubclusterDamaged = SubclusterState(control.SubclusterDamaged)
	// SubclusterFailed: its launch failed, and the rest of it is being removed.
	SubclusterFailed = SubclusterState(control.SubclusterFailed)
	// SubclusterTerminating: it was terminated, or has ended, and the rest of it is being removed.
	SubclusterTerminating = SubclusterState(control.SubclusterTerminating)
)

// Ensure launches a cluster unless it runs already, launched under the same path by this run or an earlier one, and
// returns when it runs. It is for programs that want, at each start, the cluster that the first start has launched.
//
// Ensure waits for a launch, a reload or a removal of the cluster that is under way: a launch that a killed kernel had not
// finished is never taken for a cluster that runs. The error is [ErrConflict] if the cluster was launched with another text:
// it goes on unchanged, and [Kernel.Apply] can change it. Otherwise the errors are those of [Kernel.Launch].
func (k *Kernel) Ensure(ctx context.Context, r LaunchRequest) (Subcluster, error) {
	e, err := k.b.Ensure(ctx, control.LaunchRequest(r))
	return launched(e.Subcluster, e.Result, err)
}

// EnsureFile is [Kernel.Ensure] with the configuration in a file.
func (k *Kernel) EnsureFile(ctx context.Context, path string) (Subcluster, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Subcluster{}, err
	}
	return k.Ensure(ctx, LaunchRequest{path, text})
}

// Launch launches a cluster, whether one of that path runs or not, and returns when its bootstrap method has answered. If
// that fails, nothing of the launch is left. The error is [ErrInvalid] if the configuration has mistakes, of which the
// Details of the [Error] have a line each, and [ErrRejected] if the bootstrap method rejects, or has not answered within
// 10 seconds.
func (k *Kernel) Launch(ctx context.Context, r LaunchRequest) (Subcluster, error) {
	sub, result, err := k.b.Launch(ctx, control.LaunchRequest(r))
	return launched(sub, result, err)
}

// LaunchFile is [Kernel.Launch] with the configuration in a file.
func (k *Kernel) LaunchFile(ctx context.Context, path string) (Subcluster, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Subcluster{}, err
	}
	return k.Launch(ctx, LaunchRequest{path, text})
}

// Reload terminates a subcluster, with the state that its vats have stored, and launches its configuration again: of a
// system subcluster the configuration that is declared now. The argument is an id, or the name of a system subcluster.
// Reload returns when the new bootstrap method has answered. The errors are [ErrInvalid], if the configuration cannot be
// launched any more, in which case the old subcluster goes on, [ErrNotFound], and [ErrRejected].
func (k *Kernel) Reload(ctx context.Context, subcluster string) (Subcluster, error) {
	list, err := k.b.Reload(ctx, subcluster)
	if err != nil || len(list) == 0 {
		return Subcluster{}, public(err)
	}
	return subclusterOf(list[0]), nil
}

// Terminate deletes a subcluster and the state that its vats have stored. It returns when no vat and no client can reach
// the subcluster's objects any more. The argument is an id, or the name of a system subcluster. The error is [ErrNotFound]
// if there is none.
func (k *Kernel) Terminate(ctx context.Context, subcluster string) error {
	return public(k.b.Terminate(ctx, subcluster))
}

func launched(s control.Subcluster, result control.Data, err error) (Subcluster, error) {
	if err != nil {
		return Subcluster{}, public(err)
	}
	out := subclusterOf(s)
	out.Result = control.NewLaunched(s, result).Result
	return out, nil
}

func subclusterOf(s control.Subcluster) Subcluster {
	return Subcluster{ID: s.ID, Root: s.Root, Vats: s.Vats, Source: s.Source, Hash: s.Hash, System: s.System, State: SubclusterState(s.State)}
}
