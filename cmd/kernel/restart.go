package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) restartCommand() *cobra.Command {
	var forget, yes bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "restart VAT",
		Short: "Give a vat a fresh process, and a stopped one its life back",
		Args:  one("VAT", control.CheckVat),
		RunE: func(cmd *cobra.Command, args []string) error {
			if yes && !forget {
				return usagef("--yes belongs to --forget")
			}
			if forget {
				if err := a.confirmAtTerminal(yes, "give up the memory of "+args[0]+", and what that waits for"); err != nil {
					return err
				}
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				if err := client.RestartVat(ctx, args[0], forget); err != nil {
					return err
				}
				return a.print(map[string]any{"vat": args[0], "forget": forget}, func(w io.Writer) { fmt.Fprintf(w, "%s is restarted\n", args[0]) })
			})
		},
	})
	cmd.Flags().BoolVar(&forget, "forget", false, "start from its durable state alone: what it was waiting for is lost to it")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --forget, do not ask")
	return a.completeArg(cmd, vatIDs, vatNames)
}
