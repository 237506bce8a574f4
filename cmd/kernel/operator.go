package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

func (a *app) pingCommand() *cobra.Command {
	var timeout time.Duration
	cmd := a.withJSON(&cobra.Command{
		Use:   "ping VAT",
		Short: "Ask a vat's process for a sign of life",
		Args:  one("VAT", control.CheckVat),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), timeout, func(ctx context.Context, client *control.Client) error {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				begun := time.Now()
				answer, err := client.PingVat(ctx, args[0])
				if ctx.Err() != nil {
					return control.Errorf(errcode.Timeout, "%s does not answer within %v", args[0], timeout)
				}
				if err != nil {
					return err
				}
				took := time.Since(begun)
				return a.print(map[string]any{"vat": args[0], "answer": answer, "micros": took.Microseconds()}, func(w io.Writer) {
					fmt.Fprintf(w, "%s answers %s after %v\n", args[0], printable(answer), took.Round(10*time.Microsecond))
				})
			})
		},
	})
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for it")
	return a.completeArg(cmd, vatIDs, vatNames)
}

func (a *app) clearCommand() *cobra.Command {
	var yes bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "clear",
		Short: "Delete all subclusters and their state, in the kernel that runs",
		Long: `Delete all subclusters, their vats and their state, in the kernel that runs, and begin a new epoch: tickets of calls
that were sent before are UNKNOWN from then on. It is asked whether that is meant; without a terminal, --yes says so. On
a kernel that does not run, use kernel run --reset.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.confirm(yes, "delete all subclusters and what they have stored", "clear"); err != nil {
				return err
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				if err := client.ClearState(ctx); err != nil {
					return err
				}
				return a.print(map[string]any{"cleared": true}, func(w io.Writer) { fmt.Fprintln(w, "all subclusters are deleted") })
			})
		},
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
