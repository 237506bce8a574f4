package host

import (
	"cmp"
	"context"
	"maps"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/workers"
)

// subclusters are the subclusters that are launched, changed, reloaded and removed in this run: the callers that wait for
// each of these, and the loop's facts about them beside their rows.
type subclusters struct {
	*core
	vats     *vats
	system   *system
	names    *directory
	objects  *objects
	registry *registry

	launches map[kernel.SubID][]func(failure string) // called at the end of a launch
	changed  []func()                                // called at the end of a reload or a reset
	gone     map[kernel.SubID][]func()               // called when nothing of a subcluster is left
	removed  map[kernel.SubID]bool                   // Gone is durable
	leaving  map[workers.Worker]kernel.SubID         // workers that were given up and have not exited
	// suspended are the subclusters whose vats are not run: their channels are not there yet, or this run does not declare
	// them.
	suspended  map[kernel.SubID]bool
	reloads    map[kernel.SubID]*reload // subclusters that are loaded anew
	unreadable map[kernel.SubID]bool    // reloads whose stored configuration cannot be read
	resets     int                      // how many callers have the state cleared
}

func newSubclusters(c *core) *subclusters {
	return &subclusters{
		core: c, launches: map[kernel.SubID][]func(string){}, gone: map[kernel.SubID][]func(){}, removed: map[kernel.SubID]bool{},
		leaving: map[workers.Worker]kernel.SubID{}, suspended: map[kernel.SubID]bool{}, reloads: map[kernel.SubID]*reload{},
		unreadable: map[kernel.SubID]bool{},
	}
}

// suspend has the vats of a subcluster not run, until unsuspend, or the end of this run.
func (ss *subclusters) suspend(id kernel.SubID) { ss.suspended[id] = true }

// isSuspended reports whether the vats of a subcluster do not run in this run, or not yet.
func (ss *subclusters) isSuspended(id kernel.SubID) bool { return ss.suspended[id] }

// someSuspended reports whether there is any such subcluster.
func (ss *subclusters) someSuspended() bool { return len(ss.suspended) > 0 }

// allSuspended lists these subclusters.
func (ss *subclusters) allSuspended() map[kernel.SubID]bool { return maps.Clone(ss.suspended) }

// resetting reports whether the state is being cleared.
func (ss *subclusters) resetting() bool { return ss.resets > 0 }

// leaves notes a worker of a subcluster's vat that was given up and has not exited. Until left is called for it, tellGone
// does not run for the subcluster.
func (ss *subclusters) leaves(w workers.Worker, sub kernel.SubID) { ss.leaving[w] = sub }

// left notes that a worker that was given up has exited.
func (ss *subclusters) left(w workers.Worker) {
	if sub, ok := ss.leaving[w]; ok {
		delete(ss.leaving, w)
		ss.tellGone(sub)
	}
}

// unsuspend lets the vats of a subcluster go on.
func (ss *subclusters) unsuspend(sub kernel.Subcluster) {
	delete(ss.suspended, sub.ID)
	for _, v := range sub.Vats {
		ss.vats.wake(v.Vat)
	}
}

// Suspended is [Shell.Suspended].
func (ss *subclusters) Suspended(ctx context.Context) (map[kernel.SubID]bool, error) {
	return look(ctx, ss.core, func() (map[kernel.SubID]bool, error) { return ss.allSuspended(), nil })
}

// Terminate is [Shell.Terminate]. It waits as [Shell.Launch] does.
func (ss *subclusters) Terminate(ctx context.Context, id kernel.SubID) error {
	_, err := ask(ctx, ss.core, func(done func(struct{}, error)) {
		ss.whenRoom(0, func() {
			if ss.stopping || ctx.Err() != nil {
				done(struct{}{}, cmp.Or(ctx.Err(), ErrStopping))
				return
			}
			c, err := ss.terminate(id)
			if err != nil {
				ss.refuse(err, func(err error) { done(struct{}{}, err) })
				return
			}
			ss.whenGone(id, func() { done(struct{}{}, nil) })
			ss.apply(c)
			fault.Point(fault.EndBegun)
			ss.cancelReload(id)
		})
	})
	return err
}

// terminate begins the removal of a subcluster. A subcluster whose row is missing is found by the rows of its vats.
func (ss *subclusters) terminate(id kernel.SubID) (kernel.Commit, error) {
	end := func() (kernel.Commit, error) { return ss.machine.Terminate(id) }
	c, err := ss.removal(end)
	if codeOf(err) == errcode.NotFound {
		return ss.machine.Salvage(end)
	}
	return c, err
}

// whenGone has the loop call f when nothing of a subcluster is left, durably, and no process of its vats.
func (ss *subclusters) whenGone(id kernel.SubID, f func()) {
	ss.gone[id] = append(ss.gone[id], f)
	ss.tellGone(id)
}

func (ss *subclusters) subGone(id kernel.SubID) {
	ss.log.Info("subcluster removed", "subcluster", id)
	fault.Point(fault.SubclusterGone)
	ss.removed[id] = true
	ss.system.removed(id)
	delete(ss.suspended, id)
	ss.tellGone(id)
	ss.reloadOf(id)
}

func (ss *subclusters) tellGone(id kernel.SubID) {
	if !ss.removed[id] {
		return
	}
	if ss.objects.isClosing(id) || ss.vats.isRehearsed(id) {
		return
	}
	for _, sub := range ss.leaving { // is one of them there? The order does not matter
		if sub == id {
			return
		}
	}
	for _, f := range ss.gone[id] {
		ss.soon(f)
	}
	delete(ss.gone, id)
	delete(ss.removed, id)
	ss.vats.forget(id)
}

// whenSettled calls f, in the loop, when a pending launch is settled, durably. failure is empty if the subcluster
// runs.
func (ss *subclusters) whenSettled(id kernel.SubID, f func(failure string)) {
	ss.launches[id] = append(ss.launches[id], f)
}

// whenChanged calls f, in a later step of the loop, when a reload, a reset, or a system subcluster's turn is over.
func (ss *subclusters) whenChanged(f func()) { ss.changed = append(ss.changed, f) }

// tellChanged runs the functions that wait for the end of a reload, a reset, or a system subcluster's turn.
func (ss *subclusters) tellChanged() {
	for _, f := range ss.changed {
		ss.soon(f)
	}
	ss.changed = nil
	ss.soon(ss.system.nextTurn)
}

// subclusterConfig returns a subcluster and the configuration that it was launched with; both are nil if there is none.
func (ss *subclusters) subclusterConfig(ctx context.Context, id kernel.SubID) (*kernel.Subcluster, *cluster.Config, error) {
	var cfg *cluster.Config
	sub, err := look(ctx, ss.core, func() (*kernel.Subcluster, error) {
		sub, found, err := ss.machine.Subcluster(id)
		if err != nil || !found {
			return nil, err
		}
		b, found, err := ss.machine.Config(id)
		if err == nil && found {
			cfg, err = cluster.UnmarshalStoredConfig(b)
		}
		return &sub, err
	})
	return sub, cfg, err
}
