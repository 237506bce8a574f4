package pipeline

import (
	"sync/atomic"
	"time"
)

// Room tells whether there is what commits need. Its methods may be called from any goroutine.
type Room interface {
	// Lacks says in a few words what is short, and how to mend it; it is empty if nothing is. With full it is room on
	// the disk, so that no new call is accepted.
	Lacks() (what string, full bool)
	// Ready returns nil if the files that a commit may need can be opened.
	Ready() error
}

// room is what was found out about the room when that was asked last.
type room struct {
	lacks string // empty if nothing is short
	full  bool
	eased bool        // nothing is short any more, and the owner was not told
	asks  atomic.Bool // a timer will ask again
}

// roomTime is how often it is asked again whether there is room, for as long as something is short.
const roomTime = time.Second

// CheckRoom asks whether there is room, and whether a commit waits for some.
func (p *Pipeline[T]) CheckRoom() {
	was := p.room.lacks
	p.room.lacks, p.room.full = "", false
	if short := p.waits.Load(); short != nil {
		p.room.lacks, p.room.full = short.why, short.full
	} else if p.cfg.Room != nil {
		p.room.lacks, p.room.full = p.cfg.Room.Lacks()
	}
	if p.room.lacks != "" && !p.room.asks.Swap(true) {
		time.AfterFunc(roomTime, func() { p.room.asks.Store(false); p.look() })
	}
	switch {
	case p.room.lacks != "" && was == "":
		p.cfg.Log.Error("deliveries and calls pause", "why", p.room.lacks)
	case p.room.lacks == "" && was != "":
		p.cfg.Log.Info("deliveries and calls go on")
		p.room.eased = true
	}
}

// Lacks says what is short; it is empty if nothing is. While something is, no delivery begins: the store ends where it
// cannot open a file, or where its own work finds the disk full, and must not come to either.
func (p *Pipeline[T]) Lacks() string { return p.room.lacks }

// Full reports whether it is room on the disk that is short.
func (p *Pipeline[T]) Full() bool { return p.room.full }

// Eased reports, once, that nothing is short any more.
func (p *Pipeline[T]) Eased() bool {
	eased := p.room.eased
	p.room.eased = false
	return eased
}

// Waits reports whether the committer waits with its group for what it lacks. Whoever would fill the next group is not to
// begin then, since the owner would have to wait with the committer.
func (p *Pipeline[T]) Waits() bool { return p.waits.Load() != nil }
