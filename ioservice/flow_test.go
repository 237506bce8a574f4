package ioservice_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/ioservice"
)

func TestReadsCompleteInTheOrderAsked(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		const n = 200
		var want, got []string
		done := make(chan struct{})
		for i := range n {
			want = append(want, fmt.Sprint(i))
			v.Read(func(u ioservice.Unit, err error) {
				got = append(got, u.Value) // callbacks come one at a time
				if err != nil || len(got) == n {
					close(done)
				}
			})
		}
		c := v.dial()
		c.say(strings.Join(want, "\n") + "\n")
		receive(t, done)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("units (-want +got):\n%s", diff)
		}
	})
}

func TestWritesCompleteInTheOrderAsked(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Socket})
	const n = 1000
	order := make(chan int, n)
	text := ""
	for i := range n {
		text += fmt.Sprintln(i)
		v.Write(fmt.Sprint(i), func(err error) {
			if err != nil {
				t.Error(err)
			}
			order <- i
		})
	}
	c.hear(text)
	for i := range n {
		if got := receive(t, order); got != i {
			t.Fatalf("write %d completed, want %d", got, i)
		}
	}
}

func TestWithdrawnReadLeavesItsUnitToTheNext(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Socket})
	first, second, third := v.read(), v.read(), v.read()
	second.cancel()
	second.cancel()
	second.wantError(ioservice.ErrCanceled)
	c.say("a\nb\n")
	first.want("a")
	third.want("b")
	first.cancel() // too late
	select {
	case o := <-first.ch:
		t.Errorf("got %v again", o)
	default:
	}
	c.say("c\n")
	v.read().want("c")
}

func TestAtMost256ReadsWait(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
	var reads []*pending
	for range 256 {
		reads = append(reads, v.read())
	}
	v.read().wantError(ioservice.ErrLimit)
	reads[7].cancel()
	reads[7].wantError(ioservice.ErrCanceled)
	last := v.read()
	_ = v.Close()
	last.wantError(ioservice.ErrClosed)
}

// A peer that sends more than is read is not read either.
func TestPeerWaitsUntilItIsRead(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		cfg.MaxUnitBytes = 1000
		v, c := pair(t, cfg)
		// Until the peer cannot write any more, which is soon if the vat does not read.
		chunk := strings.Repeat(strings.Repeat("x", 999)+"\n", 100)
		sent := 0
		for {
			_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := c.Write([]byte(chunk))
			sent += n
			if err != nil {
				break
			}
			if sent > 64<<20 {
				t.Fatalf("%d bytes were taken, and nobody reads", sent)
			}
		}
		_ = c.Close()
		for range sent / 1000 {
			v.read().want(chunk[:999])
		}
		if rest := sent % 1000; rest > 0 {
			v.read().want(chunk[:rest])
		}
		v.read().wantEnd()
	})
}

// full writes until the limit is reached: the peer takes nothing more.
func (v *vat) full(data string) (waiting []<-chan error) {
	v.t.Helper()
	for range 10_000 {
		ch := v.write(data)
		select {
		case err := <-ch:
			if err != nil {
				wantKind(v.t, err, ioservice.ErrLimit)
				return waiting
			}
		case <-time.After(100 * time.Millisecond):
			waiting = append(waiting, ch)
			if len(waiting) > 8 {
				return waiting
			}
		}
	}
	v.t.Fatal("all was taken, and nobody reads")
	return nil
}

func TestWritesAreBounded(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		cfg.Unit = ioservice.String
		v := openChannel(t, cfg)
		c := v.dial()
		v.writeWhenConnected("hello\n")
		c.hear("hello\n")
		v.wantWriteError(strings.Repeat("x", 2<<20), ioservice.ErrLimit)

		v.full(strings.Repeat("x", 100_000))
		for range 11 {
			v.write(strings.Repeat("x", 100_000))
		}
		err := v.wantWriteError(strings.Repeat("x", 100_000), ioservice.ErrLimit)
		if !strings.Contains(err.Error(), "1048576") {
			t.Errorf("%q does not name the limit", err)
		}
		pending := v.write("")
		_ = c.Close()
		wantKind(t, receive(t, pending), ioservice.ErrConnectionLost)
	})
}

func TestTinyWritesAreBounded(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, Unit: ioservice.String})
	c := v.dial()
	v.writeWhenConnected("x")
	c.hear("x")
	v.full(strings.Repeat("x", 100_000))
	for range 4096 {
		v.write("")
	}
	v.wantWriteError("", ioservice.ErrLimit)
}

func TestWriteThatIsNotTakenInTimeBreaksTheConnection(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		cfg.Unit, cfg.WriteTime = ioservice.String, 100*time.Millisecond
		v := openChannel(t, cfg)
		c := v.dial()
		c.say("hello")
		v.read().want("hello")
		big := strings.Repeat("x", 1_000_000)
		var errs []error
		for len(errs) == 0 {
			if err := receive(t, v.write(big)); err != nil {
				errs = append(errs, err)
			}
		}
		wantKind(t, errs[0], ioservice.ErrTimeout)
		// Nothing of it was taken, or the connection is broken.
		if err := receive(t, v.write("x")); err != nil {
			if strings.Contains(errs[0].Error(), "nothing was sent") {
				wantKind(t, err, ioservice.ErrTimeout)
				return
			}
			v.read().wantError(ioservice.ErrConnectionLost)
			next := v.dial()
			next.say("next")
			v.read().want("next")
		}
		_ = c.Close()
	})
}

