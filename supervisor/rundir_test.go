package supervisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/workers"
)

func TestRunDirIsNotSomebodyElses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := supervisor.New(supervisor.Config{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "precious") {
		t.Errorf("got %v", err)
	}
}

// The run directory is empty most of the time; a cleaner of temporary files may remove it.
func TestRunDirIsMadeAgain(t *testing.T) {
	h := newHouse(t)
	if err := os.Remove(h.runDir); err != nil {
		t.Fatal(err)
	}
	w := h.start(h.spec("echo"))
	w.Kill()
	h.wantExit(workers.CauseStopped)
}

// A state that was removed is not made again, in part, by a kernel that still runs.
func TestTheDirectoryAroundTheRunDirIsNotMadeAgain(t *testing.T) {
	h := newHouse(t)
	state := filepath.Dir(h.runDir)
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	h.Start(h.spec("echo"), h.events)
	h.wantExit(workers.CauseStart, "run directory", "no such file")
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory around it is there: %v", err)
	}
}

// After the run directory was removed, somebody else may have made something of its name.
func TestRunDirThatSomebodyElseHasMadeIsRefused(t *testing.T) {
	for what, make := range map[string]func(dir string) error{
		"a link":                        func(dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a directory open to everybody": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)) },
		"a directory of another user":   func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 12345, -1)) },
		"a directory open to its group": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o770), os.Chmod(dir, 0o770)) },
		"a file":                        func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
	} {
		h := newHouse(t)
		if err := os.Remove(h.runDir); err != nil {
			t.Fatal(err)
		}
		if err := make(h.runDir); errors.Is(err, os.ErrPermission) {
			continue // only root gives files away
		} else if err != nil {
			t.Fatal(err)
		}
		h.Start(h.spec("echo"), h.events)
		h.wantExit(workers.CauseStart, "run directory")
		if err := os.RemoveAll(h.runDir); err != nil {
			t.Fatal(what, err)
		}
		// When it is out of the way, the next start succeeds.
		w := h.start(h.spec("echo"))
		w.Kill()
		h.wantExit(workers.CauseStopped)
	}
}

// A kernel that has lost its state kills its workers and leaves the run directory, which may be another kernel's.
func TestAbandonLeavesTheRunDir(t *testing.T) { overEach(t, testAbandonLeavesTheRunDir) }

func testAbandonLeavesTheRunDir(t *testing.T, via transport) {
	h := newHouse(t).over(via)
	h.Start(h.spec("echo"), h.events)
	pid := want[workers.Ready](h).Pid
	h.Abandon()
	eventually(t, "the worker is gone", func() bool { return !alive(pid) })
	if _, err := os.Stat(h.runDir); err != nil {
		t.Error(err)
	}
}
