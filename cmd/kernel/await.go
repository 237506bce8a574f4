package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) awaitCommand() *cobra.Command {
	var timeout time.Duration
	var raw, ack bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "await TICKET",
		Short: "Wait for the answer of an earlier call",
		Long: `Wait for the answer of a call that was sent before, and print it as kernel send does. The answer is kept, and can be
asked for again, unless --ack lets it go.`,
		Args: exactly("TICKET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ticket, err := control.ParseTicket(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			return a.ask(cmd.Context(), timeout, func(ctx context.Context, client *control.Client) error {
				stopTelling := a.tellWaits(ctx, "")
				outcome, err := client.Await(ctx, ticket, timeout, raw)
				stopTelling()
				if err != nil {
					return err
				}
				answered, err := a.printOutcome(outcome, timeout)
				if answered && ack {
					if err := client.Acknowledge(ctx, ticket); err != nil {
						return err
					}
				}
				return err
			})
		},
	})
	cmd.Flags().DurationVar(&timeout, "timeout", defaultTimeout, "how long to wait for the answer")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the answer as the vat marshalled it: body and slots")
	cmd.Flags().BoolVar(&ack, "ack", false, "let the answer go once it is printed")
	return cmd
}
