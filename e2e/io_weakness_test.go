package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The weaknesses of the system that this one succeeds, in its reference, section 13, as far as they concern IO
// and services and show from outside. Those about launches that fail or are killed are in io_launch_test.go, about
// writes and reads in io_kill_test.go, about the unit and types that were ignored in io_units_test.go.

// A subcluster that has no vat yet, because its channels are being made, is not swept away by the work of
// others meanwhile (W-16).
func TestSubclusterThatMakesItsChannelsIsNotSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	busy := s.launch(t, "busy", "test.counter", "10s")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.now(t, busy, "add", 1)
			}
		}
	})
	const n = 6
	subs := make([]string, n)
	for i := range n {
		config := s.fixed(t, fmt.Sprintf("port%d", i), "answer tty")
		wg.Go(func() {
			var l struct {
				Subcluster string `json:"subcluster"`
			}
			if err := s.ask(&l, "launch", config); err != nil {
				t.Error(err)
			}
			subs[i] = l.Subcluster
			if i == n-1 {
				close(stop)
			}
		})
	}
	wg.Wait()
	for _, sub := range subs {
		s.works(t, sub, "tty")
	}
	s.empty(t, d, append(subs, busy)...)
}

// A call of a service that waits when the kernel dies is not forgotten (W-20): a read of a channel without a
// client goes on, one with a client is rejected with CONNECTION_LOST, and a delay ends at its time.
func TestCallsThatWaitOutliveTheKernel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	config := s.portConfig(t, "port", "", `"tty": {"type": "socket"}, "used": {"type": "socket"}`, `"timer"`)
	sub := s.launched(t, config)
	ask := func(id, service, method string, args ...any) <-chan string {
		answer := make(chan string, 1)
		if args == nil {
			args = []any{}
		}
		go func() {
			text, err := s.tell(t.Context(), id, sub, "call", service, method, args)
			if err != nil {
				text = "!!" + err.Error()
			}
			answer <- text
		}()
		return answer
	}
	used := s.connect(t, sub, "used")
	used.send(t, "hello\n")
	s.asks(t, `"hello"`, sub, "used", "read")
	idle, reads, delay := ask("idle", "tty", "read"), ask("reads", "used", "read"), ask("delay", "timer", "delay", 500)
	eventually(t, func() error {
		for _, name := range []string{"tty", "used"} {
			if ch, err := s.channel(t.Context(), sub, name); err != nil || ch.Pending != 1 {
				return fmt.Errorf("no read waits: %+v, %w", ch, err)
			}
		}
		return nil
	})
	d.kill()
	d = s.run(t)
	answers(t, reads, "!CONNECTION_LOST")
	c := s.connect(t, sub, "tty")
	c.send(t, "at last\n")
	answers(t, idle, `"at last"`)
	if got := <-delay; strings.HasPrefix(got, "!") {
		t.Errorf("delay: got %s", got)
	}
	s.empty(t, d, sub)
}

// A channel does not perform the calls of a crank that is not committed, however often the crank is tried
// (W-27).
func TestWriteOfCrankThatFailsIsNotDone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"out": {"type": "file", "path": "out.txt", "direction": "out"}`)
	if got := s.now(t, sub, "boast", "out", "it was done"); !strings.HasPrefix(got, "!DELIVERY_POISONED") {
		t.Errorf("boast: got %s", got)
	}
	s.asks(t, `{"$undefined":true}`, sub, "out", "write", "it was not")
	if got := readFile(t, filepath.Join(s.dir, "out.txt")); got != "it was not\n" {
		t.Errorf("the file is %q", got)
	}
	s.empty(t, d, sub)
}

// Messages to a service that is gone, or that are no calls of it, are rejected, and stop nothing (W-05).
func TestMessagesToAServiceThatIsGoneAreRejected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}`)
	other := s.port(t, "other", "", "")
	s.asks(t, `!there is no method "dance" of 1 arguments; there are read(), write(data), accept()`, sub, "tty", "dance", 1)
	s.asks(t, "!write takes a string", sub, "tty", "write", 7)
	channel := s.ref(t, sub, "tty")
	s.now(t, other, "keep", "theirs", json.RawMessage(`{"$ref":"`+channel+`"}`))
	read := s.call(t, other, "theirs", "read")
	c := s.connect(t, sub, "tty")
	c.send(t, "through another vat\n")
	answers(t, read, `"through another vat"`)
	read = s.call(t, other, "theirs", "read")
	s.must(t, "terminate", sub)
	answers(t, read, "!SERVICE_GONE")
	c.ends(t)
	s.asks(t, "!SERVICE_GONE", other, "theirs", "read")
	d.kill()
	d = s.run(t)
	s.asks(t, "!SERVICE_GONE", other, "theirs", "read")
	if got := s.now(t, other, "tally"); got != "[0,0]" {
		t.Errorf("tally: got %s", got)
	}
	s.empty(t, d, other)
}

