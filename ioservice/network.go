package ioservice

import (
	"context"
	"net"
	"time"
)

// shortest is the least duration of a connection that counts as useful although no input came from it.
const shortest = time.Second

// connect serves a network channel: it connects when there is a read or a write, and again when the vat has
// read the end of the connection. Between two attempts there is a pause, which grows as long as the connections
// are of no use.
func (c *Channel) connect(ctx context.Context) {
	for {
		c.mu.Lock()
		for !c.mu.closed && (c.mu.tail != nil || len(c.mu.reads) == 0 && len(c.mu.writes) == 0) {
			c.mu.changed.Wait()
		}
		closed, writeTime := c.mu.closed, c.mu.writeTime
		c.mu.Unlock()
		if closed {
			return
		}
		if c.pause() {
			continue
		}
		if !c.allow() {
			c.mu.Lock()
			c.mu.pace.Next(time.Now())
			err := c.cfg.fail(ErrLimit, ": the kernel keeps its last descriptors for itself: try again when other connections have ended")
			c.failReads(err)
			c.failWrites(err)
			c.mu.Unlock()
			continue
		}
		dialer := net.Dialer{Timeout: writeTime}
		conn, err := dialer.DialContext(ctx, "tcp", c.cfg.HostPort)
		c.mu.Lock()
		if c.mu.closed {
			c.mu.Unlock()
			if err == nil {
				_ = conn.Close() // the connection was not used
			}
			return
		}
		if err != nil {
			c.mu.pace.Next(time.Now())
			err := c.cfg.fail(ErrNoPeer, ": connect to %s: %v", c.cfg.HostPort, err)
			c.failReads(err)
			c.failWrites(err)
			c.mu.Unlock()
			continue
		}
		p := &peer{link: newConnection(conn)}
		c.mu.peer = p
		c.mu.Unlock()
		since := time.Now()
		c.mark(p)
		c.run(p)
		c.mu.Lock()
		if time.Since(since) >= shortest {
			c.mu.pace.Reset()
		}
		c.mu.pace.Next(time.Now())
		c.mu.Unlock()
	}
}
