package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// repl starts the example in a kernel, and returns where its socket is.
func (s *site) repl(t testing.TB) (d *daemon, where string) {
	t.Helper()
	config, err := filepath.Abs("../examples/repl/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	d = s.run(t, config)
	ch, err := s.channel(t.Context(), "s1", "console")
	if err != nil {
		t.Fatal(err)
	}
	return d, ch.Where
}

// says sends a line and compares the answer.
func (c *client) says(t testing.TB, line, want string) {
	t.Helper()
	c.send(t, line+"\n")
	c.gets(t, want+"\n")
}

// resting waits until the vat of the repl is at rest: nothing of it lives in memory, and a read waits.
func (s *site) resting(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		ch, err := s.channel(t.Context(), "s1", "console")
		if v := s.vats(t)["repl"]; v.Transcript != 0 || v.Queue != 0 || err != nil || ch.Pending != 1 {
			return fmt.Errorf("the vat is not at rest: %+v, %+v, %w", v, ch, err)
		}
		return nil
	})
}

// killWorker kills the worker of the repl, if it has one.
func (s *site) killWorker(t testing.TB) {
	t.Helper()
	if pid := s.vats(t)["repl"].PID; pid != 0 {
		kill(t, pid)
	}
}

// A person at the repl notices nothing of killed workers: neither between lines, nor in the middle of one. Between
// lines the vat is at rest. The socket is for its user alone.
func TestReplOutlivesItsWorkers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d, where := s.repl(t)
	info, err := os.Stat(where)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	c := dialClient(t, where)
	c.says(t, "set x 2", "x = 2")
	for i := range 5 {
		s.resting(t)
		s.killWorker(t)
		c.says(t, "add x 40", "42")
		c.send(t, fmt.Sprintf("set x%d ", i))
		s.killWorker(t)
		c.send(t, "7")
		s.killWorker(t)
		c.send(t, "\n")
		s.killWorker(t)
		c.gets(t, fmt.Sprintf("x%d = 7\n", i))
	}
	c.says(t, "lines", "12")
	_ = c.Close()
	// All vats of all kernels are there for the next client.
	c = dialClient(t, where)
	c.says(t, "get x4", "7")
	_ = c.Close()
	s.resting(t)
	s.empty(t, d, "s1")
}

// A killed kernel ends the connection, and nothing else: a client that connects to the next one, at the same
// path, goes on where the last answered line left it. A line that was sent in part was not sent.
func TestReplOutlivesItsKernels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d, where := s.repl(t)
	c := dialClient(t, where)
	c.says(t, "set x 0", "x = 0")
	for i := range 4 {
		if i%2 == 0 {
			s.resting(t) // else it is killed with the answer on its lips
		}
		c.send(t, "set x 10") // without an end: it is not 100 by any accident
		d.kill()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("of a kernel that is killed the client gets %q, %v", rest, err)
		}
		d = s.run(t)
		c = dialClient(t, where)
		c.says(t, "get x", fmt.Sprint(i))
		c.says(t, fmt.Sprint("set x ", i+1), fmt.Sprint("x = ", i+1))
	}
	c.says(t, "lines", "10")
	d.stop() // in order, it is the same
	c.ends(t)
	if _, err := os.Lstat(where); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	d = s.run(t)
	c = dialClient(t, where)
	c.says(t, "get x", "4")
	c.says(t, "add x nothing", "error: nothing is no number, and nothing that was set")
	c.send(t, "\xff\n")
	if line, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "error: ") {
		t.Errorf("got %q, %v", line, err)
	}
	c.says(t, "lines", "13")
	s.empty(t, d, "s1")
}

// A person who types, while worker and kernel are killed at random, and repeats a line that was not answered,
// has at the end the values that were typed.
func TestReplWithKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	d, where := s.repl(t)
	done := make(chan error, 1)
	typed := 0
	enough := make(chan struct{})
	go func() {
		done <- func() error {
			for {
				select {
				case <-enough:
					return nil
				default:
				}
				// It is the same line until it is answered: said twice, it is done once.
				line, want := fmt.Sprintf("set n%d %d\n", typed, typed), fmt.Sprintf("n%d = %d\n", typed, typed)
				c, err := dialQuietly(where)
				for err == nil {
					if _, err = c.Write([]byte(line)); err != nil {
						break
					}
					var got string
					if got, err = c.r.ReadString('\n'); err != nil || strings.HasPrefix(got, "channel ") {
						break
					}
					if got != want {
						return fmt.Errorf("%q: got %q, want %q", line, got, want)
					}
					typed++
					line, want = fmt.Sprintf("set n%d %d\n", typed, typed), fmt.Sprintf("n%d = %d\n", typed, typed)
					select {
					case <-enough:
						err = c.Close()
						return err
					default:
					}
				}
				if c != nil {
					_ = c.Close() // it is over anyway
				}
				<-time.After(2 * time.Millisecond)
			}
		}()
	}()
	for range envInt(t, "KILLS", 10) {
		pause(r, 300*time.Millisecond)
		d = s.murder(t, r, d)
	}
	close(enough)
	if err := ended(done); err != nil {
		t.Error(err)
	}
	t.Logf("%d lines", typed)
	eventually(t, func() error {
		c, err := dialQuietly(where)
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range typed {
			fmt.Fprintf(c, "get n%d\n", i)
			if got, err := c.r.ReadString('\n'); err != nil || got != fmt.Sprintln(i) {
				return fmt.Errorf("n%d: got %q, %v", i, got, err)
			}
		}
		return nil
	})
	s.resting(t)
	s.empty(t, d, "s1")
}
