// Package pipeline makes commits durable, in groups.
//
//	Add ──► the current group ──► the committer: Store.Commit, Witness ──► Committed: the values held for the group
//
// The owner applies commits to the current group. When the committer is idle and a value is held for the current group, the
// group is sealed and handed over whole, and its held values are returned when the group comes back. So the busier the
// owner, the larger the groups. A group without held values is left to grow for a moment: a promise, a queue item, a name
// that is born and dies in it costs nothing then.
//
// A pipeline calls no function. A held value is of the owner's type T; the pipeline keeps it and returns it. Each method
// that may find a group durable returns the list of that group's held values, and the owner decides when it goes on with
// them. So no held value is acted on within another commit.
//
// # Concurrency
//
// All methods are called by one goroutine, the owner, but for [Pipeline.Hurry], which may be called by any.
// [Pipeline.Add], [Pipeline.Bound] and [Pipeline.HandOver] wait for the committer if a group is full while it is busy; no
// other method blocks.
package pipeline

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/storage"
)

// Config says where a pipeline commits.
type Config struct {
	Store storage.Store
	// Layers hold the applied writes that are not durable yet, over Store.
	Layers *storage.Layers
	// Witness records each commit; nil records nothing.
	Witness *storage.Witness
	// Inline has the owner itself commit, and wait for its commit. It is for a store in memory, without a witness.
	Inline bool
	// Single has each commit be a group of its own.
	Single bool
	// Room tells whether there are space and descriptors for commits; nil if those cannot run out.
	Room Room
	Log  *slog.Logger
}

// Pipeline commits groups of commits. T is the type of the values that are held until a group is durable.
type Pipeline[T any] struct {
	cfg     Config
	work    chan group
	answers chan error
	looks   chan struct{}

	busy    bool   // the committer has a group
	due     bool   // the group is to be handed over although no value is held for it
	waiting bool   // a timer will make it due
	halted  bool   // nothing more is handed over
	newest  uint64 // number of the newest commit applied
	sealed  uint64 // number of the newest commit in the group being committed
	durable uint64 // number of the newest durable commit
	// held waits for the current group, sealedHeld for the one being committed.
	held, sealedHeld []T
	intake           []input[T]
	room             room

	// These are shared with the committer and with timers. impatient says that a commit does not wait for long. grown says
	// that the time is over for which a group may grow. waits is why the committer waits with its group, nil if it does not.
	// behind is why the witness could not be written, nil or empty if it could.
	impatient, grown atomic.Bool
	waits            atomic.Pointer[shortage]
	behind           atomic.Pointer[string]
}

// growTime is how long a group without held values may grow. A kernel that dies loses commits of that time at most.
const growTime = 20 * time.Millisecond

// group is the committer's work: the writes of one or more commits.
type group struct {
	writes []storage.Write
	commit uint64 // number of its newest commit
}

// New returns a pipeline. Its committer runs until [Pipeline.Stop].
func New[T any](cfg Config) *Pipeline[T] {
	p := &Pipeline[T]{cfg: cfg, work: make(chan group), answers: make(chan error, 1), looks: make(chan struct{}, 1)}
	go p.run()
	return p
}

// Stored notes that all commits of earlier runs, up to a number, are durable.
func (p *Pipeline[T]) Stored(commit uint64) { p.durable = commit }

// Durable returns the number of the newest durable commit.
func (p *Pipeline[T]) Durable() uint64 { return p.durable }

// Add applies a commit to the current group: its writes are visible in the layers at once. It returns the held values of
// the group that it had to wait for, if any. The commit is applied in any case: with an error it never becomes durable.
//
// A group never grows above one transaction of the store. If there is no room for the commit, Add hands the group over, and
// waits for the committer if the committer is busy.
func (p *Pipeline[T]) Add(commit uint64, writes []storage.Write) (durable []T, err error) {
	if !p.fits(writes) {
		durable, err = p.HandOver()
	}
	p.cfg.Layers.Apply(writes)
	p.newest = commit
	return durable, err
}

// fits reports whether a commit of these writes has room in the current group. A group of one commit is never too large.
func (p *Pipeline[T]) fits(writes []storage.Write) bool {
	rows, bytes := p.cfg.Layers.Size()
	if rows == 0 {
		return true
	}
	limits := p.cfg.Store.Limits()
	rows += len(writes)
	for _, w := range writes {
		bytes += w.Size()
	}
	return rows <= limits.Rows && bytes <= limits.Bytes
}

