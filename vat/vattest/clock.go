package vattest

import (
	"slices"
	"sync"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/service/timer"
)

// crankTime is the time that a crank takes.
const crankTime = time.Millisecond

// Now returns the time of the kernel, which vats get from vat.Now. Each crank takes a millisecond; besides,
// only [Kernel.Advance] lets time pass.
func (k *Kernel) Now() time.Time { return k.clock.Now() }

// Advance lets time pass, and runs until no work is left. Each delay and each tick of a [Kernel.Timer] that
// comes due happens at its time, one after the other.
func (k *Kernel) Advance(d time.Duration) {
	k.tb.Helper()
	end := k.Now().Add(d)
	k.Run()
	for {
		due, found := k.clock.due()
		if !found || due.After(end) {
			break
		}
		k.clock.advance(due.Sub(k.Now()))
		k.Run()
	}
	k.clock.advance(end.Sub(k.Now()))
	k.Run()
}

const timerKind = timer.Kind

// Timer adds a timer to the services that the bootstrap method of the next Launch gets, under this name. It is
// the service timer with the time of [Kernel.Now], and answers its calls itself.
func (k *Kernel) Timer(name string) {
	k.played.next = append(k.played.next, cluster.Service{Name: name, Service: timerKind})
}

// clock is the time of the test. It is a [timer.Clock].
type clock struct {
	mu struct {
		sync.Mutex
		now    time.Time
		alarms []*alarm // those that are due earlier come first
	}
}

type alarm struct {
	at time.Time
	f  func()
}

func newClock() *clock {
	c := &clock{}
	c.mu.now = time.UnixMilli(1_700_000_000_000)
	return c
}

// Now is part of being a [timer.Clock].
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.now
}

// Wall is part of being a [timer.Clock].
func (c *clock) Wall() time.Time { return c.Now() }

// At is part of being a [timer.Clock].
func (c *clock) At(t time.Time, f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &alarm{t, f}
	i := slices.IndexFunc(c.mu.alarms, func(b *alarm) bool { return b.at.After(t) })
	if i < 0 {
		i = len(c.mu.alarms)
	}
	c.mu.alarms = slices.Insert(c.mu.alarms, i, a)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mu.alarms = slices.DeleteFunc(c.mu.alarms, func(b *alarm) bool { return b == a })
	}
}

// advance lets time pass. It does not go back.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.now = c.mu.now.Add(max(d, 0))
}

// ring calls the alarms that are due.
func (c *clock) ring() {
	c.mu.Lock()
	n := 0
	for n < len(c.mu.alarms) && !c.mu.alarms[n].at.After(c.mu.now) {
		n++
	}
	due := c.mu.alarms[:n]
	c.mu.alarms = slices.Clone(c.mu.alarms[n:])
	c.mu.Unlock()
	for _, a := range due {
		a.f()
	}
}

// due returns the time of the next alarm.
func (c *clock) due() (at time.Time, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.alarms) == 0 {
		return time.Time{}, false
	}
	return c.mu.alarms[0].at, true
}

// isSet reports whether an alarm is set.
func (c *clock) isSet() bool {
	_, found := c.due()
	return found
}

// forget drops all alarms: those who set them are dead.
func (c *clock) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.alarms = nil
}
