package ioservice

import (
	"context"
	"net"
)

// connect serves a network channel: it connects when somebody wants to read or write, and again when the
// vat has read the end of that.
func (c *Channel) connect(ctx context.Context) {
	for {
		c.mu.Lock()
		for !c.mu.closed && (c.mu.tail != nil || len(c.mu.reads) == 0 && len(c.mu.writes) == 0) {
			c.mu.changed.Wait()
		}
		closed := c.mu.closed
		c.mu.Unlock()
		if closed {
			return
		}
		dialer := net.Dialer{Timeout: c.cfg.WriteTime}
		conn, err := dialer.DialContext(ctx, "tcp", c.cfg.HostPort)
		c.mu.Lock()
		if c.mu.closed {
			c.mu.Unlock()
			if err == nil {
				_ = conn.Close() // nobody used it
			}
			return
		}
		if err != nil {
			err := c.cfg.fail(ErrNoPeer, ": connect to %s: %v", c.cfg.HostPort, err)
			c.failReads(err)
			c.failWrites(err)
			c.mu.Unlock()
			continue
		}
		p := &peer{link: newConnection(conn)}
		c.mu.peer = p
		c.mu.Unlock()
		c.mark(p)
		c.run(p)
	}
}
