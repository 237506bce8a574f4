package host

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

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
	log   hclog.Logger
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
}

func newLoop(log hclog.Logger) *loop {
	return &loop{log: log, inbox: make(chan func(), 64), done: make(chan struct{}), stop: make(chan struct{})}
}

// run takes what comes in until the kernel ends.
func (k *Shell) run(ctx context.Context) {
	for k.fatal == nil && !k.stopping {
		k.guard(k.pump)
		k.guard(k.flush)
		k.takeIntake()
		select {
		case <-ctx.Done():
			k.stopping = true
		case <-k.stop:
			k.stopping = true
		case f := <-k.inbox:
			k.guard(f)
		case e := <-k.heard():
			k.guard(func() { k.event(e) })
		case err := <-k.pipeline.Answers():
			k.guard(func() { k.committed(err) })
		case <-k.pipeline.Looks():
			k.guard(k.look)
		case <-k.services.replied:
			k.takeReplies()
		case <-k.more():
		}
		k.drain()
	}
}

// drain takes what else has come in meanwhile, so that one group and one round of the pump serve it all.
func (k *Shell) drain() {
	for range 128 {
		select {
		case f := <-k.inbox:
			k.guard(f)
		case e := <-k.heard():
			k.guard(func() { k.event(e) })
		default:
			return
		}
		if k.fatal != nil {
			return
		}
	}
}

// heard are the events of workers. While a commit waits they are not heard: the cranks that they end would fill the next
// group. What a worker has to say waits with it.
func (k *Shell) heard() <-chan workers.Event {
	if k.pipeline.Waits() && !k.stops() {
		return nil
	}
	return k.events
}

// takeIntake runs the inputs that have waited for room, as far as there is room.
func (k *Shell) takeIntake() {
	for k.fatal == nil {
		take, ok := k.pipeline.Next()
		if !ok {
			return
		}
		k.guard(take)
	}
}

// always is ready at any time.
var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// more is ready if the loop has something to do without waiting.
func (k *Shell) more() <-chan struct{} {
	if k.canWork() || (len(k.ready) > 0 && k.lacks() == "" && !k.cfg.Paused) {
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
