package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

// Compact writes the state in dir anew, into a database that takes as little of the disk as it can, and exchanges the
// database for that one. The state is the same one, its epoch and its witness included. No kernel may run on it. Compact
// returns the bytes that the database took before and takes now. A directory that a kernel would refuse is refused; so is a
// state that is not whole, and then nothing has changed.
//
// The exchange is one step of the file system. So a death at any moment leaves the old database or the new one, and the next
// start, or the next Compact, removes the other one. There must be room for both.
func Compact(ctx context.Context, dir string, log *slog.Logger) (before, after int64, err error) {
	lock, err := statedir.OpenState(dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := statedir.CheckWhole(dir); err != nil {
		return 0, 0, err
	}
	present, next := filepath.Join(dir, databaseName), statedir.NextDatabase(dir)
	old, err := badgerstore.Examine(present)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	if err := host.CheckState(old, storage.NewWitness(filepath.Join(dir, witnessName))); err != nil {
		return 0, 0, err
	}
	if _, found, err := host.ReadHead(old); err != nil || !found {
		return 0, 0, errors.Join(err, control.Errorf(errcode.NotFound, "%s holds no state of a kernel", dir))
	}
	// What an interrupted compaction has left goes only now: of a state that is not whole it may be the better part.
	if err := statedir.RemoveNextDatabase(dir); err != nil {
		return 0, 0, err
	}
	exchanged := false
	defer func() {
		if err != nil && !exchanged {
			err = errors.Join(diskFull(err), statedir.RemoveNextDatabase(dir))
		}
	}()
	if before, err = diskBytes(present); err != nil {
		return 0, 0, err
	}
	nothing := func(storage.Store) (struct{}, error) { return struct{}{}, nil }
	if _, err := load(ctx, next, &rowsOf{from: old}, log, nothing); err != nil {
		return 0, 0, err
	}
	if err := checkLoaded(next, func(s storage.Reader) error { return same(old, s) }); err != nil {
		// The cause is left out: it would say that the state is damaged, and the copy is.
		return 0, 0, fmt.Errorf("the new database is not as it was written, and the old one is in its place still: %s", err)
	}
	fault.Point(fault.CompactLoaded)
	if after, err = diskBytes(next); err != nil {
		return 0, 0, err
	}
	if err := errors.Join(syncDir(next), syncDir(dir)); err != nil {
		return 0, 0, err
	}
	fault.Point(fault.CompactSynced)
	err = unix.Renameat2(unix.AT_FDCWD, present, unix.AT_FDCWD, next, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return 0, 0, control.Errorf(errcode.Unsupported, "the file system of %s cannot exchange two directories: take a backup, and restore it into another directory", dir)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("exchange %s and %s: %w", present, next, err)
	}
	fault.Point(fault.CompactExchanged)
	exchanged = true
	if err := errors.Join(syncDir(dir), statedir.RemoveNextDatabase(dir)); err != nil {
		return before, after, fmt.Errorf("the database is compacted, and the old one may be left in %s until the next start: %w", next, err)
	}
	fault.Point(fault.CompactEnds)
	return before, after, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// rowsOf is a rowSource of a state.
type rowsOf struct {
	from  storage.Reader
	after string
}

func (r *rowsOf) Next() (string, []byte, error) {
	key, value, found, err := r.from.Next("", r.after)
	if err == nil && !found {
		err = io.EOF
	}
	r.after = key
	return key, value, err
}

// same returns an error, which names the first row that differs, if two states differ.
func same(a, b storage.Reader) error {
	x, y := &rowsOf{from: a}, &rowsOf{from: b}
	for {
		key, value, err := x.Next()
		otherKey, otherValue, otherErr := y.Next()
		switch {
		case errors.Is(err, io.EOF) && errors.Is(otherErr, io.EOF):
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case otherErr != nil && !errors.Is(otherErr, io.EOF):
			return otherErr
		case err != nil || otherErr == nil && otherKey < key: // the key of a state that has ended is ""
			return fmt.Errorf("it has row %.80q, which the state has not: %w", otherKey, storage.ErrCorrupt)
		case otherErr != nil || key < otherKey:
			return fmt.Errorf("row %.80q is missing in it: %w", key, storage.ErrCorrupt)
		case !bytes.Equal(value, otherValue):
			return fmt.Errorf("row %.80q has another value in it: %w", key, storage.ErrCorrupt)
		}
	}
}

// diskBytes returns the bytes of the disk that the files of a directory take.
func diskBytes(dir string) (n int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, e.Name()), &st); err != nil {
			return 0, err
		}
		n += st.Blocks * 512
	}
	return n, nil
}
