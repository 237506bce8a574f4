package ioservice_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/ioservice"
)

func TestClientIsReadAndWritten(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v, c := pair(t, cfg)
		v.wrote("hi")
		c.hear("hi\n")
		first, second := v.read(), v.read()
		c.say("one\r\ntwo\n")
		first.want("one")
		second.want("two")
	})
}

func TestSecondClientIsToldThatAnotherIsServed(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v, c := pair(t, cfg)
		second := v.dial()
		if got, want := second.hearAll(), "channel c serves another client\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		v.wrote("still here")
		c.hear("still here\n")
	})
}

func TestWriteWithoutClientFailsAtOnce(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		v.wantWriteError("x", ioservice.ErrNoPeer)
	})
}

// The input of a client is read, then its end, once; then the input of the next one.
func TestReadsGoOnWithTheNextClient(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		reads := []*pending{v.read(), v.read(), v.read(), v.read(), v.read()}
		first := v.dial()
		first.say("a\nlast")
		_ = first.Close()
		reads[0].want("a")
		reads[1].want("last")
		reads[2].wantEnd()
		second := v.dial()
		second.say("b\n")
		reads[3].want("b")
		_ = second.Close()
		reads[4].wantEnd()
		if diff := cmp.Diff([]string{"connected", "idle", "connected", "idle"}, v.k.stored()); diff != "" {
			t.Errorf("stored states (-want +got):\n%s", diff)
		}
	})
}

func TestWhatOneClientSentIsReadBeforeTheNext(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v, first := pair(t, cfg)
		first.say("unread\n")
		_ = first.Close()
		second := v.dial()
		second.say("mine\n")
		third := v.dial()
		if got := third.hearAll(); !strings.Contains(got, "another client") {
			t.Errorf("got %q, want a refusal", got)
		}
		v.read().want("unread")
		v.read().wantEnd()
		v.read().want("mine")
		v.wrote("yours")
		second.hear("yours\n")
	})
}

// Before the vat has read the end of a client, nothing that it writes goes to the next one.
func TestAnswerDoesNotReachTheNextClient(t *testing.T) {
	v, first := pair(t, ioservice.Config{Type: ioservice.Socket})
	first.say("more\n")
	_ = first.Close()
	second := v.dial()
	second.say("x\n")
	for {
		// Until the end of the first is noticed, a write fails because of the closed socket.
		if err := receive(t, v.write("secret of the first")); err != nil {
			wantKind(t, err, ioservice.ErrConnectionLost)
			break
		}
	}
	v.read().want("more")
	v.wantWriteError("secret of the first", ioservice.ErrConnectionLost)
	v.read().wantEnd()
	v.read().want("x")
	v.wrote("for the second")
	second.hear("for the second\n")
}

func TestAfterTheEndThereIsNobodyToWriteTo(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Socket})
	_ = c.Close()
	v.read().wantEnd()
	v.wantWriteError("x", ioservice.ErrNoPeer)
}

func TestHalfClosedClientStillGetsAnswers(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v, c := pair(t, cfg)
		c.closeWrite()
		v.read().wantEnd()
		v.wrote("answer")
		c.hear("answer\n")
		next := v.read()
		v.wrote("another")
		c.hear("another\n")
		_ = c.Close()
		second := v.dial()
		second.say("next\n")
		next.want("next")
	})
}

// Over TCP a client that sends no more may be gone: the next one takes its place when the vat reads on.
func TestHalfClosedTCPClientMakesPlace(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Listen})
	c.closeWrite()
	v.read().wantEnd()
	second := v.dial()
	second.say("next\n")
	v.wrote("answer")
	c.hear("answer\n")
	v.read().want("next")
	if got := c.hearAll(); got != "" {
		t.Errorf("got %q, want the end", got)
	}
	v.wrote("hello")
	second.hear("hello\n")
}

func TestHalfClosedUnixClientKeepsItsPlace(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Socket})
	c.closeWrite()
	v.read().wantEnd()
	next := v.read()
	if got := v.dial().hearAll(); !strings.Contains(got, "another client") {
		t.Errorf("got %q, want a refusal", got)
	}
	v.wrote("answer")
	c.hear("answer\n")
	_ = c.Close()
	third := v.dial()
	third.say("next\n")
	next.want("next")
}

func TestClientOfAnOutChannelIsReplacedWhenItIsGone(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		cfg.Direction = ioservice.Out
		v := openChannel(t, cfg)
		first := v.dial()
		v.writeWhenConnected("one")
		first.hear("one\n")
		first.say("nobody reads this\n")
		_ = first.Close()
		second := v.dial()
		// Over TCP, some is taken for the first client before anyone hears that it is gone.
		for got := make([]byte, 4); string(got) != "two\n"; {
			v.writeWhenConnected("two")
			_ = second.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, _ = io.ReadFull(second, got)
		}
		if got := v.k.stored(); len(got) > 0 {
			t.Errorf("stored %q, want nothing: nobody reads", got)
		}
	})
}

// writeWhenConnected writes until a client gets it that the channel has noticed.
func (v *vat) writeWhenConnected(data string) {
	v.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := receive(v.t, v.write(data))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatal(err)
		}
	}
}

