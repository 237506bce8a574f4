package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) psCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "ps",
		Short: "List the vats, and the processes that they run in",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			vats, err := client.PS(cmd.Context())
			if err != nil {
				return err
			}
			if vats == nil {
				vats = []control.Vat{}
			}
			return a.print(map[string]any{"vats": vats}, func(w io.Writer) {
				rows := [][]string{{"VAT", "NAME", "SUBCLUSTER", "PID", "STATE", "RESTARTS", "QUEUE", "RSS"}}
				for _, v := range vats {
					pid := "-"
					if v.PID > 0 {
						pid = strconv.Itoa(v.PID)
					}
					rows = append(rows, []string{
						v.ID, v.Name, v.Subcluster, pid, string(v.State), strconv.Itoa(v.Restarts), strconv.Itoa(v.Queue), size(v.RSSBytes),
					})
				}
				table(w, rows)
			})
		},
	})
}
