package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/workers"
)

// A signal from another process is not of the worker's doing.
func TestSentSignalsAreNotTheWorkersDoing(t *testing.T) {
	overBoth(t, testSentSignalsAreNotTheWorkersDoing)
}

func testSentSignalsAreNotTheWorkersDoing(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	for _, s := range []syscall.Signal{
		syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGTRAP,
	} {
		for _, body := range []string{"loop", "sleep", ""} {
			w := h.start(h.spec("echo"))
			if body != "" {
				w.Deliver(call(1, body))
			}
			if err := syscall.Kill(w.Pid(), s); err != nil {
				t.Fatal(err)
			}
			h.wantExit(workers.CauseKilled, "signal")
		}
	}
}

// Another process kills many workers at once, as the system does when memory is short: none of them is at fault, however
// long the sweep of their leftovers takes.
func TestWorkersThatAreKilledInBulkAreNotAtFault(t *testing.T) {
	overEach(t, testWorkersThatAreKilledInBulkAreNotAtFault)
}

func testWorkersThatAreKilledInBulkAreNotAtFault(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	const n = 20
	var list []workers.Worker
	for i := range n {
		spec := h.spec("echo")
		spec.Start.Vat = fmt.Sprintf("v%d", i+1)
		w := h.start(spec)
		w.Deliver(call(1, "sleep"))
		list = append(list, w)
	}
	release := supervisor.HoldFamily(t) // as if the sweep before took that long
	for _, w := range list {
		if err := syscall.Kill(w.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		h.wantExit(workers.CauseKilled, "signal: killed")
	}
	release()
}

// The exit status of a process is known before it is reaped, however it ends.
func TestTheEndOfAWorkerIsKnownBeforeItIsSwept(t *testing.T) {
	overEach(t, testTheEndOfAWorkerIsKnownBeforeItIsSwept)
}

func testTheEndOfAWorkerIsKnownBeforeItIsSwept(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	for body, want := range map[string]string{"exit 0": "exit status 0", "exit 3": "exit status 3", "panic": "exit status 2"} {
		w := h.start(h.spec("echo"))
		release := supervisor.HoldFamily(t)
		w.Deliver(call(1, body))
		h.wantExit(workers.CauseCrash, want)
		release()
	}
}

// Faults of a worker are of its doing, and so are faults of a program in another language than ours.
func TestFaultsAreTheWorkersDoing(t *testing.T) { overEach(t, testFaultsAreTheWorkersDoing) }

func testFaultsAreTheWorkersDoing(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	w.Deliver(call(1, "fault"))
	h.wantExit(workers.CauseCrash, "exit status 2", "invalid memory address")

	program := filepath.Join(t.TempDir(), "program")
	for s, cause := range map[string]workers.Cause{
		"SEGV": workers.CauseStart, "ABRT": workers.CauseStart, "XCPU": workers.CauseStart, "PIPE": workers.CauseStart,
		"TERM": workers.CauseKilled, "HUP": workers.CauseKilled, "KILL": workers.CauseKilled, "USR1": workers.CauseKilled,
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\nkill -"+s+" $$\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		spec := h.spec("echo")
		spec.Program = program
		h.Start(spec, h.events)
		h.wantExit(cause, "signal")
	}
}

// A worker that asks for rows again and again and reads none gets no more than fits the socket, and one that waits.
func TestAnswersThatAreNotReadAreNotGathered(t *testing.T) {
	overBoth(t, testAnswersThatAreNotReadAreNotGathered)
}

func testAnswersThatAreNotReadAreNotGathered(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	spec := h.spec("echo")
	if via == onStream {
		spec = h.spec(pluginPrefix + "ask") // as no worker of the SDK can
	}
	spec.DeliveryTime = time.Second
	w := h.start(spec)
	w.Deliver(call(1, "ask key"))
	row := make([]byte, 3<<20)
	for reads := 0; ; {
		switch e := (<-h.events).(type) {
		case workers.Read:
			if reads++; reads > 2 {
				t.Fatalf("%d answers of %d bytes were asked for, and none was read", reads, len(row))
			}
			if err := w.Reply(row1(row)); err != nil {
				t.Fatal(err)
			}
		case workers.Exited:
			if e.Cause != workers.CauseDeadline {
				t.Fatalf("got %+v", e)
			}
			return
		default:
			t.Fatalf("got %T %+v", e, e)
		}
	}
}

// Workers that never say hello do not keep others from starting.
func TestWorkersThatHangDoNotDelayOthers(t *testing.T) {
	overBoth(t, testWorkersThatHangDoNotDelayOthers)
}

func testWorkersThatHangDoNotDelayOthers(t *testing.T, via transport) {
	h := newHouse(t, func(c *supervisor.Config) { c.Starts, c.StartTimeout = 1, time.Hour }).over(via)
	quiet := make(chan workers.Event, 100)
	for round := range 2 { // the second time it is known of them
		for i := range 8 {
			spec := h.spec("hang-early")
			spec.Start.Vat = fmt.Sprintf("v%d", 100+i)
			h.Start(spec, quiet)
		}
		w := h.start(h.spec("echo"))
		w.Stop()
		h.wantExit(workers.CauseStopped)
		t.Logf("round %d", round)
	}
}
