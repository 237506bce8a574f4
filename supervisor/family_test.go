package supervisor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

func row1(value []byte) wire.Row { return wire.Row{Key: "key", Value: value, Found: true} }

// sleepers counts the processes that sleep for that long.
func sleepers(mark string) (n int) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		text, _ := os.ReadFile(name)
		if bytes.Equal(text, []byte("sleep\x00"+mark+"\x00")) {
			n++
		}
	}
	return n
}

// mark is a time to sleep for that no other process has.
func mark(n int) string { return fmt.Sprintf("%d.%d", 20_000+n, os.Getpid()) }

// The processes that a worker has started end with it, even if they have tried to leave it.
func TestWhatAWorkerStartsEndsWithIt(t *testing.T) { overEach(t, testWhatAWorkerStartsEndsWithIt) }

func testWhatAWorkerStartsEndsWithIt(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	other := h.start(h.spec("echo"))
	other.Deliver(call(1, "leave child "+mark(0)))
	want[workers.Done](h)
	eventually(t, "the other worker's child", func() bool { return sleepers(mark(0)) == 1 })
	hows := []string{"child", "orphan", "session", "daemon", "group", "many"}
	if via == onStream { // whose processes end in the same way
		hows = []string{"child", "daemon"}
	}
	for i, how := range hows {
		for j, end := range []string{"kill", "exit 3"} {
			m := mark(1 + 2*i + j)
			w := h.start(h.spec("echo"))
			file := filepath.Join(t.TempDir(), "started")
			w.Deliver(call(1, "leave "+how+" "+m+" "+file))
			want[workers.Done](h)
			eventually(t, how+" starts", func() bool {
				_, err := os.Stat(file)
				return err == nil || sleepers(m) >= 1
			})
			if end == "kill" {
				w.Kill()
				h.wantExit(workers.CauseStopped)
			} else {
				w.Deliver(call(2, end))
				h.wantExit(workers.CauseCrash)
			}
			eventually(t, how+" ends after "+end, func() bool { return sleepers(m) == 0 })
		}
	}
	if sleepers(mark(0)) != 1 {
		t.Error("what a worker has started does not live on when another worker ends")
	}
	h.close()
	eventually(t, "the end of what was killed by the stop", func() bool { return sleepers(mark(0)) == 0 })
}

// A kill of a worker does not wait until all its descendants are found, since the loop of a kernel kills. Until then the
// worker is not reaped, and its end is not reported.
func TestKillDoesNotWaitForDescendants(t *testing.T) { overEach(t, testKillDoesNotWaitForDescendants) }

func testKillDoesNotWaitForDescendants(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	w := h.start(h.spec("echo"))
	m := mark(50)
	w.Deliver(call(1, "leave session "+m))
	want[workers.Done](h)
	eventually(t, "the child starts", func() bool { return sleepers(m) == 1 })
	asked, release := supervisor.HoldDescendants(t)
	w.Kill()
	w.Kill() // nor does a second one
	if pid := <-asked; pid != w.Pid() {
		t.Errorf("what process %d has started is looked for, want %d", pid, w.Pid())
	}
	release()
	h.wantExit(workers.CauseStopped)
	eventually(t, "the child ends", func() bool { return sleepers(m) == 0 })
	if len(asked) > 0 {
		t.Error("it is looked for twice")
	}
}

// A program is not executed for its modules if it has another hash than it must have.
func TestModulesOfAPinnedProgram(t *testing.T) {
	dir := t.TempDir()
	program, ran := filepath.Join(dir, "program"), filepath.Join(dir, "ran")
	text := "#!/bin/sh\ntouch " + ran + "\nsetsid sleep " + mark(100) + " >/dev/null 2>&1 &\nsetsid sh -c 'setsid sleep " + mark(100) +
		" & :' >/dev/null 2>&1\necho '[\"m\"]'\n"
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	ctx := context.Background()
	for _, wrong := range []string{strings.Repeat("00", 32), "x"} {
		if _, err := supervisor.Modules(ctx, program, wrong); err == nil || !strings.Contains(err.Error(), "has sha256 "+hex.EncodeToString(sum[:])) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a program with another hash was executed")
	}
	got, err := supervisor.Modules(ctx, program, hex.EncodeToString(sum[:]))
	if err != nil || len(got) != 1 || got[0] != "m" {
		t.Errorf("got %v, %v", got, err)
	}
	// Processes that it has started after its answer end, too.
	eventually(t, "end of what the program has left behind", func() bool { return sleepers(mark(100)) == 0 })
}

// A script with a configured hash runs as it was checked, also when its file is changed after the check.
func TestPinnedScriptRuns(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	text := "#!/bin/sh\nexec '" + self(t) + "' \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	h := newHouse(t)
	spec := h.spec("echo")
	spec.Program, spec.SHA256 = script, hex.EncodeToString(sum[:])
	w := h.start(spec)
	w.Stop()
	h.wantExit(workers.CauseStopped)
	if err := os.WriteFile(script, []byte(text+"# changed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.Start(spec, h.events)
	h.wantExit(workers.CauseStart, "has sha256")
}