func TestNothingIsReadBeforeTheMarkIsDurable(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	asked := make(chan func(), 1)
	k.opts.Commit = func(state []byte, then func()) {
		k.store(state)
		asked <- then
	}
	v := k.open()
	read, write := v.read(), v.write("first")
	if err := receive(t, write); err != nil {
		wantKind(t, err, ioservice.ErrNoPeer)
	}
	c := v.dial()
	c.say("hello\n")
	then := receive(t, asked)
	write = v.write("second")
	select {
	case o := <-read.ch:
		t.Fatalf("read %v before the mark was durable", o)
	case err := <-write:
		t.Fatalf("wrote before the mark was durable: %v", err)
	default:
	}
	then()
	read.want("hello")
	if err := receive(t, write); err != nil {
		t.Fatal(err)
	}
	c.hear("second\n")
}

func TestAfterADeathTheFirstReadTellsThatTheClientIsGone(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		k := newKernel(t, cfg)
		v := k.open()
		c := v.dial()
		c.say("hello\n")
		v.read().want("hello")
		_ = v.Close() // without an end that was read, as if killed

		v = k.open()
		next := v.dial()
		next.say("next\n")
		v.wantWriteError("for the old client", ioservice.ErrConnectionLost)
		first, second := v.read(), v.read()
		first.wantError(ioservice.ErrConnectionLost)
		second.want("next")
		if diff := cmp.Diff([]string{"connected", "idle", "connected"}, k.stored()); diff != "" {
			t.Errorf("stored states (-want +got):\n%s", diff)
		}
		_ = next.Close()
		v.read().wantEnd()
		_ = v.Close()

		v = k.open()
		c = v.dial()
		c.say("fresh\n")
		v.read().want("fresh")
	})
}

func TestAcceptGivesEachConnectionAStream(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		const n = 100
		var all sync.WaitGroup
		for range n {
			ch, _ := v.accept()
			all.Go(func() {
				s := <-ch
				for {
					u, err := s.read().wait()
					if err != nil || u.End {
						break
					}
					if err := <-s.write("echo " + u.Value); err != nil {
						t.Error(err)
					}
				}
				_ = s.s.Close()
			})
		}
		for i := range n {
			c := v.dial()
			all.Go(func() {
				text := fmt.Sprintf("client %d", i)
				for range 10 {
					if _, err := io.WriteString(c, text+"\n"); err != nil {
						t.Error(err)
					}
				}
				c.closeWrite()
				got, err := io.ReadAll(c)
				if want := strings.Repeat("echo "+text+"\n", 10); err != nil || string(got) != want {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			})
		}
		all.Wait()
	})
}

func TestConnectionsWaitUntilTheyAreAccepted(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		var clients []*client
		for i := range 3 {
			c := v.dial()
			c.say(fmt.Sprintf("%d\n", i))
			clients = append(clients, c)
		}
		withdrawn, cancel := v.accept()
		if s, ok := <-withdrawn, true; ok && s != nil { // the first one is given at once, or soon
			s.read().want("0")
		}
		cancel()
		for i := 1; i < 3; i++ {
			ch, _ := v.accept()
			s := receive(t, ch)
			s.read().want(fmt.Sprint(i))
			s.wrote("yes")
			clients[i].hear("yes\n")
			_ = s.s.Close()
			if got := clients[i].hearAll(); got != "" {
				t.Errorf("got %q, want the end", got)
			}
		}
	})
}

func TestWithdrawnAcceptLosesNoConnection(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
	first, cancel := v.accept()
	second, _ := v.accept()
	cancel()
	cancel()
	if s := receive(t, first); s != nil {
		t.Fatal("the withdrawn accept got a stream")
	}
	c := v.dial()
	c.say("x\n")
	receive(t, second).read().want("x")
}

func TestAcceptedStreamEndsForEver(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		ch, _ := v.accept()
		c := v.dial()
		s := receive(t, ch)
		c.say("x")
		_ = c.Close()
		s.read().want("x")
		s.read().wantEnd()
		s.read().wantEnd()
		for { // TCP takes some before it hears that the peer is gone
			if err := receive(t, s.write("y")); err != nil {
				wantKind(t, err, ioservice.ErrConnectionLost)
				break
			}
		}
		_ = s.s.Close()
		s.read().wantError(ioservice.ErrClosed)
		s.wantWriteError("y", ioservice.ErrClosed)
	})
}

func TestFirstUseDecides(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
	v.read().cancel()
	done := make(chan error, 1)
	v.Accept(func(_ *ioservice.Stream, err error) { done <- err })
	wantKind(t, receive(t, done), ioservice.ErrUse)

	v = openChannel(t, ioservice.Config{Type: ioservice.Socket})
	_, cancel := v.accept()
	cancel()
	v.read().wantError(ioservice.ErrUse)
	v.wantWriteError("x", ioservice.ErrUse)
	t.Log(v.wantWriteError("x", ioservice.ErrUse))
}

