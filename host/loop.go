package host

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"ocapkernel.dev/workers"
)

// loop is the goroutine in which everything happens: it takes one thing after the other that comes in, and runs a step for
// it. It has no state of the kernel's.
//
// # Steps
//
// A step runs to its end before the next one begins. What waited for a commit, or for the end of something else, is a step
// of its own, which guard runs when the present one has ended: [loop.soon] lists it. So no step finds the world changed by
// something that it has caused itself.
//
// # Where the loop may wait
//
// In six places, and none of them waits for a step:
//
//  1. run, in its select, for something to do. Whatever comes in is one of its cases.
//  2. core.apply and core.handOver, for the committer, when a group is full while another one is being committed. The
//     committer takes nothing from the loop: see pipeline.HandOver.
//  3. awaitObjects, once, before the first question is taken, for the objects of an earlier run: 250 ms at most.
//  4. finishFlights, while the kernel stops, for what is under way: a second at most. It serves meanwhile what run serves.
//  5. waitAside, when the loop has ended, for what runs beside it: five seconds at most.
//  6. close, when the loop has ended: the workers have five seconds, then they are killed, and the committer and the store
//     end with the commit that they have begun.
//
// Beside that a step asks the store and the operating system (for a row, the free space, the file of starts), as any program
// does, and hands frames to workers, which does not wait. What opens, closes, looks up or executes something runs beside the
// loop (aside), and its result is a step (later).
type loop struct {
	log   *slog.Logger
	inbox chan func()   // what other goroutines ask of the loop; full: they wait
	done  chan struct{} // closed when the loop has ended

	stopOnce sync.Once
	stop     chan struct{} // closed by Stop

	// Of the loop's goroutine only:
	told      <-chan struct{} // ends when Run is told to stop
	stopping  bool
	finishing bool     // what is under way may end, and the calls that it made begin
	fatal     error    // ends the loop
	next      []func() // steps to be run before anything else is taken

	// ctx ends with the kernel, and beside waits for what runs beside the loop. What that has to say must not wait for the
	// loop: it lists a step with later. There are no more of these steps than there are calls of service objects and
	// things that run beside the loop, but for what objects.laterIfRoom admits.
	ctx     context.Context
	cancel  context.CancelFunc
	beside  sync.WaitGroup
	replied chan struct{}
	mu      struct {
		sync.Mutex
		replies []func()
	}
}

func newLoop(log *slog.Logger) *loop {
	ctx, cancel := context.WithCancel(context.Background())
	return &loop{
		log: log, inbox: make(chan func(), 64), done: make(chan struct{}), stop: make(chan struct{}),
		ctx: ctx, cancel: cancel, replied: make(chan struct{}, 1),
	}
}

// run takes what comes in until the kernel ends.
func (s *Shell) run(ctx context.Context) {
	for s.fatal == nil && !s.stopping {
		s.guard(s.pump)
		s.guard(s.flush)
		s.takeIntake()
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

// drain takes what else has come in meanwhile, so that one group and one round of the pump serve it all.
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

// heard are the events of workers. While a commit waits they are not heard: the cranks that they end would fill the next
// group. What a worker has to say waits with it.
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

// pump does a slice of the machine's own work, and begins what can be begun for vats.
func (s *Shell) pump() {
	if s.work.can() {
		s.work.do()
	}
	s.vats.pump()
}

// always is ready at any time.
var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// more is ready if the loop has something to do without waiting.
func (s *Shell) more() <-chan struct{} {
	if s.work.can() || s.vats.canBegin() {
		return always
	}
	return nil
}

// guard runs a step of the loop, and then, each as a step of its own, what it has released. Only the loop itself
// calls it, never a step.
func (l *loop) guard(step func()) {
	l.attempt(step)
	for l.fatal == nil && len(l.next) > 0 {
		f := l.next[0]
		l.next = l.next[1:]
		l.attempt(f)
	}
}

// attempt runs a step. A broken invariant stops the kernel before anything more is committed; it must not end
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

// until says when the loop is told to stop.
func (l *loop) until(told <-chan struct{}) { l.told = told }

// stopsNow says that the loop takes nothing more.
func (l *loop) stopsNow() { l.stopping = true }

// finish says whether what is under way may end although the kernel stops.
func (l *loop) finish(may bool) { l.finishing = may }

// hasNext reports whether a step waits for nothing but the end of the present one.
func (l *loop) hasNext() bool { return len(l.next) > 0 }

// stops says whether the kernel stops, or has been told to: what happens from then on may be of the same cause.
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

// post hands a step to the loop, from a goroutine that is not the loop. It says whether the loop took it.
func (l *loop) post(f func()) bool {
	select {
	case l.inbox <- f:
		return true
	case <-l.done:
		return false
	}
}

// after runs a step in the loop when some time has passed. The timer dies with the loop.
func (l *loop) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { l.post(f) })
}

// later has the loop run a step, without waiting for it: for what must not block, and is bounded otherwise. It may be called
// from any goroutine.
func (l *loop) later(step func()) {
	l.mu.Lock()
	l.mu.replies = append(l.mu.replies, step)
	l.mu.Unlock()
	select {
	case l.replied <- struct{}{}:
	default:
	}
}

// takeReplies runs what later was given.
func (l *loop) takeReplies() {
	l.mu.Lock()
	list := l.mu.replies
	l.mu.replies = nil
	l.mu.Unlock()
	for _, step := range list {
		l.guard(step)
	}
}

// aside runs what must not hold up the loop.
func (l *loop) aside(f func()) {
	l.beside.Add(1)
	go func() {
		defer l.beside.Done()
		defer func() { // what a program has registered may panic
			if p := recover(); p != nil {
				l.log.Error("service object panicked", "err", p, "stack", string(debug.Stack()))
			}
		}()
		f()
	}()
}

// waitAside waits for what was begun aside, but not for ever: a file system that hangs must not keep the process.
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
