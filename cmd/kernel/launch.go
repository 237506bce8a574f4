package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) launchCommand() *cobra.Command {
	return completeFile(a.withJSON(&cobra.Command{
		Use:   "launch CONFIG",
		Short: "Launch a cluster in the kernel that runs",
		Long: `Launch a cluster in the kernel that runs, and wait for its bootstrap method. Each launch makes a new subcluster,
also of a configuration that runs already.`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			cfg, err := a.loadConfig(ctx, args[0])
			if err != nil {
				return err
			}
			// The kernel bounds the bootstrap itself, by a limit of the configuration.
			return a.ask(ctx, noLimit, func(ctx context.Context, client *control.Client) error {
				stopTelling := a.tellWaits(ctx, "")
				launched, err := client.Launch(ctx, control.LaunchRequest{Path: cfg.Source, Config: cfg.text})
				stopTelling()
				if err != nil {
					return err
				}
				return a.print(launched, func(w io.Writer) { describeLaunched(w, launched) })
			})
		},
	}))
}

func (a *app) terminateCommand() *cobra.Command {
	return a.completeArg(a.withJSON(&cobra.Command{
		Use:   "terminate SUBCLUSTER|VAT",
		Short: "Delete a subcluster, its vats and their state, or one vat",
		Args:  exactly("SUBCLUSTER|VAT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			what, terminate := "subcluster", (*control.Client).Terminate
			if isVatID(args[0]) {
				what, terminate = "vat", (*control.Client).TerminateVat
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				if err := terminate(client, ctx, args[0]); err != nil {
					return err
				}
				return a.print(map[string]any{what: args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is terminated\n", args[0]) })
			})
		},
	}), subclusterIDs, vatIDs)
}
