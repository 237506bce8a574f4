package enumeration_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

// lines are the workers of a kernel of a play. Between each worker and the kernel is a line, on which every frame is
// counted, and where the worker dies if the schedule says so.
type lines struct {
	*inproc.Starter
	play   *play
	store  *mortalStore
	closed chan struct{}
	once   sync.Once
}

func newLines(p *play, store *mortalStore) *lines {
	return &lines{Starter: inproc.New(inproc.Config{Program: p.program}), play: p, store: store, closed: make(chan struct{})}
}

// Abandon is part of [workers.Starter].
func (x *lines) Abandon() {
	x.once.Do(func() { close(x.closed) })
	x.Starter.Abandon()
}

// Close is part of [workers.Starter].
func (x *lines) Close(ctx context.Context) error {
	x.once.Do(func() { close(x.closed) })
	return x.Starter.Close(ctx)
}

// frame counts a frame.
func (x *lines) frame(kind string) (how string) {
	if x.store.isDead() {
		return "" // nobody reads or writes it
	}
	return x.play.sched.next("frame", kind)
}

// Start is part of [workers.Starter].
func (x *lines) Start(spec workers.Spec, events chan<- workers.Event) workers.Worker {
	l := &line{x: x, vat: spec.Start.Vat, events: events, from: make(chan workers.Event, 16)}
	how := x.frame("start")
	if how == "before" || how == "cut" {
		if how == "cut" {
			l.cutDown(spec.Start)
		}
		l.die()
		return l
	}
	l.inner = x.Starter.Start(spec, l.from)
	if how == "after" {
		l.die()
	}
	go l.forward()
	return l
}

// line is the line of one worker. It is that worker for the kernel.
type line struct {
	x      *lines
	vat    string
	inner  workers.Worker // nil if the worker died before its first frame
	events chan<- workers.Event
	from   chan workers.Event

	mu   sync.Mutex
	dead bool
}

// Vat is part of [workers.Worker].
func (l *line) Vat() string { return l.vat }

// Pid is part of [workers.Worker].
func (l *line) Pid() int { return 0 }

// RSSBytes is part of [workers.Worker].
func (l *line) RSSBytes() int64 { return 0 }

// Ping is part of [workers.Worker].
func (l *line) Ping(ctx context.Context) error {
	if l.inner == nil {
		return errors.New("the worker is dead")
	}
	return l.inner.Ping(ctx)
}

// Deliver is part of [workers.Worker].
func (l *line) Deliver(d wire.Deliver) error { return sendDown(l, "deliver", d, l.inner.Deliver) }

// Reply is part of [workers.Worker].
func (l *line) Reply(r wire.Row) error { return sendDown(l, "reply", r, l.inner.Reply) }

func sendDown[F wire.DownFrame](l *line, kind string, f F, send func(F) error) error {
	how := l.x.frame(kind)
	switch how {
	case "before":
		l.die()
		return nil
	case "cut":
		l.cutDown(f)
		l.die()
		return nil
	}
	err := send(f)
	if how == "after" {
		l.die()
	}
	return err
}

// Stop is part of [workers.Worker].
func (l *line) Stop() {
	if l.inner != nil {
		l.inner.Stop()
	}
}

// Kill is part of [workers.Worker].
func (l *line) Kill() {
	if l.inner != nil {
		l.inner.Kill()
	}
}

// die ends the worker, of which nothing more is heard. There is room for the event.
func (l *line) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dieLocked()
}

func (l *line) dieLocked() {
	if l.dead {
		return
	}
	l.dead = true
	l.events <- workers.Exited{Worker: l, Cause: workers.CauseKilled, Detail: "died at a frame", ExitCode: -1}
	if l.inner != nil {
		l.inner.Kill()
	}
}

// forward hands the worker's frames to the kernel.
func (l *line) forward() {
	for {
		select {
		case e := <-l.from:
			if l.hand(e) {
				return
			}
		case <-l.x.closed:
			return
		}
	}
}

// hand hands over a frame, or the end of the worker.
func (l *line) hand(e workers.Event) (end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	exited, end := e.(workers.Exited)
	if l.dead {
		return end
	}
	if end {
		l.dead = true
		exited.Worker = l
		l.events <- exited
		return true
	}
	var kind string
	var frame []byte
	switch f := e.(type) {
	case workers.Ready:
		f.Worker = l
		e, kind = f, "ready"
	case workers.Read:
		f.Worker = l
		e, kind = f, "read"
		frame, _ = wire.AppendUp(nil, f.Frame) // it was read before: it can be written
	case workers.Done:
		f.Worker = l
		e, kind = f, "done"
		frame, _ = wire.AppendUp(nil, f.Done)
	}
	switch l.x.frame(kind) {
	case "before":
		l.dieLocked()
	case "cut":
		l.cut(frame)
		l.dieLocked()
	case "after":
		l.events <- e
		l.dieLocked()
	default:
		l.events <- e
	}
	return false
}

func (l *line) cutDown(f wire.DownFrame) {
	frame, err := wire.AppendDown(nil, f)
	if err != nil {
		l.x.play.t.Errorf(l.x.play.name+": "+"a frame that cannot be written: %v", err)
	}
	l.cut(frame)
}

// cut checks that the reader of a frame that ends in the middle gets no part of it: that it was cut is all it knows.
func (l *line) cut(frame []byte) {
	for _, n := range []int{1, wire.HeaderBytes, len(frame) / 2, len(frame) - 1} {
		if n >= len(frame) || n <= 0 {
			continue
		}
		if got, err := wire.ReadFrame(bytes.NewReader(frame[:n]), nil, 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
			l.x.play.t.Errorf(l.x.play.name+": "+"%d bytes of a frame of %d are read as %q, %v", n, len(frame), strings.ToValidUTF8(string(got), "?"), err)
		}
	}
}
