package service

import (
	"context"
	"sync"

	"ocapkernel.dev/internal/limits"
)

// Bounds of the calls of one object that [New] made.
const (
	// maxRunning is how many run at the same time; one, with Serial.
	maxRunning = limits.Calls
	// maxWaiting is how many wait for their turn. Further calls are rejected.
	maxWaiting = limits.QueuedCalls
)

// queue starts the calls of one object in the order in which they come, a bounded number at a time, each in
// a goroutine of its own.
type queue struct {
	limit int // bounds the calls that run at the same time

	mu struct {
		sync.Mutex
		running int
		waiting []func()
		idle    chan struct{} // closed when no call runs; nil if no one waits for that
	}
}

// add starts f, now or later. It returns false, and f will not run, if too many calls wait already.
func (q *queue) add(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.mu.running < q.limit:
		q.mu.running++
		go q.run(f)
	case len(q.mu.waiting) == maxWaiting:
		return false
	default:
		q.mu.waiting = append(q.mu.waiting, f)
	}
	return true
}

// run runs f and then starts the call that waits longest, also if f ends its goroutine.
func (q *queue) run(f func()) {
	defer q.next()
	f()
}

func (q *queue) next() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.waiting) == 0 {
		q.mu.running--
		q.mu.waiting = nil
		if q.mu.running == 0 && q.mu.idle != nil {
			close(q.mu.idle)
			q.mu.idle = nil
		}
		return
	}
	f := q.mu.waiting[0]
	q.mu.waiting[0] = nil // the call may hold much memory
	q.mu.waiting = q.mu.waiting[1:]
	go q.run(f)
}

// wait returns when no call runs, or ctx has ended.
func (q *queue) wait(ctx context.Context) error {
	q.mu.Lock()
	if q.mu.running == 0 {
		q.mu.Unlock()
		return nil
	}
	if q.mu.idle == nil {
		q.mu.idle = make(chan struct{})
	}
	idle := q.mu.idle
	q.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
