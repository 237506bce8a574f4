package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
)

// restoreName exists while a backup is being restored, so that a part of a backup is never taken for a state.
const restoreName = "kernel.restore"

// nextDatabase is the directory in which backend.Compact makes the database that is to replace the present one. It is of
// no use to anybody else: until the exchange it is a part of a database, and then it is the old one.
const nextDatabase = "db.next"

// BeginRestore marks the state in dir as one that is being restored, and removes what an interrupted restore has left. The
// error is errcode.Conflict if there is a state already. After any error dir is marked only if it was before: an empty
// directory stays one. The caller holds the lock.
func BeginRestore(dir string, keep func(name string) bool) (err error) {
	if err := checkReset(dir); err != nil {
		return err
	}
	written, err := Written(dir, keep)
	if err != nil {
		return err
	}
	begun := restoreBegun(dir)
	if written && !begun {
		return control.Errorf(errcode.Conflict, "%s holds a state already: nothing is restored over it", dir)
	}
	if err := makeMark(dir, restoreName); err != nil {
		return noRoom(err)
	}
	if err := removeRestored(dir, keep); err != nil {
		if !begun {
			err = errors.Join(err, os.Remove(filepath.Join(dir, restoreName)))
		}
		return err
	}
	return nil
}

// makeMark makes a mark, which is on the disk when makeMark returns. After an error there is a mark only if there was one before.
func makeMark(dir, name string) (err error) {
	path := filepath.Join(dir, name)
	_, missing := os.Lstat(path)
	mark, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(mark.Sync(), mark.Close(), syncDir(dir))
	fault.Point(fault.MarkWritten)
	if err != nil && missing != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// EndRestore ends a restore, of which everything is on the disk: from now on dir holds a state.
func EndRestore(dir string) error {
	if err := syncDir(dir); err != nil {
		return err
	}
	fault.Point(fault.RestoreMarkRemoved)
	return errors.Join(os.Remove(filepath.Join(dir, restoreName)), syncDir(dir))
}

// AbandonRestore removes what a restore has written. Then dir is empty again.
func AbandonRestore(dir string, keep func(name string) bool) error {
	if err := removeRestored(dir, keep); err != nil {
		return err
	}
	return EndRestore(dir)
}

// removeRestored removes all files but the mark and those that outlive a reset.
func removeRestored(dir string, keep func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == restoreName || outlives(e.Name(), keep) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove what a restore has left: %w", err)
		}
	}
	return syncDir(dir)
}

func restoreBegun(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, restoreName))
	return !errors.Is(err, os.ErrNotExist)
}

// CheckRestored returns an error, errcode.Conflict, if the restore of a backup into dir was interrupted: a part of a backup
// is no state.
func CheckRestored(dir string) error {
	if !restoreBegun(dir) {
		return nil
	}
	return control.Errorf(errcode.Conflict, "a backup was being restored into %s, which was interrupted: restore it again, with kernel restore FILE, or delete what is there, with kernel start --reset", dir)
}

// NextDatabase returns the path of the database that is to replace the one of dir.
func NextDatabase(dir string) string { return filepath.Join(dir, nextDatabase) }

// RemoveNextDatabase removes what a compaction that was interrupted has left. The caller holds the lock.
func RemoveNextDatabase(dir string) error { return os.RemoveAll(NextDatabase(dir)) }
