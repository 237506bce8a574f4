package ioservice

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ocapkernel.dev/service"
)

// Unit is the result of one read.
type Unit struct {
	// Value is the unit, in the form of its [UnitKind].
	Value string
	// End means that there is no unit: the input has ended. A stream of one connection gives End to every later
	// read, a file and a console until there is more input. A channel with clients gives it once for each
	// client, and a network channel once for each connection.
	End bool
	// State, if not nil, is to be stored together with the result of the read. It may come with an error.
	State []byte
}

// use is the first use of a channel.
type use int

const (
	useOpen    use = iota // not used yet
	useDirect             // Read and Write
	useAccepts            // Accept
)

// A result is the unit or the error of a read.
type result struct {
	unit Unit
	err  error
	// taken, if not nil, is called with mu when a read takes the result.
	taken func()
}

type pendingRead struct {
	done func(Unit, error)
}

type pendingWrite struct {
	data     []byte
	within   time.Duration
	deadline time.Time
	done     func(error)
}

// Stream is a way in and a way out: a connection, or a channel itself. A channel has the methods of a Stream
// too.
type Stream struct {
	// cfg does not change. The fields that [Channel.Configure] changes are in mu: the write time there, the
	// bound of a unit in the splitter.
	cfg Config
	log *slog.Logger
	// single is set if the stream has one connection, and ends with it.
	single bool
	// lazy is set if input is fetched only when a read waits for it, and the end of input is not final.
	lazy bool
	// repeating is set while a timer waits to report an end again. It is guarded by mu.
	repeating bool
	// file is the file of a file channel, else nil.
	file *regularFile
	// interrupt ends dialing and pauses, and closes done.
	interrupt context.CancelFunc
	done      <-chan struct{}
	// leave, if not nil, is called by Close.
	leave func()
	// work counts the goroutines. Close waits for them, and for callbacks that are under way.
	work sync.WaitGroup

	mu struct {
		sync.Mutex
		// changed is signalled at each change of a field here for which a goroutine may wait.
		changed *sync.Cond
		use     use
		closed  bool

		// reads wait for input, which comes from the splitter, and behind that from tail.
		reads []*pendingRead
		input splitter
		tail  *result
		// final is set if the bytes that have come are all of the last unit, for now.
		final bool
		// pace limits the reports of ends of input, and the attempts to connect. refusals limits the reports of
		// refusals, and refused are the refusals that wait for it.
		pace, refusals service.Pace
		refused        []*refusal
		// base is the place in a file at which the bytes of input.taken begin.
		base int64

		// writes wait for the peer, or for its writer, which works on the first of them.
		writes     []*pendingWrite
		writeTime  time.Duration
		writeBytes int
		peer       *peer
		// candidate is a connection that becomes the peer if there is none, or is handed to Accept.
		candidate *peer

		// calls are callbacks to be called, and calling is set while a goroutine calls them. There are at most
		// as many as calls of the stream's methods.
		calls   []func()
		calling bool
	}
}

// prepare makes the fields of a stream, and returns the context of its goroutines.
func (s *Stream) prepare(cfg Config, log *slog.Logger) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	s.cfg, s.log, s.interrupt, s.done = cfg, log, cancel, ctx.Done()
	s.mu.changed = sync.NewCond(&s.mu)
	s.mu.input.cfg, s.mu.writeTime = cfg, cfg.WriteTime
	return ctx
}

// Read calls done with the next unit, once it is there. Units go to reads in the order of their calls. The
// error of a read is [ErrTooLong] or [ErrInvalidText] if the bytes that came are no unit, and are dropped;
// [ErrConnectionLost] if the other end went without an end, or with an earlier process; [ErrNoPeer] if a
// connection could not be made; [ErrDirection], [ErrUse], [ErrLimit] or [ErrClosed].
//
// cancel withdraws the read, so that the unit goes to the next one; done is called with [ErrCanceled] then. If
// the read has its unit already, cancel does nothing.
func (s *Stream) Read(done func(Unit, error)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admitRead(); err != nil {
		return s.refuse(err, func(err error) { done(Unit{}, err) })
	}
	read := &pendingRead{done}
	s.mu.reads = append(s.mu.reads, read)
	s.settle()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.mu.reads, read); i >= 0 {
			s.mu.reads = slices.Delete(s.mu.reads, i, i+1)
			err := s.cfg.fail(ErrCanceled, ": the read was withdrawn")
			s.call(func() { done(Unit{}, err) })
		}
	}
}

// admitRead returns the reason why a read is refused, or nil. The caller holds mu.
func (s *Stream) admitRead() error {
	switch {
	case s.mu.closed:
		return s.cfg.fail(ErrClosed, " is closed")
	case !s.cfg.reads():
		return s.cfg.fail(ErrDirection, " is write-only")
	case s.mu.use == useAccepts:
		return s.cfg.fail(ErrUse, " is used to accept connections: read the streams that these give")
	case len(s.mu.reads) == maxReads:
		return s.cfg.fail(ErrLimit, ": %d reads wait already: wait for one of them", maxReads)
	}
	s.mu.use = useDirect
	return nil
}

