package backend

import (
	"errors"
	"os"
	"path/filepath"

	"ocapkernel.dev/control"
	"ocapkernel.dev/descriptors"
	"ocapkernel.dev/host"
	"ocapkernel.dev/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor"
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
		// The directory of the links to sockets elsewhere is wiped, too: this is the last time that they can be followed.
		b.sockets().Sweep(b.opts.Logger)
		return statedir.Reset(b.opts.Dir, b.keep())
	}
	return statedir.FinishReset(b.opts.Dir, b.keep())
}

// openStore opens the database in dir, if it and the witness agree, and the disk has room for it: else the error has the
// code DISK_FULL. A paused kernel gets one that keeps in memory what it commits.
func (b *Backend) openStore(dir string, witness *storage.Witness) (storage.Store, error) {
	examined := func(r storage.Reader) error {
		err := host.CheckState(r, witness)
		if b.opts.AcceptRollback && errors.Is(err, storage.ErrRolledBack) {
			return nil // host.Open makes it so
		}
		return err
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

// diskFull gives an error that says that there is no room the code for it.
func diskFull(err error) error {
	if errors.Is(err, storage.ErrNoRoom) {
		return control.Errorf(control.CodeDiskFull, "%s", err)
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
		RunDir: run, Logger: b.opts.Logger, StockProgram: b.opts.Worker,
		Allow: func() bool { return b.budget.Allows(descriptors.Workers, supervisor.WorkerDescriptors) },
	})
}

// AllowControl reports whether there are descriptors for another connection of the control socket.
func (b *Backend) AllowControl() bool { return b.budget.Allows(descriptors.Control, 1) }
