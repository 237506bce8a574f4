package inproc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
)

// life is a worker: one life of one vat. Its goroutine runs the vat's code, and sends the vat's messages as events until the
// life is over. The goroutine that ends the life has another one send the last event: so the end of a life never waits for
// the vat's code.
type life struct {
	s      *Starter
	spec   workers.Spec
	events chan<- workers.Event
	saying chan struct{} // has a value while an event is being sent
	over   chan struct{} // closed with the verdict
	told   chan struct{} // closed when the last event was sent
	more   chan struct{} // has a value when there may be something in mu.deliveries
	rows   chan wire.Row // answers to reads
	// clock ends the delivery that takes too long, at deadline. Both belong to the goroutine that runs the
	// vat's code.
	clock    *time.Timer
	deadline time.Time

	mu struct {
		sync.Mutex
		// ready is set once the vat has sent its hello, busy while it does a delivery, reading while it waits
		// for Reply.
		ready, busy, reading bool
		deliveries           []wire.Deliver
		cause                workers.Cause // 0 while the life goes on
	}
}

var errOver = errors.New("the worker is dead")

func newLife(s *Starter, spec workers.Spec, events chan<- workers.Event) *life {
	if spec.DeliveryTime <= 0 {
		spec.DeliveryTime = 10 * time.Second
	}
	return &life{
		s: s, spec: spec, events: events, saying: make(chan struct{}, 1), over: make(chan struct{}), told: make(chan struct{}),
		more: make(chan struct{}, 1), rows: make(chan wire.Row, 1),
	}
}

// Vat is part of being a [workers.Worker].
func (l *life) Vat() string { return l.spec.Start.Vat }

// Pid is part of being a [workers.Worker]. There is no process.
func (l *life) Pid() int { return 0 }

// RSSBytes is part of being a [workers.Worker]. It is not known.
func (l *life) RSSBytes() int64 { return 0 }

// Ping is part of being a [workers.Worker]. A worker whose life goes on is well.
func (l *life) Ping(context.Context) error {
	select {
	case <-l.over:
		return errOver
	default:
		return nil
	}
}

// Deliver is part of being a [workers.Worker].
func (l *life) Deliver(d wire.Deliver) error {
	if ask, ok := d.Delivery.(wire.BringOutYourDead); ok && !ask.Bare && l.s.cfg.Version < 2 {
		l.condemn(workers.CauseCrash, "a frame of a later version of the protocol")
		return nil
	}
	return send(l, d, func(d wire.Deliver) {
		if !l.mu.ready {
			panic("inproc: delivery to a worker that is not ready")
		}
		l.mu.deliveries = append(l.mu.deliveries, d)
		select {
		case l.more <- struct{}{}:
		default:
		}
	})
}

// Reply is part of being a [workers.Worker].
func (l *life) Reply(r wire.Row) error {
	return send(l, r, func(r wire.Row) {
		if !l.mu.reading {
			panic("inproc: reply to a worker that did not ask")
		}
		l.mu.reading = false
		l.rows <- r // there is room: each answer is taken before the next question
	})
}

// send hands over a frame as it arrives, under mu; nothing, if the life is over.
func send[F wire.DownFrame](l *life, f F, take func(F)) error {
	f, err := wiretest.Down(f)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.cause == 0 {
		take(f)
	}
	return nil
}

// Stop is part of being a [workers.Worker]. It does not ask the vat, whose answer would not be read.
func (l *life) Stop() { l.condemn(workers.CauseStopped, "stopped") }

// Kill is part of being a [workers.Worker].
func (l *life) Kill() { l.condemn(workers.CauseStopped, "killed by the kernel") }

// condemn ends the life, unless it has ended.
func (l *life) condemn(cause workers.Cause, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.cause == 0 {
		l.mu.cause = cause
		close(l.over)
		l.s.wg.Go(func() { l.end(workers.Exited{Worker: l, Cause: cause, Detail: detail, ExitCode: -1}) })
	}
}

// end sends the last event.
func (l *life) end(e workers.Exited) {
	l.saying <- struct{}{} // an event that is being sent comes first
	l.s.forget(l)
	l.tell(e)
	close(l.told)
}

func (l *life) tell(e workers.Event) {
	select {
	case l.events <- e:
	case <-l.s.done:
	}
}

// say sends a message of the vat, and reports whether the life still went on.
func (l *life) say(e workers.Event) bool {
	if l.s.cfg.Delay != nil {
		select {
		case <-time.After(l.s.cfg.Delay(l)):
		case <-l.over:
			return false
		}
	}
	select {
	case l.saying <- struct{}{}:
	case <-l.over:
		return false
	}
	defer func() { <-l.saying }()
	select {
	case <-l.over:
		return false
	default:
		l.tell(e)
		return true
	}
}

