package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// maxDamages bounds what is told of a damaged state; `kernel check` tells all.
const maxDamages = 5

// checkDamage looks at the subclusters that are stored, before anything runs.
func (k *Shell) checkDamage() error {
	list, err := k.machine.Damages()
	if err != nil || len(list) == 0 {
		return err
	}
	var text []string
	for _, d := range list[:min(len(list), maxDamages)] {
		text = append(text, d.String())
	}
	if n := len(list) - maxDamages; n > 0 {
		text = append(text, fmt.Sprintf("and %d more", n))
	}
	return fmt.Errorf("%s: %w", strings.Join(text, "; "), storage.ErrCorrupt)
}

// findSystem suspends the system subclusters that are stored and that this run does not declare.
func (k *Shell) findSystem() error {
	subs, err := k.machine.Systems()
	if err != nil {
		return err
	}
	for _, s := range subs {
		if s.State != kernel.SubRunning {
			continue
		}
		if _, ok := k.declared(s.System); !ok && !k.cfg.Paused && !k.mayReplace(s.System) {
			k.suspended[s.ID] = true
			k.log.Warn("system subcluster is not declared in this run: its vats stay as they are, and do not run", "name", s.System, "subcluster", s.ID)
		}
	}
	return nil
}

// startSystem makes what runs agree with the declaration: what is there stays under its name, what is missing is launched.
// What is no longer named is suspended; it is removed only if this run was told so by its name.
func (k *Shell) startSystem() {
	if k.resets > 0 {
		return // when that is done
	}
	defer k.reloadNext()
	if k.cfg.System == nil {
		return
	}
	subs, err := k.machine.Systems()
	if err != nil {
		k.fail(err)
		return
	}
	running := map[string]kernel.Subcluster{}
	for _, s := range subs {
		if s.State != kernel.SubRunning {
			continue
		}
		running[s.System] = s
		if _, ok := k.declared(s.System); !ok && k.mayReplace(s.System) {
			k.log.Warn("system subcluster is no longer declared: it is removed, as --replace says", "name", s.System, "subcluster", s.ID)
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
func (k *Shell) declared(name string) (*cluster.Config, bool) {
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

// A refusedUpgrade says why a changed declaration was not applied, and whether Replace with the name would have it applied.
type refusedUpgrade struct {
	why     string
	deletes bool
}

// upgrade applies a changed declaration to what runs. Changes that would delete something are made only if this run was told
// so by the subcluster's name: then it is launched anew.
func (k *Shell) upgrade(s kernel.Subcluster, d cluster.SystemSubcluster) {
	k.reconfigure(s, d.Config, ApplyOptions{}, func(a Applied, err error) {
		var deletes *ReplaceError
		if err != nil {
			k.notUpgraded[d.Name] = refusedUpgrade{err.Error(), errors.As(err, &deletes)}
		}
		switch {
		case err == nil:
			k.log.Info("system subcluster upgraded: its vats go on from their stores", "name", d.Name, "subcluster", s.ID, "changes", len(a.Changes))
		case deletes == nil:
			k.log.Error("system subcluster was not upgraded", "name", d.Name, "subcluster", s.ID, "err", err)
		case !k.mayReplace(d.Name):
			k.log.Error("system subcluster was not upgraded: that would delete what it has stored, and --replace did not name it", "name", d.Name, "subcluster", s.ID, "err", err)
		default:
			k.log.Warn("system subcluster is launched anew, as --replace says: what it has stored is deleted", "name", d.Name, "subcluster", s.ID, "why", err)
			k.reloadChecked(s, callID{}, func(kernel.Subcluster, error) {}) // systemSettled tells how that comes out
		}
	})
}

// mayReplace says whether this run may delete what a system subcluster has stored.
func (k *Shell) mayReplace(name string) bool {
	return k.cfg.UpgradeSystem && slices.Contains(k.cfg.Replace, name)
}
