package ioservice

import (
	"errors"
	"io"
	"time"
)

const (
	// quietTime is how long the writer of a file must have been quiet before a last line without its end is
	// given: the writer may be about to write the rest. After it, a file that has lost its path to another one
	// is at its final end.
	quietTime = time.Second
	// lookTime is the interval at which a file is read for more input.
	lookTime = 100 * time.Millisecond
	// otherTime is the least time between two reports that the file is another one. A file whose content is
	// another at each read, such as /proc/uptime, would be reported as fast as the vat reads otherwise.
	otherTime = time.Second
)

// follow gives the reads of a file its content, and then the bytes that are added to it.
func (s *Stream) follow(p *peer, f *regularFile) {
	buf := make([]byte, 16<<10)
	var toldOther time.Time
	quietSince := time.Now().Add(-min(max(time.Since(f.changed), 0), quietTime))
	for {
		room := s.awaitRoom(p)
		if room == 0 {
			return
		}
		f.closeOld()
		n, err := f.Read(buf[:min(room, len(buf))])
		now := time.Now()
		quiet := now.Sub(quietSince) >= quietTime
		wait := time.Duration(0)
		tooSoon := now.Sub(toldOther) < otherTime
		moved := false
		if errors.Is(err, io.EOF) && quiet && !tooSoon {
			var nextErr error
			if moved, nextErr = f.openNext(); nextErr != nil {
				err = nextErr
			}
		}
		s.mu.Lock()
		switch {
		case err == nil:
			quietSince = now
			s.mu.pace.Reset()
			f.took(buf[:n])
			s.mu.input.add(buf[:n])
			s.settle()
		case moved:
			toldOther = now
			s.tellOther(s.cfg.other("another file has taken its path, and this one is read to its end"))
		case errors.Is(err, errOther) && tooSoon:
			wait = lookTime
		case errors.Is(err, errOther):
			toldOther = now
			s.tellOther(err)
		case s.mu.pace.Wait(now) > 0:
			wait = lookTime
		case s.mu.input.held() > 0 && !quiet && errors.Is(err, io.EOF):
			wait = lookTime
		case s.mu.input.held() > 0:
			s.mu.final = true
			s.settle()
			s.mu.final = false
		case !errors.Is(err, io.EOF):
			s.tellOnce(result{err: err})
		default:
			s.tellOnce(result{unit: Unit{End: true}})
		}
		s.mu.Unlock()
		if wait > 0 {
			s.sleep(wait)
		}
	}
}

// tellOnce gives a result to one read; the next read reads the file again. The caller holds mu.
func (s *Stream) tellOnce(r result) {
	s.mu.tail = &r
	s.settle()
	s.mu.tail = nil
	s.mu.pace.Next(time.Now())
}

// tellOther reports to a read, behind the units that were read of the file, that the file is another one from
// now on. Later reads begin at its start. The caller holds mu, or is the only user of the stream yet.
func (s *Stream) tellOther(err error) {
	s.mu.tail = &result{err: err}
	s.mu.tail.taken = func() {
		s.mu.input = splitter{cfg: s.mu.input.cfg}
		s.mu.base = 0
		s.mu.tail.unit.State = s.file.turn().state()
	}
	s.settle()
}
