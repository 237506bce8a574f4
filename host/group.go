package host

import (
	"fmt"
	"time"

	"ocapkernel.dev/storage"
)

// group is the commit pipeline. The loop applies commits to the current group; when the committer is
// idle and somebody waits for its durability, the group is sealed and handed over whole, and what waits
// is released when it comes back. So the busier the kernel, the larger the groups. A group for which
// nobody waits is left to grow for a moment: a promise, a queue item, a name that is born and dies in it
// costs nothing then.
type group struct {
	k         *Kernel
	work      chan sealedGroup
	committed chan error

	busy    bool   // the committer has a group
	due     bool   // the group is to be handed over although nobody waits
	waiting bool   // a timer will make it due
	newest  uint64 // number of the newest commit applied
	sealed  uint64 // number of the newest commit in the group being committed
	durable uint64 // number of the newest durable commit
	// held waits for the current group, sealedHeld for the one being committed.
	held, sealedHeld []func()
}

// growTime is how long a group for which nobody waits may grow. A kernel that dies forgets no more.
const growTime = 20 * time.Millisecond

// sealedGroup is what the committer gets.
type sealedGroup struct {
	writes []storage.Write
	commit uint64 // number of its newest commit
}

func (g *group) init(k *Kernel) {
	g.k = k
	g.work = make(chan sealedGroup)
	g.committed = make(chan error, 1)
}

// run is the committer: it owns nothing but the group that it was handed.
// At most once a second it also writes the witness: a state that is older by less than that is not told
// from this one.
func (g *group) run() {
	var recorded time.Time
	for group := range g.work {
		err := g.k.cfg.Store.Commit(group.writes)
		if err == nil && g.k.cfg.Witness != nil && time.Since(recorded) >= time.Second {
			err = g.k.cfg.Witness.Record(group.commit)
			recorded = time.Now()
		}
		g.committed <- err
	}
	close(g.committed)
}

// flush hands the current group to the committer if that is idle and there is something to commit.
func (g *group) flush() {
	if g.busy || g.k.fatal != nil {
		return
	}
	rows, _ := g.k.layers.Size()
	if rows == 0 && len(g.held) == 0 {
		return
	}
	if len(g.held) == 0 && !g.due {
		if !g.waiting {
			g.waiting = true
			g.k.after(growTime, func() { g.waiting, g.due = false, true })
		}
		return
	}
	g.due = false
	g.k.checkDisk()
	writes := g.k.layers.Seal()
	g.busy, g.sealed = true, g.newest
	g.held, g.sealedHeld = nil, g.held
	g.work <- sealedGroup{writes, g.sealed}
}

// release takes the committer's answer and lets go what waited for it.
func (g *group) release(err error) {
	g.busy = false
	if err != nil {
		g.k.fail(fmt.Errorf("commit: %w", err))
		return
	}
	g.k.layers.Committed()
	g.durable = g.sealed
	held := g.sealedHeld
	g.sealedHeld = nil
	for _, f := range held {
		f()
	}
}

// bound keeps the current group below what one transaction of the store takes: a crank is at most half
// of it, so that a group is closed beyond the other half. If the committer is busy the loop waits for it.
func (g *group) bound() {
	rows, bytes := g.k.layers.Size()
	limits := g.k.cfg.Store.Limits()
	if rows < limits.Rows/2 && bytes < limits.Bytes/2 {
		return
	}
	if g.busy {
		g.release(<-g.committed)
	}
	g.due = true
	g.flush()
}

// flushAll makes everything applied durable.
func (g *group) flushAll() {
	for g.k.fatal == nil {
		if g.busy {
			g.release(<-g.committed)
		}
		g.due = true
		g.flush()
		if !g.busy {
			return
		}
	}
}

// stop ends the committer.
func (g *group) stop() {
	close(g.work)
	for range g.committed {
	}
}

// whenDurable runs f in the loop once everything applied so far is durable.
func (k *Kernel) whenDurable(f func()) {
	g := &k.group
	rows, _ := k.layers.Size()
	switch {
	case rows > 0 || len(g.held) > 0:
		g.held = append(g.held, f)
	case g.busy:
		g.sealedHeld = append(g.sealedHeld, f)
	default:
		f()
	}
}

// checkDisk compares the free space with the reserve. Badger writes into sparse maps, where a full disk
// is a SIGBUS: it must not come to that.
func (k *Kernel) checkDisk() {
	if k.cfg.FreeBytes == nil {
		return
	}
	free, err := k.cfg.FreeBytes()
	if err != nil {
		k.log.Warn("free space is unknown", "err", err)
		return
	}
	full := free < k.cfg.ReserveBytes
	if full && !k.diskFull {
		k.log.Error("disk full: deliveries and calls pause until there is space", "freeBytes", free, "reserveBytes", k.cfg.ReserveBytes)
		k.watchDisk()
	}
	if !full && k.diskFull {
		k.log.Info("there is space on the disk again", "freeBytes", free)
		defer k.reloadNext() // which had to wait
	}
	k.diskFull = full
}

// watchDisk looks again each second, for as long as the disk is full.
func (k *Kernel) watchDisk() {
	k.after(time.Second, func() {
		if k.checkDisk(); k.diskFull {
			k.watchDisk()
		}
	})
}
