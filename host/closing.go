package host

import (
	"context"
	"errors"
	"time"
)

// close ends the kernel in order, or after a failure as far as possible.
func (s *Shell) close() error {
	s.stopsNow()
	s.pipeline.Hurry(true)
	if s.fatal == nil {
		s.finishFlights()
	}
	if s.cfg.Owned != nil && !s.lost && s.cfg.Owned() != nil {
		s.watchOwned() // which notices it
	}
	if !s.lost {
		s.objects.closeAll()
	}
	if s.fatal == nil {
		s.flushAll()
	}
	if s.lost {
		// The store, whose end would write its memory to the directory, is left to the end of the process.
		s.cfg.Workers.Abandon()
		s.pipeline.Stop()
		s.vats.starts.leave() // it is not our state's any more
		return s.fatal
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := errors.Join(s.fatal, s.cfg.Workers.Close(ctx))
	s.pipeline.Stop()
	s.vats.starts.end(s.fatal)
	if s.cfg.Witness != nil {
		if err := s.cfg.Witness.Close(); err != nil {
			s.log.Error("the witness is behind", "err", err) // which is allowed: all is committed
		}
	}
	return errors.Join(err, s.cfg.Store.Close())
}

// flightTime is how long a stop in order waits for calls under way.
const flightTime = time.Second

// finishFlights gives cranks in flight a moment to end, and calls of services that must not be done twice, so that
// a clean stop repeats nothing and leaves nothing in doubt.
func (s *Shell) finishFlights() {
	s.finish(true)
	defer s.finish(false)
	deadline := time.After(flightTime)
	s.takeReplies()
	s.takeIntake()
	for s.fatal == nil && s.vats.inFlight()+s.objects.onlyOnce()+s.pipeline.Held() > 0 {
		s.flush()
		select {
		case f := <-s.inbox: // the caller hears at once that the kernel is stopping
			s.guard(f)
		case <-s.replied:
			s.takeReplies()
		case e := <-s.vats.events:
			s.guard(func() { s.vats.event(e) })
		case err := <-s.pipeline.Answers():
			s.guard(func() { s.committed(err) })
		case <-s.pipeline.Looks():
			s.guard(s.look)
		case <-deadline:
			return
		}
	}
}

func (vs *vats) inFlight() (n int) {
	for _, v := range vs.table {
		if v.crank != nil {
			n++
		}
	}
	return n
}

// watchOwned ends the kernel when its state is not its own any more. Any further write would go to files of another owner,
// another kernel most likely.
func (s *Shell) watchOwned() {
	if s.cfg.Owned == nil {
		return
	}
	if err := s.cfg.Owned(); err != nil {
		s.log.Error("the state is not this kernel's any more: it ends at once", "err", err)
		s.lost = true
		s.fail(err)
		return
	}
	s.after(time.Second, s.watchOwned)
}
