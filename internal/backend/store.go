package backend

import (
	"errors"
	"os"
	"path/filepath"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/descriptors"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/supervisor/sandbox"
)

// keep says which files, beside those that always do, outlive a reset.
func (b *Backend) keep() func(name string) bool {
	if b.opts.Keep == nil {
		return func(string) bool { return false }
	}
	return b.opts.Keep
}

// reset wipes the state if the options say so, or if an earlier run has begun to.
func (b *Backend) reset() error {
	if b.opts.Reset {
		// The reset wipes the directory of the links to sockets elsewhere, too: the sockets cannot be found after it.
		b.sockets().Sweep(b.opts.Logger)
		return statedir.Reset(b.opts.Dir, b.keep())
	}
	return statedir.FinishReset(b.opts.Dir, b.keep())
}

// openStore opens the database of the state directory. It fails if the database and the witness disagree, and with the code
// DISK_FULL if the disk has no room for it. A paused kernel gets a store that keeps its commits in memory.
//
// state is the state directory. What an interrupted compaction has left there is removed when the database was found to be
// whole, and before room is needed: until then it may be all that is left of the state.
func (b *Backend) openStore(state string, witness *storage.Witness) (storage.Store, error) {
	dir := filepath.Join(state, databaseName)
	examined := func(r storage.Reader) error {
		err := host.CheckState(r, witness)
		if b.opts.AcceptRollback && errors.Is(err, storage.ErrRolledBack) {
			err = nil // host.Open accepts the rollback
		}
		if err != nil || b.opts.Paused {
			return err
		}
		return statedir.RemoveNextDatabase(state)
	}
	if !b.opts.Paused {
		store, err := badgerstore.Open(dir, badgerstore.Options{Durability: b.opts.Durability, Logger: b.opts.Logger, Name: filepath.Join(b.opts.Dir, "db"), Examined: examined})
		if err != nil {
			return nil, diskFull(err)
		}
		return store, nil
	}
	snapshot, err := badgerstore.Examine(dir)
	if err != nil {
		return nil, err
	}
	if err := examined(snapshot); err != nil {
		return nil, errors.Join(err, snapshot.Close())
	}
	return &scratch{storage.NewScratch(snapshot), snapshot}, nil
}

// diskFull gives an error that says that there is no room on the disk the code for it.
func diskFull(err error) error {
	if storage.IsDiskFull(err) {
		return control.Errorf(errcode.DiskFull, "%s", err)
	}
	return err
}

// scratch closes the snapshot that is below.
type scratch struct {
	*storage.Scratch
	snapshot *badgerstore.Snapshot
}

// Close implements [storage.Store].
func (s *scratch) Close() error { return s.snapshot.Close() }

// startWorkers makes the supervisor. A paused kernel leaves the run directory of the state alone.
func (b *Backend) startWorkers() (*supervisor.Supervisor, error) {
	run := shortDir(b.opts.Dir, runDirectory)
	if b.opts.Paused {
		var err error
		if run, err = os.MkdirTemp("", "ocapkernel-run-"); err != nil {
			return nil, err
		}
	}
	return supervisor.New(supervisor.Config{
		RunDir: run, Logger: b.opts.Logger, StockProgram: b.opts.Worker, Sandbox: sandbox.Policy{Mode: b.opts.Sandbox},
		Allow: func() bool { return b.budget.Allows(descriptors.Workers, supervisor.WorkerDescriptors) },
	})
}

// AllowControl reports whether there are descriptors for another connection of the control socket.
func (b *Backend) AllowControl() bool { return b.budget.Allows(descriptors.Control, 1) }
