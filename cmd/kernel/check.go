package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

func (a *app) checkCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "check",
		Short: "Check every file and every invariant of a stopped kernel's state",
		Long: `Read the whole state of a kernel that does not run, verify the checksums of its files, compare it with its witness,
recount every reference, those in the stores of Go vats too, and print what is wrong. It changes nothing. docs/invariants.md says what is checked.`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return a.checkState() },
	})
}

func (a *app) checkState() (err error) {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	lock, err := a.readState(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	problems, err := checkFiles(dir)
	if err != nil {
		return err
	}
	if len(problems) == 0 {
		return a.print(map[string]any{"problems": []string{}}, func(w io.Writer) { fmt.Fprintln(w, "every invariant holds") })
	}
	e := control.Errorf(errcode.Internal, "the state violates %s", plural(len(problems), "invariant"))
	e.Details = problems
	return &hinted{e, "nothing was changed: what is wrong with a subcluster, its vats and its service objects goes with it, by kernel terminate; or " + restoreIt + "; " + lastResort}
}

// checkFiles checks the files in a state directory, and their rows.
func checkFiles(dir string) (problems []string, err error) {
	snapshot, err := examine(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	if _, _, any, err := snapshot.Next("", ""); err != nil || !any {
		return nil, err // empty, after a kill before the first commit
	}
	return backend.CheckRows(snapshot)
}

// examine reads and checks the files of the state in dir.
func examine(dir string) (*badgerstore.Snapshot, error) {
	snapshot, err := badgerstore.Examine(filepath.Join(dir, "db"))
	if err != nil {
		return nil, damagedHint(err)
	}
	if err := host.CheckState(snapshot, storage.NewWitness(filepath.Join(dir, "witness"))); err != nil {
		return nil, damagedHint(errors.Join(err, snapshot.Close()))
	}
	return snapshot, nil
}

const (
	// waysOut are the ways to mend a damage of the database, the best first.
	waysOut = "put back the file from a copy of the state, and kernel check says whether that helped; or " + restoreIt + "; " + lastResort
	// restoreIt is the way of an operator who has a backup.
	restoreIt = "restore a backup into another directory, with kernel restore"
	// lastResort ends in a state without the damage, and without any other content.
	lastResort = "if there is neither, kernel start --reset deletes everything and begins anew"
)

// damagedHint adds the ways to mend a damage of the state to an error.
func damagedHint(err error) error {
	switch {
	case errors.Is(err, storage.ErrRolledBack):
		return &hinted{err, "put back what is missing; or, to go on with what is left and forget the calls that were under way: run --accept-rollback; " + lastResort}
	case errors.Is(err, storage.ErrCorrupt):
		return &hinted{err, "nothing was changed: " + waysOut}
	}
	return err
}

// readState locks a state for reading, which changes nothing.
func (a *app) readState(dir string) (*statedir.Lock, error) {
	if ours, err := statedir.IsState(dir); err != nil || !ours {
		return nil, errors.Join(err, control.Errorf(errcode.NotFound, "%s holds no state of a kernel", dir))
	}
	lock, err := statedir.LockForReading(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, control.Errorf(errcode.NotFound, "%s holds no state of a kernel", dir)
	}
	if control.CodeOf(err) == errcode.Conflict && statedir.ResetBegun(dir) {
		err = &hinted{err, "the next start finishes the reset: " + a.typed() + " start CONFIG"}
	}
	return lock, err
}
