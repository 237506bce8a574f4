package host

import (
	"cmp"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// turn is a launch that waits.
type turn struct {
	name string
	// begin begins the launch, which calls end when it is over, or at once if there is nothing to launch any more.
	// A launch that is called off gets an error instead.
	begin  func(end func())
	cancel func(error)
}

// takeTurn begins the launch of a system subcluster when it is its turn.
func (sy *system) takeTurn(t turn) {
	sy.waiting = append(sy.waiting, t)
	slices.SortStableFunc(sy.waiting, func(a, b turn) int { return cmp.Compare(sy.place(a.name), sy.place(b.name)) })
	sy.nextTurn()
}

// nextTurn begins the first launch that waits, unless another one goes on, or one that is declared before is to be
// launched again and is not yet gone.
func (sy *system) nextTurn() {
	if sy.busy != "" || len(sy.waiting) == 0 || sy.diskFull() || sy.subs.resetting() || sy.stopping {
		return
	}
	t := sy.waiting[0]
	reloads, err := sy.subs.pending()
	if err != nil {
		sy.fail(err)
		return
	}
	for _, r := range reloads {
		if _, ok := sy.declared(r.System); ok && sy.place(r.System) < sy.place(t.name) {
			return // its launch, or its being given up, comes back here
		}
	}
	sy.waiting = sy.waiting[1:]
	sy.busy = t.name
	ended := false
	fault.Point(fault.SystemTurn)
	t.begin(func() {
		if !ended {
			ended = true
			sy.busy = ""
			sy.subs.tellChanged()
		}
	})
}

// has reports whether a system subcluster is being launched in its turn, or waits for that.
func (sy *system) has(name string) bool {
	return sy.busy == name || slices.ContainsFunc(sy.waiting, func(w turn) bool { return w.name == name })
}

// cancelTurns calls all launches off that wait.
func (sy *system) cancelTurns(err error) {
	list := sy.waiting
	sy.waiting = nil
	for _, t := range list {
		t.cancel(err)
	}
}

// place returns the position of a system subcluster in the declaration.
func (sy *system) place(name string) int {
	if sy.cfg.System == nil {
		return 0
	}
	return slices.IndexFunc(sy.cfg.System.Subclusters, func(s cluster.SystemSubcluster) bool { return s.Name == name })
}

// launch launches a system subcluster in its turn; done is called in the loop when that is over.
func (sy *system) launch(name string, cfg *cluster.Config, done func(kernel.Subcluster, error)) {
	sy.takeTurn(turn{name: name, cancel: func(err error) { done(kernel.Subcluster{}, err) }, begin: func(end func()) {
		sy.subs.launch(launch{cfg: cfg, system: name}, func(s kernel.Subcluster, err error) {
			sy.settled(name, s, err)
			end()
			done(s, err)
		})
	}})
}

// settled notes the outcome of the launch of a system subcluster.
func (sy *system) settled(name string, s kernel.Subcluster, err error) {
	if err != nil {
		sy.failed[name] = err.Error()
		sy.log.Error("system subcluster was not launched", "name", name, "err", err)
		return
	}
	delete(sy.failed, name)
	delete(sy.damaged, name) // was another one
	sy.log.Info("system subcluster launched", "name", name, "subcluster", s.ID, "root", s.Root)
}

// launchDeclared launches a system subcluster of that name, which does not run.
func (sy *system) launchDeclared(name string, done func([]kernel.Subcluster, error)) {
	cfg, ok := sy.declared(name)
	switch {
	case !ok:
		done(nil, &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no running subcluster %s", name)})
	case sy.diskFull():
		done(nil, ErrDiskFull)
	default:
		sy.launch(name, cfg, func(s kernel.Subcluster, err error) { done([]kernel.Subcluster{s}, err) })
	}
}
