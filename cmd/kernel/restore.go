package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/storage/backup"
)

func (a *app) restoreCommand() *cobra.Command {
	return completeFile(a.withJSON(&cobra.Command{
		Use:   "restore FILE",
		Short: "Make a state of a backup, in an empty state directory",
		Long: `Make a state of FILE, which kernel backup has written; - is standard input. The state directory must hold no state:
restore writes over nothing. All is restored, or nothing.
The restored state is another one than the state that was backed up, which may have gone on: it begins another epoch, in
which the tickets of earlier calls are UNKNOWN. Calls of services that were under way are rejected with AMBIGUOUS.`,
		Example: `  kernel --state new restore bank.backup
  zstd -d < bank.backup.zst | kernel --state new restore -`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, release := stopSignals(cmd.Context(), func() {})
			defer release()
			return a.restore(ctx, args[0])
		},
	}))
}

func (a *app) restore(ctx context.Context, file string) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	in := a.stdin
	if file != standard {
		inside, err := isInside(file, dir)
		if err != nil {
			return err
		}
		if inside {
			return usagef("%s is in the state directory, which must hold nothing: move it elsewhere", file)
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	r, err := backend.Restore(ctx, dir, in, isLog, newLogger(a.stderr, slog.LevelError))
	switch {
	case errors.Is(err, backup.ErrDamaged):
		return &hinted{fmt.Errorf("restore %s: %w", file, err), "nothing was restored: take another backup"}
	case control.CodeOf(err) == errcode.Conflict:
		return &hinted{err, "name another directory: --state DIR; or move this one away"}
	case err != nil:
		return diskHint(useHint(interrupted(err)), freeHint)
	}
	out := map[string]any{"stateDir": dir, "epoch": r.Head.Epoch, "commit": r.Head.Commit, "rows": r.Rows, "vats": r.Head.Vats, "subclusters": r.Head.Subclusters, "from": r.From}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s is restored as of %s: %s, %s, %d rows, and begins epoch %s\n", printable(dir), r.From.Taken.Local().Format("2006-01-02 15:04:05"),
			plural(r.Head.Subclusters, "subcluster"), plural(r.Head.Vats, "vat"), r.Rows, r.Head.Epoch)
		fmt.Fprintf(w, "start a kernel on it with: %s start\n", a.typed())
	})
}
