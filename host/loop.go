package host

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/workers"
)

// loop is the goroutine that owns the machine: it takes one input after the other, and runs a step for each. loop itself
// holds no state of the kernel.
//
// # Steps
//
// A step runs to its end before the next one begins. A function held for a commit, or for the end of another operation, is
// a step of its own: [loop.soon] lists it, and guard runs it when the present step has ended. So no step finds the world
// changed by an effect of its own.
//
// # Where the loop may wait
//
// In six places, and none of them waits for a step:
//
//  1. run, in its select, for an input: every source of inputs is one of the cases.
//  2. core.apply and core.handOver, for the committer, when a group is full while another one is being committed: the
//     committer takes nothing from the loop, see pipeline.HandOver.
//  3. awaitObjects, once, before the first question is taken, for the objects of an earlier run: 250 ms at most.
//  4. finishFlights, while the kernel stops, for calls under way: a second at most, and it serves the inputs of run.
//  5. waitAside, when the loop has ended, for the functions beside it: five seconds at most.
//  6. close, when the loop has ended: the workers have five seconds, then they are killed, and the committer and the store
//     end with the commit that they have begun.
//
// Beside that a step asks the store and the operating system (for a row, the free space, the file of starts), as any
// program does, and hands frames to workers, which does not wait. A function that opens, closes, looks up or executes
// something runs beside the loop (aside), and its result is a step (later).
type loop struct {
	log   *slog.Logger
	inbox chan func()   // steps posted by other goroutines; when it is full, they wait
	done  chan struct{} // closed when the loop has ended

	stopOnce sync.Once
	stop     chan struct{} // closed by Stop

	// Of the loop's goroutine only:
	told      <-chan struct{} // ends when Run is told to stop
	stopping  bool
	finishing bool     // the kernel stops, and calls under way may end and make further calls
	fatal     error    // ends the loop
	next      []func() // steps to be run before anything else is taken
	driven    bool     // a test drives the kernel: see Driven
	waits     []func() // of a driven kernel: the steps that workAfter was given

	// ctx ends with the kernel, and beside waits for the functions that run beside the loop. Such a function must not wait for
	// the loop: it lists its result as a step with later. The number of listed steps is bounded by the calls of service
	// objects and the functions beside the loop, except for those that objects.laterIfRoom admits.
	ctx     context.Context
	cancel  context.CancelFunc
	beside  sync.WaitGroup
	asides  atomic.Int64 // how many functions run beside the loop
	replied chan struct{}
	mu      struct {
		sync.Mutex
		replies []func()
	}
}

func newLoop(log *slog.Logger, driven bool) *loop {
	ctx, cancel := context.WithCancel(context.Background())
	return &loop{
		log: log, inbox: make(chan func(), 64), done: make(chan struct{}), stop: make(chan struct{}),
		ctx: ctx, cancel: cancel, replied: make(chan struct{}, 1), driven: driven,
	}
}

// run takes inputs until the kernel ends.
func (s *Shell) run(ctx context.Context) {
	for s.fatal == nil && !s.stopping {
		s.guard(s.pump)
		s.guard(s.flushNow)
		s.takeIntake()
		if s.fatal != nil {
			return // there may be no further input
		}
		select {
		case <-ctx.Done():
			s.stopsNow()
		case <-s.stop:
			s.stopsNow()
		case f := <-s.inbox:
			s.guard(f)
		case e := <-s.heard():
			s.guard(func() { s.vats.event(e) })
		case err := <-s.pipeline.Answers():
			s.guard(func() { s.committed(err) })
		case <-s.pipeline.Looks():
			s.guard(s.look)
		case <-s.replied:
			s.takeReplies()
		case <-s.more():
		}
		s.drain()
	}
}

// drain takes further inputs that have come in meanwhile, so that one group and one round of the pump serve them all.
func (s *Shell) drain() {
	for range 128 {
		select {
		case f := <-s.inbox:
			s.guard(f)
		case e := <-s.heard():
			s.guard(func() { s.vats.event(e) })
		default:
			return
		}
		if s.fatal != nil {
			return
		}
	}
}

// heard returns the events of workers. It returns nil while a commit waits: the cranks that the events end would fill the
// next group. The events wait in their channel then.
func (s *Shell) heard() <-chan workers.Event {
	if s.pipeline.Waits() && !s.stops() {
		return nil
	}
	return s.vats.events
}

// takeIntake runs the inputs that have waited for room, as far as there is room.
func (s *Shell) takeIntake() {
	for s.fatal == nil {
		take, ok := s.pipeline.Next()
		if !ok {
			return
		}
		s.guard(take)
	}
}

// pump does a slice of the machine's own work, and begins the next steps of vats.
func (s *Shell) pump() {
	if s.work.can() {
		s.work.do()
	}
	if s.driven {
		s.driver.pump()
		return
	}
	s.vats.pump()
}

