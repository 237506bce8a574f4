package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// A worker is given deliveries in advance, which it does in their order.
func TestDeliveriesInAdvanceAreDoneInTheirOrder(t *testing.T) {
	h := newHouse(t)
	w := h.start(h.spec("echo"))
	for round := range uint64(2) {
		for n := range uint64(5) {
			body := "echo"
			if n == 1 {
				body = "get key" // of which the others wait for the end
			}
			if err := w.Deliver(call(1+5*round+n, body)); err != nil {
				t.Fatal(err)
			}
		}
		for n := range uint64(5) {
			if n == 1 {
				want[workers.Read](h)
				if err := w.Reply(wire.Row{}); err != nil {
					t.Fatal(err)
				}
			}
			if got := want[workers.Done](h).Done.Number; got != 1+5*round+n {
				t.Fatalf("delivery %d is done, want %d", got, 1+5*round+n)
			}
		}
	}
}

// The time of a delivery begins when the one before it is done, and is no longer than its own.
func TestADeliveryInAdvanceHasATimeOfItsOwn(t *testing.T) {
	h := newHouse(t)
	spec := h.spec("echo")
	spec.DeliveryTime = 2 * time.Second
	w := h.start(spec)
	began := time.Now()
	for n, body := range []string{"get key", "echo", "sleep"} {
		if err := w.Deliver(call(uint64(1+n), body)); err != nil {
			t.Fatal(err)
		}
	}
	want[workers.Read](h)
	<-time.After(spec.DeliveryTime)
	if err := w.Reply(wire.Row{}); err != nil {
		t.Fatal(err)
	}
	want[workers.Done](h)
	want[workers.Done](h)
	h.wantExit(workers.CauseDeadline, "delivery 3 took longer than 2s")
	if took := time.Since(began); took < 2*spec.DeliveryTime {
		t.Errorf("the third delivery ended after %s, want two seconds after the first two at least", took)
	}
}

// A worker that has nothing to do is not in time trouble, however long that takes.
func TestNoDeadlineWithoutADelivery(t *testing.T) {
	h := newHouse(t)
	spec := h.spec("echo")
	spec.DeliveryTime = time.Second
	w := h.start(spec)
	for n := range uint64(2) {
		if err := w.Deliver(call(1+n, "echo")); err != nil {
			t.Fatal(err)
		}
		want[workers.Done](h)
		<-time.After(spec.DeliveryTime + 300*time.Millisecond)
	}
	w.Stop()
	h.wantExit(workers.CauseStopped)
}

