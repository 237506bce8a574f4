package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
)

// system are the system subclusters of this run: their declarations, their launches, and the reasons why some of them do
// not run. It launches them one after the other, in the order of their declaration: a launch begins when each one declared
// before it runs, or has failed.
type system struct {
	*core
	subs *subclusters

	// waiting are launches whose turn has not come; busy is the name of the subcluster that is being launched.
	waiting []turn
	busy    string
	// failed has the reason why the last launch of a subcluster failed, by name.
	failed map[string]string
	// notUpgraded has the reason why a changed declaration was not applied, by the name of the system subcluster.
	notUpgraded map[string]refusedUpgrade
	// damaged has what is wrong with the rows of a system subcluster that is held back, by name.
	damaged map[string]damaged
}

// damaged is a damage of a system subcluster, and what to do.
type damaged struct {
	sub kernel.SubID // which a person terminates
	why string
}

func newSystem(c *core) *system {
	return &system{core: c, failed: map[string]string{}, notUpgraded: map[string]refusedUpgrade{}, damaged: map[string]damaged{}}
}

// holdDamaged holds back the system subclusters with rows that are missing or contradict each other: their vats would fail
// later, and less plainly. The others run.
func (sy *system) holdDamaged() error {
	list, err := sy.machine.Damages()
	if err != nil {
		return err
	}
	for _, d := range list {
		sub := cmp.Or(d.Sub, d.To)
		if sub == "" {
			sy.log.Error("the name of a system subcluster is damaged: the subcluster is launched anew, where it is declared", "name", d.System, "why", d.What)
			continue // damage of a subcluster that has the name is in the list, too
		}
		why := fmt.Sprintf("it is damaged: %s; kernel terminate %s removes it with what its vats have stored, and the next start launches it anew", d.What, sub)
		sy.log.Error("system subcluster is damaged, and held back: the others run", "name", d.System, "subcluster", sub, "why", why)
		if _, ok := sy.damaged[d.System]; !ok {
			sy.damaged[d.System] = damaged{sub, why}
		}
		sy.subs.vats.holdMembers(sub, errors.New(why))
	}
	return nil
}

// removed notes that nothing is left of a subcluster.
func (sy *system) removed(id kernel.SubID) {
	maps.DeleteFunc(sy.damaged, func(_ string, d damaged) bool { return d.sub == id })
}

// find suspends the system subclusters that are stored and that this run does not declare.
func (sy *system) find() error {
	subs, err := sy.machine.Systems()
	if err != nil {
		return err
	}
	for _, s := range subs {
		if s.State != kernel.SubRunning {
			continue
		}
		if _, ok := sy.declared(s.System); !ok && !sy.cfg.Paused && !sy.mayReplace(s.System) {
			sy.subs.suspend(s.ID)
			sy.log.Warn("system subcluster is not declared in this run: its vats stay as they are, and do not run", "name", s.System, "subcluster", s.ID)
		}
	}
	return nil
}

// pendingSystems lists the system subclusters that are to be launched again, and can be.
func (sy *system) pendingSystems() ([]kernel.Reload, error) {
	list, err := sy.subs.pending()
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.System == "" {
			continue
		}
		switch r, found, err := sy.machine.ReloadOf(r.Sub); {
		case err != nil:
			return nil, err
		case found && r.Corrupt != nil:
			sy.subs.notRelaunched(r.Sub, r.Corrupt)
		}
	}
	return sy.subs.pending()
}

