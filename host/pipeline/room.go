package pipeline

import (
	"sync/atomic"
	"time"
)

// Room tells whether there are space and descriptors for commits. Its methods may be called from any goroutine.
type Room interface {
	// Lacks returns the shortage in a few words, with the way to mend it; empty means no shortage. full means that the disk
	// has too little room, so that no new call is accepted.
	Lacks() (what string, full bool)
	// Ready returns nil if the files that a commit may need can be opened.
	Ready() error
}

// room is the result of the last check of the room.
type room struct {
	lacks string // empty if nothing is short
	full  bool
	eased bool        // nothing is short any more, and the owner was not told
	asks  atomic.Bool // a timer will ask again
}

// roomTime is the time between two checks of the room during a shortage.
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

// Lacks returns the shortage in words; it is empty if there is none. During a shortage no delivery begins: the store ends
// if it cannot open a file, or if its own work finds the disk full, and must not come to either.
func (p *Pipeline[T]) Lacks() string { return p.room.lacks }

// Full reports whether it is room on the disk that is short.
func (p *Pipeline[T]) Full() bool { return p.room.full }

// Eased reports, once, that nothing is short any more.
func (p *Pipeline[T]) Eased() bool {
	eased := p.room.eased
	p.room.eased = false
	return eased
}

// Waits reports whether the committer waits with its group because of a shortage. The owner begins no work then that would
// fill the next group, since it would have to wait with the committer.
func (p *Pipeline[T]) Waits() bool { return p.waits.Load() != nil }
