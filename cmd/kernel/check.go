package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/statedir"
	"ocapkernel.dev/storage/badgerstore"
)

func (a *app) checkCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "check",
		Short: "Check every invariant of a stopped kernel's state",
		Long: `Read the whole state of a kernel that does not run, recount every reference, and print what is wrong.
It changes nothing. docs/invariants.md says what is checked.`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return a.checkState() },
	})
}

func (a *app) checkState() (err error) {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	db := filepath.Join(dir, "db")
	if ours, err := statedir.IsState(dir); err != nil || !ours {
		return errors.Join(err, control.Errorf(control.CodeNotFound, "%s holds no state of a kernel", dir))
	}
	lock, err := statedir.LockState(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	store, err := badgerstore.Open(db, badgerstore.Options{Durability: badgerstore.Power})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	problems, err := kernel.Check(store)
	if err != nil {
		return err
	}
	if len(problems) == 0 {
		return a.print(map[string]any{"problems": []string{}}, func(w io.Writer) { fmt.Fprintln(w, "every invariant holds") })
	}
	e := control.Errorf(control.CodeInternal, "the state violates %s", plural(len(problems), "invariant"))
	e.Details = problems
	return e
}
