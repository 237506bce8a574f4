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
//
// A function that waits for durability is never called by the pipeline itself. The pipeline lists it as
// released, and the loop calls it between two steps: so no step finds the world changed by a commit
// of its own.
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
	// held waits for the current group, sealedHeld for the one being committed. released waits for
	// nothing but the end of the step that the loop is in.
	held, sealedHeld, released []func()
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

// release takes the committer's answer. What waited for it is called when the present step has ended.
func (g *group) release(err error) {
	g.busy = false
	if err != nil {
		g.k.fail(fmt.Errorf("commit: %w", err))
		return
	}
	g.k.layers.Committed()
	g.durable = g.sealed
	g.released = append(g.released, g.sealedHeld...)
	g.sealedHeld = nil
}

// admit makes room for a commit that is about to be applied: a group never grows above what one
// transaction of the store takes, whatever the commits in it are. If the committer is busy the loop waits for it.
func (g *group) admit(writes []storage.Write) {
	rows, bytes := g.k.layers.Size()
	if rows == 0 {
		return // no group is smaller than one commit
	}
	limits := g.k.cfg.Store.Limits()
	rows += len(writes)
	for _, w := range writes {
		bytes += w.Size()
	}
	if rows <= limits.Rows && bytes <= limits.Bytes {
		return
	}
	g.handOver()
}

// bound closes a group that has grown beyond half of a transaction, so that the next crank, which may be as
// large as the other half, need not wait.
func (g *group) bound() {
	rows, bytes := g.k.layers.Size()
	limits := g.k.cfg.Store.Limits()
	if rows >= limits.Rows/2 || bytes >= limits.Bytes/2 {
		g.handOver()
	}
}

// handOver seals the current group, waiting for the committer if that is busy.
func (g *group) handOver() {
	if g.busy {
		g.release(<-g.committed)
	}
	g.due = true
	g.flush()
}

// flushAll makes everything applied durable, and calls what waits for that. The loop has ended.
func (g *group) flushAll() {
	for g.k.fatal == nil && (g.busy || len(g.held)+len(g.released) > 0 || !g.empty()) {
		g.k.guard(g.handOver)
	}
}

// empty reports whether nothing is applied that was not handed over.
func (g *group) empty() bool {
	rows, _ := g.k.layers.Size()
	return rows == 0
}

// stop ends the committer.
func (g *group) stop() {
	close(g.work)
	for range g.committed {
	}
}

// whenDurable has the loop call f once everything applied so far is durable, and never before the present
// step has ended.
func (k *Kernel) whenDurable(f func()) {
	g := &k.group
	rows, _ := k.layers.Size()
	switch {
	case rows > 0 || len(g.held) > 0:
		g.held = append(g.held, f)
	case g.busy:
		g.sealedHeld = append(g.sealedHeld, f)
	default:
		k.soon(f)
	}
}

// soon has the loop call f when the present step has ended, before the next one.
func (k *Kernel) soon(f func()) { k.group.released = append(k.group.released, f) }

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
		k.soon(func() { k.reloadNext(); k.nextTurn() }) // which had to wait
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
