package host

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"ocapkernel.dev/kernel"
)

// Driven has a test drive a kernel, whose store and workers are in memory. Such a kernel begins a crank only when the test
// calls [Shell.Step]; its time and its random numbers are the test's. So the same calls have the same cranks follow each
// other in the same order, with the same content. All else is as in any other kernel: starts of workers, replays, deaths,
// commits, calls of services, and the recovery of a stored state.
type Driven struct {
	// Now returns the time of the kernel, which vats get. It is called in the loop, and must not wait for the kernel.
	Now func() time.Time
	// Seed returns the seed of a crank's random numbers, or of the name of an epoch. It is called in the loop, and must not wait for the kernel.
	Seed func() uint64
	// Single has each commit be a group of its own: so a test can end the kernel between any two commits.
	Single bool
}

// Progress is the work of a driven kernel between two calls of [Shell.Step] or [Shell.Settle].
type Progress struct {
	// Vat is the vat of the crank that was begun, be it committed or not; empty if none was begun.
	Vat kernel.VatID
	// More says that something was done. Otherwise nothing is left to do for the kernel by itself.
	More bool
	// Trace has the events of all commits, in their order.
	Trace []kernel.Event
}

// Step has a driven kernel begin the next crank, and returns when that has ended, all of its consequences outside of vats are
// done, and everything is durable. If there is no crank to begin, and some work waits for time to pass (a vat whose worker
// died again and again, for one), the first such wait ends instead, and no time passes.
//
// Step is called by one goroutine. An end of ctx leaves the crank under way, and the kernel of no use.
func (s *Shell) Step(ctx context.Context) (Progress, error) { return s.driver.ask(ctx, true) }

// Settle returns when a driven kernel has done all that follows from earlier calls, and from the acts of its services and
// workers, without another crank, and everything is durable. Its caller is that of Step.
func (s *Shell) Settle(ctx context.Context) (Progress, error) { return s.driver.ask(ctx, false) }

// driver does the steps of a driven kernel.
type driver struct {
	*core
	vats *vats
	work *work
	// asked is told when the kernel is quiet; nil if nothing waits for that. begin says that a crank is to be begun before.
	asked    func(Progress, error)
	begin    bool
	progress Progress
}

func (d *driver) ask(ctx context.Context, begin bool) (Progress, error) {
	return ask(ctx, d.core, func(done func(Progress, error)) {
		if !d.driven || d.asked != nil {
			done(Progress{}, errors.New("host: the kernel is not driven, or by two"))
			return
		}
		d.asked, d.begin = done, begin
	})
}

// note adds an event to the progress.
func (d *driver) note(e kernel.Event) {
	if d.driven {
		d.progress.Trace = append(d.progress.Trace, e)
	}
}

// can reports whether pump has something to do.
func (d *driver) can() bool { return d.asked != nil && d.isQuiet() }

// isQuiet reports whether no event is to come: the workers wait for deliveries, and nothing runs beside the loop.
func (d *driver) isQuiet() bool { return d.asides.Load() == 0 && d.vats.areQuiet() }

// flush makes everything durable. It waits for the committer, whose store is in memory.
func (d *driver) flush() {
	for d.fatal == nil && !d.pipeline.Idle() {
		d.handOver()
	}
}

// pump begins the crank that is asked for, or answers, once the kernel is quiet and everything is durable.
func (d *driver) pump() {
	if !d.can() || d.work.can() || d.hasInput() || !d.pipeline.Idle() {
		return
	}
	if d.begin {
		vat, more := d.vats.beginFirst()
		if more {
			d.progress.Vat, d.progress.More, d.begin = vat, true, vat == ""
			return
		}
		d.begin = false
		if d.endWait() {
			d.progress.More = true
			return
		}
	}
	d.asked(d.progress, nil)
	d.asked, d.progress = nil, Progress{}
}

// now returns the time.
func (c *core) now() time.Time {
	if c.cfg.Driven != nil {
		return c.cfg.Driven.Now()
	}
	return time.Now()
}

// nowMillis returns the time in milliseconds since 1970.
func (c *core) nowMillis() int64 { return c.now().UnixMilli() }

// seed returns the seed of the random numbers of a crank, or another random number.
func (c *core) seed() uint64 {
	if c.cfg.Driven != nil {
		return c.cfg.Driven.Seed()
	}
	return rand.Uint64()
}