// start makes the running system subclusters agree with the declaration: one that is there stays under its name, a missing
// one is launched. One that is no longer declared is suspended; it is removed only if Config.Replace names it.
func (sy *system) start() {
	if sy.subs.resetting() {
		return // when that is done
	}
	defer sy.subs.reloadNext()
	if sy.cfg.System == nil {
		return
	}
	subs, err := sy.machine.Systems()
	if err != nil {
		sy.fail(err)
		return
	}
	running := map[string]kernel.Subcluster{}
	for _, s := range subs {
		if s.State != kernel.SubRunning {
			continue
		}
		running[s.System] = s
		if _, ok := sy.declared(s.System); !ok && sy.mayReplace(s.System) {
			sy.log.Warn("system subcluster is no longer declared: it is removed, as --replace says", "name", s.System, "subcluster", s.ID)
			sy.input(sy.subs.terminate(s.ID))
		}
	}
	pending, err := sy.pendingSystems()
	if err != nil {
		sy.fail(err)
		return
	}
	for _, d := range sy.cfg.System.Subclusters {
		s, ok := running[d.Name]
		damage, bad := sy.damaged[d.Name]
		switch {
		case bad:
			sy.failed[d.Name] = damage.why
		case ok && s.Hash == d.Config.Hash:
			sy.log.Info("system subcluster restored", "name", d.Name, "subcluster", s.ID, "root", s.Root)
		case ok && !sy.cfg.UpgradeSystem:
			sy.log.Warn("the declaration of a system subcluster has changed: it goes on as it was; --upgrade-system applies it", "name", d.Name, "subcluster", s.ID)
		case ok:
			sy.upgrade(s, d)
		case slices.ContainsFunc(pending, func(r kernel.Reload) bool { return r.System == d.Name }):
			// reloadNext launches it.
		default:
			sy.launch(d.Name, d.Config, func(kernel.Subcluster, error) {})
		}
	}
}

// declared returns this run's declaration of a name.
func (sy *system) declared(name string) (*cluster.Config, bool) {
	if sy.cfg.System == nil {
		return nil, false
	}
	for _, d := range sy.cfg.System.Subclusters {
		if d.Name == name {
			return d.Config, true
		}
	}
	return nil, false
}

// A refusedUpgrade has the reason why a changed declaration was not applied. deletes says that Replace with the name would
// have it applied.
type refusedUpgrade struct {
	why     string
	deletes bool
}

// upgrade applies a changed declaration to a running system subcluster. Changes that would delete something are made only
// if Config.Replace names the subcluster: then it is launched anew.
func (sy *system) upgrade(s kernel.Subcluster, d cluster.SystemSubcluster) {
	sy.subs.reconfigure(s, d.Config, ApplyOptions{}, func(a Applied, err error) {
		var deletes *ReplaceError
		if err != nil {
			sy.notUpgraded[d.Name] = refusedUpgrade{err.Error(), errors.As(err, &deletes)}
		}
		switch {
		case err == nil:
			sy.log.Info("system subcluster upgraded: its vats go on from their stores", "name", d.Name, "subcluster", s.ID, "changes", len(a.Changes))
		case deletes == nil:
			sy.log.Error("system subcluster was not upgraded", "name", d.Name, "subcluster", s.ID, "err", err)
		case !sy.mayReplace(d.Name):
			sy.log.Error("system subcluster was not upgraded: that would delete what it has stored, and --replace did not name it", "name", d.Name, "subcluster", s.ID, "err", err)
		default:
			sy.log.Warn("system subcluster is launched anew, as --replace says: what it has stored is deleted", "name", d.Name, "subcluster", s.ID, "why", err)
			sy.subs.reloadChecked(s, callID{}, func(kernel.Subcluster, error) {}) // settled tells how that comes out
		}
	})
}

// mayReplace reports whether this run may delete the stored state of a system subcluster.
func (sy *system) mayReplace(name string) bool {
	return sy.cfg.UpgradeSystem && slices.Contains(sy.cfg.Replace, name)
}

// whyNotThere returns nil if a target that was not found is a system subcluster, or in one, whose launch is to come: because
// its turn has not come, or because it is loaded anew. Otherwise it returns notFound, with the reason if the launch failed.
func (sy *system) whyNotThere(target string, notFound error) error {
	name, _, _ := strings.Cut(target, "/")
	if _, ok := sy.declared(name); !ok {
		return notFound
	}
	if sy.has(name) {
		return nil
	}
	reloads, err := sy.subs.pending()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(reloads, func(r kernel.Reload) bool { return r.System == name }) {
		return nil
	}
	if why := sy.failed[name]; why != "" {
		return &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("system subcluster %s does not run: %s", name, why)}
	}
	return notFound
}
