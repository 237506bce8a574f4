package host

import (
	"context"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
)

// Ensured is a subcluster that runs.
type Ensured struct {
	kernel.Subcluster
	// Launched says that it was launched for the caller; otherwise it ran before.
	Launched bool
}

// Ensure is [Shell.Ensure].
func (ss *subclusters) Ensure(ctx context.Context, cfg *cluster.Config) (Ensured, error) {
	return ask(ctx, ss.core, func(done func(Ensured, error)) { ss.ensure(ctx, cfg, done) })
}

// ensure is Ensure in the loop. It begins again each time when an operation that it has waited for is over.
func (ss *subclusters) ensure(ctx context.Context, cfg *cluster.Config, done func(Ensured, error)) {
	again := func() { ss.ensure(ctx, cfg, done) }
	fail := func(err error) { ss.refuse(err, func(err error) { done(Ensured{}, err) }) }
	switch {
	case ss.stopping:
		done(Ensured{}, ErrStopping)
		return
	case ctx.Err() != nil: // the caller has left
		done(Ensured{}, ctx.Err())
		return
	case ss.resets > 0:
		ss.whenChanged(again)
		return
	}
	subs, err := ss.names.fromSource(cfg.Source)
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
	reloading, err := ss.isReloading(cfg.Source)
	switch {
	case err != nil:
		fail(err)
	case ss.diskFull() && (changed == nil || launching != nil):
		done(Ensured{}, ss.noRoom())
	case launching != nil:
		ss.whenSettled(launching.ID, func(string) { again() })
	case reloading:
		ss.whenChanged(again)
	case changed != nil:
		fail(&kernel.Refusal{Code: errcode.Conflict, Detail: fmt.Sprintf("%s changed since it was launched as %s", cfg.Source, changed.ID)})
	case leaving != nil:
		ss.whenGone(leaving.ID, again)
	default:
		ss.launch(launch{cfg: cfg}, func(s kernel.Subcluster, err error) { done(Ensured{Subcluster: s, Launched: true}, err) })
	}
}

// whenLaunched has the loop call f when a subcluster from the file source that is being launched, or launched anew, runs or has
// failed. It reports whether there is one.
func (ss *subclusters) whenLaunched(source string, f func()) (waits bool, err error) {
	subs, err := ss.names.fromSource(source)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(subs, func(s kernel.Subcluster) bool { return s.State == kernel.SubLaunching })
	if i >= 0 {
		ss.whenSettled(subs[i].ID, func(string) { f() })
		return true, nil
	}
	reloading, err := ss.isReloading(source)
	if reloading {
		ss.whenChanged(f)
	}
	return reloading, err
}

// isReloading reports whether a subcluster that was launched from the file source is to be launched again.
func (ss *subclusters) isReloading(source string) (bool, error) {
	list, err := ss.pending()
	for _, m := range list {
		if m.Config != nil { // stored by an earlier version
			if cfg, err := cluster.UnmarshalStoredConfig(m.Config); err == nil {
				m.Source = cfg.Source
			}
		}
		if m.System == "" && m.Source == source { // an unreadable reload is not launched
			return true, nil
		}
	}
	return false, err
}
