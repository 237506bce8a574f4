package ioservice

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"

	"ocapkernel.dev/internal/fault"
)

// Options are the parts that a channel gets from its owner.
type Options struct {
	// Dir is the directory in which a socket without a path is made, as Name.sock. Only the owner may enter it.
	Dir string
	// State is the state that was stored last for the channel; nil if it is new.
	State []byte
	// Commit makes state durable and then calls then, which does not block, from any goroutine. It is called
	// when a client connects, before any byte is read from the client. Nil keeps no state.
	Commit func(state []byte, then func())
	// Stdin and Stdout are the console. A read of an *os.File ends when the channel is closed; a read of
	// another reader, or a write to another writer, that is under way then is left behind.
	Stdin  io.Reader
	Stdout io.Writer
	// Allow reports whether the process can spare the descriptor of one more connection. While it cannot,
	// connections wait in the operating system. Nil allows any number. Allow may be called from any goroutine.
	Allow func() bool
	// Log gets warnings for the operator; nil logs nothing.
	Log *slog.Logger
}

// Channel is an open channel. It is a [Stream] itself.
type Channel struct {
	Stream
	commit func(state []byte, then func())
	allow  func() bool
	warner warner
	// socket and listener are set if clients connect to the channel.
	socket   *socketFile
	listener net.Listener
	unlisten sync.Once

	// accepts and streams are guarded by the mu of the stream.
	accepts []*pendingAccept
	streams map[*Stream]struct{}
}

// Open opens a channel: it binds the socket or opens the file. Connections are made and accepted later. An
// error describes the fault and the way to mend it; then nothing is left behind.
func Open(cfg Config, o Options) (*Channel, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Commit == nil {
		o.Commit = func(_ []byte, then func()) { then() }
	}
	if o.Allow == nil {
		o.Allow = func() bool { return true }
	}
	c := &Channel{commit: o.Commit, allow: o.Allow, warner: warner{log: o.Log}, streams: make(map[*Stream]struct{})}
	switch cfg.Type {
	case File, Console:
		err = c.openLazy(cfg, o)
	default:
		err = c.openConnected(cfg, o)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// openLazy opens a file or a console.
func (c *Channel) openLazy(cfg Config, o Options) error {
	var l link
	if cfg.Type == File {
		at, err := cfg.parsePlace(o.State)
		if err != nil {
			return err
		}
		f, other, err := openFile(cfg, at)
		if err != nil {
			return err
		}
		l = f
		c.prepare(cfg, o.Log)
		c.file = f
		c.mu.base, c.mu.input.skipping = f.offset, at.skipping && other == nil
		if other != nil {
			c.tellOther(other)
		}
	} else {
		console, err := openConsole(cfg, o)
		if err != nil {
			return err
		}
		l = console
		c.prepare(cfg, o.Log)
	}
	c.lazy = true
	p := &peer{link: l}
	c.mu.peer = p
	c.work.Go(func() { c.run(p) })
	return nil
}

// openConnected opens a channel with connections.
func (c *Channel) openConnected(cfg Config, o Options) error {
	lost, err := cfg.parseConnected(o.State)
	if err != nil {
		return err
	}
	switch cfg.Type {
	case Socket:
		if c.socket, err = listenSocket(cfg, o.Dir); err == nil {
			c.listener = c.socket.listener
		}
	case Listen:
		c.listener, err = listenTCP(cfg)
	}
	if err != nil {
		return err
	}
	ctx := c.prepare(cfg, o.Log)
	if lost && cfg.reads() {
		gone := cfg.fail(ErrConnectionLost, ": the other end of an earlier process is gone")
		c.mu.tail = &result{unit: Unit{State: []byte(stateIdle)}, err: gone}
	}
	if cfg.Type == Network {
		c.work.Go(func() { c.connect(ctx) })
		return nil
	}
	c.work.Go(func() { c.listen() })
	c.work.Go(c.serve)
	return nil
}

// Addr returns the place to which clients connect: the path of a socket, the address of a port. It is "" for
// other channels.
func (c *Channel) Addr() string {
	switch {
	case c.socket != nil:
		return c.socket.path
	case c.listener != nil:
		return c.listener.Addr().String()
	}
	return ""
}

// Configure changes the bound of a unit and the time of a write, for all later reads and writes, also those of
// the streams that the channel has accepted. All other fields of cfg must be as they were: else Configure
// returns an error and changes nothing.
func (c *Channel) Configure(cfg Config) error {
	cfg, err := cfg.filled()
	if err != nil {
		return err
	}
	same := cfg
	same.MaxUnitBytes, same.WriteTime = c.cfg.MaxUnitBytes, c.cfg.WriteTime
	if same != c.cfg {
		return fmt.Errorf("channel %q: only the bound of a unit and the time of a write can be changed", c.cfg.Name)
	}
	c.mu.Lock()
	streams := slices.Collect(maps.Keys(c.streams)) // in any order
	c.heed(cfg)
	c.mu.Unlock()
	for _, s := range streams { // one lock at a time
		s.mu.Lock()
		s.heed(cfg)
		s.mu.Unlock()
	}
	return nil
}

// heed applies the fields that Configure changes. Bytes that have arrived may be a unit now, or too long. The
// caller holds mu.
func (s *Stream) heed(cfg Config) {
	s.mu.input.cfg, s.mu.writeTime = cfg, cfg.WriteTime
	s.settle()
}

// current returns the config that holds now. The caller holds mu.
func (s *Stream) current() Config { return s.mu.input.cfg }

// Close ends the channel, as [Stream.Close] does, and all streams that it accepted. It removes the file of its
// socket if the file is still this channel's, and returns the error of that.
func (c *Channel) Close() error {
	c.shut()
	c.mu.Lock()
	streams := make([]*Stream, 0, len(c.streams))
	for s := range c.streams {
		streams = append(streams, s)
	}
	c.failAccepts()
	c.mu.Unlock()
	for _, s := range streams {
		s.shut()
	}
	var err error
	c.unlisten.Do(func() {
		if c.socket != nil {
			err = c.socket.remove()
		}
		if c.listener != nil {
			_ = c.listener.Close() // the accept that waits returns the error
		}
	})
	for _, s := range streams {
		s.finished()
	}
	c.finished()
	fault.Point(fault.ChannelClosed)
	c.warner.close()
	return err
}

// mark returns once it is durable that there is a peer, or the channel is closed. No byte is read from the peer
// or written to it before.
func (c *Channel) mark(p *peer) {
	if !c.cfg.reads() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.call(func() {
		c.commit([]byte(stateConnected), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			p.marked = true
			c.mu.changed.Broadcast()
		})
	})
	for !c.mu.closed && !p.marked {
		c.mu.changed.Wait()
	}
}
