package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// patience bounds waits that are long only if something is broken.
const patience = 60 * time.Second

// A daemon is a kernel process in a site.
type daemon struct {
	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is reaped
}

// run starts `kernel run` with further arguments and returns when it says that it runs. Its log is
// appended to kernel.out in the site. At the end of the test it is stopped.
func (s *site) run(t testing.TB, args ...string) *daemon {
	t.Helper()
	d, ready := s.begin(t, args...)
	select {
	case _, ok := <-ready:
		if !ok {
			t.Fatalf("kernel run %q ends before it is ready:\n%s", args, s.log(t))
		}
	case <-time.After(patience):
		t.Fatalf("kernel run %q is not ready after %v:\n%s", args, patience, s.log(t))
	}
	return d
}

// begin is run without the wait. ready gives the line that says that the kernel runs, or is closed if it
// ends without.
func (s *site) begin(t testing.TB, args ...string) (d *daemon, ready <-chan []byte) {
	t.Helper()
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := s.command(context.Background(), "kernel", append([]string{"run", "--json"}, args...)...)
	cmd.Stderr = log
	if s.stdin != nil {
		cmd.Stdin = s.stdin
	}
	rest := s.stdout
	if rest == nil {
		rest = io.Discard
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d = &daemon{t, cmd, make(chan struct{})}
	lines := make(chan []byte, 1)
	go func() {
		defer close(d.ended)
		r := bufio.NewReader(out)
		if line, err := r.ReadBytes('\n'); err == nil {
			lines <- line
		}
		close(lines)
		_, _ = io.Copy(rest, r)
		_ = cmd.Wait() // how it ended is asked of ProcessState
	}()
	t.Cleanup(func() {
		if d.alive() {
			d.stop()
		}
		if t.Failed() {
			t.Logf("the end of the kernel's log:\n%s", tail(s.log(t), 60))
		}
	})
	return d, lines
}

func (s *site) logPath() string { return filepath.Join(s.dir, "kernel.out") }

// log returns the log of the site's kernels.
func (s *site) log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(s.logPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func tail(text string, lines int) string {
	all := bytes.Split([]byte(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

func (d *daemon) alive() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

func (d *daemon) signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns how it ended.
func (d *daemon) wait() *os.ProcessState {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.signal(syscall.SIGKILL)
		d.t.Errorf("the kernel did not end within %v", patience)
		<-d.ended
	}
	return d.cmd.ProcessState
}

// kill ends the kernel with SIGKILL.
func (d *daemon) kill() {
	d.t.Helper()
	d.signal(syscall.SIGKILL)
	d.wait()
}

// stop ends the kernel in order, and fails the test if it does not say that it could.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if state := d.wait(); state.ExitCode() != 0 {
		d.t.Errorf("the kernel ends with %v, want exit status 0", state)
	}
}

// command prepares a program of the site.
func (s *site) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin(), program), args...)
	cmd.Dir, cmd.Env = s.dir, s.env()
	return cmd
}

// said is the output of a command, and its exit status.
type said struct {
	stdout, stderr string
	exit           int
}

func (o said) String() string {
	return fmt.Sprintf("exit status %d\nstdout: %s\nstderr: %s", o.exit, o.stdout, o.stderr)
}

// cli runs a command of the kernel program. It may be called from any goroutine.
func (s *site) cli(args ...string) said {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := s.command(ctx, "kernel", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := said{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.stderr += "\n" + err.Error()
	}
	return o
}

// must runs a command that must succeed, and returns its output.
func (s *site) must(t testing.TB, args ...string) string {
	t.Helper()
	o := s.cli(args...)
	if o.exit != 0 {
		t.Fatalf("kernel %q: %v", args, o)
	}
	return o.stdout
}

// read runs a command with --json that must succeed, and decodes its output.
func (s *site) read(t testing.TB, into any, args ...string) {
	t.Helper()
	text := s.must(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("kernel %q prints %s: %v", args, text, err)
	}
}

// dial connects to the kernel of the site. The connection is closed at the end of the test.
func (s *site) dial(t testing.TB) *control.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := control.Dial(ctx, s.state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // its kernel may be gone
	return c
}