// A write of which nothing was taken leaves the connection as it was.
func TestWriteThatNeverBeganBreaksNothing(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, WriteTime: 50 * time.Millisecond})
	c := v.dial()
	v.writeWhenConnected("hello")
	c.hear("hello\n")
	// A Unix socket takes a small write whole, or not at all.
	line := strings.Repeat("x", 999)
	want := ""
	for {
		if err := receive(t, v.write(line)); err != nil {
			wantKind(t, err, ioservice.ErrTimeout)
			break
		}
		want += line + "\n"
	}
	v.wantWriteError("again", ioservice.ErrTimeout)
	c.hear(want)
	v.wrote("goes on")
	c.hear("goes on\n")
}

// Input that was received before a connection broke is still read.
func TestBrokenConnectionIsReadAsFarAsItWasReceived(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, Unit: ioservice.String, WriteTime: 50 * time.Millisecond})
	c := v.dial()
	v.writeWhenConnected("x")
	if err := c.Conn.(*net.UnixConn).SetWriteBuffer(1); err != nil { // the system keeps a few KiB
		t.Fatal(err)
	}
	for sent, n := 0, 1; n > 0 || sent < 64<<10; sent += n { // until no more is received
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, _ = c.Write([]byte(strings.Repeat("x", 4<<20)))
	}
	v.wantWriteError(strings.Repeat("y", 1_000_000), ioservice.ErrTimeout)
	received := 0
	for {
		u, err := v.read().wait()
		if err != nil {
			wantKind(t, err, ioservice.ErrConnectionLost)
			break
		}
		received += len(u.Value)
	}
	if received != 64<<10 {
		t.Errorf("got %d bytes, want the 64 KiB that were received", received)
	}
	v.wantWriteError("x", ioservice.ErrNoPeer)
}

func TestBrokenAcceptedStreamStaysBroken(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, Unit: ioservice.String, WriteTime: 50 * time.Millisecond})
	ch, _ := v.accept()
	v.dial()
	s := receive(t, ch)
	s.wantWriteError(strings.Repeat("x", 1_000_000), ioservice.ErrTimeout)
	for range 2 {
		s.read().wantError(ioservice.ErrConnectionLost)
		s.wantWriteError("x", ioservice.ErrConnectionLost)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	for _, typ := range []ioservice.Type{ioservice.Socket, ioservice.Listen, ioservice.Network, ioservice.File, ioservice.Console} {
		t.Run(string(typ), func(t *testing.T) {
			v, _ := withOther(t, ioservice.Config{Type: typ, Unit: ioservice.String})
			var reads []*pending
			var writes []<-chan error
			for range 50 {
				reads = append(reads, v.read())
				writes = append(writes, v.write(strings.Repeat("x", 20_000)))
			}
			_ = v.Close()
			for _, r := range reads {
				if len(r.ch) != 1 {
					t.Fatalf("a read has %d results when Close returns, want 1", len(r.ch))
				}
			}
			for _, w := range writes {
				if len(w) != 1 {
					t.Fatalf("a write has %d results when Close returns, want 1", len(w))
				}
			}
			v.read().wantError(ioservice.ErrClosed)
			v.wantWriteError("x", ioservice.ErrClosed)
			reads[0].cancel()
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCloseOfAChannelClosesItsStreams(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		ch, _ := v.accept()
		v.dial()
		s := receive(t, ch)
		read := s.read()
		waiting, _ := v.accept()
		_ = v.Close()
		read.wantError(ioservice.ErrClosed)
		if s := receive(t, waiting); s != nil {
			t.Error("an accept got a stream of a closed channel")
		}
		after, _ := v.accept()
		if s := receive(t, after); s != nil {
			t.Error("a closed channel gave a stream")
		}
		_ = s.s.Close()
	})
}

// While the mark of a client is not durable, closing does not wait for it.
func TestCloseDoesNotWaitForACommit(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	asked := make(chan func(), 1)
	k.opts.Commit = func(_ []byte, then func()) { asked <- then }
	v := k.open()
	read := v.read()
	c := v.dial()
	c.say("x\n")
	then := receive(t, asked)
	_ = v.Close()
	then() // late
	read.wantError(ioservice.ErrClosed)
}

func TestCallbacksMayCallBack(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
	const n = 100
	done := make(chan struct{})
	var echo func(i int)
	echo = func(i int) {
		if i == n {
			close(done)
			return
		}
		v.Read(func(u ioservice.Unit, err error) {
			v.Write(u.Value, func(error) { echo(i + 1) })
		})
	}
	echo(0)
	c := v.dial()
	for i := range n {
		c.say(fmt.Sprintln(i))
		c.hear(fmt.Sprintln(i))
	}
	receive(t, done)
}

func TestNothingIsLeftInTheDirectory(t *testing.T) {
	v, _ := pair(t, ioservice.Config{Type: ioservice.Socket})
	_ = v.Close()
	if left, err := os.ReadDir(v.k.dir); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want nothing left behind", left, err)
	}
}
