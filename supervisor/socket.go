package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// pluginSocket is the socket on which a plugin listens. It is in a directory that was made for it, and that is removed when the
// kernel has connected. The kernel connects to it once.
//
// The address that a worker announces is not trusted. With a path that leads elsewhere, the kernel would talk to a foreign
// process in its own name, so the connection is used only if the process that listens is of the worker's own session.
type pluginSocket struct {
	dir string

	mu struct {
		sync.Mutex
		name    string // of the socket in dir, as announced
		worker  int    // the worker's process
		conn    *pluginConn
		aborted bool
	}
}

// announce notes the address of a handshake, and refuses one that is not in the directory.
func (s *pluginSocket) announce(network, address string, worker int) error {
	dir, name := filepath.Split(address)
	switch {
	case network != "unix":
		return fmt.Errorf("it listens on %s %q, and is to listen on a unix socket in the directory that PLUGIN_UNIX_SOCKET_DIR names", network, clean(address, 200))
	case filepath.Clean(dir) != s.dir || name == "":
		return fmt.Errorf("it listens at %q, and is to listen in the directory that PLUGIN_UNIX_SOCKET_DIR names, %s", clean(address, 200), s.dir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.name, s.mu.worker = name, worker
	return nil
}

// announced reports whether the worker is a plugin that listens.
func (s *pluginSocket) announced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.name != ""
}

// dial is called by gRPC, which would call it again after the connection was lost.
func (s *pluginSocket) dial(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.aborted || s.mu.conn != nil {
		return nil, errors.New("there is no second connection")
	}
	conn, err := dialSocket(ctx, filepath.Join(s.dir, s.mu.name), s.mu.worker)
	if err != nil {
		s.mu.aborted = true
		return nil, err
	}
	s.mu.conn = &pluginConn{Conn: conn, frames: rate.NewLimiter(controlFramesPerSec, controlFramesAtOnce)}
	return s.mu.conn, nil
}

// dialSocket connects to the socket at path, if it is one, and a process of the worker's session listens.
func dialSocket(ctx context.Context, path string, worker int) (*net.UnixConn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket of the plugin: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("what the plugin has named is no socket")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("socket of the plugin: %w", err)
	}
	conn := c.(*net.UnixConn)
	if err := checkPeer(conn, worker); err != nil {
		_ = conn.Close() // nothing was written to it
		return nil, err
	}
	return conn, nil
}

// checkPeer refuses a connection to a process that is neither the worker nor in its session.
func checkPeer(conn *net.UnixConn, worker int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	if err := errors.Join(raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}), err); err != nil {
		return fmt.Errorf("who listens on the socket of the plugin: %w", err)
	}
	if int(peer.Pid) == worker {
		return nil
	}
	if p, err := readStat(int(peer.Pid)); err == nil && p.session == worker {
		return nil
	}
	return errors.New("it is not the plugin that listens on the socket that it has named")
}

// connection returns the connection that was made, and nil if none was.
func (s *pluginSocket) connection() *pluginConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.conn
}

// abort closes the connection, and lets no further one be made.
func (s *pluginSocket) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.aborted = true
	if s.mu.conn != nil {
		_ = s.mu.conn.Close()
	}
}

// remove removes the directory. A connection that was made goes on.
func (s *pluginSocket) remove() { _ = os.RemoveAll(s.dir) } // if this fails, Supervisor.Close removes the directory

// pluginConn is the connection to a plugin. It follows the frames of HTTP/2 that it reads, for two things that gRPC leaves
// open: how much a worker may say beside its data, and how often it may have gRPC write to the kernel's standard error.
type pluginConn struct {
	net.Conn
	frames *rate.Limiter
	over   atomic.Bool // the other end has ended the connection
	goAway bool
	// Where the bytes end that were read: in the header of a frame, of which have bytes are there, or before skip bytes of
	// its payload.
	header [frameHeaderBytes]byte
	have   int
	skip   int
}

const (
	frameHeaderBytes = 9
	dataFrame        = 0
	goAwayFrame      = 7

	// Frames beside data that a worker may send: far more than there are cranks. Beyond it the worker waits.
	controlFramesPerSec = 20_000
	controlFramesAtOnce = 10_000
)

// Read is part of being a [net.Conn]. A GOAWAY is the end: nothing but the one call is ever made, and gRPC writes a line
// to standard error for each GOAWAY of a certain kind.
func (c *pluginConn) Read(b []byte) (int, error) {
	if c.goAway {
		c.over.Store(true)
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	n, others := c.follow(b[:n])
	if c.goAway && n == 0 {
		err = io.EOF
	}
	for others > 0 {
		some := min(others, controlFramesAtOnce)
		_ = c.frames.WaitN(context.Background(), some) // half a second at most, so there is nothing to cancel
		others -= some
	}
	if err != nil {
		c.over.Store(true)
	}
	return n, err
}

// follow returns how many of the bytes come before a GOAWAY, and how many frames begin in them that carry no data.
func (c *pluginConn) follow(b []byte) (n, others int) {
	for i := 0; i < len(b); {
		if c.skip > 0 {
			k := min(c.skip, len(b)-i)
			c.skip -= k
			i += k
			continue
		}
		c.header[c.have] = b[i]
		c.have++
		i++
		if c.have < frameHeaderBytes {
			continue
		}
		c.have = 0
		c.skip = int(c.header[0])<<16 | int(c.header[1])<<8 | int(c.header[2])
		switch kind := c.header[3]; {
		case kind == goAwayFrame:
			c.goAway = true
			return max(i-frameHeaderBytes, 0), others
		case kind != dataFrame || c.skip == 0:
			others++
		}
	}
	return len(b), others
}

// ended reports whether the other end has ended the connection.
func (c *pluginConn) ended() bool { return c.over.Load() }
