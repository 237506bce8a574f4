package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) psCommand() *cobra.Command {
	var stored bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "ps",
		Short: "List the vats, and the processes that they run in",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				vats, err := client.PS(ctx)
				if err != nil {
					return err
				}
				if !stored {
					return a.print(map[string]any{"vats": vats}, func(w io.Writer) { a.describeVats(w, vats) })
				}
				tally, err := client.Tally(ctx)
				if err != nil {
					return err
				}
				list := storedVats(vats, tally)
				return a.print(map[string]any{"vats": list}, func(w io.Writer) { describeStored(w, list) })
			})
		},
	})
	cmd.Flags().BoolVar(&stored, "stored", false, "show what each vat keeps: references and rows (reads the whole state)")
	return cmd
}

// storedVat is a vat with what it keeps.
type storedVat struct {
	control.Vat
	Stored control.VatTally `json:"stored"`
}

func storedVats(vats []control.Vat, t control.Tally) []storedVat {
	of := make(map[string]control.VatTally, len(t.Vats))
	for _, n := range t.Vats {
		of[n.ID] = n
	}
	out := make([]storedVat, len(vats))
	for i, v := range vats {
		out[i] = storedVat{v, of[v.ID]}
		out[i].Stored.ID = v.ID
	}
	return out
}

func describeStored(w io.Writer, vats []storedVat) {
	rows := [][]string{{"VAT", "NAME", "SUBCLUSTER", "STATE", "HELD", "EXPORTED", "PROMISES", "ROWS", "BYTES"}}
	for _, v := range vats {
		n := v.Stored
		rows = append(rows, []string{
			v.ID, v.Name, v.Subcluster, string(v.State), strconv.Itoa(n.Held), strconv.Itoa(n.Exported), strconv.Itoa(n.Promises),
			strconv.Itoa(n.Rows), strconv.FormatInt(n.Bytes, 10),
		})
	}
	table(w, rows)
}

func (a *app) describeVats(w io.Writer, vats []control.Vat) {
	rows := [][]string{{"VAT", "NAME", "SUBCLUSTER", "PID", "STATE", "RESTARTS", "QUEUE", "RSS", "TRANSCRIPT", "SPAN"}}
	for _, v := range vats {
		pid := "-"
		if v.PID > 0 {
			pid = strconv.Itoa(v.PID)
		}
		rows = append(rows, []string{
			v.ID, v.Name, v.Subcluster, pid, string(v.State), strconv.Itoa(v.Restarts), strconv.Itoa(v.Queue), size(v.RSSBytes),
			transcript(v), span(v),
		})
	}
	table(w, rows)
	for _, v := range vats {
		if v.Why != "" {
			fmt.Fprintf(w, "\n%s (%s) is %s: %s\n", v.ID, printable(v.Name), v.State, printable(v.Why))
			if v.State == control.VatHeld {
				fmt.Fprintln(w, a.letGo(v.ID))
			}
		}
	}
}

// transcript returns the length of a vat's transcript, for people.
func transcript(v control.Vat) string {
	switch v.Transcript {
	case 0:
		return "-"
	case -1:
		return "full"
	}
	return strconv.Itoa(v.Transcript)
}

func span(v control.Vat) string {
	if v.SpanMillis == 0 {
		return "-"
	}
	return (time.Duration(v.SpanMillis) * time.Millisecond).Round(10 * time.Millisecond).String()
}
