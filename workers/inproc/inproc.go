// Package inproc runs vats as workers in the memory of this process. It is for tests of packages that use workers, under the
// race detector and in virtual time (testing/synctest), and for tests of vats (package vattest).
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

	"ocapkernel.dev/wire"
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
	// Version is the version of the protocol that the workers speak; 0 is the latest. A worker of version 1 ends when it is
	// sent a frame that it could not read.
	Version int
}

// Starter starts vats. It is a [workers.Starter].
type Starter struct {
	cfg  Config
	done chan struct{} // closed when events are no longer received
	jobs chan func()   // for goroutines that have nothing to do
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
	if cfg.Version == 0 {
		cfg.Version = wire.Version
	}
	s := &Starter{cfg: cfg, done: make(chan struct{}), jobs: make(chan func())}
	s.mu.live = map[*life]struct{}{}
	return s
}

// Start is part of being a [workers.Starter].
func (s *Starter) Start(spec workers.Spec, events chan<- workers.Event) workers.Worker {
	l := newLife(s, spec, events)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed { // it is over before it has begun, and its end is not told
		l.mu.cause = workers.CauseStopped
		close(l.over)
		return l
	}
	s.mu.live[l] = struct{}{}
	s.run(l.serve)
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

// Signal ends each worker of a vat as kill -9 from outside ends a process. It returns when the end of each was sent as an
// event.
func (s *Starter) Signal(vat string) {
	for _, l := range s.of(vat) {
		l.condemn(workers.CauseKilled, "signal: killed")
		<-l.told
	}
}

// of returns the workers of a vat.
func (s *Starter) of(vat string) (list []*life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.mu.live { // in any order
		if l.Vat() == vat {
			list = append(list, l)
		}
	}
	return list
}

// run runs f on a goroutine that may have run other functions before: its stack has grown already.
func (s *Starter) run(f func()) {
	select {
	case s.jobs <- f:
		return
	default:
	}
	s.wg.Go(func() {
		for {
			f()
			select {
			case f = <-s.jobs:
			case <-s.done:
				return
			}
		}
	})
}

// forget takes a worker off the list of those that live.
func (s *Starter) forget(l *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.live, l)
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
