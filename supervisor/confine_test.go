package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/supervisor/sandbox"
	"ocapkernel.dev/workers"
)

// confined has the workers of a house confined in a mode. Workers with the race detector in them cannot be,
// and those with cgo not in each mode.
func confined(t testing.TB, mode sandbox.Mode) func(*supervisor.Config) {
	t.Helper()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				t.Skip("the race detector needs what the filter denies")
			}
			if s.Key == "CGO_ENABLED" && s.Value == "1" && mode == sandbox.Required {
				t.Skip("a program with cgo cannot be confined so far: set CGO_ENABLED=0, as make does")
			}
		}
	}
	return func(c *supervisor.Config) { c.Sandbox.Mode = mode }
}

func TestAConfinedWorkerDoesItsWork(t *testing.T) {
	overBoth(t, func(t *testing.T, via transport) {
		for _, mode := range []sandbox.Mode{sandbox.BestEffort, sandbox.Required} {
			h := newHouse(t, confined(t, mode)).over(via)
			w := h.start(h.spec("echo"))
			for n := range uint64(50) {
				w.Deliver(call(n+1, "echo"))
				want[workers.Done](h)
			}
			if err := w.Ping(t.Context()); err != nil {
				t.Errorf("ping: %v", err)
			}
			w.Deliver(call(51, "env"))
			// A failed reading of /proc/self/fd says nothing, and one of its name neither.
			if got := want[workers.Done](h).Done.Outcome.Fault; !strings.HasPrefix(got, "comm: cwd: args:") {
				t.Errorf("%s: its surroundings are %q", mode, got)
			}
			w.Deliver(call(52, "leave child 54321"))
			h.wantExit(workers.CauseCrash, "operation not permitted")
			w = h.start(h.spec("echo"))
			w.Deliver(call(1, "panic"))
			h.wantExit(workers.CauseCrash, "oh dear")
			w = h.start(h.spec("echo"))
			w.Stop()
			h.wantExit(workers.CauseStopped)
		}
	})
}

// A vat may demand more than its kernel, and not less.
func TestTheStricterModeHolds(t *testing.T) {
	for _, c := range []struct {
		kernel sandbox.Mode
		vat    string
		want   string
	}{
		{sandbox.Off, "", "0"},
		{sandbox.Off, "off", "0"},
		{sandbox.Off, "best-effort", "2"},
		{sandbox.BestEffort, "off", "2"},
		{sandbox.BestEffort, "", "2"},
	} {
		h := newHouse(t, confined(t, c.kernel))
		spec := h.spec("echo")
		spec.Sandbox = c.vat
		w := h.start(spec)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Pid()))
		if err != nil || !strings.Contains(string(status), "\nSeccomp:\t"+c.want+"\n") {
			t.Errorf("kernel %s, vat %q: %v, want Seccomp %s in\n%s", c.kernel, c.vat, err, c.want, status)
		}
	}
	h := newHouse(t)
	spec := h.spec("echo")
	spec.Sandbox = "x"
	h.Start(spec, h.events)
	h.wantExit(workers.CauseStart, `"x" is no mode`)
}

// The kernel does not believe a worker: one that is not confined gets no delivery.
func TestAWorkerThatIsNotConfinedIsRefused(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	for name, c := range map[string]struct{ line, want string }{
		"it does not confine itself": {"unset " + sandbox.Key, "layer rlimits is missing: RLIMIT_DATA is"},
		"it has no filter":           {"unset " + sandbox.Key + "; ulimit -d 1000000 -n 64 -s 8192 -c 0 -f 0 -l 0 -q 0 2>/dev/null || exec prlimit --data=1000000000 --nofile=64 --stack=8388608 --core=0 --fsize=0 --memlock=0 --msgqueue=0 " + self(t) + ` "$@"`, "layer seccomp is missing: a thread has Seccomp: \"0\""},
		"it cannot":                  {"export " + sandbox.Key + "='best-effort 1 1 1'", "a worker needs at least"},
	} {
		if err := os.WriteFile(script, []byte("#!/bin/sh\n"+c.line+"\nexec "+self(t)+` "$@"`+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		h := newHouse(t, confined(t, sandbox.BestEffort))
		spec := h.spec("echo")
		spec.Program = script
		h.Start(spec, h.events)
		if e := h.wantExit(workers.CauseStart, c.want); t.Failed() {
			t.Errorf("%s: %s", name, e.Detail)
		}
	}
}
