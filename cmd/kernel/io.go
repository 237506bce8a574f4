package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) ioCommand() *cobra.Command {
	channels := group(&cobra.Command{Use: "io", Short: "Look at the IO channels"})
	channels.AddCommand(a.withJSON(&cobra.Command{
		Use:   "ls",
		Short: "List the IO channels: where they lead, and who waits for them",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				list, err := client.IO(ctx)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"channels": list}, func(w io.Writer) { describeChannels(w, list) })
			})
		},
	}))
	return channels
}

func describeChannels(w io.Writer, list []control.Channel) {
	if len(list) == 0 {
		fmt.Fprintln(w, "there are no IO channels")
		return
	}
	rows := [][]string{{"SUBCLUSTER", "NAME", "REF", "TYPE", "DIRECTION", "UNIT", "CLIENT", "PENDING", "QUEUED", "WHERE"}}
	for _, c := range list {
		rows = append(rows, []string{
			c.Subcluster, c.Name, dash(c.KRef), c.Type, c.Direction, c.Unit, yesNo(c.Client), strconv.Itoa(c.Pending), strconv.Itoa(c.Queued), c.Where,
		})
	}
	table(w, rows)
}

func (a *app) servicesCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "services",
		Short: "List the services that vats may call",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				list, err := client.Services(ctx)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"services": list}, func(w io.Writer) { describeServices(w, list) })
			})
		},
	})
}

func describeServices(w io.Writer, list []control.Service) {
	if len(list) == 0 {
		fmt.Fprintln(w, "there are no services")
		return
	}
	rows := [][]string{{"NAME", "REF", "SUBCLUSTER", "FOR", "REGISTERED", "PENDING", "QUEUED"}}
	for _, s := range list {
		whom := "all"
		if s.SystemOnly {
			whom = "system"
		}
		rows = append(rows, []string{
			s.Name, dash(s.KRef), dash(s.Subcluster), whom, yesNo(s.Registered), strconv.Itoa(s.Pending), strconv.Itoa(s.Queued),
		})
	}
	table(w, rows)
}