// A delivery that no frame can hold is the caller's error, and nothing of it is sent.
func TestWhatIsTooLargeIsNotSent(t *testing.T) {
	h := newHouse(t)
	w := h.start(h.spec("echo"))
	huge := strings.Repeat("x", wire.MaxDownFrameBytes)
	if err := w.Deliver(call(1, huge)); !errors.Is(err, wire.ErrLimit) || !strings.Contains(err.Error(), "encode wire.Deliver for v1") {
		t.Errorf("a delivery above the limit: got %v", err)
	}
	if err := w.Deliver(call(1, "get key")); err != nil {
		t.Fatal(err)
	}
	want[workers.Read](h)
	if err := w.Reply(wire.Row{Key: "key", Value: []byte(huge), Found: true}); !errors.Is(err, wire.ErrLimit) {
		t.Errorf("a reply above the limit: got %v", err)
	}
	if err := w.Reply(wire.Row{Key: "key", Value: []byte("v"), Found: true}); err != nil {
		t.Fatal(err)
	}
	if got := want[workers.Done](h).Done.Outcome.Fault; got != `"v" true <nil>` {
		t.Errorf("the worker has read %s", got)
	}
	// After one that is large, but not too large, all goes on.
	large := strings.Repeat("x", 1<<20)
	for n := range uint64(3) {
		if err := w.Deliver(call(2+n, "echo "+large[:1<<(20-8*n)])); err != nil {
			t.Fatal(err)
		}
		if got := len(want[workers.Done](h).Frame); got < 1<<(20-8*n) {
			t.Errorf("a message of %d bytes came back as a frame of %d", 1<<(20-8*n), got)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// The shell's own mistakes are not taken for a worker's.
func TestDeliveriesAndRepliesOutOfTurnPanic(t *testing.T) {
	h := newHouse(t)
	early := h.Start(h.spec("hang-early"), h.events)
	if !panics(func() { _ = early.Deliver(call(1, "echo")) }) {
		t.Error("a delivery to a worker that is not ready is accepted")
	}
	if err := early.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "ping v1: worker is not ready") {
		t.Errorf("ping of a worker that is not ready: %v", err)
	}
	early.Kill()
	h.wantExit(workers.CauseStopped)
	w := h.start(h.spec("echo"))
	if !panics(func() { _ = w.Reply(wire.Row{}) }) {
		t.Error("a reply to a worker that did not ask is accepted")
	}
	if err := w.Deliver(call(1, "get key")); err != nil {
		t.Fatal(err)
	}
	want[workers.Read](h)
	if err := w.Reply(wire.Row{}); err != nil {
		t.Fatal(err)
	}
	if !panics(func() { _ = w.Reply(wire.Row{}) }) {
		t.Error("a second reply is accepted")
	}
	want[workers.Done](h)
	w.Kill()
	h.wantExit(workers.CauseStopped, "killed by the kernel")
	if err := w.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "ping v1: worker has ended") {
		t.Errorf("ping of a worker that has ended: %v", err)
	}
	if err := errors.Join(w.Deliver(call(2, "echo")), w.Reply(wire.Row{})); err != nil {
		t.Errorf("what comes too late is an error: %v", err)
	}
	w.Stop()
	w.Kill()
}

// The first reason for which a worker ends is the one that is told.
func TestTheFirstReasonOfAnEndCounts(t *testing.T) {
	h := newHouse(t)
	w := h.start(h.spec("echo"))
	w.Stop()
	w.Kill()
	h.wantExit(workers.CauseStopped, "stopped")
	for _, w := range []workers.Worker{h.Start(h.spec("echo"), h.events), h.Start(h.spec("hang-early"), h.events)} {
		w.Kill() // wherever its start has got
		if e := h.wantExit(workers.CauseStopped, "killed by the kernel"); e.Worker != w || e.ExitCode != -1 {
			t.Errorf("got %+v", e)
		}
		eventually(t, "end of the process", func() bool { return w.Pid() == 0 || !alive(w.Pid()) })
	}
	if w := h.Start(h.spec("echo"), h.events); w.Vat() != "v1" || w.RSSBytes() != 0 && w.Pid() == 0 {
		t.Errorf("vat %s has a process of %d bytes before it is started", w.Vat(), w.RSSBytes())
	} else {
		want[workers.Ready](h)
		w.Stop()
		h.wantExit(workers.CauseStopped)
	}
}

// A worker gets the level of the log, and of the kernel's variables those for the runtime of Go.
func TestAWorkerGetsTheVariablesOfItsRuntime(t *testing.T) {
	t.Setenv("GOTRACEBACK", "crash")
	h := newHouse(t)
	w := h.start(h.spec("echo"))
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GOTRACEBACK=crash", wire.LogKey + "=trace", wire.CookieKey + "=" + wire.CookieValue} {
		if !strings.Contains("\x00"+string(b), "\x00"+want+"\x00") {
			t.Errorf("the worker has no %s: %q", want, b)
		}
	}
}

func TestNewRemovesWhatAnEarlierRunHasLeft(t *testing.T) {
	if _, err := supervisor.New(supervisor.Config{}); err == nil || !strings.Contains(err.Error(), "no run directory") {
		t.Errorf("without a run directory: got %v", err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	make := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.MkdirAll(filepath.Join(dir, name, "deep"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	make("plugin1", "plugin-dir2")
	s, err := supervisor.New(supervisor.Config{RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("in the run directory there are %v, %v", entries, err)
	}
	for range 2 { // the second time there is nothing to close
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	s.Abandon()
	make("plugin1", "zebra")
	if _, err := supervisor.New(supervisor.Config{RunDir: dir}); err == nil || !strings.Contains(err.Error(), `holds "zebra", which is not ours`) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "plugin1")); err != nil {
		t.Errorf("of a directory that is not ours something was removed: %v", err)
	}
}

// Workers that do not leave before the context of Close ends are killed.
func TestCloseKillsWhenItsContextEnds(t *testing.T) {
	h := newHouse(t, func(c *supervisor.Config) { c.StopTimeout = time.Hour })
	w := h.start(h.spec("echo"))
	if err := syscall.Kill(w.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	eventually(t, "end of the process", func() bool { return !alive(w.Pid()) })
}

// A kernel that abandons its workers starts no others.
func TestAnAbandonedSupervisorStartsNothing(t *testing.T) {
	h := newHouse(t)
	w := h.start(h.spec("echo"))
	h.Abandon()
	h.Abandon()
	eventually(t, "end of the process", func() bool { return !alive(w.Pid()) })
	if w := h.Start(h.spec("echo"), h.events); w.Pid() != 0 {
		t.Error("an abandoned supervisor starts workers")
	}
}
