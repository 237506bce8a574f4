package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/supervisor/sandbox"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// worker is one life of one vat's process.
type worker struct {
	sup    *Supervisor
	spec   workers.Spec
	events chan<- workers.Event
	log    *slog.Logger
	lim    wire.Limits

	proc    *process
	policy  sandbox.Policy // the confinement that the process must have, from its launch on
	pid     atomic.Int64
	over    chan struct{} // closed with the verdict
	helpers sync.WaitGroup

	mu struct {
		sync.Mutex
		phase phase
		// verdict is why the worker ends, once that is decided here. The first verdict counts, and later
		// frames of the worker are ignored.
		verdict verdict
		link    link // nil until the launch has made it
		// number is the number of the delivery in flight, deadline the end of its time, by the supervisor's clock.
		number   uint64
		deadline time.Duration
		// asked is when the worker began to wait for our Reply, by that clock: the wait is not its time.
		asked time.Duration
		// timed says that the clock is held, for a deadline.
		timed bool
		// ahead are the numbers of the deliveries that the worker has beyond the one in flight.
		ahead []uint64
		// out is the buffer for frames. pending has the bytes that the socket did not take. writing is not nil while a goroutine
		// writes them, and closed when the goroutine is through.
		out     []byte
		pending []byte
		writing chan struct{}
	}
	clock *time.Timer // runs out at mu.deadline or later; after the start only
}

type phase uint8

const (
	starting   phase = iota // no hello yet
	idle                    // waits for a delivery
	delivering              // a delivery is with the worker
	reading                 // the worker waits for our Reply
	ended                   // its stream is at its end
)

// verdict is why a worker ends. An open one knows only that the worker ended by itself: how, the
// process has to say.
type verdict struct {
	cause  workers.Cause
	detail string
	open   bool
}

func newWorker(s *Supervisor, spec workers.Spec, events chan<- workers.Event) *worker {
	if spec.Program == "" {
		spec.Program = s.cfg.StockProgram
	}
	if spec.DeliveryTime <= 0 {
		spec.DeliveryTime = limits.Delivery
	}
	w := &worker{
		sup: s, spec: spec, events: events,
		log:  s.log.With("vat", spec.Start.Vat, "name", clean(spec.Start.Name, 64)),
		lim:  wire.Limits{FrameBytes: spec.Start.MaxFrameBytes, Syscalls: spec.Start.MaxSyscalls},
		over: make(chan struct{}),
	}
	if w.lim.FrameBytes <= 0 {
		w.lim.FrameBytes = wire.DefaultFrameBytes
	}
	w.proc = newProcess(w)
	return w
}

// Vat is part of being a [workers.Worker].
func (w *worker) Vat() string { return w.spec.Start.Vat }

// Pid is part of being a [workers.Worker].
func (w *worker) Pid() int { return int(w.pid.Load()) }

// RSSBytes is part of being a [workers.Worker]. Pages that workers share count for each of them.
func (w *worker) RSSBytes() int64 {
	if w.Pid() == 0 {
		return 0
	}
	n, err := rss(w.Pid())
	if err != nil {
		return 0 // a process that has just ended has none
	}
	return n
}

// Deliver is part of being a [workers.Worker].
func (w *worker) Deliver(d wire.Deliver) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dying() {
		return nil
	}
	out, err := w.encode(d)
	if err != nil {
		return err
	}
	switch w.mu.phase {
	case idle:
		w.begin(d.Number)
	case delivering, reading:
		w.mu.ahead = append(w.mu.ahead, d.Number)
	default:
		panic("supervisor: delivery to a worker that is not ready")
	}
	w.write(out)
	return nil
}

// begin notes that the worker has a delivery to do now. The caller holds mu.
func (w *worker) begin(number uint64) {
	w.mu.phase, w.mu.number = delivering, number
	w.setTimed(true)
	w.mu.deadline = w.sup.clock.now() + w.spec.DeliveryTime
	w.clock.Reset(w.spec.DeliveryTime)
}

// setTimed holds the clock while there is a deadline. The caller holds mu.
func (w *worker) setTimed(on bool) {
	switch {
	case on && !w.mu.timed:
		w.sup.clock.hold()
	case !on && w.mu.timed:
		w.sup.clock.release()
	}
	w.mu.timed = on
}

