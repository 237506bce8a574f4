package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"ocapkernel.dev/control"
)

const (
	stateEnv         = "OCAPKERNEL_STATE"
	defaultStateHelp = "~/.local/state/ocapkernel"
	// logName is the log of the kernels that ran here; rotated ones are kernel-<time>.log.
	logName   = "kernel.log"
	logPrefix = "kernel-"
	// resetName exists while a reset is under way, so that one that was interrupted is finished.
	resetName = "kernel.reset"
)

// stateDir returns the state directory, as an absolute path: --state, else $OCAPKERNEL_STATE, else a
// directory under $XDG_STATE_HOME.
func (a *app) stateDir() (string, error) {
	dir := a.state
	if dir == "" {
		dir = a.getenv(stateEnv)
	}
	if dir == "" {
		base := a.getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(base) { // unset; a relative one is to be ignored, says the specification
			home := a.getenv("HOME")
			if home == "" {
				return "", &hinted{errors.New("there is no home directory to keep state in"), "name one: --state DIR"}
			}
			base = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(base, "ocapkernel")
	}
	return filepath.Abs(dir)
}

// typed returns the program, with the flags that make a command reach this state: what a person types next.
func (a *app) typed() string {
	if a.state == "" {
		return a.program
	}
	return a.program + " --state " + shellQuote(a.state)
}

func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:,@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// openState makes the state directory usable for a kernel, and locks it. A directory that holds something
// else is refused. The lock is held until it is closed, or the process ends however it ends.
func openState(dir string) (*stateLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("state directory %s belongs to another user (uid %d)", dir, owner)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, &hinted{
			fmt.Errorf("state directory %s is open to everybody (mode %04o)", dir, info.Mode().Perm()),
			"name another one, or close it: chmod 700 " + shellQuote(dir),
		}
	}
	ours, err := isState(dir)
	if err != nil {
		return nil, err
	}
	if !ours {
		return nil, &hinted{
			fmt.Errorf("%s is not empty, and is no state of a kernel", dir),
			"name another directory: --state DIR",
		}
	}
	// It is empty or ours, so nobody else can have a use for it.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	return lockState(dir)
}

// isState says whether dir is empty or holds a kernel's state, which shows by its lock file.
func isState(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	// A declaration may be put there before the first kernel runs.
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == declarationName })
	if len(entries) == 0 {
		return true, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// A crash of the machine while the directory was made can leave the file empty, and alone.
	return strings.HasPrefix(string(text), lockMagic) || len(text) == 0 && len(entries) == 1, nil
}

// resetState wipes the state in dir, all but the lock, the logs and the declaration. The caller holds the lock.
//
// A mark is durable before anything goes, so that a reset which is interrupted is finished at the next
// start, instead of leaving half a state.
func resetState(dir string) error {
	mark, err := os.OpenFile(filepath.Join(dir, resetName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(mark.Sync(), mark.Close(), syncDir(dir)); err != nil {
		return err
	}
	return finishReset(dir)
}

// finishReset wipes a state that is marked for it; otherwise it does nothing.
func finishReset(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, resetName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		keep := name == lockName || name == logName || name == resetName || name == control.SocketName || name == declarationName || isRotatedLog(name)
		if keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, resetName))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
