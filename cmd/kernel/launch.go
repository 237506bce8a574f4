package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) launchCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
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
			client, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer client.Close()
			launched, err := client.Launch(ctx, control.LaunchRequest{Path: cfg.Source, Config: cfg.text})
			if err != nil {
				return err
			}
			return a.print(launched, func(w io.Writer) { describeLaunched(w, launched) })
		},
	})
}

func (a *app) terminateCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "terminate SUBCLUSTER",
		Short: "Delete a subcluster, its vats and their state",
		Args:  exactly("SUBCLUSTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.Terminate(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.print(map[string]any{"subcluster": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is terminated\n", args[0]) })
		},
	})
}
