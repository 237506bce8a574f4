package timer

import (
	"container/heap"
	"sync"
	"time"
)

// clock is the [Clock] of the system. It is made of two clocks. The wall clock can be set back and forward, and
// goes on while the machine sleeps. The monotonic clock of the process cannot be set, but stands still while the machine
// sleeps. The clock of this package never goes back, never stands still, and is never behind the wall clock: it moves on with
// the monotonic clock, and jumps to the wall clock if that is ahead.
//
//	                      wall     monotonic  clock
//	                      10:00    0 s        10:00
//	set back by an hour   09:00    1 s        10:00:01   a delay of 5 s ends at 10:00:05
//	asleep for an hour    11:00    1 s        11:00      a delay that was due has ended
type clock struct {
	wall func() time.Time
	mu   struct {
		sync.Mutex
		now    time.Time // the time at the last advance, without a monotonic part
		read   time.Time // when that advance was, with a monotonic part
		alarms alarms
		timer  *time.Timer
	}
}

// lookTime is the longest wait before the clocks are compared again, while an alarm is set.
const lookTime = 2 * time.Second

func newClock() *clock {
	c := &clock{wall: func() time.Time { return time.Now().Round(0) }}
	c.mu.now, c.mu.read = c.wall(), time.Now()
	return c
}

// Wall is part of being a [Clock].
func (c *clock) Wall() time.Time { return c.wall() }

// Now is part of being a [Clock].
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.advance()
}

// advance moves the clock on. The caller holds mu.
func (c *clock) advance() time.Time {
	read := time.Now()
	c.mu.now = c.mu.now.Add(read.Sub(c.mu.read))
	c.mu.read = read
	if w := c.wall(); w.After(c.mu.now) {
		c.mu.now = w
	}
	return c.mu.now
}

// alarm is a function that is called once the clock has reached a time.
type alarm struct {
	at    time.Time
	f     func()
	index int // in the heap; -1 when f was called or the alarm was stopped
}

// At is part of being a [Clock]. If the machine sleeps at t, f is called soon after it wakes up.
func (c *clock) At(t time.Time, f func()) (stop func()) {
	a := &alarm{at: t, f: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	heap.Push(&c.mu.alarms, a)
	if a.index == 0 {
		c.set()
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if a.index >= 0 {
			heap.Remove(&c.mu.alarms, a.index)
		}
		if len(c.mu.alarms) == 0 && c.mu.timer != nil {
			c.mu.timer.Stop()
		}
	}
}

// set makes the timer call ring when the first alarm may be due. The caller holds mu.
func (c *clock) set() {
	d := min(max(c.mu.alarms[0].at.Sub(c.advance()), 0), lookTime)
	if c.mu.timer == nil {
		c.mu.timer = time.AfterFunc(d, c.ring)
		return
	}
	c.mu.timer.Reset(d)
}

// ring calls the alarms that are due, in the order of their times.
func (c *clock) ring() {
	c.mu.Lock()
	now := c.advance()
	var due []func()
	for len(c.mu.alarms) > 0 && !c.mu.alarms[0].at.After(now) {
		due = append(due, heap.Pop(&c.mu.alarms).(*alarm).f)
	}
	if len(c.mu.alarms) > 0 {
		c.set()
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// alarms is a heap of alarms, the first to ring at its head.
type alarms []*alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }

func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

// Push is part of heap.Interface.
func (a *alarms) Push(x any) {
	one := x.(*alarm)
	one.index = len(*a)
	*a = append(*a, one)
}

// Pop is part of heap.Interface.
func (a *alarms) Pop() any {
	last := len(*a) - 1
	one := (*a)[last]
	one.index = -1
	(*a)[last] = nil
	*a = (*a)[:last]
	return one
}
