package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/descriptors"
	"ocapkernel.dev/internal/statedir"
)

const (
	stateEnv         = "OCAPKERNEL_STATE"
	defaultStateHelp = "~/.local/state/ocapkernel"
	// logName is the log of the kernels that ran here; rotated ones are kernel-<time>.log.
	logName   = "kernel.log"
	logPrefix = "kernel-"
)

// stateDir returns the state directory, as an absolute path: --state, else $OCAPKERNEL_STATE, else a directory
// under $XDG_STATE_HOME. A path that no kernel can have is refused.
func (a *app) stateDir() (string, error) {
	dir := a.state
	if dir == "" {
		dir = a.getenv(stateEnv)
	}
	if dir == "" {
		base := a.getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(base) { // unset; the specification has a relative one ignored
			home := a.getenv("HOME")
			if home == "" {
				return "", &hinted{errors.New("there is no home directory to keep state in"), "name one: --state DIR"}
			}
			base = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(base, "ocapkernel")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, useHint(statedir.CheckPath(dir))
}

// typed returns the program, with the flags that make a command reach this state, for hints on the command to type
// next.
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

// openState makes the state directory usable for a kernel, and locks it.
func openState(dir string) (*statedir.Lock, error) {
	lock, err := statedir.Open(dir)
	return lock, diskHint(useHint(err), reserveHint)
}

// useHint adds the way to mend a directory that cannot be used to an error.
func useHint(err error) error {
	if use := (*statedir.UseError)(nil); errors.As(err, &use) {
		return &hinted{err, use.Mend}
	}
	return err
}

// checkRoom returns DISK_FULL before a kernel writes any file, its log above all. The files that a reset is
// going to delete count as free.
func (f *runFlags) checkRoom(dir string) error {
	room := &statedir.Room{Dir: dir, At: dir, Reserve: uint64(f.diskReserve) << 20, Descriptors: descriptors.New()}
	if f.reset || statedir.ResetBegun(dir) {
		return diskHint(room.CheckReset(isLog), reserveHint)
	}
	return diskHint(room.Check(), reserveHint)
}

// What an operator does about a full disk: freeHint of a command that takes no reserve, reserveHint of one that starts a kernel.
const (
	freeHint    = "free some space"
	reserveHint = freeHint + ", or keep back less: --disk-reserve MIB"
)

// diskHint adds a hint to an error about a lack of room on the disk.
func diskHint(err error, hint string) error {
	if control.CodeOf(err) != errcode.DiskFull {
		return err
	}
	return &hinted{err, hint}
}

// isInside reports whether a file is, or would be made, in a directory or somewhere below it, whatever links lead there. Nothing
// is inside of a directory that is missing.
func isInside(file, dir string) (bool, error) {
	outer, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	at, err := filepath.EvalSymlinks(file)
	if err == nil {
		at = filepath.Dir(at)
	} else if at, err = filepath.EvalSymlinks(filepath.Dir(file)); err != nil {
		return false, err
	}
	if at, err = filepath.Abs(at); err != nil {
		return false, err
	}
	for {
		if info, err := os.Stat(at); err != nil {
			return false, err
		} else if os.SameFile(info, outer) {
			return true, nil
		}
		parent := filepath.Dir(at)
		if parent == at {
			return false, nil
		}
		at = parent
	}
}

// isLog reports whether a file of a state directory is a log, which outlives a reset.
func isLog(name string) bool {
	return slices.Contains([]string{logName, crashName, lastCrashName, unjudgedName}, name) || isRotatedLog(name)
}
