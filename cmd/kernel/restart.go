package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) restartCommand() *cobra.Command {
	var forget bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "restart VAT",
		Short: "Give a vat a fresh process, and a stopped one its life back",
		Args:  exactly("VAT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.RestartVat(cmd.Context(), args[0], forget); err != nil {
				return err
			}
			return a.print(map[string]any{"vat": args[0], "forget": forget}, func(w io.Writer) { fmt.Fprintf(w, "%s is restarted\n", args[0]) })
		},
	})
	cmd.Flags().BoolVar(&forget, "forget", false, "start from its durable state alone: what it was waiting for is lost to it")
	return cmd
}
