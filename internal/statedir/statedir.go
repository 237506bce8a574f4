// Package statedir keeps the directory in which a kernel has its state: it checks the owner of the directory,
// lets one kernel at a time run, and wipes the state.
package statedir

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
)

const (
	// DeclarationName is the file that declares the system subclusters. It may be put into the directory
	// before the first kernel runs.
	DeclarationName = "kernel.json"
	// resetName exists while a reset is under way, so that an interrupted reset is finished.
	resetName = "kernel.reset"
	// witnessName is the witness of the database.
	witnessName = "witness"
)

// UseError is the reason why a directory cannot be used, and the way to mend it.
type UseError struct{ Problem, Mend string }

func (e *UseError) Error() string { return e.Problem }

// Open makes the state directory usable for a kernel, and locks it. A directory that holds other files is
// refused. The lock is held until it is closed, or the process ends in any way.
func Open(dir string) (*Lock, error) {
	if err := CheckPath(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, noRoom(err)
	}
	return open(dir)
}

// OpenState is [Open] for a directory that holds a state. If there is none, the error is errcode.NotFound, and nothing is made.
func OpenState(dir string) (*Lock, error) {
	if err := CheckPath(dir); err != nil {
		return nil, err
	}
	_, err := os.Lstat(LockFile(dir))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, control.Errorf(errcode.NotFound, "%s holds no state of a kernel", dir)
	}
	if err != nil {
		return nil, err
	}
	return open(dir)
}

// open checks a directory, and locks it.
func open(dir string) (*Lock, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("state directory %s belongs to another user (uid %d)", dir, owner)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, &UseError{fmt.Sprintf("state directory %s is open to everybody (mode %04o)", dir, info.Mode().Perm()), "name another one, or close it with chmod 700"}
	}
	ours, err := IsState(dir)
	if err != nil {
		return nil, err
	}
	if !ours {
		return nil, &UseError{fmt.Sprintf("%s is not empty, and is no state of a kernel", dir), "name another directory: --state DIR"}
	}
	if err := checkLinks(dir); err != nil {
		return nil, err
	}
	// The directory is empty or a kernel's own, so no other user needs it.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	return LockState(dir)
}

// CheckPath refuses a path that is not UTF-8, with a [*UseError]. Logs, JSON and stored text would alter it.
func CheckPath(dir string) error {
	if utf8.ValidString(dir) {
		return nil
	}
	return &UseError{fmt.Sprintf("the path of the state directory, %q, is not UTF-8", dir), "rename the directory, or name another one: --state DIR"}
}

// checkLinks refuses links in the directory: a write to a link lands elsewhere. A declaration is only read.
func checkLinks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 && e.Name() != DeclarationName {
			return &UseError{
				fmt.Sprintf("%s is a symbolic link, and a kernel would write through it", filepath.Join(dir, e.Name())),
				"remove the link, or put what it leads to in its place; to keep the state elsewhere name that: --state DIR",
			}
		}
	}
	return nil
}

// IsState reports whether dir is empty or holds a kernel's state, which shows by its lock file.
func IsState(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	// A declaration may be put there before the first kernel runs.
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == DeclarationName })
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

// Reset wipes the state in dir, all but the lock, the declaration, and the files for which keep returns true.
// The caller holds the lock.
//
// A mark is durable before any file goes, so that a reset which is interrupted is finished at the next start,
// instead of leaving half a state.
func Reset(dir string, keep func(name string) bool) error {
	err := makeMark(dir, resetName)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// If the file system has no room for another file, a file that the reset deletes anyway becomes the mark.
		if renamed := os.Rename(filepath.Join(dir, witnessName), filepath.Join(dir, resetName)); renamed == nil {
			err = syncDir(dir)
		}
	}
	if err != nil {
		return err
	}
	return FinishReset(dir, keep)
}

// ResetBegun reports whether a reset of the state in dir has begun and was interrupted: the rest is no state,
// and [FinishReset] wipes it.
func ResetBegun(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, resetName))
	return !errors.Is(err, os.ErrNotExist)
}

// CheckWhole returns an error, errcode.Conflict, if a reset of the state in dir, or a restore, was interrupted: the rest
// would look like damage.
func CheckWhole(dir string) error { return cmp.Or(checkReset(dir), CheckRestored(dir)) }

// checkReset is CheckWhole for resets.
func checkReset(dir string) error {
	if !ResetBegun(dir) {
		return nil
	}
	return control.Errorf(errcode.Conflict, "the state %s was being reset, which was interrupted: there is nothing in it to read", dir)
}

// FinishReset wipes a state that is marked for it; otherwise it does nothing.
func FinishReset(dir string, keep func(name string) bool) error {
	if !ResetBegun(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if outlives(e.Name(), keep) {
			continue
		}
		fault.Point(fault.ResetEntry)
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	fault.Point(fault.ResetEnds)
	return os.Remove(filepath.Join(dir, resetName))
}

// outlives reports whether a file of the directory outlives a reset; keep decides for the files that the caller
// has made.
func outlives(name string, keep func(name string) bool) bool {
	return name == lockName || name == resetName || name == control.SocketName || name == DeclarationName || keep(name)
}

// Written reports whether the directory has a file that a reset would delete.
func Written(dir string, keep func(name string) bool) (bool, error) {
	entries, err := os.ReadDir(dir)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !outlives(e.Name(), keep) }), err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
