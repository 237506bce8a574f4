package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/internal/fault"
)

// faulty builds the programs with the tag faults, once, and returns their directory.
var faulty = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(root, "faulty")
	return dir, build(dir, "-tags", "faults")
})

// A chosen is a pass of a fault point, at which the process ends that makes it.
type chosen struct {
	point fault.Name
	pass  int
}

func (c chosen) String() string { return fmt.Sprintf("%s:%d", c.point, c.pass) }

// A plan is where the processes of a trial end: those up to the first death of a kernel, and those after it.
type plan struct{ first, recovery []chosen }

func (p plan) String() string {
	text := fault.Variable + "=" + list(p.first)
	if len(p.recovery) > 0 {
		text += " RECOVERY_FAULT=" + list(p.recovery)
	}
	return text
}

func list(faults []chosen) string {
	var texts []string
	for _, f := range faults {
		texts = append(texts, f.String())
	}
	return strings.Join(texts, ",")
}

// A trial is one run of a workload, in a site of its own, whose kernel is started again whenever it was killed.
type trial struct {
	*site
	t    *testing.T
	plan plan

	over     chan struct{}
	stopping chan struct{}

	mu struct {
		sync.Mutex
		args   []string // of the next kernel
		kernel *exec.Cmd
		ready  chan struct{} // closed when the kernel runs, or has ended
		deaths int
		err    error // of a kernel that ended otherwise
	}
}

// newTrial makes the site of a trial.
func newTrial(t *testing.T, over transport, p plan) *trial {
	t.Helper()
	programs, err := faulty()
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{site: newSiteOf(t, programs, over), t: t, plan: p}
	for _, dir := range []string{tr.passes(0), tr.passes(1)} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tr.also = tr.faults(0)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the kernels' log:\n%s", tail(tr.log(t), 80))
		}
	})
	return tr
}

// passes is the directory of the passes before the first death of a kernel, or after it.
func (tr *trial) passes(deaths int) string {
	return filepath.Join(tr.dir, fmt.Sprint("passes", min(deaths, 1)))
}

// faults are the variables for a kernel before the first death of one, or after it.
func (tr *trial) faults(deaths int) []string {
	faults := tr.plan.first
	if deaths > 0 {
		faults = tr.plan.recovery
	}
	return []string{fault.Variable + "=" + list(faults), fault.LogVariable + "=" + tr.passes(deaths)}
}

// passed returns how often each point was passed, before the first death of a kernel or after it.
func (tr *trial) passed(deaths int) map[fault.Name]int {
	tr.t.Helper()
	files, err := os.ReadDir(tr.passes(deaths))
	if err != nil {
		tr.t.Fatal(err)
	}
	passed := map[fault.Name]int{}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			tr.t.Fatal(err)
		}
		passed[fault.Name(f.Name())] = int(info.Size())
	}
	return passed
}

// begin has a kernel run, with arguments, until end: each time that it was killed it is started again.
func (tr *trial) begin(args ...string) {
	tr.over, tr.stopping = make(chan struct{}), make(chan struct{})
	tr.from(args...)
	go func() {
		defer close(tr.over)
		for {
			err := tr.live()
			tr.mu.Lock()
			if err == nil {
				tr.mu.deaths++
			}
			tr.mu.err = err
			tr.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	tr.t.Cleanup(tr.end)
}

// on is begin with the state of another site.
func (tr *trial) on(s *site, args ...string) {
	tr.site = s
	tr.begin(args...)
}

// from sets the arguments of later kernels.
func (tr *trial) from(args ...string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.mu.args = args
}

// errStopped is the end of a kernel that was told to end.
var errStopped = errors.New("the kernel has stopped")

// live runs one kernel. It returns nil if the kernel was killed, and errStopped if the kernel has stopped in order.
func (tr *trial) live() error {
	log, err := os.OpenFile(tr.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	tr.mu.Lock()
	args := append([]string{"run", "--json"}, tr.mu.args...)
	tr.mu.Unlock()
	cmd := tr.command(context.Background(), "kernel", args...)
	cmd.Stderr = log
	cmd.Env = append(cmd.Env, tr.faults(tr.deaths())...) // the last value of a variable counts
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "--- kernel with %q\n", tr.faults(tr.deaths()))
	if err := cmd.Start(); err != nil {
		return err
	}
	over, ready := make(chan struct{}), make(chan struct{})
	tr.mu.Lock()
	tr.mu.kernel, tr.mu.ready = cmd, ready
	tr.mu.Unlock()
	go func() { // a kernel that runs is told to stop, once it has said that it runs
		select {
		case <-tr.stopping:
			<-ready
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		case <-over:
		}
	}()
	_, _ = io.ReadFull(out, make([]byte, 1)) // how it ends follows from its status
	close(ready)
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	close(over)
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		fmt.Fprintln(log, "--- it was killed")
		return nil
	case status.Exited() && status.ExitStatus() == 0:
		return errStopped
	default:
		return fmt.Errorf("the kernel ends with %v", cmd.ProcessState)
	}
}

// deaths returns how often a kernel was killed.
func (tr *trial) deaths() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.mu.deaths
}

// end stops the kernel in order, however often it is killed meanwhile.
func (tr *trial) end() {
	tr.t.Helper()
	select {
	case <-tr.stopping:
	default:
		close(tr.stopping)
	}
	select {
	case <-tr.over:
	case <-time.After(patience):
		tr.mu.Lock()
		_ = tr.mu.kernel.Process.Signal(syscall.SIGQUIT) // its stacks are in the log
		tr.mu.Unlock()
		<-tr.over
		tr.t.Errorf("the kernel does not end within %v", patience)
		return
	}
	if err := tr.mu.err; !errors.Is(err, errStopped) {
		tr.t.Errorf("the kernel ends: %v", err)
	}
}

// again calls f until it succeeds, as long as there is a kernel or one is started again.
func (tr *trial) again(what string, f func() error) {
	tr.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tr.over:
			tr.t.Fatalf("%s: %v; %v", what, err, tr.mu.err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			tr.t.Fatalf("%s: %v", what, err)
		}
	}
}

// do runs a command until it succeeds, and returns its output.
func (tr *trial) do(args ...string) (stdout string) {
	tr.t.Helper()
	tr.again(fmt.Sprintf("kernel %q", args), func() error {
		o := tr.cli(args...)
		if stdout = o.stdout; o.exit != 0 {
			return errors.New(o.String())
		}
		return nil
	})
	return stdout
}

// call calls a method under a ticket, through any kills, and returns its value in JSON, or "!", and the code and the message of
// its rejection.
func (tr *trial) call(ticket, target, method string, args ...any) string {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	answer, err := tr.tell(ctx, ticket, target, method, args...)
	if err != nil {
		tr.t.Fatal(err)
	}
	return answer
}

// calls is call for an answer that is known.
func (tr *trial) calls(want, ticket, target, method string, args ...any) {
	tr.t.Helper()
	if got := tr.call(ticket, target, method, args...); got != want {
		tr.t.Errorf("%s.%s: got %s, want %s", target, method, got, want)
	}
}
