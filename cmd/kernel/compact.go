package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
)

func (a *app) compactCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "compact",
		Short: "Give back the space that a stopped kernel's state does not need",
		Long: `Write the state of a kernel that does not run anew, and put the new database in the place of the old one. Nothing
else changes. There must be room for both. It may be interrupted at any time.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, release := stopSignals(cmd.Context(), func() {})
			defer release()
			return a.compact(ctx)
		},
	})
}

func (a *app) compact(ctx context.Context) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	before, after, err := backend.Compact(ctx, dir, newLogger(a.stderr, slog.LevelError))
	if control.CodeOf(err) == errcode.AlreadyRunning {
		return &hinted{err, "stop it with: " + a.typed() + " stop"}
	}
	if err != nil {
		return damagedHint(diskHint(useHint(interrupted(err)), freeHint+": there must be room for the old database and the new one"))
	}
	return a.print(map[string]int64{"before": before, "after": after}, func(w io.Writer) {
		fmt.Fprintf(w, "the database took %s, and takes %s\n", size(before), size(after))
	})
}
