package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// findSystem looks at the system subclusters that are stored, before anything runs: a record that lacks what
// every launch writes is corrupt. Those that this run does not declare are suspended, if it declares nothing.
func (k *Kernel) findSystem() error {
	subs, err := k.machine.Subclusters()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range subs {
		if s.System == "" {
			continue
		}
		if _, ok := kernel.ParseKRef(string(s.Root)); !ok || s.Bootstrap == "" {
			return fmt.Errorf("system subcluster %s (%s) has no bootstrap vat or no root: %w", s.System, s.ID, storage.ErrCorrupt)
		}
		if s.State != "running" {
			continue
		}
		if seen[s.System] {
			return fmt.Errorf("there are two system subclusters %s: %w", s.System, storage.ErrCorrupt)
		}
		seen[s.System] = true
		if k.cfg.System == nil && !k.cfg.Paused {
			k.suspended[s.ID] = true
			k.log.Warn("system subcluster is not declared in this run: its vats stay as they are, and do not run", "name", s.System, "subcluster", s.ID)
		}
	}
	return nil
}

// startSystem makes what runs agree with the declaration: what is there stays under its name, what is missing
// is launched, what is no longer named is removed.
func (k *Kernel) startSystem() {
	if k.cfg.System == nil {
		return
	}
	subs, err := k.machine.Subclusters()
	if err != nil {
		k.fail(err)
		return
	}
	running := map[string]kernel.Subcluster{}
	for _, s := range subs {
		if s.System == "" || s.State != "running" {
			continue
		}
		running[s.System] = s
		if !slices.ContainsFunc(k.cfg.System.Subclusters, func(d cluster.SystemSubcluster) bool { return d.Name == s.System }) {
			k.log.Warn("system subcluster is no longer declared: it is removed", "name", s.System, "subcluster", s.ID)
			c, err := k.machine.Terminate(s.ID)
			k.input(c, err)
		}
	}
	pending, err := k.machine.Reloads()
	if err != nil {
		k.fail(err)
		return
	}
	for _, d := range k.cfg.System.Subclusters {
		s, ok := running[d.Name]
		switch {
		case ok && s.Hash == d.Config.Hash:
			k.log.Info("system subcluster restored", "name", d.Name, "subcluster", s.ID, "root", s.Root)
		case ok && !k.cfg.UpgradeSystem:
			k.log.Warn("the declaration of a system subcluster has changed: it goes on as it was; --upgrade-system applies it", "name", d.Name, "subcluster", s.ID)
		case ok:
			k.upgrade(s, d)
		case slices.ContainsFunc(pending, func(r kernel.Reload) bool { return r.System == d.Name }):
			// reloadNext launches it.
		default:
			k.launchSystem(d.Name, d.Config)
		}
	}
}

func (k *Kernel) launchSystem(name string, cfg *cluster.Config) {
	k.launch(launch{cfg: cfg, system: name}, func(s kernel.Subcluster, err error) {
		if err != nil {
			k.log.Error("system subcluster was not launched", "name", name, "err", err)
			return
		}
		k.log.Info("system subcluster launched", "name", name, "subcluster", s.ID, "root", s.Root)
	})
}

// upgrade applies a changed declaration. The stores of the vats stay if it has the same vats, channels and
// services as before; otherwise the subcluster is loaded anew.
func (k *Kernel) upgrade(s kernel.Subcluster, d cluster.SystemSubcluster) {
	same, err := k.sameShape(s, d.Config)
	if err != nil {
		k.fail(err)
		return
	}
	ml, err := k.machineLaunch(launch{cfg: d.Config, system: d.Name})
	if err != nil {
		k.log.Error("system subcluster was not upgraded", "name", d.Name, "err", err)
		return
	}
	if same {
		c, err := k.machine.Reconfigure(s.ID, ml)
		k.input(c, err)
		k.log.Info("system subcluster upgraded: its vats go on from their stores", "name", d.Name, "subcluster", s.ID)
		return
	}
	k.log.Warn("the declaration of a system subcluster has other vats, channels or services: it is launched anew", "name", d.Name, "subcluster", s.ID)
	k.reload(s.ID, &reload{cfg: d.Config, done: func(s kernel.Subcluster, err error) {
		if err != nil {
			k.log.Error("system subcluster was not launched anew", "name", d.Name, "err", err)
		}
	}})
}

