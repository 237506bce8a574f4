package supervisor_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

func TestWorkerEchoes(t *testing.T) { overEach(t, testWorkerEchoes) }

func testWorkerEchoes(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	for n := uint64(1); n <= 100; n++ {
		d := call(n, "echo "+strings.Repeat("é", int(n)))
		w.Deliver(d)
		done := want[workers.Done](h)
		c := d.Delivery.(wire.Call)
		wantDone := wire.Done{Number: n, Syscalls: []wire.Syscall{wire.Send(c)}}
		if diff := cmp.Diff(wantDone, done.Done); diff != "" {
			t.Fatalf("delivery %d (-want +got):\n%s", n, diff)
		}
		again, err := wire.AppendUp(nil, wantDone)
		if err != nil || string(again[wire.HeaderBytes:]) != string(done.Frame) {
			t.Fatalf("frame of delivery %d is not that of its value (%v)", n, err)
		}
	}
	w.Stop()
	if e := h.wantExit(workers.CauseStopped); e.Pid != w.Pid() {
		t.Errorf("got pid %d, want %d", e.Pid, w.Pid())
	}
	w.Deliver(call(101, "echo")) // too late: nothing happens
}

func TestWorkerReadsItsStore(t *testing.T) { overEach(t, testWorkerReadsItsStore) }

func testWorkerReadsItsStore(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	w.Deliver(call(1, "get key"))
	if diff := cmp.Diff(wire.UpFrame(wire.Get{Key: "key"}), want[workers.Read](h).Frame); diff != "" {
		t.Fatal(diff)
	}
	w.Reply(wire.Row{Key: "key", Value: []byte("value"), Found: true})
	if got := want[workers.Done](h).Done.Outcome.Fault; got != `"value" true <nil>` {
		t.Fatalf("got %s", got)
	}
	w.Deliver(call(2, "next p."))
	if diff := cmp.Diff(wire.UpFrame(wire.Next{After: "p.", Prefix: "p."}), want[workers.Read](h).Frame); diff != "" {
		t.Fatal(diff)
	}
	w.Reply(wire.Row{})
	if got := want[workers.Done](h).Done.Outcome.Fault; got != `"" "" false <nil>` {
		t.Fatalf("got %s", got)
	}
	// A key that no frame can hold is the vat's error, and the worker goes on.
	w.Deliver(call(3, "get "+strings.Repeat("k", wire.MaxKeyBytes+1)))
	if got := want[workers.Done](h).Done.Outcome.Fault; !strings.Contains(got, "over the limit") {
		t.Fatalf("got %s", got)
	}
	// So is a read after the end of the crank.
	// The straggler may get into the next crank.
	for i, body := range []string{"late", "echo"} {
		w.Deliver(call(uint64(4+i), body))
		for done := false; !done; {
			switch e := (<-h.events).(type) {
			case workers.Read:
				w.Reply(wire.Row{})
			case workers.Done:
				done = true
			default:
				t.Fatalf("got %+v", e)
			}
		}
	}
}

func TestDeathIsSeenAtOnce(t *testing.T) { overEach(t, testDeathIsSeenAtOnce) }

