package host

import (
	"errors"
	"fmt"
	"sync/atomic"
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
	k         *Shell
	work      chan sealedGroup
	committed chan error

	busy    bool   // the committer has a group
	due     bool   // the group is to be handed over although nobody waits
	waiting bool   // a timer will make it due
	newest  uint64 // number of the newest commit applied
	sealed  uint64 // number of the newest commit in the group being committed
	durable uint64 // number of the newest durable commit
	// impatient says that the kernel starts, or has been told to stop: a commit does not wait for long. behind is why the witness could not be written, empty if it could. waits is why
	// the committer waits with its group; nil if it does not.
	impatient atomic.Bool
	behind    atomic.Pointer[string]
	waits     atomic.Pointer[shortage]
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

func (g *group) init(k *Shell) {
	g.k = k
	g.work = make(chan sealedGroup)
	g.committed = make(chan error, 1)
}

// run is the committer: it owns nothing but the group that it was handed, and the witness.
//
// Each commit is recorded in the witness, so that a log which loses its end is noticed after the death of a process. At
// most once a second that is synced: after a power loss, a state that is older by less is not told from the newest.
// What the witness cannot record is no failure: the commit is durable, and a witness may be behind. It is told in the
// status, and tried again.
func (g *group) run() {
	defer close(g.committed)
	witness := g.k.cfg.Witness
	var due <-chan time.Time
	for {
		select {
		case group, ok := <-g.work:
			if !ok {
				return
			}
			err := g.commit(group)
			if err == nil && witness != nil {
				g.recorded(witness.Record(group.commit))
				if due == nil {
					due = time.After(time.Second)
				}
			}
			g.committed <- err
		case <-due:
			if due = nil; !g.recorded(witness.Sync()) {
				due = time.After(time.Second)
			}
		}
	}
}

// recorded notes whether the witness could be written.
func (g *group) recorded(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if old := g.behind.Swap(&text); text != "" && (old == nil || *old != text) {
		g.k.log.Error("the witness falls behind: a damage of the database may go unnoticed", "err", err)
	}
	return err == nil
}

// shortage is what a commit waits for.
type shortage struct {
	why  string
	full bool // it is room on the disk
}

// commit commits a group, and waits until there is what it needs: files that can be opened, without which the store
// would end, and room on the disk.
func (g *group) commit(group sealedGroup) error {
	defer g.waits.Store(nil)
	for waited := time.Duration(0); ; waited += roomWait {
		short := shortage{}
		err := error(nil)
		if g.k.cfg.Room != nil {
			err = g.k.cfg.Room.Ready()
		}
		if err == nil {
			if err = g.k.cfg.Store.Commit(group.writes); !errors.Is(err, storage.ErrNoRoom) {
				return err
			}
			short.full = true
		}
		if g.impatient.Load() && waited > impatientWait {
			return err
		}
		short.why = "commits wait: " + err.Error()
		if g.waits.Swap(&short) == nil {
			g.k.after(0, g.k.checkRoom) // the loop pauses
		}
		time.Sleep(roomWait)
	}
}

const (
	// roomWait is how long the committer waits before it asks again whether files can be opened.
	roomWait = 50 * time.Millisecond
	// impatientWait is how long it goes on asking while the kernel starts or stops.
	impatientWait = 2 * time.Second
)

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
	g.k.checkRoom()
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
// large as the other half, need not wait. While the committer is busy that is left for when it is not: only a commit for which
// there is no room waits for it.
func (g *group) bound() {
	rows, bytes := g.k.layers.Size()
	limits := g.k.cfg.Store.Limits()
	switch {
	case rows < limits.Rows/2 && bytes < limits.Bytes/2:
	case g.busy:
		g.due = true
	default:
		g.handOver()
	}
}

// handOver seals the current group, waiting for the committer if that is busy.
//
// That the loop waits here holds back whoever fills groups faster than the disk takes them: nothing of a full group could be
// applied anyway, and whatever the loop would take next could only grow what is in memory. The wait is for one commit of one
// transaction at most. It cannot be for ever: the committer waits for nothing that the loop does, since what it answers fits
// into its channel; while it lacks room on the disk or descriptors, deliveries pause, workers are not heard and inputs wait (see
// intake.go), so that hardly anything fills a group, and from when the kernel is told to stop it waits for them for
// impatientWait only. No step begins meanwhile, and nothing
// that was released is called before the present step has ended.
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
func (k *Shell) whenDurable(f func()) {
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
func (k *Shell) soon(f func()) { k.group.released = append(k.group.released, f) }

// Room tells whether the kernel has what it needs to go on. Its methods may be called from any goroutine.
type Room interface {
	// Lacks says in a few words what is short, and how to mend it; it is empty if nothing is. With full it is room on
	// the disk, so that no new call is accepted.
	Lacks() (what string, full bool)
	// Ready returns nil if the files that a commit may need can be opened.
	Ready() error
}

// checkRoom asks whether there is room, and whether a commit waits for some. While there is none, no delivery begins. The
// store ends where it cannot open a file, or where its own work finds the disk full: it must not come to either.
func (k *Shell) checkRoom() {
	was := k.lacks
	k.lacks, k.diskFull = "", false
	if short := k.group.waits.Load(); short != nil {
		k.lacks, k.diskFull = short.why, short.full
	} else if k.cfg.Room != nil {
		k.lacks, k.diskFull = k.cfg.Room.Lacks()
	}
	switch {
	case k.lacks != "" && was == "":
		k.log.Error("deliveries and calls pause", "why", k.lacks)
		k.watchRoom()
	case k.lacks == "" && was != "":
		k.log.Info("deliveries and calls go on")
		k.soon(func() { k.reloadNext(); k.nextTurn() }) // which had to wait
	}
}

// watchRoom asks again each second, for as long as something is short.
func (k *Shell) watchRoom() {
	k.after(time.Second, func() {
		if k.checkRoom(); k.lacks != "" {
			k.watchRoom()
		}
	})
}

// pauses says what the kernel lacks, and what it cannot do that it should.
func (k *Shell) pauses() []string {
	var out []string
	if k.lacks != "" {
		out = append(out, k.lacks)
	}
	if why := k.group.behind.Load(); why != nil && *why != "" {
		out = append(out, "the witness falls behind: "+*why)
	}
	return out
}

// noRoom is the error of what is not accepted while the disk is full.
func (k *Shell) noRoom() error { return fmt.Errorf("%w: %s", ErrDiskFull, k.lacks) }
