package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) statusCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "status",
		Short: "Say whether a kernel runs, and how it is",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				status, err := client.Status(ctx)
				if err != nil {
					return err
				}
				return a.print(status, func(w io.Writer) { a.describeStatus(w, status) })
			})
		},
	})
}

func (a *app) describeStatus(w io.Writer, s control.Status) {
	state := string(s.State)
	if s.State == control.DiskFull {
		state += " (new work waits until there is space)"
	}
	dir, _ := a.stateDir() // it was found before
	rows := [][]string{
		{"state", state},
		{"pid", strconv.Itoa(s.PID)},
		{"state directory", dir},
		{"durability", s.Durability},
		{"cranks", strconv.FormatUint(s.Cranks, 10)},
		{"commit", strconv.FormatUint(s.Commit, 10)},
		{"epoch", s.Epoch},
		{"version", s.Version},
		{"subclusters", strconv.Itoa(s.Subclusters)},
		{"vats", strconv.Itoa(s.Vats)},
	}
	if s.Sandbox != nil {
		rows = append(rows, []string{"sandbox", s.Sandbox.Mode + ": " + strings.Join(s.Sandbox.Layers, " ")})
		for _, why := range s.Sandbox.Missing {
			rows = append(rows, []string{"not confined by", why})
		}
	}
	for _, why := range s.Pauses {
		rows = append(rows, []string{"pause", why})
	}
	if s.Dropped > 0 {
		rows = append(rows, []string{"dropped messages", strconv.FormatUint(s.Dropped, 10)})
	}
	table(w, rows)
	a.describeHeld(w, s.Held)
	if len(s.Clusters) == 0 {
		return
	}
	rows = [][]string{{"SUBCLUSTER", "ROOT", "CONFIG", "VATS"}}
	for _, c := range s.Clusters {
		names := inLaunchOrder(c.Vats)
		if len(names) > 8 {
			names = append(names[:7], fmt.Sprintf("and %d more", len(names)-7))
		}
		vats := strings.Join(names, " ")
		if c.State != control.SubclusterRunning {
			vats += fmt.Sprintf(" (%s)", c.State)
		}
		rows = append(rows, []string{c.ID, c.Root, origin(c), strings.TrimSpace(vats)})
	}
	fmt.Fprintln(w)
	table(w, rows)
}

// describeHeld tells a person which vats are held back, and the commands for each.
func (a *app) describeHeld(w io.Writer, held map[string]string) {
	for _, v := range slices.Sorted(maps.Keys(held)) {
		fmt.Fprintf(w, "%s is held back: %s\n", v, printable(held[v]))
		fmt.Fprintln(w, a.letGo(v))
	}
}

// letGo returns the line with the commands for a vat that is held back.
func (a *app) letGo(vat string) string {
	return fmt.Sprintf("  try again: %[1]s restart %[2]s; start it from its store alone: %[1]s restart --forget %[2]s; remove it: %[1]s terminate %[2]s", a.typed(), vat)
}