// Reply is part of being a [workers.Worker]. The wait for it is not the time of the worker.
func (w *worker) Reply(r wire.Row) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dying() {
		return nil
	}
	if w.mu.phase != reading {
		panic("supervisor: reply to a worker that did not ask")
	}
	out, err := w.encode(r)
	if err != nil {
		return err
	}
	w.mu.phase = delivering
	w.mu.deadline += w.sup.clock.now() - w.mu.asked
	w.clock.Reset(max(w.mu.deadline-w.sup.clock.now(), 0))
	w.write(out)
	return nil
}

// Stop is part of being a [workers.Worker]. The worker has Config.StopTimeout.
func (w *worker) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dying() {
		return
	}
	soft := w.mu.phase != starting
	w.decide(workers.CauseStopped, "stopped")
	if soft {
		if out, err := w.encode(wire.Bye{}); err == nil {
			w.write(out)
		}
		w.clock.Reset(w.sup.cfg.StopTimeout)
		return
	}
	w.end()
}

// Kill is part of being a [workers.Worker].
func (w *worker) Kill() { w.condemn(workers.CauseStopped, "killed by the kernel") }

// condemn decides why the worker ends, unless that is decided, and ends it.
func (w *worker) condemn(cause workers.Cause, detail string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decide(cause, detail)
	w.end()
}

// decide sets the verdict. The caller holds mu.
func (w *worker) decide(cause workers.Cause, detail string) {
	if w.mu.verdict.cause == 0 {
		w.mu.verdict = verdict{cause: cause, detail: detail}
		close(w.over)
	}
}

// end kills the process and ends the reading of it. The caller holds mu.
func (w *worker) end() {
	fault.Point(fault.WorkerKilled)
	w.proc.kill()
	if w.mu.link != nil {
		w.mu.link.cut(0)
	}
}

// dying reports whether no further frame is to be sent. The caller holds mu.
func (w *worker) dying() bool { return w.mu.verdict.cause != 0 || w.mu.phase == ended }

