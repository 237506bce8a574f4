package ioservice

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A connection is a link over a Unix socket or TCP.
type connection struct {
	net.Conn
	raw syscall.RawConn
}

func newConnection(conn net.Conn) *connection {
	c := &connection{Conn: conn}
	if s, ok := conn.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // fails only for a closed connection
	}
	return c
}

// Interrupt closes the connection.
func (c *connection) Interrupt() {
	_ = c.Conn.Close() // reads and writes return the error
}

// Linger waits until the peer has closed its end altogether, as far as the network tells. The runtime wakes it
// when that happens, and at every other event of the descriptor.
func (c *connection) Linger() {
	if c.raw == nil {
		return
	}
	_ = c.raw.Read(func(fd uintptr) bool { return poll(fd)&(unix.POLLHUP|unix.POLLERR) != 0 }) // fails when it is closed
}

// Gone reports whether the peer has closed its end altogether.
func (c *connection) Gone() bool {
	return c.events()&(unix.POLLHUP|unix.POLLERR) != 0
}

// events returns the events that poll reports for the connection now; POLLHUP if it is closed.
func (c *connection) events() int16 {
	events := int16(unix.POLLHUP)
	if c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) { events = poll(fd) }) // fails when it is closed
	}
	return events
}

func poll(fd uintptr) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return 0 // an interruption: the caller polls again later
	}
	return fds[0].Revents
}
