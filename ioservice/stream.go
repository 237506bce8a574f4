package ioservice

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/service"
)

// Unit is what one read gives.
type Unit struct {
	// Value is the unit, as its [UnitKind] says.
	Value string
	// End says that there is no unit: the input has ended. A stream of one connection gives it to every
	// read from then on, a file and a console until there is more. A channel with clients gives it once for
	// each client, and a network channel for each connection.
	End bool
	// State, if not nil, is to be stored together with what becomes of the unit. It may come with an error.
	State []byte
}

// use says what a channel was used for first.
type use int

const (
	useOpen    use = iota // for nothing yet
	useDirect             // Read and Write
	useAccepts            // Accept
)

// A result is what a read gives.
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

// Stream is a way in and a way out: a connection, or a channel itself. Its methods are those of [Channel].
type Stream struct {
	// cfg does not change. What [Channel.Configure] changes is in mu: the write time there, the bound of a unit in the
	// splitter.
	cfg Config
	log hclog.Logger
	// single says that the stream has one connection, and ends with it.
	single bool
	// lazy says that input is fetched when a read waits for it, and that its end is not for ever.
	lazy bool
	// repeating says that a timer tells an end again. It is guarded by mu.
	repeating bool
	// file is that of a channel that is one.
	file *regularFile
	// interrupt ends dialing and pauses, and closes done.
	interrupt context.CancelFunc
	done      <-chan struct{}
	// leave, if not nil, is called by Close.
	leave func()
	// work counts the goroutines. Close waits for them, and those still calling callbacks.
	work sync.WaitGroup

	mu struct {
		sync.Mutex
		// changed is signalled whenever something here changes that a goroutine may wait for.
		changed *sync.Cond
		use     use
		closed  bool

		// reads wait for input, which comes from the splitter, and then is what tail says.
		reads []*pendingRead
		input splitter
		tail  *result
		// final says that what has come is all of the last unit, for now.
		final bool
		// pace is that of the ends of input, and of connecting again. refusals is that of what is refused, and
		// refused are those that wait for it.
		pace, refusals service.Pace
		refused        []*refusal
		// base is what to add to input.taken for the place in a file.
		base int64

		// writes wait for the peer, or for its writer, which works on the first of them.
		writes     []*pendingWrite
		writeTime  time.Duration
		writeBytes int
		peer       *peer
		// candidate is a connection that becomes the peer if there is none, or is handed to Accept.
		candidate *peer

		// calls are callbacks to be called, and calling says that a goroutine calls them. There are at most
		// as many as were asked for.
		calls   []func()
		calling bool
	}
}

// prepare makes a stream that waits for its first goroutine, and returns the context of its goroutines.
func (s *Stream) prepare(cfg Config, log hclog.Logger) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	s.cfg, s.log, s.interrupt, s.done = cfg, log, cancel, ctx.Done()
	s.mu.changed = sync.NewCond(&s.mu)
	s.mu.input.cfg, s.mu.writeTime = cfg, cfg.WriteTime
	return ctx
}

// Read asks for the next unit. Reads get theirs in the order in which they were asked. The error of a read
// is [ErrTooLong] or [ErrInvalidText] if what came is not a unit, which is dropped; [ErrConnectionLost] if
// the other end went without an end, or with an earlier process; [ErrNoPeer] if a connection could not be
// made; [ErrDirection], [ErrUse], [ErrLimit] or [ErrClosed].
//
// Cancel withdraws the read, so that the unit goes to the next one; done is called with [ErrCanceled] then.
// If the read has its unit already, it does nothing.
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

// admitRead says why a read is refused. The caller holds mu.
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

// Write sends a unit. Writes are sent in the order in which they were asked; done gets nil when the
// operating system has taken all of it. The error is [ErrInvalidText] if it is no unit of the channel;
// [ErrNoPeer] if no client is connected or the connection could not be made; [ErrConnectionLost] if the
// other end is gone, when some may have been sent; [ErrTimeout] if it was not taken in time, when nothing was
// sent or the stream is broken and gives ErrConnectionLost from then on (a console goes on); [ErrDirection], [ErrUse],
// [ErrLimit] or [ErrClosed]. A write that is refused at once does not wait for those before it.
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

// admitWrite says why a write of so many bytes is refused. The caller holds mu.
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
		// The vat has not read the end of the client that it may believe to write to.
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

// settle gives waiting reads what there is. It is called after each change. The caller holds mu.
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

// next takes what the next read gets. The caller holds mu.
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
			s.detach(p) // what is written from now on is not for it
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

// Close ends the stream: its connection is closed, all reads and writes that wait end with [ErrClosed], and
// so does whatever is asked later. It waits until no goroutine of the stream is left, and none is calling
// back. It may be called more than once, and not from a callback.
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

// finished waits until nothing of the stream is left.
func (s *Stream) finished() {
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.calling {
		s.mu.changed.Wait()
	}
}
