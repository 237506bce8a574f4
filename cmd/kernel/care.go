package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) pingCommand() *cobra.Command {
	var timeout time.Duration
	cmd := a.withJSON(&cobra.Command{
		Use:   "ping VAT",
		Short: "Ask a vat's process for a sign of life",
		Args:  exactly("VAT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return usagef("--timeout must be above zero")
			}
			return a.ask(cmd.Context(), timeout, func(ctx context.Context, client *control.Client) error {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				begun := time.Now()
				answer, err := client.PingVat(ctx, args[0])
				if ctx.Err() != nil {
					return control.Errorf(control.CodeTimeout, "%s does not answer within %v", args[0], timeout)
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
	return a.completeArg(cmd, vatIDs)
}

func (a *app) collectCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "collect",
		Short: "Delete at once what nobody can reach any more",
		Long:  `Finish garbage collection at once. The kernel collects by itself as it goes, so this is for measuring and looking.`,
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				if err := client.CollectGarbage(ctx); err != nil {
					return err
				}
				return a.print(map[string]any{"collected": true}, func(w io.Writer) { fmt.Fprintln(w, "what nobody can reach is gone") })
			})
		},
	})
}

func (a *app) clearCommand() *cobra.Command {
	var yes bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "clear --yes",
		Short: "Delete all subclusters and their state, in the kernel that runs",
		Long: `Delete all subclusters, their vats and their state, in the kernel that runs, and begin a new epoch: tickets of calls
that were sent before are UNKNOWN from then on. Without --yes nothing is deleted. On a kernel that does not run, use
kernel run --reset.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return &usageError{"this deletes all subclusters and their state; say so, if that is meant", a.typed() + " clear --yes"}
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				if err := client.ClearState(ctx); err != nil {
					return err
				}
				return a.print(map[string]any{"cleared": true}, func(w io.Writer) { fmt.Fprintln(w, "all subclusters are deleted") })
			})
		},
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete everything")
	return cmd
}