// always is ready at any time.
var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// flushNow hands the current group to the committer, if it is its time. In a driven kernel it always is.
func (s *Shell) flushNow() {
	if s.driven {
		s.driver.flush()
		return
	}
	s.flush()
}

// more is ready if the loop has a step to run without waiting.
func (s *Shell) more() <-chan struct{} {
	if s.work.can() || s.driven && s.driver.can() || !s.driven && s.vats.canBegin() {
		return always
	}
	return nil
}

// guard runs a step of the loop, and then, each as a step of its own, the functions that the step has released. Only the
// loop itself calls guard, never a step.
func (l *loop) guard(step func()) {
	l.attempt(step)
	for l.fatal == nil && len(l.next) > 0 {
		fault.Point(fault.BetweenEffects)
		f := l.next[0]
		l.next = l.next[1:]
		l.attempt(f)
	}
}

// attempt runs a step. A broken invariant stops the kernel before a further commit; it must not end
// in a stack trace alone, since the workers are to be stopped.
func (l *loop) attempt(step func()) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("invariant broken", "err", p, "stack", string(debug.Stack()))
			l.end(fmt.Errorf("invariant broken: %v", p))
		}
	}()
	if l.fatal == nil {
		step()
	}
}

// end has the loop end with an error, the first one that it is given. Steps end it with [core.fail].
func (l *loop) end(err error) {
	if l.fatal == nil {
		l.fatal = err
	}
}

// soon has the loop run f when the present step has ended, before anything else.
func (l *loop) soon(f func()) { l.next = append(l.next, f) }

// until sets the channel that ends when the loop is told to stop.
func (l *loop) until(told <-chan struct{}) { l.told = told }

// stopsNow has the loop take no further input.
func (l *loop) stopsNow() { l.stopping = true }

// finish sets whether calls under way may end although the kernel stops.
func (l *loop) finish(may bool) { l.finishing = may }

// hasNext reports whether a step is listed to run after the present one.
func (l *loop) hasNext() bool { return len(l.next) > 0 }

// hasInput reports whether some input waits: a step that was posted, or one that later lists.
func (l *loop) hasInput() bool { return len(l.inbox) > 0 || len(l.replied) > 0 }

// stops reports whether the kernel stops, or has been told to. A failure from then on may be due to the stop.
func (l *loop) stops() bool {
	select {
	case <-l.told:
		return true
	case <-l.stop:
		return true
	default:
		return l.stopping
	}
}

// post hands a step to the loop, from a goroutine that is not the loop. It reports whether the loop took it.
func (l *loop) post(f func()) bool {
	select {
	case l.inbox <- f:
		return true
	case <-l.done:
		return false
	}
}

// after runs a step in the loop when some time has passed, unless the loop has ended. In a driven kernel no time passes, and
// the step is never run.
func (l *loop) after(d time.Duration, f func()) {
	if l.driven {
		return
	}
	time.AfterFunc(d, func() { l.post(f) })
}

// workAfter runs a step with which some work goes on when some time has passed. In a driven kernel the step is run when nothing
// else is to be done.
func (l *loop) workAfter(d time.Duration, f func()) {
	if l.driven {
		l.waits = append(l.waits, f)
		return
	}
	l.after(d, f)
}

// endWait runs the first step that waits for time in a driven kernel. It reports whether there was one.
func (l *loop) endWait() bool {
	if len(l.waits) == 0 {
		return false
	}
	f := l.waits[0]
	l.waits = l.waits[1:]
	l.soon(f)
	return true
}

// later has the loop run a step, and does not wait for the loop. Its callers must not block, and are bounded otherwise.
// later may be called from any goroutine.
func (l *loop) later(step func()) {
	l.mu.Lock()
	l.mu.replies = append(l.mu.replies, step)
	l.mu.Unlock()
	l.rouse()
}

// rouse has the loop take the steps listed by later. It does not block.
func (l *loop) rouse() {
	select {
	case l.replied <- struct{}{}:
	default:
	}
}

// takeReplies runs the steps listed by later.
func (l *loop) takeReplies() {
	l.mu.Lock()
	list := l.mu.replies
	l.mu.replies = nil
	l.mu.Unlock()
	for _, step := range list {
		l.guard(step)
	}
}

// aside runs f beside the loop, on a goroutine of its own.
func (l *loop) aside(f func()) {
	l.beside.Add(1)
	l.asides.Add(1)
	go func() {
		defer l.beside.Done()
		defer func() {
			l.asides.Add(-1)
			l.rouse() // a driven kernel may have waited for the end
		}()
		defer func() { // an object of an embedding program may panic
			if p := recover(); p != nil {
				l.log.Error("service object panicked", "err", p, "stack", string(debug.Stack()))
			}
		}()
		f()
	}()
}

// waitAside waits for the functions that run aside, but not for ever: a file system that hangs must not keep the process.
func (l *loop) waitAside() {
	done := make(chan struct{})
	go func() {
		l.beside.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		l.log.Error("something that services do does not end: it is left behind")
	}
}
