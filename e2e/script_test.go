package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ocapkernel.dev/internal/scripttest"
)

// TestScripts runs testdata/*.txtar. A script runs in a site of its own: kernel, vatworker and testworker are
// found in $WORK/bin, the state is in $WORK/state. A process that a script leaves running fails it. REWRITE=1
// puts the output of the commands in the place of the expected one.
func TestScripts(t *testing.T) {
	runScripts(t, descriptor, "d", "*")
}

// TestScriptsOverGRPC runs the scripts over gRPC in which workers die, lie, or are started by the kernel itself. A line of a
// script that holds over one transport only begins with [gRPC] or [!gRPC].
func TestScriptsOverGRPC(t *testing.T) {
	runScripts(t, overGRPC, "g", "hostile_*", "poisoned_*", "system_[^o]*")
}

// TestTortureScriptsOverGRPC runs all scripts over gRPC, if KILLS is set, as in make torture: for most of what they wait for,
// the transport is all the same.
func TestTortureScriptsOverGRPC(t *testing.T) {
	if os.Getenv("KILLS") == "" {
		t.Skip("KILLS is not set")
	}
	runScripts(t, overGRPC, "a", "*")
}

// runScripts runs scripts over a transport, in a directory of the test, whose name is short as that of root is.
func runScripts(t *testing.T, over transport, dir string, patterns ...string) {
	var files []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join("testdata", pattern+".txtar"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no scripts %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	dir = filepath.Join(root, dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files:               files,
		WorkdirRoot:         dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("REWRITE") != "",
		Setup: func(env *testscript.Env) error {
			s, err := newSiteIn(env.WorkDir, built, over)
			if err != nil {
				return err
			}
			for _, v := range s.env() {
				name, value, _ := strings.Cut(v, "=")
				env.Setenv(name, value)
			}
			env.Values[siteKey{}] = s
			env.Defer(func() {
				if err := s.close(); err != nil {
					env.T().Fatal(err)
				}
			})
			return nil
		},
		Condition: func(condition string) (bool, error) {
			if condition != string(overGRPC) {
				return false, fmt.Errorf("unknown condition %s", condition)
			}
			return over == overGRPC, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"capture": capture,
			"clean":   clean,
			"exits":   scripttest.Exits,
			"gone":    gone,
			"says":    scripttest.Says,
			"signal":  signal,
			"until":   scripttest.Until,
			"workers": workers,
		},
	})
}

type siteKey struct{}

func siteOf(ts *testscript.TestScript) *site { return ts.Value(siteKey{}).(*site) }

// capture puts the match of the first group of a pattern into a variable: capture VARIABLE FILE PATTERN. FILE
// may be stdout or stderr.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	scripttest.Usage(ts, neg || len(args) != 3, "capture VARIABLE FILE PATTERN")
	match := scripttest.Pattern(ts, args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(match) < 2 {
		ts.Fatalf("%s does not match %s", args[1], args[2])
	}
	ts.Setenv(args[0], match[1])
}

// signal sends a signal to a process: signal KILL PID.
func signal(ts *testscript.TestScript, neg bool, args []string) {
	scripttest.Usage(ts, neg || len(args) != 2, "signal KILL|TERM|INT|STOP|CONT PID")
	number, ok := map[string]syscall.Signal{
		"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
	}[args[0]]
	pid, err := strconv.Atoi(args[1])
	if !ok || err != nil || pid <= 1 {
		ts.Fatalf("cannot send %s to %s", args[0], args[1])
	}
	if err := syscall.Kill(pid, number); !errors.Is(err, syscall.ESRCH) { // it may have ended meanwhile, or been replaced
		ts.Check(err)
	}
}

// gone waits until a process has ended, with all that it held: gone PID.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	scripttest.Usage(ts, neg || len(args) != 1, "gone PID")
	ts.Check(scripttest.Within(patience, func() error {
		stat, err := os.ReadFile(filepath.Join("/proc", args[0], "stat"))
		if err != nil {
			return nil
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		// A zombie is dead, only its parent has not noticed; but while other threads of it end, files
		// are open and locks are held.
		if f := strings.Fields(rest); len(f) > 17 && f[0] == "Z" && f[17] <= "1" {
			return nil
		}
		return fmt.Errorf("process %s lives: %s", args[0], stat)
	}))
}

// workers waits until there are so many worker processes: workers N.
func workers(ts *testscript.TestScript, neg bool, args []string) {
	scripttest.Usage(ts, neg || len(args) != 1, "workers N")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(scripttest.Within(patience, func() error {
		if list := siteOf(ts).workers(); len(list) != want {
			return fmt.Errorf("want %d workers, there are %+v", want, list)
		}
		return nil
	}))
}

// clean checks that at this very moment there is no socket or run directory of the kernel: that it has stopped in
// order. A process of it may still be on its way out, which takes a busy machine a moment.
func clean(ts *testscript.TestScript, neg bool, args []string) {
	scripttest.Usage(ts, neg || len(args) != 0, "clean")
	s := siteOf(ts)
	ts.Check(none("files", s.runtimeFiles()))
	ts.Check(scripttest.Within(patience, func() error { return none("processes", s.processes("")) }))
}