// encode makes the frame of f, which is valid until the next one. The caller holds mu.
func (w *worker) encode(f wire.DownFrame) ([]byte, error) {
	out, err := wire.AppendDown(w.mu.out[:0], f)
	if n := len(out) - wire.HeaderBytes; err == nil && n > wire.MaxDownFrameBytes {
		err = fmt.Errorf("frame of %d bytes, %w of %d", n, wire.ErrLimit, wire.MaxDownFrameBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %T for %s: %w", f, w.spec.Start.Vat, err)
	}
	if cap(out) <= 64<<10 {
		w.mu.out = out[:0]
	}
	return out, nil
}

// write writes a frame. It does not block: a goroutine writes the bytes that the link does not take. An error of the link
// is not reported here, since the reading sees it as well. The caller holds mu.
func (w *worker) write(out []byte) {
	if w.mu.writing != nil {
		w.mu.pending = append(w.mu.pending, out...)
		return
	}
	fault.Point(fault.FrameBefore)
	if sent := w.mu.link.offer(out); sent < len(out) {
		w.mu.pending = append(w.mu.pending[:0], out[sent:]...)
		through := make(chan struct{})
		w.mu.writing = through
		w.helpers.Add(1)
		go w.writePending(through)
	}
	fault.Point(fault.FrameAfter)
}

func (w *worker) writePending(through chan struct{}) {
	defer w.helpers.Done()
	defer close(through)
	for {
		w.mu.Lock()
		out := w.mu.pending
		w.mu.pending = nil
		if len(out) == 0 {
			w.mu.writing = nil
			w.mu.Unlock()
			return
		}
		link := w.mu.link
		w.mu.Unlock()
		if err := link.send(out); err != nil {
			return // the stream has ended; further frames stay in pending
		}
	}
}

// awaitTaken waits until the worker has taken all that it was sent, or ends. Nothing that a worker sends is heard before:
// so the kernel holds no more for a worker than one answer and the deliveries that it was given in advance, however often
// the worker asks without reading. A worker that is well has read the answer before it asks for another.
func (w *worker) awaitTaken() {
	w.mu.Lock()
	through := w.mu.writing
	w.mu.Unlock()
	if through == nil {
		return
	}
	select {
	case <-through:
	case <-w.over:
	}
}

// run is the life of the worker. It returns when the process and all goroutines are gone.
func (w *worker) run() {
	w.emit(w.live())
	w.mu.Lock()
	w.mu.phase = ended
	w.setTimed(false)
	link := w.mu.link
	w.mu.Unlock()
	w.proc.kill()
	if w.clock != nil {
		w.clock.Stop()
	}
	if link != nil {
		link.cut(0) // ends writePending
	}
	w.proc.cleanUp()
	w.helpers.Wait()
	if link != nil {
		link.close()
	}
}

// live starts the worker and hears it, until it ends.
func (w *worker) live() workers.Exited {
	l, v := w.start()
	if l != nil {
		v = w.hear(l)
	}
	return w.exited(v)
}

// start returns the link when the worker has said hello, or else no link but the reason. It has a place in one of the
// lanes meanwhile.
func (w *worker) start() (link, verdict) {
	fail := func(open bool, format string, args ...any) (link, verdict) {
		return nil, verdict{cause: workers.CauseStart, detail: clean(fmt.Errorf(format, args...).Error(), 1000), open: open}
	}
	leave, ok := w.sup.starts.enter(w.spec.Start.Vat, w.over)
	if !ok {
		return nil, verdict{}
	}
	saidHello := false
	defer func() { leave(saidHello) }()
	limit := w.sup.cfg.StartTimeout
	timer := w.sup.clock.after(limit, func() { w.condemn(workers.CauseStart, fmt.Sprintf("no hello within %s", limit)) })
	defer timer.stop()

	if allow := w.sup.cfg.Allow; allow != nil && !allow() {
		return fail(true, "the kernel has no descriptors to spare for a worker")
	}
	l, err := w.proc.launch()
	if err != nil {
		return fail(true, "%w", err)
	}
	w.mu.Lock()
	w.mu.link = l
	if w.mu.verdict.cause != 0 { // decided when there was no link to end
		w.end()
	} else {
		var out []byte
		if out, err = w.encode(w.spec.Start); err == nil {
			w.write(out)
		}
	}
	w.mu.Unlock()
	w.helpers.Go(w.endWithProcess)
	if err != nil {
		return fail(false, "%w", err)
	}

	frame, err := l.next(nil, 64<<10)
	if err != nil {
		return fail(l.verdict(err).open, "wait for hello: %w", err)
	}
	fault.Point(fault.HelloRead)
	up, err := w.decode(frame)
	if err != nil {
		return fail(false, "decode hello: %w", err)
	}
	hello, ok := up.(wire.Hello)
	if !ok {
		return fail(false, "want hello, got a %T", up)
	}
	if hello.Error != "" {
		return fail(false, "%s", hello.Error)
	}
	if err := w.verifyConfined(); err != nil {
		_, missing := errors.AsType[*sandbox.LayerError](err)
		return fail(!missing, "%w", err) // one that has ended cannot be looked at, and how it ended says more
	}
	w.clock = time.AfterFunc(time.Hour, w.timeUp)
	w.clock.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.verdict.cause != 0 {
		return nil, verdict{}
	}
	w.mu.phase = idle
	saidHello = true
	return l, verdict{}
}

// endWithProcess ends the reading soon after the process has died, even if something that it left
// behind holds its end of the stream open.
func (w *worker) endWithProcess() {
	<-w.proc.exited
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.verdict.cause == 0 {
		w.mu.link.cut(100 * time.Millisecond)
	}
}

// timeUp is called by clock: a delivery, or leaving, has taken too long.
func (w *worker) timeUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.mu.verdict.cause != 0:
		w.end()
	case w.mu.phase != delivering: // or it waits for our Reply, which sets the clock again
	case w.sup.clock.now() < w.mu.deadline: // it was set for an earlier delivery, or not all of the time has counted
		w.clock.Reset(max(w.mu.deadline-w.sup.clock.now(), 0))
	default:
		w.decide(workers.CauseDeadline, fmt.Sprintf("delivery %d took longer than %s", w.mu.number, w.spec.DeliveryTime))
		w.end()
	}
}

// hear reads frames until the worker ends, and returns its verdict about the end.
func (w *worker) hear(l link) verdict {
	w.emit(workers.Ready{Worker: w, Pid: w.Pid(), Version: w.proc.version})
	var buf []byte
	for {
		frame, err := l.next(buf, w.lim.FrameBytes)
		if err != nil {
			return l.verdict(err)
		}
		fault.Point(fault.FrameRead)
		if buf = frame; cap(buf) > 64<<10 {
			buf = nil
		}
		up, err := w.decode(frame)
		if err != nil {
			return w.condemned(err)
		}
		w.awaitTaken()
		ev, err := w.accept(up, frame)
		if err != nil {
			return w.condemned(err)
		}
		if ev != nil {
			w.emit(ev)
		}
	}
}

