package ioservice

import (
	"log/slog"
	"sync"
	"time"
)

// warnTime is the least time between two equal lines of a channel in the log.
const warnTime = time.Second

// A warner logs events that strangers can cause at any rate, such as connections to a port. It logs an event at
// once, and, if the same happens again soon, the number of repetitions once a second. So no stranger can fill
// the log.
type warner struct {
	log *slog.Logger
	// mu is held while a line is logged, so that the lines keep their order.
	mu struct {
		sync.Mutex
		closed bool
		said   map[string]*warning
	}
}

// A warning is a line that was logged and may be logged again.
type warning struct {
	times int // since the line was logged last
	args  []any
	timer *time.Timer
}

// warn logs a constant message with its arguments. If it repeats, the latest arguments are logged.
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

// again logs the repetitions since the message was logged last.
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

// close logs the repetitions that are left, and nothing from then on.
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
