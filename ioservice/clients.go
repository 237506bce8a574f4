package ioservice

import (
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
)

type pendingAccept struct {
	done func(*Stream, error)
}

// Accept calls done with the next connection, as a stream of its own. Connections go to accepts in the order of
// their calls; without an accept they wait in a queue of the operating system, which is bounded. Besides the
// errors of [Stream.Read] but for those about units, done gets [ErrUse] if the channel accepts no connections
// or is read and written itself. cancel withdraws the accept, like that of Read.
//
// The caller closes the stream; the channel's Close does it too.
func (c *Channel) Accept(done func(*Stream, error)) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.admitAccept(); err != nil {
		return c.refuse(err, func(err error) { done(nil, err) })
	}
	accept := &pendingAccept{done}
	c.accepts = append(c.accepts, accept)
	c.handOut()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.accepts, accept); i >= 0 {
			c.accepts = slices.Delete(c.accepts, i, i+1)
			err := c.cfg.fail(ErrCanceled, ": the accept was withdrawn")
			c.call(func() { done(nil, err) })
		}
	}
}

// admitAccept returns the reason why an accept is refused, or nil. The caller holds mu.
func (c *Channel) admitAccept() error {
	switch {
	case c.mu.closed:
		return c.cfg.fail(ErrClosed, " is closed")
	case !c.cfg.accepts():
		return c.cfg.fail(ErrUse, " accepts no connections: its type is %s, and not socket or listen", c.cfg.Type)
	case c.mu.use == useDirect:
		return c.cfg.fail(ErrUse, " is read and written itself: use another channel to accept connections")
	case len(c.accepts) == maxReads:
		return c.cfg.fail(ErrLimit, ": %d accepts wait already: wait for one of them", maxReads)
	}
	if c.mu.use == useOpen && c.mu.tail != nil {
		// The channel is not read itself: no read will report that the client of an earlier process is gone.
		c.mu.tail = nil
		c.call(func() { c.commit([]byte(stateIdle), func() {}) })
	}
	c.mu.use = useAccepts
	return nil
}

// failAccepts ends all accepts because the channel is closed. The caller holds mu.
func (c *Channel) failAccepts() {
	err := c.cfg.fail(ErrClosed, " is closed")
	for _, a := range c.accepts {
		c.call(func() { a.done(nil, err) })
	}
	c.accepts = nil
}

// handOut gives the connection that waits to the first accept. The caller holds mu.
func (c *Channel) handOut() {
	c.mu.changed.Broadcast()
	if c.mu.closed || c.mu.use != useAccepts || c.mu.candidate == nil || len(c.accepts) == 0 {
		return
	}
	p, accept := c.mu.candidate, c.accepts[0]
	c.mu.candidate = nil
	c.accepts = slices.Delete(c.accepts, 0, 1)
	s := &Stream{single: true}
	s.prepare(c.current(), c.log)
	s.mu.peer = p
	s.leave = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.streams, s)
		c.mu.changed.Broadcast() // there is room for another one
	}
	fault.Point(fault.ConnectionHandedOut)
	c.streams[s] = struct{}{}
	s.work.Go(func() { s.run(p) })
	c.call(func() { accept.done(s, nil) })
}

// acceptPause is the wait after a connection that could not be accepted.
const acceptPause = 100 * time.Millisecond

// listen accepts connections while there is a use for them, until the channel is closed.
func (c *Channel) listen() {
	said := false
	for c.awaitDemand() {
		if !c.allow() {
			if !said {
				c.warner.warn("no connection is accepted: the kernel keeps its last descriptors for itself", "channel", c.cfg.Name)
			}
			said = true
			c.sleep(acceptPause)
			continue
		}
		said = false
		conn, err := c.listener.Accept()
		fault.Point(fault.Connected)
		if err == nil {
			c.connected(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// No descriptors, most likely. Without a pause this would spin until there are some.
		c.warner.warn("cannot accept a connection", "channel", c.cfg.Name, "err", err)
		c.sleep(acceptPause)
	}
}

// awaitDemand waits until a connection may be accepted. It returns false if the channel is closed.
//
// Before the first use of the channel one connection is accepted, for that use. Where clients are served one by
// one, all connections are accepted, so that clients beyond the first get an answer. But none is accepted while
// one client is about to take the place of another: the next one is judged by the client that is served then,
// which may have gone already.
func (c *Channel) awaitDemand() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.mu.closed {
		switch {
		case c.mu.use == useDirect && !c.isReplacing():
			return true
		case c.mu.use != useDirect && c.mu.candidate == nil && (c.mu.use == useOpen || len(c.accepts) > 0 && len(c.streams) < maxStreams):
			return true
		}
		c.mu.changed.Wait()
	}
	return false
}

// isReplacing reports whether serve is about to make the candidate the peer: serve only has to run for that.
// The caller holds mu.
func (c *Channel) isReplacing() bool {
	return c.mu.candidate != nil && c.mu.tail == nil && (c.mu.peer == nil || c.over(c.mu.peer))
}

// connected finds a place for a connection, or refuses it.
func (c *Channel) connected(conn net.Conn) {
	c.mu.Lock()
	switch {
	case c.mu.closed:
		c.mu.Unlock()
		_ = conn.Close() // the connection was not used
		return
	case c.mu.use != useDirect || c.mu.candidate == nil && c.replaceable(c.mu.peer):
		c.mu.candidate = &peer{link: newConnection(conn)}
		c.handOut()
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.warner.warn("refused a second client", "channel", c.cfg.Name, "from", conn.RemoteAddr().String())
	// The line fits the buffer of a fresh connection, so that the write does not wait for the peer.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte("channel " + c.cfg.Name + " serves another client\n")) // a courtesy
	_ = conn.Close()
}

// serve serves the clients of a channel that is read and written itself, one by one.
func (c *Channel) serve() {
	for {
		c.mu.Lock()
		for !c.mu.closed && (c.mu.use != useDirect || c.mu.tail != nil || c.mu.candidate == nil) {
			c.mu.changed.Wait()
		}
		if c.mu.closed {
			c.mu.Unlock()
			return
		}
		p := c.mu.candidate
		c.mu.candidate, c.mu.peer = nil, p
		c.mu.changed.Broadcast() // the next connection may be accepted
		c.mu.Unlock()
		c.mark(p)
		c.run(p)
	}
}

// replaceable reports whether a peer is gone, or may be gone as far as this end can tell: then the next client
// may wait until the vat has read the peer's end. The caller holds mu.
func (s *Stream) replaceable(p *peer) bool {
	if p == nil || p.gone {
		return true
	}
	conn, ok := p.link.(*connection)
	if !ok {
		return false
	}
	return conn.Gone() || s.cfg.Type == Listen && conn.events()&unix.POLLRDHUP != 0
}

// displaced reports whether a peer that will send no more makes place for the next client. The caller holds mu.
func (s *Stream) displaced(p *peer) bool {
	return s.mu.candidate != nil && s.replaceable(p) && (!s.cfg.reads() || len(s.mu.reads) > 0)
}
