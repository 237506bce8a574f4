package control

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
)

// serve reads the requests of one connection until it ends, and works on them side by side.
//
// Three kinds of goroutine: this one reads, one for each request works, one writes. The writer gets
// answers over a channel, so that no lock is held while it waits for a peer that does not read; while it
// waits, the workers wait, and so does the reader: a slow peer has at most MaxInFlight requests here.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.Close()
	// Ends the reader's wait. The answers at hand are still sent, within one deadline for all.
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		_ = conn.SetWriteDeadline(time.Now().Add(s.options.WriteTimeout))
	})
	defer stop()

	answers := make(chan []byte)
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer cancel()
		s.write(ctx, conn, answers)
	}()
	var workers sync.WaitGroup
	s.read(ctx, conn, answers, &workers)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		workers.Wait()
	}()
	s.linger(conn, finished, cancel)
	close(answers)
	<-written
}

// linger waits until the workers have finished, after the last request was read. A peer that has only shut down
// its sending side still gets its answers; a peer that is gone needs none, so that the workers need not wait
// for it. No event tells the two apart once reading has ended, hence the check each second.
func (s *Server) linger(conn *net.UnixConn, finished <-chan struct{}, cancel context.CancelFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if gone(conn) {
			cancel()
			<-finished
			return
		}
		select {
		case <-finished:
			return
		case <-tick.C:
		}
	}
}

// write sends answers until there are no more. After a write that failed it takes them and drops them, so that
// no worker waits for it.
func (s *Server) write(ctx context.Context, conn *net.UnixConn, answers <-chan []byte) {
	for line := range answers {
		if ctx.Err() == nil { // else the deadline for the rest is set
			_ = conn.SetWriteDeadline(time.Now().Add(s.options.WriteTimeout)) // fails only as Write will
		}
		fault.Point(fault.AnswerBefore)
		if _, err := conn.Write(line); err != nil {
			s.log.Debug("client went away", "err", err)
			// The reader and the workers learn of it from the connection.
			_ = conn.Close()
			for range answers {
			}
		}
		fault.Point(fault.AnswerAfter)
	}
}

// read takes requests from the connection and starts a worker for each.
func (s *Server) read(ctx context.Context, conn *net.UnixConn, answers chan<- []byte, workers *sync.WaitGroup) {
	in := bufio.NewReaderSize(conn, min(16<<10, s.options.MaxLineBytes))
	inFlight := make(chan struct{}, s.options.MaxInFlight)
	for {
		line, err := readLine(in, s.options.MaxLineBytes)
		if err != nil {
			if errors.Is(err, errLineTooLong) {
				// The beginning of the next request is not known.
				answers <- appendError(nil, nil, newRPCError(rpcRequest, errcode.Invalid, "a request is longer than %d bytes", s.options.MaxLineBytes))
			}
			return
		}
		if blank(line) {
			continue
		}
		req, rpcErr := parseRequest(line)
		if rpcErr != nil {
			answers <- appendError(nil, req.id, rpcErr)
			continue
		}
		select {
		case inFlight <- struct{}{}:
		case <-ctx.Done():
			return
		}
		s.count(conn, 1)
		workers.Add(1)
		go func() {
			defer workers.Done()
			defer func() { <-inFlight }()
			defer s.count(conn, -1)
			if answer := s.answer(ctx, req); answer != nil {
				answers <- answer
			}
		}()
	}
}

// answer performs a request and returns the line that answers it, nil for a notification.
func (s *Server) answer(ctx context.Context, req request) []byte {
	result, err := s.dispatch(ctx, req.method, req.params)
	if err != nil && errors.Is(err, context.Canceled) {
		err = Errorf(errcode.Stopping, "the kernel is stopping")
	}
	if req.id == nil {
		return nil
	}
	if err == nil {
		var line []byte
		if line, err = appendResult(nil, req.id, result); err == nil {
			return line
		}
	}
	return appendError(nil, req.id, err)
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
