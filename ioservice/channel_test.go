package ioservice_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ocapkernel.dev/ioservice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for a result that must come.
const patience = 20 * time.Second

// A kernel stores the state of one channel, as the kernel does, and opens it again after a death.
type kernel struct {
	t    *testing.T
	cfg  ioservice.Config
	dir  string
	opts ioservice.Options

	mu struct {
		sync.Mutex
		states []string
	}
}

func newKernel(t *testing.T, cfg ioservice.Config) *kernel {
	t.Helper()
	// Short, as a socket's path must be.
	dir, err := os.MkdirTemp("", "io")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if cfg.Name == "" {
		cfg.Name = "c"
	}
	if cfg.Type == ioservice.Listen && cfg.HostPort == "" {
		cfg.HostPort = "127.0.0.1:0"
	}
	return &kernel{t: t, cfg: cfg, dir: dir}
}

func (k *kernel) store(state []byte) {
	if state != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.mu.states = append(k.mu.states, string(state))
	}
}

func (k *kernel) stored() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.mu.states)
}

// open opens the channel with the state that was stored last.
func (k *kernel) open() *vat {
	k.t.Helper()
	o := k.opts
	o.Dir = k.dir
	if states := k.stored(); len(states) > 0 {
		o.State = []byte(states[len(states)-1])
	}
	if o.Commit == nil {
		o.Commit = func(state []byte, then func()) { k.store(state); then() }
	}
	c, err := ioservice.Open(k.cfg, o)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close() })
	return &vat{k: k, t: k.t, Channel: c, s: &c.Stream}
}

// A vat reads and writes a stream, and waits for the results.
type vat struct {
	*ioservice.Channel
	k *kernel
	t *testing.T
	s *ioservice.Stream
}

func openChannel(t *testing.T, cfg ioservice.Config) *vat {
	t.Helper()
	return newKernel(t, cfg).open()
}

type outcome struct {
	unit ioservice.Unit
	err  error
}

// pending is a result that was asked for, and comes some time.
type pending struct {
	t      *testing.T
	ch     chan outcome
	cancel func()
}

func (p *pending) wait() (ioservice.Unit, error) {
	p.t.Helper()
	return receive(p.t, p.ch).unwrap()
}

func (o outcome) unwrap() (ioservice.Unit, error) { return o.unit, o.err }

func (p *pending) want(value string) {
	p.t.Helper()
	if u, err := p.wait(); err != nil || u.End || u.Value != value {
		p.t.Fatalf("got %+v, %v, want unit %.60q", u, err, value)
	}
}

func (p *pending) wantEnd() {
	p.t.Helper()
	if u, err := p.wait(); err != nil || !u.End {
		p.t.Fatalf("got %.80v, %v, want the end", u, err)
	}
}

func (p *pending) wantError(kind error) error {
	p.t.Helper()
	u, err := p.wait()
	wantKind(p.t, err, kind)
	if u.Value != "" || u.End {
		p.t.Errorf("got %+v with %v", u, err)
	}
	return err
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %v", err, kind)
	}
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("it never came")
	}
	panic("unreachable")
}

// read asks for a unit.
func (v *vat) read() *pending {
	p := &pending{t: v.t, ch: make(chan outcome, 2)}
	p.cancel = v.s.Read(func(u ioservice.Unit, err error) {
		v.k.store(u.State)
		p.ch <- outcome{u, err}
	})
	return p
}

// write asks to write a unit.
func (v *vat) write(data string) <-chan error {
	ch := make(chan error, 2)
	v.s.Write(data, func(err error) { ch <- err })
	return ch
}

func (v *vat) wrote(data string) {
	v.t.Helper()
	if err := receive(v.t, v.write(data)); err != nil {
		v.t.Fatalf("write: %v", err)
	}
}

func (v *vat) wantWriteError(data string, kind error) error {
	v.t.Helper()
	err := receive(v.t, v.write(data))
	wantKind(v.t, err, kind)
	return err
}

// accept asks for a stream.
func (v *vat) accept() (<-chan *vat, func()) {
	ch := make(chan *vat, 2)
	cancel := v.Accept(func(s *ioservice.Stream, err error) {
		if err != nil {
			close(ch)
			return
		}
		ch <- &vat{k: v.k, t: v.t, s: s}
	})
	return ch, cancel
}

