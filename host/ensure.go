package host

import (
	"context"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
)

// Ensured is a subcluster that runs.
type Ensured struct {
	kernel.Subcluster
	// Launched says that it was launched for the caller; otherwise it ran before.
	Launched bool
}

// Ensure returns the subcluster that runs a configuration, and launches it if there is none. A subcluster runs it
// if it was launched, by this run or an earlier one, from a file of the same path and text; system subclusters
// do not count. A subcluster of that path that is on its way is waited for: a launch until it is settled, a
// removal until nothing is left, a reload until the new one runs. If one of the same path runs another text, the
// error is a refusal with [kernel.CodeConflict], and nothing is changed.
func (k *Shell) Ensure(ctx context.Context, cfg *cluster.Config) (Ensured, error) {
	return ask(ctx, k, func(done func(Ensured, error)) { k.ensure(ctx, cfg, done) })
}

// ensure is Ensure in the loop. It looks again each time when something that it waited for is over.
func (k *Shell) ensure(ctx context.Context, cfg *cluster.Config, done func(Ensured, error)) {
	again := func() { k.ensure(ctx, cfg, done) }
	fail := func(err error) { k.refuse(err, func(err error) { done(Ensured{}, err) }) }
	switch {
	case k.stopping:
		done(Ensured{}, ErrStopping)
		return
	case ctx.Err() != nil: // nobody wants it any more
		done(Ensured{}, ctx.Err())
		return
	case k.resets > 0:
		k.whenChanged(again)
		return
	}
	subs, err := k.fromSource(cfg.Source)
	if err != nil {
		fail(err)
		return
	}
	var changed, launching, leaving *kernel.Subcluster
	for i, s := range subs {
		switch {
		case s.State == kernel.SubLaunching:
			launching = &subs[i]
		case s.State.Leaving():
			leaving = &subs[i]
		case s.Hash == cfg.Hash:
			done(Ensured{Subcluster: s}, nil)
			return
		default:
			changed = &subs[i]
		}
	}
	reloading, err := k.isReloading(cfg.Source)
	switch {
	case err != nil:
		fail(err)
	case k.diskFull() && (changed == nil || launching != nil):
		done(Ensured{}, k.noRoom())
	case launching != nil:
		k.whenSettled(launching.ID, func(string) { again() })
	case reloading:
		k.whenChanged(again)
	case changed != nil:
		fail(&kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("%s changed since it was launched as %s", cfg.Source, changed.ID)})
	case leaving != nil:
		k.whenGone(leaving.ID, again)
	default:
		k.launch(launch{cfg: cfg}, func(s kernel.Subcluster, err error) { done(Ensured{Subcluster: s, Launched: true}, err) })
	}
}

// whenLaunched has the loop call f when a subcluster from the file source that is being launched, or launched anew, runs or has
// failed. It reports whether there is one.
func (k *Shell) whenLaunched(source string, f func()) (waits bool, err error) {
	subs, err := k.fromSource(source)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(subs, func(s kernel.Subcluster) bool { return s.State == kernel.SubLaunching })
	if i >= 0 {
		k.whenSettled(subs[i].ID, func(string) { f() })
		return true, nil
	}
	reloading, err := k.isReloading(source)
	if reloading {
		k.whenChanged(f)
	}
	return reloading, err
}

// isReloading reports whether a subcluster that was launched from the file source is to be launched again.
func (k *Shell) isReloading(source string) (bool, error) {
	list, err := k.machine.Reloads()
	for _, m := range list {
		if m.System != "" {
			continue
		}
		if cfg, err := cluster.UnmarshalStoredConfig(m.Config); err == nil && cfg.Source == source { // what cannot be read is not launched
			return true, nil
		}
	}
	return false, err
}

// whenSettled calls f, in the loop, when a pending launch is settled, durably. failure is empty if the subcluster
// runs.
func (k *Shell) whenSettled(id kernel.SubID, f func(failure string)) {
	k.launches[id] = append(k.launches[id], f)
}

// whenChanged calls f, in a later step of the loop, when a reload, a reset, or a system subcluster's turn is over.
func (k *Shell) whenChanged(f func()) { k.changed = append(k.changed, f) }

// tellChanged lets those look again who wait for the end of a reload, a reset, or a system subcluster's turn.
func (k *Shell) tellChanged() {
	for _, f := range k.changed {
		k.soon(f)
	}
	k.changed = nil
	k.soon(k.nextTurn)
}
