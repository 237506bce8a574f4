package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
	"ocapkernel.dev/storage/badgerstore"
)

// Restored is a state that was restored.
type Restored struct {
	// Head is what it is now, From what it was when the backup was taken.
	Head host.Head
	From backup.Header
	Rows uint64
}

// Restore makes a state out of a backup, in a directory that holds none, and has it begin another epoch: the tickets of the
// former epoch are unknown. keep, which may be nil, returns true for the name of a file that may be in the directory.
//
// All of the backup is restored, or nothing: after an error the directory is as it was, and after a death in the middle
// every kernel refuses it, until a restore or a reset. Errors to branch on are [backup.ErrDamaged], and *control.Error with
// the codes CONFLICT, if the directory holds a state, ALREADY_RUNNING, and DISK_FULL.
func Restore(ctx context.Context, dir string, in io.Reader, keep func(name string) bool, log *slog.Logger) (_ Restored, err error) {
	rows, err := backup.NewReader(in)
	if err != nil {
		return Restored{}, err
	}
	from := rows.Header()
	if from.Schema < kernel.OldestSchema || from.Schema > kernel.SchemaVersion {
		return Restored{}, control.Errorf(errcode.Unsupported, "the backup is of schema %d, and this program knows %d to %d", from.Schema, kernel.OldestSchema, kernel.SchemaVersion)
	}
	if keep == nil {
		keep = func(string) bool { return false }
	}
	lock, err := statedir.Open(dir)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := statedir.BeginRestore(dir, keep); err != nil {
		return Restored{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(diskFull(err), statedir.AbandonRestore(dir, keep))
		}
	}()
	database := filepath.Join(dir, databaseName)
	head, err := load(ctx, database, rows, log, host.BeginEpoch)
	if err != nil {
		return Restored{}, err
	}
	fault.Point(fault.RestoreLoaded)
	witness := storage.NewWitness(filepath.Join(dir, witnessName))
	if err := errors.Join(witness.Accept(head.Commit), witness.Close()); err != nil {
		return Restored{}, err
	}
	if err := checkLoaded(database, func(s storage.Reader) error {
		n, err := count(s)
		if err == nil && n != rows.Rows() {
			err = fmt.Errorf("%d rows were restored and %d are there: %w", rows.Rows(), n, storage.ErrCorrupt)
		}
		return errors.Join(err, host.CheckState(s, witness))
	}); err != nil {
		return Restored{}, err
	}
	fault.Point(fault.RestoreChecked)
	if err := statedir.EndRestore(dir); err != nil {
		return Restored{}, err
	}
	return Restored{head, from, rows.Rows()}, nil
}

// The names of files in a state directory.
const (
	databaseName = "db"
	witnessName  = "witness"
)

// rowSource gives the rows of a state in the order of their keys, and io.EOF behind the last one.
type rowSource interface {
	Next() (key string, value []byte, err error)
}

// load makes a database of rows, in commits of a bounded size, and then calls finish with it. When load returns without an
// error everything is on the disk.
func load[T any](ctx context.Context, dir string, rows rowSource, log *slog.Logger, finish func(storage.Store) (T, error)) (out T, err error) {
	store, err := badgerstore.Open(dir, badgerstore.Options{Logger: log})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	most := store.Limits()
	var writes []storage.Write
	size := 0
	commit := func() error {
		err := store.Commit(writes)
		writes, size = nil, 0
		return err
	}
	for {
		key, value, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return out, err
		}
		w := storage.Write{Key: key, Value: value}
		if len(writes) >= most.Rows/2 || size > 0 && size+w.Size() > most.Bytes/2 {
			if err := commit(); err != nil {
				return out, err
			}
		}
		writes, size = append(writes, w), size+w.Size()
	}
	if err := commit(); err != nil {
		return out, err
	}
	fault.Point(fault.RowsLoaded)
	return finish(store)
}

// checkLoaded reads a database that was made, every file of it, and calls check with it.
func checkLoaded(dir string, check func(storage.Reader) error) (err error) {
	s, err := badgerstore.Examine(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return check(s)
}

// count returns the number of rows of a state.
func count(r storage.Reader) (n uint64, err error) {
	for after := ""; ; n++ {
		key, _, found, err := r.Next("", after)
		if err != nil || !found {
			return n, err
		}
		after = key
	}
}