func testDeathIsSeenAtOnce(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	for _, body := range []string{"", "sleep", "loop"} {
		w := h.start(h.spec("echo"))
		if body != "" {
			w.Deliver(call(1, body))
		}
		began := time.Now() // a deadline would be another cause
		if err := syscall.Kill(w.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e := h.wantExit(workers.CauseKilled, "signal: killed")
		t.Logf("%q: seen after %s", body, time.Since(began))
		if e.Signal != syscall.SIGKILL || e.ExitCode != -1 {
			t.Errorf("got %+v", e)
		}
	}
}

func TestHowWorkersEnd(t *testing.T) { overBoth(t, testHowWorkersEnd) }

func testHowWorkersEnd(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	tests := []struct {
		body  string
		cause workers.Cause
		parts []string
	}{
		{"panic", workers.CauseCrash, []string{"exit status 2", "panic: oh dear"}},
		{"exit 0", workers.CauseCrash, []string{"exit status 0"}},
		{"exit 3", workers.CauseCrash, []string{"exit status 3"}},
		{"close", workers.CauseCrash, []string{"closed its stream"}},
		{"raw 0500000068656c6c6f", workers.CauseMalformed, []string{"a frame is an array"}},
		{"raw 00000000", workers.CauseMalformed, []string{"empty frame"}},
		{"raw 05000000ddffffffff", workers.CauseMalformed, []string{"length 4294967295"}},
		{"raw ffffff7f", workers.CauseLimit, []string{"frame of ", " bytes, over the limit of 4194304"}},
		{"frame wrong-number", workers.CauseMalformed, []string{"delivery 77, want 1"}},
		{"frame hello", workers.CauseMalformed, []string{"wire.Hello"}},
	}
	for _, tt := range tests {
		t.Run(tt.body, func(t *testing.T) {
			h.t = t
			w := h.start(h.spec("echo"))
			pid := w.Pid()
			w.Deliver(call(1, tt.body))
			h.wantExit(tt.cause, tt.parts...)
			eventually(t, "end of the process", func() bool { return !alive(pid) })
		})
	}
}

func TestFramesOutOfTurn(t *testing.T) { overEach(t, testFramesOutOfTurn) }

func testFramesOutOfTurn(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	w.Deliver(call(1, "frame two-gets"))
	want[workers.Read](h)
	h.wantExit(workers.CauseMalformed, "wire.Get without a delivery")
	w.Reply(wire.Row{}) // too late: nothing happens

	w = h.start(h.spec("echo"))
	w.Deliver(call(1, "frame two-dones"))
	want[workers.Done](h)
	h.wantExit(workers.CauseMalformed, "wire.Done without a delivery")
}

func TestLimitsOfACrank(t *testing.T) { overEach(t, testLimitsOfACrank) }

func testLimitsOfACrank(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	spec := h.spec("echo")
	spec.Start.MaxFrameBytes, spec.Start.MaxSyscalls = 10_000, 10
	w := h.start(spec)
	// An honest worker ends a crank that is too large as a fault.
	for n, body := range map[uint64]string{1: "many 11", 2: "big 10000"} {
		w.Deliver(call(n, body))
		if got := want[workers.Done](h).Done; !strings.Contains(got.Outcome.Fault, "the limit is") || got.Syscalls != nil {
			t.Errorf("%s: got %+v", body, got)
		}
	}
	w.Deliver(call(3, "many 10"))
	if got := want[workers.Done](h).Done; len(got.Syscalls) != 10 {
		t.Errorf("got %+v", got)
	}
	// A dishonest one is ended.
	b, err := wire.AppendUp(nil, wire.Done{Number: 4, Syscalls: slicesRepeat(wire.StoreDelete{Key: "k"}, 11)})
	if err != nil {
		t.Fatal(err)
	}
	w.Deliver(call(4, "raw "+hex.EncodeToString(b)))
	h.wantExit(workers.CauseLimit, "11 items")
}

// While a worker waits for a row, it is the kernel that takes time.
func TestDeadlineDoesNotCountTheKernelsReading(t *testing.T) {
	overBoth(t, testDeadlineDoesNotCountTheKernelsReading)
}

func testDeadlineDoesNotCountTheKernelsReading(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	spec := h.spec("echo")
	spec.DeliveryTime = 2 * time.Second
	w := h.start(spec)
	w.Deliver(call(1, "get x"))
	want[workers.Read](h)
	<-time.After(spec.DeliveryTime + 200*time.Millisecond)
	if err := w.Reply(wire.Row{Key: "x"}); err != nil {
		t.Fatal(err)
	}
	want[workers.Done](h)
}

func TestDeadline(t *testing.T) { overBoth(t, testDeadline) }

func testDeadline(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	for _, body := range []string{"loop", "sleep"} {
		spec := h.spec("echo")
		spec.DeliveryTime = 300 * time.Millisecond
		w := h.start(spec)
		w.Deliver(call(1, "echo"))
		want[workers.Done](h)
		began := time.Now()
		w.Deliver(call(2, body))
		h.wantExit(workers.CauseDeadline, "delivery 2 took longer than 300ms")
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("%s: ended after %s", body, took)
		}
	}
}

func TestLogs(t *testing.T) { overBoth(t, testLogs) }

func testLogs(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	for n, body := range []string{"log", "print", "forge"} {
		w.Deliver(call(uint64(n+1), body))
		want[workers.Done](h)
	}
	w.Stop()
	h.wantExit(workers.CauseStopped)
	h.close()
	log := h.log.String()
	for _, part := range []string{
		`[WARN]  vat: a warning: name=alice vat=v1 answer=42 text=two\nlines its_vat=v999`,
		`worker says: name=alice vat=v1 text="on stdout"`,
		`[ERROR] vat: forged\x1b[2J: name=alice vat=v1 a_b=c n="{\"deep\":[1]}" its_vat=v0`,
	} {
		if !strings.Contains(log, part) {
			t.Errorf("log does not have %s", part)
		}
	}
	if strings.ContainsRune(log, 0x1b) {
		t.Error("log has escapes")
	}
	if t.Failed() {
		t.Log(log)
	}
}

