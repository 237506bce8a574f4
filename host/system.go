package host

import (
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
		if s.State != kernel.SubRunning {
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
	if k.resets > 0 {
		return // when that is done
	}
	defer k.reloadNext()
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
		if s.System == "" || s.State != kernel.SubRunning {
			continue
		}
		running[s.System] = s
		if _, ok := k.declared(s.System); !ok {
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
			k.launchSystem(d.Name, d.Config, func(kernel.Subcluster, error) {})
		}
	}
}

// declared finds what this run declares under a name.
func (k *Kernel) declared(name string) (*cluster.Config, bool) {
	if k.cfg.System == nil {
		return nil, false
	}
	for _, d := range k.cfg.System.Subclusters {
		if d.Name == name {
			return d.Config, true
		}
	}
	return nil, false
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
		if err != nil { // one of its vats has ended, say
			k.log.Error("system subcluster was not upgraded: kernel reload launches it anew", "name", d.Name, "subcluster", s.ID, "err", err)
			return
		}
		k.log.Info("system subcluster upgraded: its vats go on from their stores", "name", d.Name, "subcluster", s.ID)
		return
	}
	k.log.Warn("the declaration of a system subcluster has other vats, channels or services: it is launched anew", "name", d.Name, "subcluster", s.ID)
	k.reload(s, callID{}, func(kernel.Subcluster, error) {}) // systemSettled tells how that comes out
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
