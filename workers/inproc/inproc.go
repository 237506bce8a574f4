// Package inproc runs vats as workers in the memory of this process. It is for tests of packages that use workers, under the
// race detector and in virtual time (testing/synctest).
//
// Every frame between the shell and a vat is encoded, validated and decoded, as it is between two processes. A worker dies by
// [Starter.Signal], at any moment, as a process does by kill -9: the frames that its vat sends from then on are dropped, and a
// vat that reads its store at that moment gets an error. Package inproc cannot end code that loops: the goroutine of such a
// vat goes on, and its frames are dropped.
package inproc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
)

// Config is the argument of [New].
type Config struct {
	// Program makes the vats. The program that a Spec names is ignored.
	Program worker.Program
	// Logger takes what the vats log; nil takes nothing.
	Logger *slog.Logger
	// Delay is asked for each thing that a worker says how long that takes to arrive; nil is no time. It is called on the
	// goroutine of the worker, in the order in which the worker says things.
	Delay func(w workers.Worker) time.Duration
}

// Starter starts vats. It is a [workers.Starter].
type Starter struct {
	cfg  Config
	done chan struct{} // closed when events are no longer received
	wg   sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		live   map[*life]struct{}
	}
}

// New returns a starter of vats.
func New(cfg Config) *Starter {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Starter{cfg: cfg, done: make(chan struct{})}
	s.mu.live = map[*life]struct{}{}
	return s
}

// Start is part of being a [workers.Starter].
func (s *Starter) Start(spec workers.Spec, events chan<- workers.Event) workers.Worker {
	l := newLife(s, spec, events)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		l.Kill()
		return l
	}
	s.mu.live[l] = struct{}{}
	s.wg.Go(l.serve)
	s.wg.Go(func() {
		l.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.live, l)
	})
	return l
}

// Live returns the ids of the vats that have a worker, sorted.
func (s *Starter) Live() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.mu.live))
	for l := range s.mu.live { // sorted below
		ids = append(ids, l.Vat())
	}
	slices.Sort(ids)
	return ids
}

// Signal ends each worker of a vat as kill -9 from outside ends a process.
func (s *Starter) Signal(vat string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.mu.live { // in any order: each is only told
		if l.Vat() == vat {
			l.condemn(workers.CauseKilled, "signal: killed")
		}
	}
}

// AfterRunning is part of being a [workers.Starter].
func (s *Starter) AfterRunning(d time.Duration, f func()) (stop func()) {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

// Abandon is part of being a [workers.Starter].
func (s *Starter) Abandon() {
	for l := range s.close() { // in any order
		l.Kill()
	}
}

// Close is part of being a [workers.Starter]. Its error names the vats whose code goes on.
func (s *Starter) Close(ctx context.Context) error {
	for l := range s.close() { // in any order
		l.Stop()
	}
	gone := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the code of %s does not end: %w", strings.Join(s.Live(), ", "), ctx.Err())
	}
}

// close ends the sending of events, and returns the workers that there are.
func (s *Starter) close() map[*life]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.mu.closed = true
		close(s.done)
	}
	return maps.Clone(s.mu.live)
}
