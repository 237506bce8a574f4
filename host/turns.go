package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
)

// turns launches the system subclusters of this run one after the other, in the order of their declaration: when one
// is launched, those that are declared before it run, or have failed.
type turns struct {
	// waiting are launches whose turn has not come; busy is the name of the subcluster that is being launched.
	waiting []turn
	busy    string
	// failed tells why the last launch of a subcluster failed, by name.
	failed map[string]string
}

// turn is a launch that waits.
type turn struct {
	name string
	// begin begins the launch, which calls end when it is over, or at once if there is nothing to launch any more.
	// A launch that is called off gets an error instead.
	begin  func(end func())
	cancel func(error)
}

// takeTurn begins the launch of a system subcluster when it is its turn.
func (k *Shell) takeTurn(t turn) {
	k.turns.waiting = append(k.turns.waiting, t)
	slices.SortStableFunc(k.turns.waiting, func(a, b turn) int { return cmp.Compare(k.place(a.name), k.place(b.name)) })
	k.nextTurn()
}

// nextTurn begins the first launch that waits, unless another one goes on, or one that is declared before is to be
// launched again and is not yet gone.
func (k *Shell) nextTurn() {
	if k.turns.busy != "" || len(k.turns.waiting) == 0 || k.diskFull() || k.resets > 0 || k.stopping {
		return
	}
	t := k.turns.waiting[0]
	reloads, err := k.machine.Reloads()
	if err != nil {
		k.fail(err)
		return
	}
	for _, r := range reloads {
		if _, ok := k.declared(r.System); ok && k.place(r.System) < k.place(t.name) {
			return // its launch, or its being given up, comes back here
		}
	}
	k.turns.waiting = k.turns.waiting[1:]
	k.turns.busy = t.name
	ended := false
	t.begin(func() {
		if !ended {
			ended = true
			k.turns.busy = ""
			k.tellChanged()
		}
	})
}

// has reports whether a system subcluster is being launched in its turn, or waits for that.
func (t *turns) has(name string) bool {
	return t.busy == name || slices.ContainsFunc(t.waiting, func(w turn) bool { return w.name == name })
}

// cancelTurns calls all launches off that wait.
func (k *Shell) cancelTurns(err error) {
	list := k.turns.waiting
	k.turns.waiting = nil
	for _, t := range list {
		t.cancel(err)
	}
}

// place is where a system subcluster stands in the declaration.
func (k *Shell) place(name string) int {
	if k.cfg.System == nil {
		return 0
	}
	return slices.IndexFunc(k.cfg.System.Subclusters, func(s cluster.SystemSubcluster) bool { return s.Name == name })
}

// launchSystem launches a system subcluster in its turn; done is called in the loop when that is over.
func (k *Shell) launchSystem(name string, cfg *cluster.Config, done func(kernel.Subcluster, error)) {
	k.takeTurn(turn{name: name, cancel: func(err error) { done(kernel.Subcluster{}, err) }, begin: func(end func()) {
		k.launch(launch{cfg: cfg, system: name}, func(s kernel.Subcluster, err error) {
			k.systemSettled(name, s, err)
			end()
			done(s, err)
		})
	}})
}

// systemSettled notes how the launch of a system subcluster came out.
func (k *Shell) systemSettled(name string, s kernel.Subcluster, err error) {
	if err != nil {
		k.turns.failed[name] = err.Error()
		k.log.Error("system subcluster was not launched", "name", name, "err", err)
		return
	}
	delete(k.turns.failed, name)
	k.log.Info("system subcluster launched", "name", name, "subcluster", s.ID, "root", s.Root)
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

// SystemReady returns when each declared system subcluster runs, or could not be launched; then the error is a
// [*SystemError].
func (k *Shell) SystemReady(ctx context.Context) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) { k.systemReady(ctx, done) })
	return err
}

func (k *Shell) systemReady(ctx context.Context, done func(struct{}, error)) {
	list, err := k.systemList()
	switch {
	case err != nil:
		k.refuse(err, func(err error) { done(struct{}{}, err) })
		return
	case k.stopping:
		done(struct{}{}, ErrStopping)
		return
	case ctx.Err() != nil: // nobody waits any more
		return
	case k.resets > 0 || slices.ContainsFunc(list, func(s SystemStatus) bool { return s.Declared && s.State == SystemLaunching }):
		k.whenChanged(func() { k.systemReady(ctx, done) })
		return
	}
	list = slices.DeleteFunc(list, func(s SystemStatus) bool { return !s.Declared || s.State != SystemFailed })
	if len(list) > 0 {
		done(struct{}{}, &SystemError{list})
		return
	}
	done(struct{}{}, nil)
}
