package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

func (a *app) replayCommand() *cobra.Command {
	return a.completeArg(a.withJSON(&cobra.Command{
		Use:   "replay VAT",
		Short: "Show what a vat did since it was last at rest, by doing it again",
		Long: `Give the deliveries that a vat got since it was last at rest to a fresh process, and print each of them, each
syscall that it makes, and where it does not do what was recorded. This is what the kernel does when the vat's
process has died; here it changes nothing. It works with a running kernel, whose vat waits meanwhile, and with a
stopped one.`,
		Args: one("VAT", control.CheckVat),
		RunE: func(cmd *cobra.Command, args []string) error { return a.replay(cmd.Context(), args[0]) },
	}), vatIDs, vatNames)
}

func (a *app) replay(ctx context.Context, vat string) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	client, err := a.reach(ctx, dir)
	var lines []string
	switch {
	case control.CodeOf(err) == errcode.NotRunning:
		err = a.withPaused(ctx, dir, func(ctx context.Context, k openKernel) (err error) {
			lines, err = k.ReplayVat(ctx, vat)
			return err
		})
	case err == nil:
		defer client.Close()
		lines, err = client.ReplayVat(ctx, vat)
	}
	if err != nil {
		return err
	}
	return a.print(map[string]any{"vat": vat, "lines": lines}, func(w io.Writer) {
		for _, line := range lines {
			fmt.Fprintln(w, strings.TrimRight(printable(line), " "))
		}
	})
}
