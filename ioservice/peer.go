package ioservice

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"ocapkernel.dev/internal/fault"
)

// A link is the source and the sink of a stream's bytes. One goroutine reads, another writes.
type link interface {
	io.ReadWriter
	// SetWriteDeadline bounds the next write, which fails with os.ErrDeadlineExceeded.
	SetWriteDeadline(time.Time) error
	// Interrupt makes reads and writes fail, now and later. It does not block.
	Interrupt()
	// Close gives back the resources of the link. No read or write is under way.
	Close() error
	// Gone reports whether the other end takes no more output, as far as that can be told at once.
	Gone() bool
	// Linger waits, after the end of the input, until the other end takes no more output either, or the link is
	// interrupted.
	Linger()
}

// A peer is one connection of a stream, or the one file or console of it. Its flags are guarded by the mu of
// the stream.
type peer struct {
	link link
	// ended is set when the peer's input is over. Bytes that it sent may still wait to be read.
	ended bool
	// gone is set when the peer takes no more output.
	gone bool
	// broken is set when the peer was given up in the middle of a write. A file or console never is.
	broken bool
	// marked is set once it is durable that the peer is there.
	marked bool
	// work counts its goroutines.
	work sync.WaitGroup
}

// run runs the goroutines of a peer until both directions have ended, and closes it. The peer is s.mu.peer
// already. run returns at once if the stream is closed.
func (s *Stream) run(p *peer) {
	if s.cfg.reads() || !s.lazy {
		p.work.Go(func() { s.receive(p) })
	}
	if s.cfg.writes() {
		p.work.Go(func() { s.send(p) })
	}
	s.mu.Lock()
	for !s.mu.closed && s.mu.peer == p && !s.over(p) {
		s.mu.changed.Wait()
	}
	s.detach(p)
	s.mu.Unlock()
	p.work.Wait()
	_ = p.link.Close() // reads and writes have reported its error
	fault.Point(fault.PeerClosed)
}

// detach ends the use of a peer by the stream. The caller holds mu.
func (s *Stream) detach(p *peer) {
	s.drop(p)
	p.link.Interrupt()
	if s.mu.peer == p {
		s.mu.peer = nil
		s.mu.changed.Broadcast()
	}
}

// over reports whether both directions of a peer have ended. The caller holds mu.
func (s *Stream) over(p *peer) bool {
	switch {
	case s.lazy || !p.ended:
		return false
	case s.single:
		return p.gone || !s.cfg.writes()
	case s.mu.tail != nil:
		return false // the vat has not read the end
	case p.gone || !s.cfg.writes():
		return true
	case len(s.mu.writes) > 0:
		return false
	case s.cfg.Type == Network:
		return true
	default:
		return s.displaced(p)
	}
}

// receive takes the input of a peer until it ends.
func (s *Stream) receive(p *peer) {
	if s.file != nil {
		s.follow(p, s.file)
		return
	}
	buf := make([]byte, 16<<10)
	for {
		room := s.awaitRoom(p)
		if room == 0 {
			return
		}
		if s.lazy && s.pause() {
			continue // the read that waited may have gone meanwhile
		}
		fault.Point(fault.ReadBefore)
		n, err := p.link.Read(buf[:min(room, len(buf))])
		fault.Point(fault.ReadAfter)
		s.mu.Lock()
		if n > 0 {
			s.mu.pace.Reset()
		}
		if s.cfg.reads() {
			s.mu.input.add(buf[:n])
		}
		if err == nil {
			s.settle()
			s.mu.Unlock()
			continue
		}
		halfClosed := errors.Is(err, io.EOF) && s.cfg.writes() && !p.link.Gone()
		if !s.lazy && !halfClosed {
			s.drop(p) // before a read reports the end, and the vat wants to write
		}
		s.end(p, err)
		s.mu.Unlock()
		if s.lazy {
			continue
		}
		if halfClosed {
			p.link.Linger()
		}
		s.mu.Lock()
		s.drop(p)
		s.mu.Unlock()
		return
	}
}

// awaitRoom waits until input may be fetched, and returns how many bytes; 0 if the stream is closed.
func (s *Stream) awaitRoom(p *peer) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.mu.closed && !p.broken {
		room := maxChunkBytes
		if s.cfg.reads() {
			room = s.mu.input.room()
		}
		if room > 0 && (!s.lazy || len(s.mu.reads) > 0 && s.mu.tail == nil) {
			return room
		}
		s.mu.changed.Wait()
	}
	if !s.mu.closed && !p.ended {
		s.end(p, io.ErrClosedPipe)
	}
	return 0
}

// end notes that the input of the peer is over, for the reason that a read of the link returned. The caller
// holds mu.
func (s *Stream) end(p *peer, err error) {
	p.ended = true
	end := result{unit: Unit{End: true}}
	switch {
	case !s.cfg.reads() || s.mu.closed:
		s.mu.changed.Broadcast()
		return
	case s.lazy && !errors.Is(err, io.EOF):
		end = result{err: err}
	case p.broken || s.cfg.Type == Network && !errors.Is(err, io.EOF):
		end = result{err: s.cfg.lost()}
	}
	if !s.single && !s.lazy {
		end.unit.State = []byte(stateIdle)
	}
	s.mu.tail = &end
	s.settle()
	if s.lazy {
		s.mu.pace.Next(time.Now())
		s.mu.tail = nil // the next read reads the link again
	}
}

// drop notes that the peer takes no more output. The caller holds mu.
func (s *Stream) drop(p *peer) {
	if s.mu.closed || p.gone {
		return
	}
	p.gone = true
	s.failWrites(s.cfg.lost())
	s.mu.changed.Broadcast()
}

// send writes the waiting writes to the peer, until it takes no more.
func (s *Stream) send(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !p.gone && len(s.mu.writes) == 0 {
			s.mu.changed.Wait()
		}
		if p.gone {
			return
		}
		w := s.mu.writes[0]
		s.mu.Unlock()
		n, err := 0, p.link.SetWriteDeadline(w.deadline)
		if err == nil {
			fault.Point(fault.WriteBefore)
			n, err = p.link.Write(w.data)
			fault.Point(fault.WriteAfter)
		}
		s.mu.Lock()
		if len(s.mu.writes) == 0 || s.mu.writes[0] != w {
			continue // the write was ended meanwhile
		}
		s.wrote(p, n, err)
	}
}

// wrote ends the first write, of which n bytes were taken. The caller holds mu.
func (s *Stream) wrote(p *peer, n int, err error) {
	w := s.mu.writes[0]
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded) && n == 0:
		err = s.cfg.fail(ErrTimeout, ": nobody took what was written within %v; nothing was sent", w.within)
	case errors.Is(err, os.ErrDeadlineExceeded) && s.lazy:
		err = s.cfg.fail(ErrTimeout, ": not all of what was written was taken within %v: what is written next follows a part of it", w.within)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = s.cfg.fail(ErrTimeout, ": not all of what was written was taken within %v: the connection is closed", w.within)
		p.broken = true
	case s.lazy: // the next write may succeed: there is no connection that has ended
		if _, told := errors.AsType[*failure](err); !told {
			err = s.cfg.fail(err, ": %d of %d bytes written: %v", n, len(w.data), err)
		}
	default:
		s.drop(p)
		return
	}
	s.mu.writes = s.mu.writes[1:]
	s.mu.writeBytes -= len(w.data)
	s.call(func() { w.done(err) })
	if p.broken {
		s.drop(p)
		p.link.Interrupt()
	}
	s.mu.changed.Broadcast()
}
