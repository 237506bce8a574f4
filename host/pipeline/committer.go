package pipeline

import (
	"errors"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/storage"
)

// run is the committer. It owns the group that it was handed, and the witness.
//
// run records each commit in the witness, so that a log which loses its end is noticed after the death of a process. The
// witness is synced once a second at most: after a power loss, a state that is older than the newest by less than a second
// is not recognized as old. A failure to write the witness fails no commit: the commit is durable, and a witness may be
// behind. [Pipeline.Behind] reports that failure, and run tries again.
func (p *Pipeline[T]) run() {
	defer close(p.answers)
	witness := p.cfg.Witness
	var due <-chan time.Time
	for {
		select {
		case group, ok := <-p.work:
			if !ok {
				return
			}
			fault.Point(fault.GroupTaken)
			err := p.commit(group)
			if err == nil && witness != nil {
				fault.Point(fault.GroupCommitted)
				p.recorded(witness.Record(group.commit))
				fault.Point(fault.WitnessWritten)
				if due == nil {
					due = time.After(time.Second)
				}
			}
			p.answers <- err
		case <-due:
			fault.Point(fault.WitnessBeforeSync)
			if due = nil; !p.recorded(witness.Sync()) {
				due = time.After(time.Second)
			}
		}
	}
}

// recorded notes whether the witness could be written.
func (p *Pipeline[T]) recorded(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if old := p.behind.Swap(&text); text != "" && (old == nil || *old != text) {
		p.cfg.Log.Error("the witness falls behind: a damage of the database may go unnoticed", "err", err)
	}
	return err == nil
}

// Behind returns the reason why the witness could not be written; it is empty if it could.
func (p *Pipeline[T]) Behind() string {
	if why := p.behind.Load(); why != nil {
		return *why
	}
	return ""
}

// shortage is the reason why a commit waits.
type shortage struct {
	why  string
	full bool // it is room on the disk
}

const (
	// roomWait is how long the committer waits before it asks again whether files can be opened.
	roomWait = 50 * time.Millisecond
	// impatientWait is how long it goes on asking while its owner is in a hurry.
	impatientWait = 2 * time.Second
)

// commit commits a group. It waits until the kernel can open files, without which the store would end, and until there is
// room on the disk.
func (p *Pipeline[T]) commit(group group) error {
	defer p.waits.Store(nil)
	for waited := time.Duration(0); ; waited += roomWait {
		short := shortage{}
		err := error(nil)
		if p.cfg.Room != nil {
			err = p.cfg.Room.Ready()
		}
		if err == nil {
			if err = p.cfg.Store.Commit(group.writes); !errors.Is(err, storage.ErrNoRoom) {
				return err
			}
			short.full = storage.IsDiskFull(err)
		}
		if p.impatient.Load() && waited > impatientWait {
			return err
		}
		short.why = "commits wait: " + err.Error()
		if p.waits.Swap(&short) == nil {
			p.look() // the owner pauses
		}
		time.Sleep(roomWait)
	}
}
