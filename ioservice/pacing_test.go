package ioservice_test

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"ocapkernel.dev/ioservice"
)

// loop reads again and again, as the loop in docs/io.md does, and returns how often it came round in a second.
func loop(t *testing.T, read func(done func(ioservice.Unit, error)) func()) int64 {
	t.Helper()
	var rounds atomic.Int64
	var again func()
	over := make(chan struct{})
	again = func() {
		read(func(ioservice.Unit, error) {
			select {
			case <-over:
				return
			default:
			}
			rounds.Add(1)
			again()
		})
	}
	again()
	<-time.After(time.Second)
	close(over)
	return rounds.Load()
}

func TestWhatSaysNothingNewIsToldAtGrowingIntervals(t *testing.T) {
	cases := map[string]func(t *testing.T) *vat{
		"a console without input": func(t *testing.T) *vat {
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = null.Close() })
			k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In})
			k.opts.Stdin = null
			return k.open()
		},
		"a pipe that is closed": func(t *testing.T) *vat {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			t.Cleanup(func() { _ = r.Close() })
			k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In})
			k.opts.Stdin = r
			return k.open()
		},
		"a file at its end": func(t *testing.T) *vat {
			return fileKernel(t, ioservice.Config{Direction: ioservice.In}, "").open()
		},
		"a file whose path a directory has": func(t *testing.T) *vat {
			k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "")
			v := k.open()
			if err := errors.Join(os.Remove(k.cfg.Path), os.Mkdir(k.cfg.Path, 0o700)); err != nil {
				t.Fatal(err)
			}
			return v
		},
		"a peer that refuses": func(t *testing.T) *vat {
			l := listenTCP(t)
			_ = l.Close()
			return openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
		},
		"a peer that closes at once": func(t *testing.T) *vat {
			l := listenTCP(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_ = conn.Close()
				}
			}()
			t.Cleanup(func() { _ = l.Close(); <-done })
			return openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
		},
		"a connection that has ended": func(t *testing.T) *vat {
			v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
			accepted, _ := v.accept()
			_ = v.dial().Close()
			return receive(t, accepted)
		},
		"a channel that is only written": func(t *testing.T) *vat {
			return openChannel(t, ioservice.Config{Type: ioservice.Socket, Direction: ioservice.Out})
		},
		"a channel that accepts": func(t *testing.T) *vat {
			v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
			v.accept()
			return v
		},
	}
	for name, open := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := open(t)
			// 0, 100, 300 and 700 ms; some tell an end and then a refusal.
			if n := loop(t, v.s.Read); n > 12 || n == 0 {
				t.Errorf("it came round %d times in a second", n)
			}
		})
	}
}

func TestARefusalThatWaitsIsToldWhenTheChannelCloses(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, Direction: ioservice.Out})
	v.read().wantError(ioservice.ErrDirection)
	waits := v.read()
	_ = v.Close()
	waits.wantError(ioservice.ErrDirection)
}

func TestInputThatComesIsNotDelayedByAnEndBeforeIt(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "")
	v := k.open()
	for range 6 { // the next end would be told after 3 s
		v.read().wantEnd()
	}
	begin := time.Now()
	read := v.read()
	appendTo(t, k.cfg.Path, "line\n")
	read.want("line")
	if took := time.Since(begin); took > 2500*time.Millisecond {
		t.Errorf("a line was read %v after it was written", took)
	}
}

func TestConnectionsWaitWhileTheProcessCanSpareNone(t *testing.T) {
	var allowed atomic.Bool
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	k.opts.Allow = allowed.Load
	v := k.open()
	accepted, _ := v.accept()
	c := v.dial() // the operating system takes it
	c.say("hello\n")
	select {
	case <-accepted:
		t.Fatal("a connection was accepted that the process cannot spare")
	case <-time.After(300 * time.Millisecond):
	}
	allowed.Store(true)
	receive(t, accepted).read().want("hello")

	l := listenTCP(t)
	k = newKernel(t, ioservice.Config{Type: ioservice.Network, HostPort: l.Addr().String()})
	allowed.Store(false)
	k.opts.Allow = allowed.Load
	v = k.open()
	v.wantWriteError("x", ioservice.ErrLimit)
	allowed.Store(true)
	v.wrote("y")
}

func TestAChannelHasABoundedNumberOfConnections(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
	const limit = 1000
	first := make([]*vat, 0, limit)
	for range limit {
		accepted, _ := v.accept()
		c := v.dial()
		first = append(first, receive(t, accepted))
		_ = c.Close() // it is a connection until the vat closes it
	}
	accepted, _ := v.accept()
	v.dial().say("one more\n")
	select {
	case <-accepted:
		t.Fatalf("more than %d connections were accepted", limit)
	case <-time.After(300 * time.Millisecond):
	}
	_ = first[17].s.Close()
	receive(t, accepted).read().want("one more")
}
