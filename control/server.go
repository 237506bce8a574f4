package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"ocapkernel.dev/errcode"
)

// ServerOptions are the choices of a server. The zero value is useful.
type ServerOptions struct {
	// Version is the answer of the method version.
	Version string
	// Logger gets warnings about connections; nil logs nothing.
	Logger *slog.Logger
	// MaxLineBytes, MaxConns and MaxInFlight tighten the constants of the same names; zero means those.
	MaxLineBytes, MaxConns, MaxInFlight int
	// Allow is asked before a connection is accepted, and returns false if there are no descriptors for it; nil allows
	// each.
	Allow func() bool
	// WriteTimeout bounds one write to a peer that does not read; zero means ten seconds.
	WriteTimeout time.Duration
}

// Server answers the requests of clients out of a [Backend].
type Server struct {
	listener *Listener
	backend  Backend
	options  ServerOptions
	log      *slog.Logger
	// slots holds a token for each connection.
	slots chan struct{}
	mu    struct {
		sync.Mutex
		conns map[*net.UnixConn]*use // the connections that are served
	}
}

// use counts the requests that are under way on a connection.
type use struct {
	requests int
	since    time.Time // when the last request began or ended, or the connection was accepted
	asked    bool      // there was a request
}

// grace is the time that a connection has for its first request. A connection that has made none by then may be closed to
// make place for another one.
const grace = time.Second

// isIdle returns whether the connection may be closed to make place for another one.
func (u *use) isIdle(now time.Time) bool {
	return u.requests == 0 && (u.asked || now.Sub(u.since) >= grace)
}

// NewServer returns a server for the listener, which is the server's from now on.
func NewServer(l *Listener, b Backend, o ServerOptions) *Server {
	tighten := func(n *int, most int) {
		if *n <= 0 || *n > most {
			*n = most
		}
	}
	tighten(&o.MaxLineBytes, MaxLineBytes)
	tighten(&o.MaxConns, MaxConns)
	tighten(&o.MaxInFlight, MaxInFlight)
	if o.WriteTimeout <= 0 || o.WriteTimeout > writeTimeout {
		o.WriteTimeout = writeTimeout
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{listener: l, backend: b, options: o, log: log, slots: make(chan struct{}, o.MaxConns)}
	s.mu.conns = map[*net.UnixConn]*use{}
	return s
}

// Run serves until ctx ends. Then it removes the socket, ends the waiting of the requests that are under way, sends the
// answers that there are, and returns when no goroutine of its own is left. It returns an error only if it can accept no
// more connections.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() }) // makes AcceptUnix below return
	defer stop()

	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	for {
		if s.options.Allow != nil && !s.options.Allow() {
			s.closeIdlest() // to free a descriptor
		}
		conn, err := s.listener.ln.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if isTransient(err) {
				// Without a pause the loop would spin until a descriptor is free.
				s.log.Warn("cannot accept a connection", "err", err)
				s.closeIdlest()
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			_ = s.listener.Close() // the accept error says more
			return fmt.Errorf("accept connections: %w", err)
		}
		if uid, err := peerUID(conn); err != nil || uid != 0 && uid != os.Geteuid() {
			s.log.Warn("refused a connection of another user", "uid", uid, "err", err)
			_ = conn.Close() // without a reason: another user is no client
			continue
		}
		if !s.admit(conn) {
			s.refuse(conn)
			continue
		}
		conns.Add(1)
		go func() {
			defer conns.Done()
			defer s.leave(conn)
			s.serve(ctx, conn)
		}()
	}
}

// admit takes a place for a connection, and returns false if there is none. If all places are taken, it closes the
// connection that has been idle the longest: idle connections must not keep a person from inspecting or stopping the kernel.
func (s *Server) admit(conn *net.UnixConn) bool {
	select {
	case s.slots <- struct{}{}:
	default:
		if !s.closeIdlest() {
			return false
		}
		s.slots <- struct{}{} // the goroutine of the closed connection ends at once, and calls leave
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.conns[conn] = &use{since: time.Now()}
	return true
}

// closeIdlest closes the connection that has been idle the longest, and returns false if there is none.
func (s *Server) closeIdlest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var idlest *net.UnixConn
	var since time.Time
	now := time.Now()
	for conn, u := range s.mu.conns { // the result does not depend on the order
		if u.isIdle(now) && (idlest == nil || u.since.Before(since)) {
			idlest, since = conn, u.since
		}
	}
	if idlest == nil {
		return false
	}
	s.log.Warn("closed an idle connection, to make place", "idle", time.Since(since).Round(time.Millisecond))
	delete(s.mu.conns, idlest)
	_ = idlest.Close() // its goroutines get an error, and end
	return true
}

// count adds n, which is negative for requests that have ended, to the requests that are under way on a connection.
func (s *Server) count(conn *net.UnixConn, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.mu.conns[conn]; u != nil { // nil if the connection was closed
		u.requests += n
		u.since, u.asked = time.Now(), true
	}
}

// leave gives back the place of a connection.
func (s *Server) leave(conn *net.UnixConn) {
	s.mu.Lock()
	delete(s.mu.conns, conn)
	s.mu.Unlock()
	<-s.slots
}

// refuse closes a connection for which there is no place, with an error for the peer. The error fits the buffer of a fresh
// socket, so that refuse does not wait for the peer.
func (s *Server) refuse(conn *net.UnixConn) {
	s.log.Warn("refused a connection: too many")
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	line := appendError(nil, nil, Errorf(errcode.Limit, "the kernel serves %d connections already", s.options.MaxConns))
	_, _ = conn.Write(line) // the peer may be gone
	_ = conn.Close()
}
