package ioservice_test

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/ioservice"
)

// A listener is somewhere to connect to.
type listener struct {
	net.Listener
	t *testing.T
}

func listenTCP(t *testing.T) *listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &listener{l, t}
}

// next accepts a connection; the channel then gives it as often as it is asked.
func (l *listener) next() <-chan *client {
	ch := make(chan *client)
	done := make(chan struct{})
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			select {
			case ch <- &client{conn, l.t}:
			case <-done:
				return
			}
		}
	}()
	l.t.Cleanup(func() {
		_ = l.Close()
		close(done)
		<-exited
	})
	return ch
}

func TestNetworkConnectsWhenUsed(t *testing.T) {
	l := listenTCP(t)
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	v.wrote("hello")
	c := receive(t, l.next())
	c.hear("hello\n")
	c.say("hi\n")
	v.read().want("hi")
}

func TestNetworkConnectsAgainAfterTheEnd(t *testing.T) {
	l := listenTCP(t)
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	for range 3 {
		first, second := v.read(), v.read()
		c := receive(t, l.next())
		c.say("one\n")
		_ = c.Close()
		first.want("one")
		second.wantEnd()

		v.wrote("again") // to a new connection, and not to the one that ended
		c = receive(t, l.next())
		c.hear("again\n")
		_ = c.Close()
		v.read().wantEnd()
	}
	if diff := cmp.Diff([]string{"connected", "idle", "connected", "idle"}, v.k.stored()[:4]); diff != "" {
		t.Errorf("stored states (-want +got):\n%s", diff)
	}
}

func TestNetworkTellsAResetFromAnEnd(t *testing.T) {
	l := listenTCP(t)
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	read := v.read()
	c := receive(t, l.next())
	c.say("one\n")
	read.want("one")
	read = v.read()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	read.wantError(ioservice.ErrConnectionLost)
	if diff := cmp.Diff([]string{"connected", "idle"}, v.k.stored()); diff != "" {
		t.Errorf("stored states (-want +got):\n%s", diff)
	}
	read = v.read()
	c = receive(t, l.next())
	c.say("again\n")
	read.want("again")
}

func TestNetworkWithNobodyThere(t *testing.T) {
	l := listenTCP(t)
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	_ = l.Close()
	t.Log(v.wantWriteError("x", ioservice.ErrNoPeer))
	v.read().wantError(ioservice.ErrNoPeer)
}

// silent is an address that does not answer: so many connections wait there that more are ignored.
func silent(t *testing.T) string {
	t.Helper()
	l := listenTCP(t)
	raw, err := l.Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { _ = unix.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l.Addr().String()
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("it still answers")
	return ""
}

func TestNetworkGivesUpConnectingAfterTheWriteTime(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: silent(t), WriteTime: 50 * time.Millisecond})
	read := v.read()
	v.wantWriteError("x", ioservice.ErrNoPeer)
	read.wantError(ioservice.ErrNoPeer)
}

func TestCloseDoesNotWaitForAConnection(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: silent(t), WriteTime: time.Hour})
	read, write := v.read(), v.write("x")
	_ = v.Close()
	read.wantError(ioservice.ErrClosed)
	wantKind(t, receive(t, write), ioservice.ErrClosed)
}

func TestNetworkPeerThatSaysNoMoreGetsWhatWaits(t *testing.T) {
	l := listenTCP(t)
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	read := v.read()
	c := receive(t, l.next())
	c.closeWrite()
	read.wantEnd()
	if got := c.hearAll(); got != "" {
		t.Errorf("got %q, want the end: there is nothing more to say", got)
	}
}

func TestNetworkAfterADeath(t *testing.T) {
	l := listenTCP(t)
	k := newKernel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	v := k.open()
	read := v.read()
	receive(t, l.next()).say("one\n")
	read.want("one")
	_ = v.Close()

	v = k.open()
	v.wantWriteError("x", ioservice.ErrConnectionLost)
	v.read().wantError(ioservice.ErrConnectionLost)
	v.wrote("y")
	receive(t, l.next()).hear("y\n")
}
