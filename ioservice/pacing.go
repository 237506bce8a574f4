package ioservice

import (
	"slices"
	"time"
)

// Reports without news are paced: that an input that had ended has ended, that a call was refused again. They
// come at growing intervals, so that a vat that reads in a loop, as the loop in docs/io.md does, costs almost
// nothing then.

// A refusal is a read or an accept that is refused and whose callback was not called yet.
type refusal struct {
	err  error
	tell func(error)
}

// maxRefused bounds the refusals that wait; beyond it, refusals are reported at once.
const maxRefused = 4 * maxReads

// refuse refuses a read or an accept. It reports the refusal at once, or, if another was reported just before,
// a while later. The caller holds mu.
func (s *Stream) refuse(err error, tell func(error)) (cancel func()) {
	now := time.Now()
	d := s.mu.refusals.Wait(now)
	if d == 0 || s.mu.closed || len(s.mu.refused) >= maxRefused {
		if d == 0 {
			s.mu.refusals.Next(now)
		}
		s.call(func() { tell(err) })
		return func() {}
	}
	r := &refusal{err, tell}
	if s.mu.refused = append(s.mu.refused, r); len(s.mu.refused) == 1 {
		time.AfterFunc(d, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.mu.refusals.Next(time.Now())
			s.tellRefused()
		})
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.mu.refused, r); i >= 0 {
			s.mu.refused = slices.Delete(s.mu.refused, i, i+1)
			err := s.cfg.fail(ErrCanceled, ": it was withdrawn")
			s.call(func() { tell(err) })
		}
	}
}

// tellRefused reports all refusals that wait. The caller holds mu.
func (s *Stream) tellRefused() {
	for _, r := range s.mu.refused {
		s.call(func() { r.tell(r.err) })
	}
	s.mu.refused = nil
}

// pause waits if the next end, or the next attempt to connect, would come too soon after the last one. It waits
// at most until the stream is closed. It reports whether it has waited.
func (s *Stream) pause() bool {
	s.mu.Lock()
	d := s.mu.pace.Wait(time.Now())
	writeTime := s.mu.writeTime
	s.mu.Unlock()
	if s.cfg.Type == Network {
		d = min(d, writeTime/2) // so that a write that waits meanwhile has time left
	}
	if d == 0 {
		return false
	}
	s.sleep(d)
	if s.cfg.Type == Network {
		return s.closed()
	}
	return true
}

func (s *Stream) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closed
}

// sleep waits for a time, or until the stream is closed.
func (s *Stream) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.done:
	}
}

// mayRepeat reports whether the end of a connection may be reported again now; else it makes a timer that
// reports it later. The caller holds mu.
func (s *Stream) mayRepeat() bool {
	now := time.Now()
	if d := s.mu.pace.Wait(now); d > 0 {
		if !s.repeating {
			s.repeating = true
			time.AfterFunc(d, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.repeating = false
				s.settle()
			})
		}
		return false
	}
	s.mu.pace.Next(now)
	return true
}