// accept returns the event of a frame, or an error if the frame has no place here and now. The event is nil if the frame
// has no receiver.
func (w *worker) accept(up wire.UpFrame, frame []byte) (workers.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.verdict.cause != 0 {
		return nil, nil
	}
	if w.mu.phase != delivering {
		return nil, fmt.Errorf("a %T without a delivery", up)
	}
	switch up := up.(type) {
	case wire.Done:
		if up.Number != w.mu.number {
			return nil, fmt.Errorf("done with delivery %d, want %d", up.Number, w.mu.number)
		}
		if len(w.mu.ahead) > 0 {
			w.begin(w.mu.ahead[0])
			w.mu.ahead = w.mu.ahead[1:]
		} else {
			w.mu.phase = idle
			w.setTimed(false)
			w.clock.Stop()
		}
		return workers.Done{Worker: w, Done: up, Frame: bytes.Clone(frame)}, nil
	case wire.Get, wire.Next:
		w.mu.phase, w.mu.asked = reading, w.sup.clock.now()
		return workers.Read{Worker: w, Frame: up}, nil
	default:
		return nil, fmt.Errorf("a %T during a delivery", up)
	}
}

// decode turns a panic of the decoder into an error: there is none that we know of, and if there is, it
// is one worker's end and not the kernel's.
func (w *worker) decode(frame []byte) (up wire.UpFrame, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoder panics: %v", r)
		}
	}()
	return wire.DecodeUp(frame, w.lim)
}

func (w *worker) emit(e workers.Event) {
	select {
	case w.events <- e:
	case <-w.sup.done:
	}
}

// condemned ends the worker because of a frame that it sent.
func (w *worker) condemned(err error) verdict {
	v := frameVerdict(err)
	w.condemn(v.cause, v.detail)
	return v
}

func frameVerdict(err error) verdict {
	cause := workers.CauseMalformed
	if errors.Is(err, wire.ErrLimit) {
		cause = workers.CauseLimit
	}
	return verdict{cause: cause, detail: clean(err.Error(), 1000)}
}

// endTime is how long a worker whose stream has ended may take to end, and lastWordsTime how long its log may. Most take a
// millisecond or two, but not if hundreds end at once, or the machine is busy.
const endTime, lastWordsTime = 3 * time.Second, time.Second

// exited completes the account of the worker's end. It waits for the process, but not for ever: a worker can close the stream
// and live on.
func (w *worker) exited(v verdict) workers.Exited {
	w.mu.Lock()
	w.mu.phase = ended
	if w.mu.verdict.cause != 0 { // ours came first
		v = w.mu.verdict
	}
	w.mu.Unlock()
	e := workers.Exited{Worker: w, Pid: w.Pid(), ExitCode: -1}
	if v.open && e.Pid != 0 {
		status, ours, ok := w.proc.status(endTime)
		switch {
		case !ok:
			v.detail = joinDetail(v.detail, "it closed its stream and lives on")
		case status.Signaled() && ours && status.Signal() == syscall.SIGKILL:
		case status.Signaled():
			e.Signal = status.Signal()
			if !ownSignal(e.Signal) {
				v.cause = workers.CauseKilled
			}
			v.detail = joinDetail(v.detail, "signal: "+e.Signal.String())
		default:
			e.ExitCode = status.ExitStatus()
			v.detail = joinDetail(v.detail, fmt.Sprintf("exit status %d", e.ExitCode))
			v.detail = joinDetail(v.detail, w.proc.lastWords(lastWordsTime))
		}
	}
	e.Cause, e.Detail = v.cause, v.detail
	w.proc.kill()
	w.log.Debug("worker ended", "pid", e.Pid, "cause", e.Cause, "detail", e.Detail)
	return e
}

// ownSignal reports whether a signal that ended a worker was caused by the worker itself: a fault of the processor, a call
// of abort, a forbidden system call, a limit of the system, a write to a pipe without a reader. Any other signal was sent
// by another process, such as a service manager that stops the kernel with all its workers. (Another process may send one
// of these, too; of a worker in Go the SDK tells, see package worker.)
func ownSignal(s syscall.Signal) bool {
	switch s {
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGSYS,
		syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGPIPE:
		return true
	}
	return false
}

func joinDetail(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ": " + b
}
