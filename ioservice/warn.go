package ioservice

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// warnTime is the least time between two lines of a channel in the log that say the same.
const warnTime = time.Second

// A warner logs what others can bring about as often as they like, whoever reaches a port, say: at once, and, if the same
// happens again soon, once a second how often it did. So nobody can fill the log.
type warner struct {
	log hclog.Logger
	// mu is held while a line is logged, so that the lines keep their order.
	mu struct {
		sync.Mutex
		closed bool
		said   map[string]*warning
	}
}

// A warning is what was logged and may be again.
type warning struct {
	times int // since it was logged last
	args  []any
	timer *time.Timer
}

// warn logs a constant message with what belongs to it, of which the last is logged if it comes more often.
func (w *warner) warn(message string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closed {
		return
	}
	if s := w.mu.said[message]; s != nil {
		s.times++
		s.args = args
		return
	}
	if w.mu.said == nil {
		w.mu.said = make(map[string]*warning)
	}
	s := &warning{}
	w.mu.said[message] = s
	s.timer = time.AfterFunc(warnTime, func() { w.again(message, s) })
	w.log.Warn(message, args...)
}

// again logs what has happened since the message was logged last.
func (w *warner) again(message string, s *warning) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closed {
		return
	}
	if s.times == 0 {
		delete(w.mu.said, message)
		return
	}
	w.log.Warn(message, append(s.args, "times", s.times)...)
	s.times, s.args = 0, nil
	s.timer.Reset(warnTime)
}

// close logs what is left to be said, and nothing from then on.
func (w *warner) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.closed = true
	for message, s := range w.mu.said { // in any order
		s.timer.Stop()
		if s.times > 0 {
			w.log.Warn(message, append(s.args, "times", s.times)...)
		}
	}
	w.mu.said = nil
}