func TestFloodsOfOutput(t *testing.T) { overBoth(t, testFloodsOfOutput) }

func testFloodsOfOutput(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	for n, body := range []string{"flood 1", "flood 2", "lines", "echo"} {
		w.Deliver(call(uint64(n+1), body))
		want[workers.Done](h)
	}
	w.Stop()
	h.wantExit(workers.CauseStopped)
	h.close()
	log := h.log.String()
	if len(log) > 1<<20 {
		t.Errorf("log has %d bytes", len(log))
	}
	if !strings.Contains(log, "worker log lines dropped") {
		t.Error("log does not say that lines were dropped")
	}
}

func TestPing(t *testing.T) { overEach(t, testPing) }

func testPing(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	w.Deliver(call(1, "loop"))
	ctx := context.Background()
	for range 3 {
		if err := w.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	_ = syscall.Kill(w.Pid(), syscall.SIGSTOP)
	eventually(t, "stop of each thread", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", w.Pid()))
		return !slices.ContainsFunc(tasks, func(stat string) bool {
			b, err := os.ReadFile(stat)
			return err == nil && !strings.Contains(string(b), ") T ")
		})
	})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := w.Ping(short); err == nil {
		t.Error("a stopped worker answers")
	}
	_ = syscall.Kill(w.Pid(), syscall.SIGCONT)
	eventually(t, "an answer of the worker that goes on", func() bool { return w.Ping(ctx) == nil })
	w.Kill()
	h.wantExit(workers.CauseStopped)
	if err := w.Ping(ctx); err == nil {
		t.Error("a dead worker answers")
	}
}

func TestStopIsBounded(t *testing.T) { overEach(t, testStopIsBounded) }

func testStopIsBounded(t *testing.T, via transport) {
	h := newHouse(t, func(c *supervisor.Config) { c.StopTimeout = 200 * time.Millisecond }).over(via)
	w := h.start(h.spec("echo"))
	_ = syscall.Kill(w.Pid(), syscall.SIGSTOP)
	w.Stop()
	h.wantExit(workers.CauseStopped)

	w = h.start(h.spec("echo"))
	w.Deliver(call(1, "loop"))
	w.Stop()
	h.wantExit(workers.CauseStopped)

	// Before it started, too.
	w = h.Start(h.spec("hang-early"), h.events)
	w.Stop()
	h.wantExit(workers.CauseStopped)
}

func TestCloseWithStoppedAndBusyWorkers(t *testing.T) {
	overEach(t, testCloseWithStoppedAndBusyWorkers)
}

func testCloseWithStoppedAndBusyWorkers(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	a, b := h.start(h.spec("echo")), h.start(h.spec("echo"))
	_ = syscall.Kill(a.Pid(), syscall.SIGSTOP)
	b.Deliver(call(1, "loop"))
	began := time.Now()
	h.close()
	if took := time.Since(began); took < 900*time.Millisecond || took > 40*time.Second {
		t.Errorf("close took %s", took)
	}
	if alive(a.Pid()) || alive(b.Pid()) {
		t.Error("a worker is alive")
	}
	w := h.Start(h.spec("echo"), h.events)
	if w.Pid() != 0 {
		t.Error("a closed supervisor starts workers")
	}
}

func TestCloseWithoutListener(t *testing.T) { overEach(t, testCloseWithoutListener) }

func testCloseWithoutListener(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	quiet := make(chan workers.Event) // without a receiver
	for range 3 {
		h.Start(h.spec("echo"), quiet)
	}
	h.close()
}

func TestBigDeliveryDoesNotBlock(t *testing.T) { overEach(t, testBigDeliveryDoesNotBlock) }

func testBigDeliveryDoesNotBlock(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	_ = syscall.Kill(w.Pid(), syscall.SIGSTOP)
	big := strings.Repeat("x", 3<<20)
	w.Deliver(call(1, "echo "+big)) // returns although the worker takes nothing until it is continued
	_ = syscall.Kill(w.Pid(), syscall.SIGCONT)
	done := want[workers.Done](h)
	if got := done.Done.Syscalls[0].(wire.Send).Message.MethArgs.Body; got != "echo "+big {
		t.Errorf("got %d bytes back", len(got))
	}
	// One that never reads is ended with all that is pending.
	_ = syscall.Kill(w.Pid(), syscall.SIGSTOP)
	w.Deliver(call(2, "echo "+big))
	w.Kill()
	h.wantExit(workers.CauseStopped)
}

