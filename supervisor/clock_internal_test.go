package supervisor

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A clock counts the time in which the kernel ran: a gap between two ticks counts no more than a late tick.
func TestClockDoesNotCountStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		c.hold()
		began := c.now()
		<-time.After(3 * time.Second) // of virtual time, in which it ticks
		if got := c.now() - began; got != 3*time.Second {
			t.Errorf("3 s count as %s", got)
		}
		c.standstill(time.Hour)
		if got := c.now() - began; got > 3*time.Second+tickEvery+tickLate {
			t.Errorf("with an hour of standstill they count as %s", got)
		}
		c.release()
		<-time.After(time.Minute) // not held: it does not tick
		ticking := func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.mu.ticking || c.mu.holders != 0
		}
		if ticking() {
			t.Error("it ticks on")
		}
		var rang atomic.Bool
		timer := c.after(10*time.Second, func() { rang.Store(true) })
		<-time.After(9 * time.Second)
		c.standstill(time.Hour)
		<-time.After(400 * time.Millisecond)
		if synctest.Wait(); rang.Load() {
			t.Error("a timer rings early")
		}
		<-time.After(2 * time.Second)
		if synctest.Wait(); !rang.Load() {
			t.Error("a timer does not ring")
		}
		timer.stop()
		never := c.after(time.Second, func() { t.Error("a timer that was stopped rings") })
		never.stop()
		<-time.After(time.Minute)
		if ticking() {
			t.Error("somebody holds it, or it ticks")
		}
	})
}

// standstill is as if the process had been stopped for that long just now.
func (c *clock) standstill(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.last = c.mu.last.Add(-d)
}
