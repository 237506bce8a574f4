package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

func (a *app) applyCommand() *cobra.Command {
	var dryRun bool
	var replace string
	cmd := a.withJSON(&cobra.Command{
		Use:   "apply CONFIG [SUBCLUSTER]",
		Short: "Change a running subcluster to another configuration, and keep its state",
		Long: `Change the subcluster that was launched from CONFIG to what CONFIG says now, or the one that is named. It keeps what its
vats have stored, and their memory: vats, channels and services can be added, how vats are run can change (worker program,
limits, restart policy), and so can what only new operations of channels and services heed (maxUnit, writeTime, readOnly,
hosts). All changes are made, or none. What would delete something is refused, and named. With --replace SUBCLUSTER the
subcluster of that id is deleted then, with all that its vats have stored, and launched anew. Applied twice, it changes
nothing more.

Bootstrap is not called again: send the references of what was added to whoever is to use it.`,
		Example: `  kernel apply bank.json --dry-run
  kernel apply bank.json
  kernel apply bank.json --replace s1
  kernel send s1 addTeller '{"$ref":"ko12"}'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if replace != "" {
				if err := one("--replace", control.CheckSubcluster)(cmd, []string{replace}); err != nil {
					return err
				}
			}
			if len(args) < 2 {
				return exactly("CONFIG")(cmd, args)
			}
			if err := exactly("CONFIG", "SUBCLUSTER")(cmd, args); err != nil {
				return err
			}
			return one("SUBCLUSTER", control.CheckSubcluster)(cmd, args[1:])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			// The kernel knows which services and modules there are.
			cfg, err := readConfig(args[0], nil)
			if err != nil {
				return err
			}
			request := control.ApplyRequest{Path: cfg.Source, Config: cfg.text, DryRun: dryRun, Replace: replace}
			if len(args) > 1 {
				request.Subcluster = args[1]
			}
			return a.ask(ctx, noLimit, func(ctx context.Context, client *control.Client) error {
				applied, err := client.Apply(ctx, request)
				switch {
				case control.CodeOf(err) == errcode.NotFound && request.Subcluster == "":
					return &hinted{err, "launch it: " + a.typed() + " launch " + shellQuote(args[0]) + ", or name the subcluster: " + a.typed() + " apply " + shellQuote(args[0]) + " s1"}
				case err != nil:
					return asTyped(err, cfg.Source, args[0])
				}
				return a.print(applied, func(w io.Writer) { a.describeApplied(w, applied) })
			})
		},
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, and change nothing")
	cmd.Flags().StringVar(&replace, "replace", "", "delete what the subcluster of this `id` has stored, and launch it anew, if that is the only way")
	return completeFile(cmd)
}

func (a *app) describeApplied(w io.Writer, applied control.Applied) {
	if len(applied.Changes) == 0 {
		fmt.Fprintf(w, "%s runs this configuration\n", applied.Subcluster)
		return
	}
	when := map[string]string{control.AppliesLive: "at once", control.AppliesStart: "at its next start", control.AppliesNew: "for new vats", control.AppliesReplace: "only anew"}
	rows := [][]string{{"FIELD", "CHANGE", "OLD", "NEW", "APPLIES"}}
	var restart []string
	for _, c := range applied.Changes {
		name := strings.Split(c.Field, ".")
		applies := when[c.Applies]
		switch {
		case applied.Replaced != "" && c.Applies != control.AppliesReplace:
			applies = "anew"
		case c.Applies == control.AppliesStart && name[0] != "vats":
			applies = "at the kernel's next start"
		}
		rows = append(rows, []string{c.Field, c.Kind, dash(c.Old), dash(c.New), applies})
		if c.Applies == control.AppliesStart && name[0] == "vats" && applied.Replaced == "" && (len(restart) == 0 || restart[len(restart)-1] != name[1]) {
			restart = append(restart, name[1])
		}
	}
	table(w, rows)
	fmt.Fprintln(w)
	if applied.Replaced != "" {
		var vats []string
		for _, v := range applied.Deleted {
			vats = append(vats, printable(v.Name)+" ("+v.ID+")")
		}
		if applied.DryRun {
			fmt.Fprintf(w, "%s would be deleted, with all that its vats %s have stored, and launched anew; it is as it was\n", applied.Replaced, strings.Join(vats, ", "))
			return
		}
		fmt.Fprintf(w, "%s is deleted, with all that its vats %s had stored; %s is launched in its place\n", applied.Replaced, strings.Join(vats, ", "), applied.Subcluster)
		return
	}
	if applied.DryRun {
		fmt.Fprintf(w, "%s is as it was\n", applied.Subcluster)
		return
	}
	fmt.Fprintf(w, "%s is changed\n", applied.Subcluster)
	for _, v := range applied.Vats {
		fmt.Fprintf(w, "vat %s is %s, its root %s\n", printable(v.Name), v.ID, v.Root)
	}
	for _, s := range applied.Services {
		fmt.Fprintf(w, "%s is %s\n", printable(s.Name), s.KRef)
		if s.Problem != "" {
			fmt.Fprintf(w, "%s is not open (it is tried again when it is called): %s\n", printable(s.Name), printable(s.Problem))
		}
	}
	for _, name := range restart {
		fmt.Fprintf(w, "to start it now: %s restart %s/%s\n", a.typed(), applied.Subcluster, printable(name))
	}
}
