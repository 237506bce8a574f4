package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/capdata"
)

// ServerOptions are the choices of a server. The zero value is useful.
type ServerOptions struct {
	// Version is what the method version answers.
	Version string
	// Logger gets what a person should know; nil logs nothing.
	Logger hclog.Logger
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
	log      hclog.Logger
	// slots holds a token for each connection.
	slots chan struct{}
	mu    struct {
		sync.Mutex
		conns map[*net.UnixConn]*use // the connections that are served
	}
}

// use is what is under way on a connection.
type use struct {
	requests int
	since    time.Time // when the last one ended, or the connection was accepted
	asked    bool      // there was one
}

// grace is how long a connection has for its first request before it may have to make place for another one.
const grace = time.Second

// idle reports whether a connection that is to make place can be this one.
func (u *use) idle(now time.Time) bool {
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
		log = hclog.NewNullLogger()
	}
	s := &Server{listener: l, backend: b, options: o, log: log, slots: make(chan struct{}, o.MaxConns)}
	s.mu.conns = map[*net.UnixConn]*use{}
	return s
}

// Run serves until ctx ends. Then it removes the socket, ends the waiting of the requests at hand, sends
// what answers there are, and returns when no goroutine of its own is left. It returns an error only if
// it can accept no more connections.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() }) // the accept below tells
	defer stop()

	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	for {
		if s.options.Allow != nil && !s.options.Allow() {
			s.closeIdlest() // it gives back a descriptor
		}
		conn, err := s.listener.ln.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if isTransient(err) {
				// Without a pause this would spin until a descriptor is free.
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
			_ = conn.Close() // it gets no reason: it has no business here
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

// admit finds a place for a connection. Idle connections must not keep out a person who wants to look, or to stop the
// kernel: the one that has asked for nothing the longest makes place.
func (s *Server) admit(conn *net.UnixConn) bool {
	select {
	case s.slots <- struct{}{}:
	default:
		if !s.closeIdlest() {
			return false
		}
		s.slots <- struct{}{} // its goroutine has nothing to wait for
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
	for conn, u := range s.mu.conns { // the oldest one: in any order
		if u.idle(now) && (idlest == nil || u.since.Before(since)) {
			idlest, since = conn, u.since
		}
	}
	if idlest == nil {
		return false
	}
	s.log.Warn("closed an idle connection, to make place", "idle", time.Since(since).Round(time.Millisecond))
	delete(s.mu.conns, idlest)
	_ = idlest.Close() // its goroutines see it
	return true
}

// count notes that requests have begun or, if n is negative, ended on a connection.
func (s *Server) count(conn *net.UnixConn, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.mu.conns[conn]; u != nil { // else it was closed
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

// refuse tells a peer that it is one too many. The line fits the buffer of a fresh socket, so that this
// does not wait for the peer.
func (s *Server) refuse(conn *net.UnixConn) {
	s.log.Warn("refused a connection: too many")
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	line := appendError(nil, nil, Errorf(capdata.CodeLimit, "the kernel serves %d connections already", s.options.MaxConns))
	_, _ = conn.Write(line) // a courtesy
	_ = conn.Close()
}
