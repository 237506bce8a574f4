package supervisor

import (
	"sync"
	"time"
)

const (
	// tickEvery is the interval between two ticks of a clock that is held.
	tickEvery = 100 * time.Millisecond
	// tickLate is the delay of a tick that a busy machine explains. In any longer delay the process did not run.
	tickLate = 400 * time.Millisecond
)

// clock measures the time in which this process ran. The deadlines of workers are in this time: a worker is not to blame
// if its answer waited because the kernel was stopped by a signal or a debugger, was frozen, or had no processor. (The time
// in which the machine slept is not in the clock of Go's timers either.)
//
// A clock measures by ticks: of the time between two ticks it counts tickEvery plus tickLate at most. A clock ticks only
// while it is held. The zero clock is ready for use.
type clock struct {
	mu struct {
		sync.Mutex
		holders int
		ticking bool
		last    time.Time // until then, ran is counted
		ran     time.Duration
	}
}

// hold makes the clock run until release. The results of two calls of now may be compared if the clock ran between them.
func (c *clock) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.holders++
	if !c.mu.ticking {
		c.mu.ticking = true
		c.mu.last = time.Now()
		time.AfterFunc(tickEvery, c.tick)
	}
}

func (c *clock) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.holders--
}

// now returns how long this process has run while the clock was held.
func (c *clock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count()
	return c.mu.ran
}

// count adds the time since the last count to ran. The caller holds mu.
func (c *clock) count() {
	now := time.Now()
	c.mu.ran += min(now.Sub(c.mu.last), tickEvery+tickLate)
	c.mu.last = now
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count()
	if c.mu.holders > 0 {
		time.AfterFunc(tickEvery, c.tick)
	} else {
		c.mu.ticking = false
	}
}

// after calls f, on a goroutine of its own, when this process has run for d, unless the timer is stopped before.
func (c *clock) after(d time.Duration, f func()) *runTimer {
	c.hold()
	t := &runTimer{clock: c, at: c.now() + d, f: f}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.timer = time.AfterFunc(d, t.due)
	return t
}

// runTimer is a timer of a clock.
type runTimer struct {
	clock *clock
	at    time.Duration
	f     func()
	mu    struct {
		sync.Mutex
		timer *time.Timer
		over  bool
	}
}

func (t *runTimer) due() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.over {
		return
	}
	if rest := t.at - t.clock.now(); rest > 0 {
		t.mu.timer = time.AfterFunc(rest, t.due)
		return
	}
	t.end()
	go t.f()
}

// end marks the timer as over and releases the clock. The caller holds mu.
func (t *runTimer) end() {
	t.mu.over = true
	t.clock.release()
}

// stop ends the timer, if it is not over.
func (t *runTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.over {
		t.mu.timer.Stop()
		t.end()
	}
}

// AfterRunning is part of being a [workers.Starter].
func (s *Supervisor) AfterRunning(d time.Duration, f func()) (stop func()) {
	return s.clock.after(d, f).stop
}