// A kernel that is killed leaves no worker, busy or idle.
func TestKilledKernelLeavesNoWorker(t *testing.T) {
	dir, err := os.MkdirTemp("", "ok")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(self(t), "be-a-kernel", filepath.Join(dir, "run"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	line := bufio.NewScanner(out)
	for len(pids) < 6 && line.Scan() {
		pid, err := strconv.Atoi(line.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 6 {
		t.Fatalf("got workers %v", pids)
	}
	began := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, "end of the worker", func() bool { return !alive(pid) })
	}
	t.Logf("gone after %s", time.Since(began))
	_ = cmd.Wait()
	entries, err := os.ReadDir(filepath.Join(dir, "run"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the run directory: %v, %v", entries, err)
	}
}

// beKernel starts an idle, a sleeping and a looping worker on each transport, prints their pids, and waits to be killed.
func beKernel(runDir string) {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	s, err := supervisor.New(supervisor.Config{RunDir: runDir, StockProgram: exe})
	if err != nil {
		panic(err)
	}
	events := make(chan workers.Event, 8)
	for i, body := range []string{"", "sleep", "loop", "", "sleep", "loop"} {
		via := onDescriptor
		if i >= 3 {
			via = onStream
		}
		w := s.Start(workers.Spec{Start: wire.Start{Vat: "v1", Module: via.prefix() + "echo"}, DeliveryTime: time.Hour}, events)
		if _, ok := (<-events).(workers.Ready); !ok {
			panic("worker is not ready")
		}
		if body != "" {
			w.Deliver(call(1, body))
		}
		fmt.Println(w.Pid())
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // for the case that the test dies first
	os.Exit(1)
}

func TestNothingIsLeft(t *testing.T) { overEach(t, testNothingIsLeft) }

func testNothingIsLeft(t *testing.T, via transport) {
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	w.Kill()
	h.wantExit(workers.CauseStopped)
	before := fds() // the runtime has its own by now
	var pids []int
	lives := 30
	if via == onStream {
		lives = 10
	}
	for i := range lives {
		w := h.start(h.spec("echo"))
		pids = append(pids, w.Pid())
		switch i % 5 {
		case 0:
			w.Stop()
		case 1:
			w.Kill()
		case 2:
			_ = syscall.Kill(w.Pid(), syscall.SIGKILL)
		case 3:
			w.Deliver(call(1, "exit 0"))
		case 4:
			if err := w.Ping(context.Background()); err != nil {
				t.Fatal(err)
			}
			w.Kill()
		}
		want[workers.Exited](h)
	}
	eventually(t, "return of descriptors", func() bool { return fds() <= before })
	for _, pid := range pids {
		eventually(t, "end of each process", func() bool { return !isChild(pid) })
	}
	if entries, err := os.ReadDir(h.runDir); err != nil || len(entries) > 0 {
		t.Errorf("left in the run directory: %v, %v", entries, err)
	}
}

func isChild(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return strings.Contains(string(b), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid()))
}

func TestMemoryOfAWorker(t *testing.T) { overEach(t, testMemoryOfAWorker) }

func testMemoryOfAWorker(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	if n := w.RSSBytes(); n < 1<<20 {
		t.Errorf("a live worker has %d bytes", n)
	}
	w.Kill()
	h.wantExit(workers.CauseStopped)
	deadline := time.Now().Add(20 * time.Second)
	for w.RSSBytes() != 0 && time.Now().Before(deadline) { // it may still be about to die
		runtime.Gosched()
	}
	if n := w.RSSBytes(); n != 0 {
		t.Errorf("a worker that has ended has %d bytes", n)
	}
}

// Without descriptors to spare a worker is not started, which is the world's fault and passes.
func TestNoDescriptorsForAWorker(t *testing.T) {
	var spare atomic.Bool
	h := newHouse(t, func(c *supervisor.Config) { c.Allow = spare.Load })
	h.Start(h.spec("echo"), h.events)
	h.wantExit(workers.CauseStart, "no descriptors to spare")
	spare.Store(true)
	w := h.start(h.spec("echo"))
	w.Kill()
	h.wantExit(workers.CauseStopped)
}
