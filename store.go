package ocapkernel

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
func (k *Kernel) keep() func(name string) bool {
	if k.opts.Keep == nil {
		return func(string) bool { return false }
	}
	return k.opts.Keep
}

// reset wipes the state if the options say so, or if an earlier run has begun to.
func (k *Kernel) reset() error {
	if k.opts.Reset {
		// The directory of the links to sockets elsewhere is wiped, too: this is the last time that they can be followed.
		k.sweepSockets()
		return statedir.Reset(k.opts.Dir, k.keep())
	}
	return statedir.FinishReset(k.opts.Dir, k.keep())
}

// openStore opens the database in dir, if it and the witness agree, and the disk has room for it: else the error has the
// code DISK_FULL. A paused kernel gets one that keeps in memory what it commits.
func (k *Kernel) openStore(dir string, durability badgerstore.Durability, witness *storage.Witness) (storage.Store, error) {
	examined := func(r storage.Reader) error {
		err := host.CheckState(r, witness)
		if k.opts.AcceptRollback && errors.Is(err, storage.ErrRolledBack) {
			return nil // host.Open makes it so
		}
		return err
	}
	if !k.opts.Paused {
		store, err := badgerstore.Open(dir, badgerstore.Options{Durability: durability, Logger: k.opts.Logger, Name: filepath.Join(k.opts.Dir, "db"), Examined: examined})
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
func (k *Kernel) startWorkers() (*supervisor.Supervisor, error) {
	run := shortDir(k.opts.Dir, "run")
	if k.opts.Paused {
		var err error
		if run, err = os.MkdirTemp("", "ocapkernel-run-"); err != nil {
			return nil, err
		}
	}
	return supervisor.New(supervisor.Config{
		RunDir: run, Logger: k.opts.Logger, StockProgram: k.opts.Worker,
		Allow: func() bool { return k.budget.Allows(descriptors.Workers, supervisor.WorkerDescriptors) },
	})
}

// AllowControl reports whether there are descriptors for another connection of the control socket.
func (k *Kernel) AllowControl() bool { return k.budget.Allows(descriptors.Control, 1) }
