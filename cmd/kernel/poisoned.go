package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) poisonedCommand() *cobra.Command {
	poisoned := group(&cobra.Command{
		Use:   "poisoned",
		Short: "Look at the messages that killed their vat each time",
		Long: `A message that kills its vat at each attempt to deliver it is taken out of the way, so that the vat can go on, and
kept. Its sender was told with DELIVERY_POISONED or DELIVERY_TIMEOUT.`,
	})
	poisoned.AddCommand(
		a.poisonedListCommand(),
		a.onPoisoned("retry", "Deliver a poisoned message again, after mending the vat", "will be delivered again", (*control.Client).PoisonedRetry, nil),
		a.poisonedDropCommand(),
	)
	return poisoned
}

type poisonedPage struct {
	Poisoned []control.Poisoned `json:"poisoned"`
	More     bool               `json:"more,omitempty"`
}

func (a *app) poisonedListCommand() *cobra.Command {
	var after string
	var limit int
	cmd := a.withJSON(&cobra.Command{
		Use:   "ls",
		Short: "List the poisoned messages, oldest first",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if after != "" {
				if err := control.CheckPoisoned(after); err != nil {
					return usagef("--after: %w", err)
				}
			}
			if limit < 1 || limit > 1000 {
				return usagef("--limit must be from 1 to 1000")
			}
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				list, more, err := client.PoisonedList(ctx, after, limit)
				if err != nil {
					return err
				}
				return a.print(poisonedPage{list, more}, func(w io.Writer) {
					describePoisoned(w, list)
					if more {
						fmt.Fprintf(w, "there are more; go on with: %s poisoned ls --after %s\n", a.typed(), list[len(list)-1].ID)
					}
				})
			})
		},
	})
	cmd.Flags().StringVar(&after, "after", "", "begin behind the message with this `ID`")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many are listed at most, up to 1000")
	return cmd
}

func describePoisoned(w io.Writer, list []control.Poisoned) {
	if len(list) == 0 {
		fmt.Fprintln(w, "there are no poisoned messages")
		return
	}
	rows := [][]string{{"ID", "VAT", "NAME", "TARGET", "METHOD", "ATTEMPTS", "CODE", "MESSAGE"}}
	for _, p := range list {
		rows = append(rows, []string{p.ID, p.Vat, p.Name, dash(p.Target), dash(p.Method), strconv.Itoa(p.Attempts), string(p.Code), p.Message})
	}
	table(w, rows)
}

func (a *app) poisonedDropCommand() *cobra.Command {
	var yes bool
	cmd := a.onPoisoned("drop", "Delete a poisoned message", "is dropped", (*control.Client).PoisonedDrop, func(id string) error {
		return a.confirmAtTerminal(yes, "delete the poisoned message "+id)
	})
	cmd.Long = "Delete a poisoned message: it cannot be delivered again. At a terminal this is asked, unless --yes is given."
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// onPoisoned makes a command that does one thing with one message, unless confirm, which may be nil, fails.
func (a *app) onPoisoned(
	verb, short, done string, do func(*control.Client, context.Context, string) error, confirm func(id string) error,
) *cobra.Command {
	return a.completeArg(a.withJSON(&cobra.Command{
		Use:   verb + " ID",
		Short: short,
		Args:  one("ID", control.CheckPoisoned),
		RunE: func(cmd *cobra.Command, args []string) error {
			if confirm != nil {
				if err := confirm(args[0]); err != nil {
					return err
				}
			}
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				if err := do(client, ctx, args[0]); err != nil {
					return err
				}
				return a.print(map[string]any{"id": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", args[0], done) })
			})
		},
	}), poisonedIDs)
}
