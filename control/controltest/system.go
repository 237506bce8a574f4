package controltest

import (
	"context"
	"slices"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// Declaration declares a system subcluster.
type Declaration struct {
	// Name is its name, Config its configuration: any text.
	Name, Config string
}

// Declare does the work of a kernel with its declaration of system subclusters at a start: a declared
// subcluster is launched, unless it exists; with upgrade, also if it has another configuration. A subcluster
// that is not declared is suspended.
func (f *Fake) Declare(upgrade bool, list ...Declaration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.declared = list
	for _, d := range list {
		if s := f.named(d.Name); s == nil || upgrade && s.Hash != hash(d.Config) {
			f.relaunch(d.Name)
		}
	}
	for _, s := range f.mu.clusters {
		if s.System == "" || f.declaration(s.System) != nil {
			continue
		}
		for i := range f.mu.vats {
			if v := &f.mu.vats[i]; v.Subcluster == s.ID {
				v.State, v.PID, v.RSSBytes = control.VatSuspended, 0, 0
			}
		}
	}
}

// declaration returns the declaration of a name, nil if there is none. The fake's mu is held, here and below.
func (f *Fake) declaration(name string) *Declaration {
	if i := slices.IndexFunc(f.mu.declared, func(d Declaration) bool { return d.Name == name }); i >= 0 {
		return &f.mu.declared[i]
	}
	return nil
}

// named returns the system subcluster of a name, nil if there is none.
func (f *Fake) named(name string) *control.Subcluster {
	if i := slices.IndexFunc(f.mu.clusters, func(s control.Subcluster) bool { return s.System == name }); i >= 0 {
		return &f.mu.clusters[i]
	}
	return nil
}

// relaunch replaces the subcluster that runs a declaration, if one does.
func (f *Fake) relaunch(name string) control.Subcluster {
	if old := f.named(name); old != nil {
		f.remove(old.ID)
	}
	return f.launch(control.Subcluster{System: name, Hash: hash(f.declaration(name).Config)})
}

// System implements [control.Backend].
func (f *Fake) System(context.Context) ([]control.System, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []control.System
	for _, d := range f.mu.declared {
		s := f.named(d.Name)
		if s == nil { // it was terminated
			out = append(out, control.System{Name: d.Name, State: control.SystemFailed, Declared: true})
			continue
		}
		out = append(out, control.System{
			Name: d.Name, Subcluster: s.ID, Root: s.Root, State: control.SystemRunning, Declared: true, Changed: s.Hash != hash(d.Config),
		})
	}
	for _, s := range f.mu.clusters {
		if s.System != "" && f.declaration(s.System) == nil {
			out = append(out, control.System{Name: s.System, Subcluster: s.ID, Root: s.Root, State: control.SystemSuspended})
		}
	}
	return out, nil
}

// Reload implements [control.Backend].
func (f *Fake) Reload(_ context.Context, subcluster string) ([]control.Subcluster, error) {
	if err := control.CheckSubcluster(subcluster); err != nil {
		return nil, err
	}
	return f.reload(subcluster)
}

// ReloadAll implements [control.Backend].
func (f *Fake) ReloadAll(context.Context) ([]control.Subcluster, error) { return f.reload("") }

// reload reloads one subcluster, or all if it has no name.
func (f *Fake) reload(subcluster string) ([]control.Subcluster, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now []control.Subcluster
	found := subcluster == ""
	for _, s := range slices.Clone(f.mu.clusters) {
		if subcluster != "" && s.ID != subcluster && s.System != subcluster {
			continue
		}
		found = true
		switch {
		case s.System == "":
			f.remove(s.ID)
			now = append(now, clone(f.launch(control.Subcluster{Source: s.Source, Hash: s.Hash})))
		case f.declaration(s.System) != nil:
			now = append(now, clone(f.relaunch(s.System)))
		case subcluster != "":
			return nil, control.Errorf(errcode.Conflict, "system subcluster %s is not declared in this run", s.System)
		}
	}
	if !found {
		return nil, control.Errorf(errcode.NotFound, "there is no subcluster %s", subcluster)
	}
	return now, nil
}