// sameShape says whether a configuration differs from what runs in nothing but how its vats are run.
func (k *Kernel) sameShape(s kernel.Subcluster, cfg *cluster.Config) (bool, error) {
	b, found, err := k.machine.Config(s.ID)
	if err != nil || !found {
		return false, err
	}
	old, err := unmarshalConfig(b)
	if err != nil {
		return false, err
	}
	names := func(c *cluster.Config) (names []string) {
		for _, v := range c.Vats {
			names = append(names, v.Name)
		}
		slices.Sort(names)
		return names
	}
	return old.Bootstrap == cfg.Bootstrap && slices.Equal(names(old), names(cfg)) && slices.Equal(old.IO, cfg.IO) &&
		slices.EqualFunc(old.Services, cfg.Services, func(a, b cluster.Service) bool {
			return a.Name == b.Name && a.Service == b.Service && a.Root == b.Root && a.ReadOnly == b.ReadOnly && slices.Equal(a.Hosts, b.Hosts)
		}), nil
}

// reload is a subcluster that is removed, to be launched again.
type reload struct {
	cfg  *cluster.Config // nil: what it was launched with
	by   callID
	done func(kernel.Subcluster, error)
	// launching says that it is being launched.
	launching bool
}

// reload removes a subcluster and launches it again, under the same name; done is called in the loop.
func (k *Kernel) reload(id kernel.SubID, r *reload) {
	c, err := k.machine.Reload(id)
	if err != nil {
		k.refuse(err, func(err error) { r.done(kernel.Subcluster{}, err) })
		return
	}
	k.reloads[id] = r
	k.apply(c)
}

// reloadNext launches what is gone and was to be launched again, also if an earlier kernel has begun it.
func (k *Kernel) reloadNext() {
	list, err := k.machine.Reloads()
	if err != nil {
		k.fail(err)
		return
	}
	for _, m := range list {
		r := k.reloads[m.Sub]
		if r != nil && r.launching {
			continue
		}
		if r == nil {
			r = &reload{done: func(s kernel.Subcluster, err error) {
				if err != nil {
					k.log.Error("subcluster was not launched again", "subcluster", m.Sub, "err", err)
				}
			}}
			k.reloads[m.Sub] = r
		}
		k.whenGone(m.Sub, func() { k.relaunch(m, r) })
		// What an earlier kernel has buried is not said to be gone again.
		k.buried[m.Sub] = true
		k.tellGone(m.Sub)
	}
}

func (k *Kernel) relaunch(m kernel.Reload, r *reload) {
	if k.reloads[m.Sub] != r || r.launching {
		return
	}
	r.launching = true
	cfg := r.cfg
	if cfg == nil {
		var err error
		if cfg, err = unmarshalConfig(m.Config); err != nil {
			k.fail(err)
			return
		}
	}
	k.launch(launch{cfg: cfg, system: m.System, by: r.by, replaces: m.Sub}, func(s kernel.Subcluster, err error) {
		delete(k.reloads, m.Sub)
		if err != nil && !errors.Is(err, ErrDiskFull) && !k.stopping { // it would not come out otherwise the next time
			c, e := k.machine.DropReload(m.Sub)
			k.input(c, e)
		}
		r.done(s, err)
	})
}

// Reload removes a subcluster and launches it again from the configuration that it was launched with. It is
// named by its id, or its name if it is a system subcluster; empty means all of them. It returns what runs.
func (k *Kernel) Reload(ctx context.Context, which string) ([]kernel.Subcluster, error) {
	return ask(ctx, k, func(done func([]kernel.Subcluster, error)) {
		subs, err := k.machine.Subclusters()
		if err != nil {
			k.fail(err)
			done(nil, err)
			return
		}
		subs = slices.DeleteFunc(subs, func(s kernel.Subcluster) bool {
			return s.State != "running" || (which != "" && which != string(s.ID) && which != s.System)
		})
		if len(subs) == 0 && which != "" {
			done(nil, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no running subcluster %s", which)})
			return
		}
		if len(subs) == 0 {
			done(nil, nil)
			return
		}
		out := make([]kernel.Subcluster, len(subs))
		left := len(subs)
		var failed error
		for i, s := range subs {
			k.reload(s.ID, &reload{done: func(s kernel.Subcluster, err error) {
				out[i] = s
				if err != nil && failed == nil {
					failed = err
				}
				if left--; left == 0 {
					done(slices.DeleteFunc(out, func(s kernel.Subcluster) bool { return s.ID == "" }), failed)
				}
			}})
		}
	})
}
