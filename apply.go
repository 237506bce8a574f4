package ocapkernel

import (
	"context"

	"ocapkernel.dev/control"
)

// ApplyRequest asks for a subcluster that runs to be changed to another configuration.
type ApplyRequest struct {
	// Subcluster is the id; empty stands for the subcluster that was launched from Path.
	Subcluster string
	// Path and Config are the configuration, as in a [LaunchRequest].
	Path   string
	Config []byte
	// DryRun has Apply report the changes without making them.
	DryRun bool
	// Replace is the id of the subcluster, and permits Apply to delete it with its whole stored state, and to launch the new
	// configuration in its place, if a change cannot be made to the running subcluster. With an empty Replace, such a change
	// is refused.
	Replace string
}

// Applied reports the changes that were made or, after a dry run, the changes that would be.
type Applied struct {
	// Subcluster is the id of the subcluster that has the new configuration.
	Subcluster string
	// Changes are the differences between the configurations; none if they are the same.
	Changes []Change
	// Vats and Services have the kernel's names of the root objects of the vats, and of the services and channels, that
	// were added, by their names in the configuration. No vat of the subcluster has a reference to them yet.
	Vats     map[string]string
	Services map[string]string
	// Problems are the reasons for which some of Services could not be opened yet, by the same names. Opening is tried again
	// when the service is called, and at the next start.
	Problems map[string]string
	// Replaced is the id of the subcluster that was deleted, for Subcluster to be launched in its place; empty if none was.
	// Deleted has the ids of its vats by their names.
	Replaced string
	Deleted  map[string]string
}

// Change is one difference between two configurations.
type Change struct {
	// Field is the path of the field that differs, such as vats.mint.limits.queue.
	Field string
	Kind  ChangeKind
	// Applies is when the change has its effect.
	Applies Effect
	// Old and New are the values, for people.
	Old, New string
}

// ChangeKind says whether a field was added, changed or removed.
type ChangeKind string

// The kinds of changes. Only a subcluster that is replaced can have something removed.
const (
	Added   ChangeKind = "added"
	Changed ChangeKind = "changed"
	Removed ChangeKind = "removed"
)

// Effect is when a change has its effect.
type Effect string

// The effects of changes.
const (
	// Live: at once.
	Live Effect = control.AppliesLive
	// AtStart: when the vat's process is started the next time. A change of a channel or a service has its effect when the
	// kernel is started the next time.
	AtStart Effect = control.AppliesStart
	// ForNew: for vats that are made later. Those that are there go on as they were made.
	ForNew Effect = control.AppliesNew
	// ByReplacement: only in a subcluster that is launched anew.
	ByReplacement Effect = control.AppliesReplace
)

// Apply changes a subcluster to another configuration, and keeps the state that its vats have stored. All of the changes
// are made, in one commit, or none. A configuration that is applied a second time changes nothing. The errors are
// [ErrInvalid] for a configuration with mistakes, [ErrConflict] for changes that cannot be made to a running subcluster,
// and [ErrNotFound]. With the first two, the Details of the [Error] have a line for each mistake or change.
func (k *Kernel) Apply(ctx context.Context, r ApplyRequest) (Applied, error) {
	a, err := k.b.Apply(ctx, control.ApplyRequest(r))
	if err != nil {
		return Applied{}, public(err)
	}
	out := Applied{
		Subcluster: a.Subcluster, Replaced: a.Replaced,
		Vats: map[string]string{}, Services: map[string]string{}, Problems: map[string]string{}, Deleted: map[string]string{},
	}
	for _, c := range a.Changes {
		out.Changes = append(out.Changes, Change{c.Field, ChangeKind(c.Kind), Effect(c.Applies), c.Old, c.New})
	}
	for _, v := range a.Vats {
		out.Vats[v.Name] = v.Root
	}
	for _, s := range a.Services {
		out.Services[s.Name] = s.KRef
		if s.Problem != "" {
			out.Problems[s.Name] = s.Problem
		}
	}
	for _, v := range a.Deleted {
		out.Deleted[v.Name] = v.ID
	}
	return out, nil
}