// Before the first use the first connection is kept, and the others wait in the operating system.
func TestConnectionsBeforeTheFirstUseAreKept(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		first := v.dial()
		first.say("first\n")
		second := v.dial()
		v.read().want("first")
		if got := second.hearAll(); !strings.Contains(got, "another client") {
			t.Errorf("got %q, want a refusal", got)
		}
	})
}

// A client that goes without reading its answers resets the connection, and so does one that is killed.
func TestClientThatResetsEndsLikeAnyOther(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v, c := pair(t, cfg)
		v.wrote("nobody reads this")
		c.say("last")
		v.read().cancel() // the error does not matter
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		for {
			u, err := v.read().wait()
			if err != nil {
				t.Fatal(err)
			}
			if u.End {
				break
			}
		}
		next := v.dial()
		next.say("next\n")
		v.read().want("next")
	})
}

func TestHalfClosedAcceptedStreamIsWritten(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		ch, _ := v.accept()
		c := v.dial()
		s := receive(t, ch)
		c.say("question")
		c.closeWrite()
		s.read().want("question")
		s.read().wantEnd()
		s.wrote("answer")
		s.read().wantEnd()
		_ = s.s.Close()
		if got := c.hearAll(); got != "answer\n" {
			t.Errorf("got %q", got)
		}
	})
}

// Without descriptors no connection is accepted, and with some again.
func TestConnectionsWaitForDescriptors(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	logged := make(chan string, 100)
	k.opts.Log = logging.NewText(lines(logged), slog.LevelInfo)
	v := k.open()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	free, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(free)
	// One more for the client, and none for its other end.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(free) + 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	conn, dialErr := net.Dial("unix", v.Addr())
	text := ""
	if dialErr == nil {
		text = receive(t, logged)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if dialErr != nil {
		t.Fatal(dialErr)
	}
	defer conn.Close()
	if !strings.Contains(text, "cannot accept a connection: channel=c") {
		t.Errorf("got log %q", text)
	}
	_, _ = io.WriteString(conn, "x\n")
	v.read().want("x")
}

// lines is where a log goes.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestRefusedClientIsLogged(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	logged := make(chan string, 1)
	k.opts.Log = logging.NewText(lines(logged), slog.LevelInfo)
	v := k.open()
	v.dial().say("x\n")
	v.read().want("x")
	v.dial()
	if text := receive(t, logged); !strings.Contains(text, "refused a second client: channel=c") {
		t.Errorf("got log %q", text)
	}
}

func TestAcceptNeedsASocketThatListens(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Network, HostPort: "127.0.0.1:1"})
	done := make(chan error, 1)
	v.Accept(func(_ *ioservice.Stream, err error) { done <- err })
	wantKind(t, receive(t, done), ioservice.ErrUse)
}

// Streams that are accepted have nothing to do with the client of an earlier process.
func TestAcceptAfterADeathForgetsTheClient(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	k.store([]byte("connected"))
	v := k.open()
	ch, _ := v.accept()
	c := v.dial()
	c.say("x\n")
	receive(t, ch).read().want("x")
	if diff := cmp.Diff([]string{"connected", "idle"}, k.stored()); diff != "" {
		t.Errorf("stored states (-want +got):\n%s", diff)
	}
}

// A client that went before anybody read is over as soon as it is served: the next one waits for its turn, and is
// not measured by a place that its predecessor was about to leave.
func TestTheNextClientOfOneThatHasGoneIsNeverRefused(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		for _, direction := range []ioservice.Direction{ioservice.InOut, ioservice.In} {
			cfg.Direction = direction
			for range 150 {
				v := openChannel(t, cfg)
				first := v.dial()
				first.say("1\n")
				_ = first.Close()
				second := v.dial()
				second.say("2\n")
				v.read().want("1")
				v.read().wantEnd()
				v.read().want("2")
				// The same between two clients that were served.
				_ = second.Close()
				third := v.dial()
				v.read().wantEnd()
				third.say("3\n")
				v.read().want("3")
				_ = v.Close()
				_ = third.Close()
			}
		}
	})
}

// A stranger can connect to a port at any rate, and does not decide the length of the log.
func TestRefusedClientsAreLoggedOnceASecond(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		const n = 300
		logged := make(chan string, 2*n)
		k := newKernel(t, cfg)
		k.opts.Log = logging.NewText(lines(logged), slog.LevelInfo)
		v := k.open()
		c := v.dial()
		c.say("hello\n")
		v.read().want("hello")
		begin := time.Now()
		for range n {
			second := v.dial()
			if got, want := second.hearAll(), "channel c serves another client\n"; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			_ = second.Close()
		}
		_ = v.Close()
		most := 2 + int(time.Since(begin)/time.Second)
		close(logged)
		times, logs := 0, 0
		for line := range logged {
			if !strings.Contains(line, "refused a second client") {
				t.Errorf("logged %q", line)
			}
			logs++
			count := 1
			if _, after, ok := strings.Cut(line, "times="); ok {
				if _, err := fmt.Sscan(after, &count); err != nil {
					t.Errorf("logged %q: %v", line, err)
				}
			}
			times += count
		}
		if times != n || logs > most {
			t.Errorf("%d refused clients gave %d lines that tell of %d, want at most %d lines", n, logs, times, most)
		}
	})
}
