package host

import (
	"context"
	"fmt"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
)

// Launch begins a subcluster and returns when bootstrap has answered. If the launch fails, for whatever
// reason, the error says why, and nothing of it is left.
func (k *Kernel) Launch(ctx context.Context, cfg *cluster.Config) (kernel.Subcluster, error) {
	l := kernel.Launch{Bootstrap: cfg.Bootstrap, Source: cfg.Source, Hash: cfg.Hash}
	for _, v := range cfg.Vats {
		stored, err := cluster.MarshalStored(v)
		if err != nil {
			return kernel.Subcluster{}, err
		}
		l.Vats = append(l.Vats, kernel.LaunchVat{
			Name: v.Name, Config: stored, MaxQueue: uint64(v.Limits.Queue), MaxRestarts: uint64(v.MaxRestarts),
			MaxRecords: uint64(v.Limits.Transcript),
			Never:      v.Restart == cluster.RestartNever, StopOnFault: v.OnFault == cluster.FaultStop,
		})
	}
	return ask(ctx, k, func(done func(kernel.Subcluster, error)) {
		if k.diskFull {
			done(kernel.Subcluster{}, ErrDiskFull)
			return
		}
		id, c, err := k.machine.Launch(l)
		if err != nil {
			k.refuse(err, func(err error) { done(kernel.Subcluster{}, err) })
			return
		}
		k.log.Info("launch begun", "subcluster", id, "vats", len(l.Vats))
		k.launches[id] = func(failure string) {
			if failure != "" {
				k.whenGone(id, func() { done(kernel.Subcluster{}, &LaunchError{id, failure}) })
				return
			}
			sub, _, err := k.machine.Subcluster(id)
			done(sub, err)
		}
		k.apply(c)
		k.after(cfg.Limits.Bootstrap, func() {
			c, err := k.machine.FailLaunch(id, fmt.Sprintf("bootstrap has not settled within %s (limits.bootstrap)", cfg.Limits.Bootstrap))
			if err != nil {
				k.fail(err)
				return
			}
			k.apply(c)
		})
	})
}

// LaunchError says why a launch failed. Nothing of the subcluster is left.
type LaunchError struct {
	Sub kernel.SubID
	Why string
}

func (e *LaunchError) Error() string { return "the launch failed: " + e.Why }

func (k *Kernel) launchSettled(e kernel.LaunchSettled) {
	if e.Failure != "" {
		k.log.Error("launch failed", "subcluster", e.Sub, "why", e.Failure)
	} else {
		k.log.Info("launched", "subcluster", e.Sub)
	}
	if tell := k.launches[e.Sub]; tell != nil {
		delete(k.launches, e.Sub)
		tell(e.Failure)
	}
}

// Terminate removes a subcluster. It returns when nothing of it is left: no vat, row or process.
func (k *Kernel) Terminate(ctx context.Context, id kernel.SubID) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		c, err := k.machine.Terminate(id)
		if err != nil {
			k.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		k.whenGone(id, func() { done(struct{}{}, nil) })
		k.apply(c)
	})
	return err
}

// whenGone calls f when nothing of a subcluster is left, durably, and no process of its vats.
func (k *Kernel) whenGone(id kernel.SubID, f func()) {
	k.gone[id] = append(k.gone[id], f)
	k.tellGone(id)
}

func (k *Kernel) subGone(id kernel.SubID) {
	k.log.Info("subcluster removed", "subcluster", id)
	k.buried[id] = true
	k.tellGone(id)
}

func (k *Kernel) tellGone(id kernel.SubID) {
	if !k.buried[id] {
		return
	}
	for _, sub := range k.leaving { // is one of them there? The order does not matter
		if sub == id {
			return
		}
	}
	for _, f := range k.gone[id] {
		f()
	}
	delete(k.gone, id)
	delete(k.buried, id)
	for _, v := range k.vats { // removed in any order: nothing is said about it
		if v.sub == id {
			delete(k.vats, v.id)
		}
	}
}