// serve runs the vat's code until the life is over.
func (l *life) serve() {
	defer func() {
		if p := recover(); p != nil {
			l.condemn(workers.CauseCrash, fmt.Sprintf("panic: %v", p))
		}
	}()
	start, err := wiretest.Down(l.spec.Start)
	if err != nil {
		l.condemn(workers.CauseStart, err.Error())
		return
	}
	vat, err := l.s.cfg.Program.New(start, (*store)(l), l.s.cfg.Logger.With("vat", start.Vat))
	if err != nil {
		l.condemn(workers.CauseStart, err.Error())
		return
	}
	if c, ok := vat.(interface{ Close() }); ok {
		defer c.Close()
	}
	l.clock = time.AfterFunc(time.Hour, func() {
		l.condemn(workers.CauseDeadline, fmt.Sprintf("a delivery took longer than %s", l.spec.DeliveryTime))
	})
	l.clock.Stop()
	defer l.clock.Stop()
	l.mu.Lock()
	l.mu.ready = true
	l.mu.Unlock()
	for heard := l.say(workers.Ready{Worker: l, Version: l.s.cfg.Version}); heard; {
		d, ok := l.next()
		if !ok {
			return
		}
		heard = l.deliver(vat, d)
	}
}

// next waits for the next delivery; ok is false if the life is over.
func (l *life) next() (d wire.Deliver, ok bool) {
	for {
		l.mu.Lock()
		if n := len(l.mu.deliveries); n > 0 && l.mu.cause == 0 {
			d = l.mu.deliveries[0]
			l.mu.deliveries = l.mu.deliveries[1:]
			l.mu.busy = true
			l.mu.Unlock()
			return d, true
		}
		l.mu.Unlock()
		select {
		case <-l.more:
		case <-l.over:
			return wire.Deliver{}, false
		}
	}
}

// deliver has the vat do a delivery, and reports whether the life still goes on.
func (l *life) deliver(vat worker.Vat, d wire.Deliver) bool {
	l.deadline = time.Now().Add(l.spec.DeliveryTime)
	l.clock.Reset(l.spec.DeliveryTime)
	done := vat.Deliver(d)
	l.clock.Stop()
	l.mu.Lock()
	l.mu.busy = false
	l.mu.Unlock()
	done.Number = d.Number
	frame, err := worker.AppendDone(nil, done, l.spec.Start)
	if err != nil {
		l.condemn(workers.CauseCrash, err.Error())
		return false
	}
	frame = frame[wire.HeaderBytes:]
	f, err := wire.DecodeUp(frame, l.limits())
	if err != nil {
		l.refused(err)
		return false
	}
	return l.say(workers.Done{Worker: l, Done: f.(wire.Done), Frame: frame})
}

func (l *life) limits() wire.Limits {
	return wire.Limits{FrameBytes: l.spec.Start.MaxFrameBytes, Syscalls: l.spec.Start.MaxSyscalls}
}

// refused ends the life for a frame that the vat sent.
func (l *life) refused(err error) {
	cause := workers.CauseMalformed
	if errors.Is(err, wire.ErrLimit) {
		cause = workers.CauseLimit
	}
	l.condemn(cause, err.Error())
}

// store is the vat's own store, read by frames.
type store life

// Get is part of [worker.Store].
func (s *store) Get(key string) ([]byte, bool, error) {
	row, err := s.ask(wire.Get{Key: key})
	return row.Value, row.Found, err
}

// Next is part of [worker.Store].
func (s *store) Next(prefix, after string) (string, []byte, bool, error) {
	row, err := s.ask(wire.Next{Prefix: prefix, After: after})
	return row.Key, row.Value, row.Found, err
}

// ask asks for a row. The time of the vat does not pass while it waits.
func (s *store) ask(f wire.UpFrame) (wire.Row, error) {
	l := (*life)(s)
	f, _, err := wiretest.Up(f, wire.Limits{})
	if err != nil {
		return wire.Row{}, err // as in a process: nothing was sent
	}
	l.mu.Lock()
	busy := l.mu.busy
	l.mu.reading = busy
	l.mu.Unlock()
	if !busy {
		return wire.Row{}, errors.New("the store can be read only while a delivery is being done")
	}
	l.clock.Stop()
	left := time.Until(l.deadline)
	if !l.say(workers.Read{Worker: l, Frame: f}) {
		return wire.Row{}, errOver
	}
	select {
	case row := <-l.rows:
		l.deadline = time.Now().Add(left)
		l.clock.Reset(left)
		return row, nil
	case <-l.over:
		return wire.Row{}, errOver
	}
}
