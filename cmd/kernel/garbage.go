package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) collectCommand() *cobra.Command {
	return a.completeArg(a.withJSON(&cobra.Command{
		Use:   "collect [VAT]",
		Short: "Ask vats at once for what they no longer need, and remove what is left of what was deleted",
		Long: `Do at once what the kernel does as it goes: ask the vats that are at rest for references that they no longer hold, until
there is nothing to expect from any, and remove the rows of vats, subclusters and service objects that have ended, of
objects that nobody holds, and of transcripts that are over. With VAT only that vat is asked, whether there is something
to expect from it or not. It prints what was freed. A vat that holds state in memory is not asked.`,
		Args: atMostOne("VAT", control.CheckVat),
		RunE: func(cmd *cobra.Command, args []string) error {
			vat := ""
			if len(args) == 1 {
				vat = args[0]
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				before, err := client.Tally(ctx)
				if err != nil {
					return err
				}
				done, err := client.CollectGarbage(ctx, vat)
				if err != nil {
					return err
				}
				after, err := client.Tally(ctx)
				if err != nil {
					return err
				}
				b, f := totalOf(before), totalOf(after)
				return a.print(map[string]any{"collected": true, "asked": done.Asked, "busy": done.Busy, "before": b, "after": f}, func(w io.Writer) {
					describeCollection(w, done, b, f)
				})
			})
		},
	}), vatIDs, vatNames)
}

// total is what a whole state keeps.
type total struct {
	Objects  int `json:"objects"`
	Promises int `json:"promises"`
	// Names are the entries of the vats' lists of objects and promises.
	Names int `json:"names"`
	// Rows and Bytes are the vats' stores.
	Rows  int   `json:"rows"`
	Bytes int64 `json:"bytes"`
}

func totalOf(t control.Tally) total {
	out := total{Objects: t.Objects, Promises: t.Promises}
	for _, v := range t.Vats {
		out.Names += v.Held + v.Exported + v.Promises
		out.Rows += v.Rows
		out.Bytes += v.Bytes
	}
	return out
}

// describeCollection says what has gone. What came meanwhile by other work hides as much that has gone.
func describeCollection(w io.Writer, done control.Collected, before, after total) {
	if len(done.Asked) > 0 {
		fmt.Fprintf(w, "asked %s\n", strings.Join(done.Asked, " "))
	}
	var freed []string
	for _, n := range []struct {
		n    int
		what string
	}{
		{before.Objects - after.Objects, "objects"},
		{before.Promises - after.Promises, "promises"},
		{before.Names - after.Names, "names in vats' lists"},
		{before.Rows - after.Rows, "rows of vats' stores"},
		{int(before.Bytes - after.Bytes), "bytes of vats' stores"},
	} {
		if n.n > 0 {
			freed = append(freed, strconv.Itoa(n.n)+" "+n.what)
		}
	}
	if len(freed) == 0 {
		fmt.Fprintln(w, "nothing is left to be removed")
	} else {
		fmt.Fprintf(w, "freed %s\n", strings.Join(freed, ", "))
	}
	if len(done.Busy) > 0 {
		fmt.Fprintf(w, "not asked, or not to the end: %s; they hold state in memory, have something to do all the time, or do not run\n",
			strings.Join(done.Busy, " "))
	}
}
