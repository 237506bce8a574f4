package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/kernel"
)

// SystemState is the state of a system subcluster.
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
	// Why is the reason of a failed launch, or of a changed declaration that was not applied.
	Why      string
	Declared bool
	Changed  bool
	// Deletes reports whether the change would delete stored state, so that only Replace has it made.
	Deletes bool
}

// List is [Shell.SystemList].
func (sy *system) List(ctx context.Context) ([]SystemStatus, error) {
	return look(ctx, sy.core, sy.list)
}

func (sy *system) list() ([]SystemStatus, error) {
	subs, err := sy.machine.Systems()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(subs, func(a, b kernel.Subcluster) int { return compare(string(a.ID), string(b.ID)) })
	var out []SystemStatus
	hashes := map[string]string{}
	if sy.cfg.System != nil {
		for _, d := range sy.cfg.System.Subclusters {
			hashes[d.Name] = d.Config.Hash
			st := SystemStatus{Name: d.Name, State: SystemFailed, Declared: true, Why: sy.failed[d.Name]}
			switch {
			case sy.has(d.Name):
				st.State, st.Why = SystemLaunching, ""
			case st.Why == "":
				st.Why = "it has ended, or was terminated"
			}
			out = append(out, st)
		}
	}
	reloads, err := sy.subs.pending()
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
		if d, bad := sy.damaged[s.System]; bad && !sy.has(s.System) { // else it is another one, which is being launched
			st.State, st.Why = SystemFailed, d.why
			continue
		}
		if sy.subs.isSuspended(s.ID) && s.State == kernel.SubRunning {
			st.State = SystemSuspended
		}
		if st.Changed = st.Declared && hashes[s.System] != s.Hash; st.Changed {
			refused := sy.notUpgraded[s.System]
			st.Why, st.Deletes = refused.why, refused.deletes
		}
	}
	return out, nil
}

// SystemError says which of the declared system subclusters do not run, and why.
type SystemError struct {
	// Failed are in the order of their declaration.
	Failed []SystemStatus
}

func (e *SystemError) Error() string {
	lines := make([]string, len(e.Failed))
	for i, s := range e.Failed {
		lines[i] = fmt.Sprintf("system subcluster %s does not run: %s", s.Name, s.Why)
	}
	return strings.Join(lines, "; ")
}

// Ready is [Shell.SystemReady].
func (sy *system) Ready(ctx context.Context) error {
	_, err := ask(ctx, sy.core, func(done func(struct{}, error)) { sy.ready(ctx, done) })
	return err
}

func (sy *system) ready(ctx context.Context, done func(struct{}, error)) {
	list, err := sy.list()
	switch {
	case err != nil:
		sy.refuse(err, func(err error) { done(struct{}{}, err) })
		return
	case sy.stopping:
		done(struct{}{}, ErrStopping)
		return
	case ctx.Err() != nil: // the caller has left
		return
	case sy.subs.resetting() || slices.ContainsFunc(list, func(s SystemStatus) bool { return s.Declared && s.State == SystemLaunching }):
		sy.subs.whenChanged(func() { sy.ready(ctx, done) })
		return
	}
	list = slices.DeleteFunc(list, func(s SystemStatus) bool { return !s.Declared || s.State != SystemFailed })
	if len(list) > 0 {
		done(struct{}{}, &SystemError{list})
		return
	}
	done(struct{}{}, nil)
}
