package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/statedir"
)

// declaration returns the path of the declaration of system subclusters: the given one, else the one in the
// state directory, else none.
func (f *runFlags) declaration(dir string) (string, error) {
	if f.system != "" {
		return f.system, nil
	}
	path := filepath.Join(dir, statedir.DeclarationName)
	_, err := os.Stat(path)
	if err == nil {
		return path, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if f.upgradeSystem {
		return "", &hinted{
			errors.New("--upgrade-system: no system subclusters are declared"),
			fmt.Sprintf("name their declaration: --system FILE, or put it to %s", shellQuote(path)),
		}
	}
	return "", nil
}

// findSystem makes the given path absolute, and checks that there is a file.
func (f *runFlags) findSystem() error {
	if f.system == "" {
		return nil
	}
	path, err := filepath.Abs(f.system)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return control.Errorf(errcode.NotFound, "--system: there is no file %s", f.system)
	case err != nil:
		return fmt.Errorf("--system: %w", err)
	case info.IsDir():
		return control.Errorf(errcode.Invalid, "--system: %s is a directory", f.system)
	}
	f.system = path
	return nil
}

func (a *app) systemCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "system",
		Short: "List the system subclusters: those that run --system declares",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				list, err := client.System(ctx)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"systems": list}, func(w io.Writer) { a.describeSystems(w, list) })
			})
		},
	})
}

func (a *app) describeSystems(w io.Writer, list []control.System) {
	if len(list) == 0 {
		fmt.Fprintln(w, "there are no system subclusters")
		return
	}
	rows := [][]string{{"NAME", "SUBCLUSTER", "ROOT", "STATE", "DECLARED", "CHANGED"}}
	changed := ""
	for _, s := range list {
		rows = append(rows, []string{s.Name, dash(s.Subcluster), dash(s.Root), string(s.State), yesNo(s.Declared), yesNo(s.Changed)})
		if s.Changed && s.Why == "" {
			changed = s.Name
		}
	}
	table(w, rows)
	for _, s := range list {
		switch {
		case s.Why == "":
		case s.State == control.SystemRunning:
			fmt.Fprintln(w)
			a.describeRefusedUpgrade(w, s)
		default:
			fmt.Fprintf(w, "\n%s: %s\nTo try again: %s reload %s\n", printable(s.Name), printable(s.Why), a.typed(), shellQuote(s.Name))
		}
	}
	if changed != "" {
		fmt.Fprintf(w, "\n%[1]s runs another configuration than is declared. To apply it: %[2]s run --upgrade-system, or, and lose its state: %[2]s reload %[3]s\n",
			printable(changed), a.typed(), shellQuote(changed))
	}
}

// describeRefusedUpgrade shows why a system subcluster was not upgraded, and the command to write.
func (a *app) describeRefusedUpgrade(w io.Writer, s control.System) {
	fmt.Fprintf(w, "%s was not upgraded: %s\n", printable(s.Name), printable(s.Why))
	if s.Deletes {
		fmt.Fprintf(w, "To have it launched anew, and lose what it has stored: %s run --upgrade-system --replace %s\n", a.typed(), shellQuote(s.Name))
	} else {
		fmt.Fprintf(w, "To try again, when that is mended: %s run --upgrade-system\n", a.typed())
	}
}

// complainOfUpgrades shows which upgrades were refused. That is no failure: the subclusters go on as they were.
func (a *app) complainOfUpgrades(r *ready) {
	for _, s := range r.NotUpgraded {
		a.describeRefusedUpgrade(a.stderr, s)
	}
}

func (a *app) reloadCommand() *cobra.Command {
	var all, yes bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "reload [SUBCLUSTER]",
		Short: "Replace a subcluster by a new one of the same configuration",
		Long: `Terminate a subcluster and launch it again, with vats that know nothing: what the old ones had stored is deleted. A
system subcluster is launched as it is declared now. SUBCLUSTER is an id (s1) or a system subcluster's name. It is asked
whether that is meant; without a terminal, --yes says so. To change the configuration and keep what is stored: kernel apply.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return exactly()(cmd, args)
			}
			return one("SUBCLUSTER", checkReloadable)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			which := ""
			if !all {
				which = args[0]
			}
			if err := a.confirm(yes, reloadWords(which), "reload "+reloadTarget(which)); err != nil {
				return err
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				stopTelling := a.tellWaits(ctx, "")
				reload := func(ctx context.Context) ([]control.Subcluster, error) { return client.Reload(ctx, which) }
				if all {
					reload = client.ReloadAll
				}
				now, err := reload(ctx)
				stopTelling()
				if err != nil {
					return err
				}
				return a.print(map[string]any{"subclusters": now}, func(w io.Writer) { describeReloaded(w, now) })
			})
		},
	})
	cmd.Flags().BoolVar(&all, "all", false, "replace every subcluster")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return a.completeArg(cmd, subclusterIDs, systemNames)
}

func checkReloadable(s string) error {
	if s == "" {
		return errors.New("SUBCLUSTER is empty: for all of them, use --all")
	}
	return control.CheckSubcluster(s)
}

func reloadWords(which string) string {
	if which == "" {
		return "delete what all subclusters have stored, and launch them anew"
	}
	return "delete what " + which + " has stored, and launch it anew"
}

func reloadTarget(which string) string {
	if which == "" {
		return "--all"
	}
	return which
}

func describeReloaded(w io.Writer, now []control.Subcluster) {
	if len(now) == 0 {
		fmt.Fprintln(w, "there is nothing to reload")
		return
	}
	rows := [][]string{{"SUBCLUSTER", "ROOT", "CONFIG"}}
	for _, s := range now {
		rows = append(rows, []string{s.ID, s.Root, origin(s)})
	}
	table(w, rows)
}

// origin returns in few words where a subcluster comes from.
func origin(s control.Subcluster) string {
	switch {
	case s.System != "":
		return "system " + s.System
	case s.Source == "":
		return "-"
	}
	return filepath.Base(s.Source)
}