// ref returns the kernel's name of a service of a port.
func (s *site) ref(t testing.TB, sub, name string) string {
	t.Helper()
	var ref struct {
		Ref string `json:"$ref"`
	}
	if text := s.now(t, sub, "service", name); json.Unmarshal([]byte(text), &ref) != nil {
		t.Fatalf("service: got %s", text)
	}
	return ref.Ref
}

// After the state is cleared, the names of services and channels keep their meaning, and earlier references
// mean nothing (W-18).
func TestServicesAreThemselvesAfterClear(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	config := s.portConfig(t, "port", "", `"tty": {"type": "socket", "path": "tty.sock"}`, `"random"`)
	before := s.ref(t, s.launched(t, config), "random")
	s.must(t, "clear", "--yes")
	s.leavesNothing(t)
	if out := s.cli("send", before, "hex", "4"); out.exit == 0 {
		t.Errorf("a reference of before answers %v", out)
	}
	sub := s.launched(t, config)
	if got := <-s.call(t, sub, "random", "hex", 4); len(got) != 10 {
		t.Errorf("random: got %s", got)
	}
	c := s.connect(t, sub, "tty")
	c.send(t, "hello\n")
	s.asks(t, `"hello"`, sub, "tty", "read")
	s.empty(t, d, sub)
}

// A channel that cannot be made again does not keep a kernel from its start, nor others from their work; when
// it can be made, it is there under its name (W-21). The file that has taken its path stays as it is.
func TestChannelThatCannotBeMadeDoesNotStopTheKernel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket", "path": "tty.sock"}, "tcp": {"type": "listen", "hostport": "127.0.0.1:0"}`)
	good := s.port(t, "good", "answer tty", `"tty": {"type": "socket"}`)
	d.stop()
	path := filepath.Join(s.dir, "tty.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d = s.run(t)
	s.works(t, good, "tty")
	read := s.call(t, sub, "tty", "read") // waits
	if got := <-s.call(t, sub, "tty", "write", "x"); !strings.Contains(got, "io:s1:tty c") || !strings.Contains(got, "opened") {
		t.Errorf("a write got %s, want that the channel cannot be opened", got)
	}
	if !strings.Contains(s.log(t), "somebody listens on "+path) {
		t.Errorf("the log does not say why:\n%s", s.log(t))
	}
	_ = l.Close()
	eventually(t, func() error {
		c, err := dialQuietly(path)
		if err == nil {
			_, err = c.Write([]byte("hello\n"))
			t.Cleanup(func() { _ = c.Close() }) // the end of the test
		}
		return err
	})
	answers(t, read, `"hello"`)
	s.empty(t, d, sub, good)
}

// A file that another program has put in the place of a channel's socket is not removed with it; a socket that
// a killed kernel has left is.
func TestOnlyOwnSocketsAreRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket", "path": "tty.sock"}, "dead": {"type": "socket", "path": "dead.sock"}`)
	path := filepath.Join(s.dir, "tty.sock")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	s.file(t, "tty.sock", "mine")
	d.kill()
	if _, err := os.Lstat(filepath.Join(s.dir, "dead.sock")); err != nil {
		t.Fatal(err)
	}
	d = s.run(t)
	// The channel was not called since, so that only its remains are there.
	s.empty(t, d, sub)
	if got := readFile(t, path); got != "mine" {
		t.Errorf("the file is %q", got)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "dead.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket of a killed kernel is left: %v", err)
	}
}

// Reads and writes of one channel are begun and answered in the order in which they were sent, though none is
// awaited before the next.
func TestCallsOfOneChannelKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}`)
	const n = 100
	reads := s.later(t, sub, "batch", "tty", n)
	c := s.connect(t, sub, "tty")
	for _, line := range numbers(n) {
		c.send(t, line+"\n")
	}
	want, err := json.Marshal(numbers(n))
	if err != nil {
		t.Fatal(err)
	}
	answers(t, reads, string(want))
	_ = c.SetDeadline(time.Now().Add(patience))
	for _, line := range numbers(n) {
		c.gets(t, line+"\n")
	}
	s.empty(t, d, sub)
}

// The remains of a killed kernel's channels that no longer exist are removed by the next one, at the paths of
// configurations, too; files that others have put there meanwhile are not.
func TestSocketsOfSubclustersThatAreGoneAreSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t).stop() // makes the state
	dir := filepath.Join(s.state, "io", "s7")
	dead := func(path string) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close() // only its file is wanted
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	dead(filepath.Join(dir, "own.sock"))
	dead(filepath.Join(s.dir, "dead.sock"))
	live, err := net.Listen("unix", filepath.Join(s.dir, "live.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	s.file(t, "file.sock", "mine")
	for _, name := range []string{"dead", "live", "file", "absent"} {
		if err := os.Symlink(filepath.Join(s.dir, name+".sock"), filepath.Join(dir, name+".sock")); err != nil {
			t.Fatal(err)
		}
	}
	d := s.run(t)
	if left := s.ioFiles(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for name, there := range map[string]bool{"dead": false, "live": true, "file": true} {
		if _, err := os.Lstat(filepath.Join(s.dir, name+".sock")); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.empty(t, d)
}