// Bound returns the held values that have become durable. It closes a group that has grown beyond half of a transaction, so
// that the next crank, which may be as large as the other half, need not wait. While the committer is busy, closing the
// group waits until the committer is idle: only a commit for which there is no room waits for the committer.
func (p *Pipeline[T]) Bound() (durable []T, err error) {
	rows, bytes := p.cfg.Layers.Size()
	limits := p.cfg.Store.Limits()
	switch {
	case p.cfg.Single:
		return p.HandOver()
	case rows < limits.Rows/2 && bytes < limits.Bytes/2:
	case p.busy:
		p.due = true
	default:
		return p.HandOver()
	}
	return nil, nil
}

// Hold has v wait for everything that is applied so far, and reports whether it waits. If nothing is applied that is not
// durable v is not kept: the owner goes on with it at once.
func (p *Pipeline[T]) Hold(v T) (waits bool) {
	switch {
	case !p.empty() || len(p.held) > 0:
		p.held = append(p.held, v)
	case p.busy:
		p.sealedHeld = append(p.sealedHeld, v)
	default:
		return false
	}
	return true
}

// Held returns the number of held values.
func (p *Pipeline[T]) Held() int { return len(p.held) + len(p.sealedHeld) }

// Idle reports whether everything that was applied is durable, and nothing waits.
func (p *Pipeline[T]) Idle() bool { return !p.busy && len(p.held) == 0 && p.empty() }

// empty reports whether nothing is applied that was not handed over.
func (p *Pipeline[T]) empty() bool {
	rows, _ := p.cfg.Layers.Size()
	return rows == 0
}

// Flush hands the current group to the committer if that is idle and there is something to commit.
func (p *Pipeline[T]) Flush() {
	if p.busy || p.halted || p.empty() && len(p.held) == 0 {
		return
	}
	if len(p.held) == 0 && !p.due {
		if !p.waiting {
			p.waiting = true
			time.AfterFunc(growTime, func() { p.grown.Store(true); p.look() })
		}
		return
	}
	p.due = false
	p.CheckRoom()
	writes := p.cfg.Layers.Seal()
	p.busy, p.sealed = true, p.newest
	p.held, p.sealedHeld = nil, p.held
	if p.cfg.Inline {
		p.answers <- p.commit(group{writes, p.sealed})
		return
	}
	p.work <- group{writes, p.sealed} // the committer is idle
}

// HandOver seals the current group, waiting for the committer if the committer is busy. It returns the held values that
// have become durable.
//
// The owner waits here, so a source of commits that is faster than the disk is held back: no commit could join the full
// group anyway, and further inputs would only grow the memory. The wait is for one commit of one transaction at most. It
// ends: the committer waits for nothing that the owner does, since its answer fits into the channel; while the committer
// lacks room on the disk or descriptors, [Pipeline.Waits] and [Pipeline.Enter] tell the owner to begin nothing that fills a
// group; and from [Pipeline.Hurry] on the committer waits for impatientWait only.
func (p *Pipeline[T]) HandOver() (durable []T, err error) {
	if p.busy {
		durable, err = p.Committed(<-p.answers)
	}
	p.due = true
	p.Flush()
	return durable, err
}

// Answers has the committer's answer for each group. The owner receives it, and gives it to [Pipeline.Committed].
func (p *Pipeline[T]) Answers() <-chan error { return p.answers }

// Committed takes the committer's answer, and returns the held values that have become durable. After a failed commit it
// returns the error; no later commit becomes durable.
func (p *Pipeline[T]) Committed(answer error) (durable []T, err error) {
	p.busy = false
	if answer != nil {
		p.Halt()
		return nil, fmt.Errorf("commit: %w", answer)
	}
	p.cfg.Layers.Committed()
	p.durable = p.sealed
	fault.Point(fault.GroupDurable)
	durable, p.sealedHeld = p.sealedHeld, nil
	return durable, nil
}

// Looks is ready when the owner is to call [Pipeline.Look].
func (p *Pipeline[T]) Looks() <-chan struct{} { return p.looks }

// Look acts on signals of the committer and of timers: a group has grown for long enough, a commit waits, or it is time to
// check the room again.
func (p *Pipeline[T]) Look() {
	if p.grown.Swap(false) {
		p.waiting, p.due = false, true
	}
	p.CheckRoom()
}

// look makes [Pipeline.Looks] ready. It does not block.
func (p *Pipeline[T]) look() {
	select {
	case p.looks <- struct{}{}:
	default:
	}
}

// Halt ends the commits: nothing more is handed to the committer.
func (p *Pipeline[T]) Halt() { p.halted = true }

// Hurry tells the committer whether its owner is in a hurry: then a commit that lacks something fails after a moment,
// instead of waiting until it is there.
func (p *Pipeline[T]) Hurry(yes bool) { p.impatient.Store(yes) }

// Stop ends the committer, when its commit under way has ended. No method may be called later.
func (p *Pipeline[T]) Stop() {
	close(p.work)
	for range p.answers { // until the committer has ended
	}
}