// A client is the other end of a connection.
type client struct {
	net.Conn
	t *testing.T
}

func (v *vat) dial() *client {
	v.t.Helper()
	network := "tcp"
	if v.k.cfg.Type == ioservice.Socket {
		network = "unix"
	}
	conn, err := net.Dial(network, v.Addr())
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = conn.Close() })
	return &client{conn, v.t}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads as much as the text has, and compares.
func (c *client) hear(text string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		c.t.Fatalf("client got %q, %v, want %q", got[:n], err, text)
	}
}

// hearAll reads to the end.
func (c *client) hearAll() string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(c)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(got)
}

func (c *client) closeWrite() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// pair opens a channel that serves a client, which said hello.
func pair(t *testing.T, cfg ioservice.Config) (*vat, *client) {
	t.Helper()
	v := openChannel(t, cfg)
	c := v.dial()
	c.say("hello\n")
	v.read().want("hello")
	return v, c
}

// served are the types that others connect to.
func served(t *testing.T, f func(t *testing.T, cfg ioservice.Config)) {
	for _, typ := range []ioservice.Type{ioservice.Socket, ioservice.Listen} {
		t.Run(string(typ), func(t *testing.T) { f(t, ioservice.Config{Type: typ}) })
	}
}

func TestOpenSaysWhatIsWrongWithAConfig(t *testing.T) {
	for name, cfg := range map[string]ioservice.Config{
		"no name":            {Type: ioservice.Socket},
		"slash in name":      {Name: "../x", Type: ioservice.Socket},
		"unknown type":       {Name: "c", Type: "carrier pigeon"},
		"unknown direction":  {Name: "c", Type: ioservice.Socket, Direction: "up"},
		"unknown unit":       {Name: "c", Type: ioservice.Socket, Unit: "page"},
		"huge unit":          {Name: "c", Type: ioservice.Socket, MaxUnitBytes: 1 << 30},
		"negative unit":      {Name: "c", Type: ioservice.Socket, MaxUnitBytes: -1},
		"negative time":      {Name: "c", Type: ioservice.Socket, WriteTime: -1},
		"path of a listener": {Name: "c", Type: ioservice.Listen, Path: "/x", HostPort: "127.0.0.1:0"},
		"hostport of a file": {Name: "c", Type: ioservice.File, Path: "/x", HostPort: "127.0.0.1:0"},
		"zero in path":       {Name: "c", Type: ioservice.File, Path: "/x\x00y"},
		"file without path":  {Name: "c", Type: ioservice.File},
		"no port":            {Name: "c", Type: ioservice.Listen, HostPort: "127.0.0.1"},
		"port too large":     {Name: "c", Type: ioservice.Listen, HostPort: "127.0.0.1:65536"},
		"no host to dial":    {Name: "c", Type: ioservice.Network, HostPort: ":80"},
		"port 0 to dial":     {Name: "c", Type: ioservice.Network, HostPort: "127.0.0.1:0"},
		"no input":           {Name: "c", Type: ioservice.Console, Direction: ioservice.In},
		"no output":          {Name: "c", Type: ioservice.Console, Direction: ioservice.Out},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := ioservice.Open(cfg, ioservice.Options{Dir: t.TempDir()}); err == nil {
				_ = c.Close()
				t.Fatal("it was opened")
			} else {
				t.Log(err)
			}
		})
	}
}

func TestOpenRefusesStateOfAnotherType(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	for name, c := range map[string]struct {
		cfg   ioservice.Config
		state string
	}{
		"socket":   {ioservice.Config{Name: "c", Type: ioservice.Socket}, "at 12"},
		"file":     {ioservice.Config{Name: "c", Type: ioservice.File, Path: file}, "connected"},
		"negative": {ioservice.Config{Name: "c", Type: ioservice.File, Path: file}, "at -12"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c, err := ioservice.Open(c.cfg, ioservice.Options{Dir: dir, State: []byte(c.state)}); err == nil {
				_ = c.Close()
				t.Fatal("it was opened")
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("got %v, %v, want nothing left behind", left, err)
			}
		})
	}
}