// Write sends a unit. Units are sent in the order of the calls; done gets nil when the operating system has
// taken all of the unit. The error is [ErrInvalidText] if data is no unit of the channel; [ErrNoPeer] if no
// client is connected or the connection could not be made; [ErrConnectionLost] if the other end is gone, when a
// part may have been sent; [ErrTimeout] if the unit was not taken in time, when either no byte was sent, or the
// stream is broken and gives ErrConnectionLost from then on (a console goes on); [ErrDirection], [ErrUse],
// [ErrLimit] or [ErrClosed]. A write that is refused at once does not wait for the writes before it.
func (s *Stream) Write(data string, done func(error)) {
	encoded, err := s.cfg.encode(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if refused := s.admitWrite(len(encoded)); refused != nil {
		err = refused
	}
	if err != nil {
		s.call(func() { done(err) })
		return
	}
	s.mu.writes = append(s.mu.writes, &pendingWrite{encoded, s.mu.writeTime, time.Now().Add(s.mu.writeTime), done})
	s.mu.writeBytes += len(encoded)
	s.mu.changed.Broadcast()
}

// admitWrite returns the reason why a write of so many bytes is refused, or nil. The caller holds mu.
func (s *Stream) admitWrite(size int) error {
	switch {
	case s.mu.closed:
		return s.cfg.fail(ErrClosed, " is closed")
	case !s.cfg.writes():
		return s.cfg.fail(ErrDirection, " is read-only")
	case s.mu.use == useAccepts:
		return s.cfg.fail(ErrUse, " is used to accept connections: write to the streams that these give")
	}
	s.mu.use = useDirect
	s.mu.changed.Broadcast()
	p := s.mu.peer
	switch {
	case s.single && (p == nil || p.gone):
		return s.cfg.lost()
	case p != nil && p.gone, p == nil && s.mu.tail != nil:
		// The vat has not read the end of a client, and may believe that it writes to that client.
		return s.cfg.fail(ErrConnectionLost, ": the other end is gone: read up to its end (a channel that is only written should have the direction out)")
	case p == nil && s.mu.candidate == nil && s.cfg.accepts():
		return s.cfg.fail(ErrNoPeer, ": no client is connected")
	case len(s.mu.writes) == maxWrites:
		return s.cfg.fail(ErrLimit, ": %d writes wait already: wait for one of them", maxWrites)
	case s.mu.writeBytes+size > maxWriteBytes:
		return s.cfg.fail(ErrLimit, ": %d bytes wait to be written, and %d more would be above %d: wait for a write to end", s.mu.writeBytes, size, maxWriteBytes)
	}
	return nil
}

// settle gives waiting reads their results, as far as these are there. It is called after each change. The
// caller holds mu.
func (s *Stream) settle() {
	for len(s.mu.reads) > 0 {
		r, ok := s.next()
		if !ok {
			break
		}
		read := s.mu.reads[0]
		s.mu.reads = slices.Delete(s.mu.reads, 0, 1)
		s.call(func() { read.done(r.unit, r.err) })
	}
	s.mu.changed.Broadcast()
}

// next takes the result of the next read. The caller holds mu.
func (s *Stream) next() (result, bool) {
	value, err, ok := s.mu.input.next(s.mu.tail != nil || s.mu.final)
	if ok {
		r := result{unit: Unit{Value: value}, err: err}
		if s.file != nil {
			r.unit.State = place{offset: s.mu.base + s.mu.input.taken, skipping: s.mu.input.skipping, mark: s.file.mark}.state()
		}
		return r, true
	}
	if s.mu.tail == nil || s.single && !s.mayRepeat() {
		return result{}, false
	}
	if taken := s.mu.tail.taken; taken != nil {
		taken()
	}
	r := *s.mu.tail
	if !s.single {
		s.mu.tail = nil
		if p := s.mu.peer; p != nil && s.over(p) {
			s.detach(p) // later writes are not for this peer
		}
	}
	return r, true
}

// call has a callback called, after those before it. The caller holds mu.
func (s *Stream) call(f func()) {
	s.mu.calls = append(s.mu.calls, f)
	if s.mu.calling {
		return
	}
	s.mu.calling = true
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for len(s.mu.calls) > 0 {
			calls := s.mu.calls
			s.mu.calls = nil
			s.mu.Unlock()
			for _, f := range calls {
				f()
			}
			s.mu.Lock()
		}
		s.mu.calling = false
		s.mu.changed.Broadcast()
	}()
}

// failWrites ends all writes with the error. The caller holds mu.
func (s *Stream) failWrites(err error) {
	for _, w := range s.mu.writes {
		s.call(func() { w.done(err) })
	}
	s.mu.writes, s.mu.writeBytes = nil, 0
}

// failReads ends all reads with the error. The caller holds mu.
func (s *Stream) failReads(err error) {
	for _, r := range s.mu.reads {
		s.call(func() { r.done(Unit{}, err) })
	}
	s.mu.reads = nil
}

// Close ends the stream: its connection is closed, and all reads and writes that wait, and all later ones, end
// with [ErrClosed]. Close waits until no goroutine of the stream is left, and no callback is under way. It may
// be called more than once, and not from a callback.
func (s *Stream) Close() error {
	s.shut()
	s.finished()
	if s.leave != nil {
		s.leave()
	}
	return nil
}

// shut begins the end of the stream, without waiting for it.
func (s *Stream) shut() {
	s.interrupt()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return
	}
	s.mu.closed = true
	err := s.cfg.fail(ErrClosed, " is closed")
	s.failReads(err)
	s.failWrites(err)
	s.tellRefused()
	for _, p := range []*peer{s.mu.peer, s.mu.candidate} {
		if p != nil {
			p.gone = true
			p.link.Interrupt()
		}
	}
	s.mu.changed.Broadcast()
}

// finished waits until no goroutine and no callback of the stream is left.
func (s *Stream) finished() {
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.calling {
		s.mu.changed.Wait()
	}
}
