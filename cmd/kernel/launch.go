package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

func (a *app) launchCommand() *cobra.Command {
	return completeFile(a.withJSON(&cobra.Command{
		Use:   "launch CONFIG",
		Short: "Launch a cluster in the kernel that runs",
		Long: `Launch a cluster in the kernel that runs, and wait for its bootstrap method. Each launch makes a new subcluster,
also of a configuration that runs already.`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			// The kernel knows which services and modules there are.
			cfg, err := readConfig(args[0], nil)
			if err != nil {
				return err
			}
			// The kernel bounds the bootstrap itself, by a limit of the configuration.
			return a.ask(ctx, noLimit, func(ctx context.Context, client *control.Client) error {
				stopTelling := a.tellWaits(ctx, "")
				launched, err := client.Launch(ctx, control.LaunchRequest{Path: cfg.Source, Config: cfg.text})
				stopTelling()
				if err != nil {
					return asTyped(err, cfg.Source, args[0])
				}
				return a.print(launched, func(w io.Writer) { describeLaunched(w, launched) })
			})
		},
	}))
}

func (a *app) terminateCommand() *cobra.Command {
	var yes bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "terminate SUBCLUSTER|VAT",
		Short: "Delete a subcluster, its vats and their state, or one vat",
		Long: `Delete a subcluster (s1, or a system subcluster's name), its vats, and their state; or one vat (v3, s1/mint) and its
state. A name alone is that of a system subcluster, and no vat's: once that is gone, it would mean a vat of another
subcluster. At a terminal this is asked, unless --yes is given.`,
		Args: one("SUBCLUSTER|VAT", checkTerminable),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirmAtTerminal(yes, "delete "+args[0]+" and what it has stored"); err != nil {
				return err
			}
			return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
				what, err := a.terminate(ctx, client, args[0])
				if err != nil {
					return err
				}
				return a.print(map[string]any{what: args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is terminated\n", args[0]) })
			})
		},
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return a.completeArg(cmd, subclusterIDs, systemNames, vatIDs, vatNames)
}

func checkTerminable(s string) error {
	if control.CheckSubcluster(s) == nil || control.CheckVat(s) == nil {
		return nil
	}
	return control.Errorf(errcode.Invalid, "%q is neither a subcluster, such as s1, nor a vat, such as v3 or s1/mint", s)
}

// terminate deletes the subcluster or vat of a name, and returns the word for it. A vat is named by its id or
// with its subcluster: a name alone that was a system subcluster's may become a vat's as soon as the subcluster
// is gone, and a script that is run twice must not delete that vat.
func (a *app) terminate(ctx context.Context, client *control.Client, name string) (what string, err error) {
	if isVatID(name) || control.CheckSubcluster(name) != nil {
		return "vat", client.TerminateVat(ctx, name)
	}
	err = client.Terminate(ctx, name)
	if control.CodeOf(err) != errcode.NotFound || control.CheckVat(name) != nil {
		return "subcluster", err
	}
	switch v, vatErr := client.FindVat(ctx, name); control.CodeOf(vatErr) {
	case errcode.NotFound:
		return "", err
	case "":
		return "", &hinted{err, fmt.Sprintf("if the vat of that name is meant, which is %s: %s terminate %s", v.ID, a.typed(), shellQuote(v.Subcluster+"/"+v.Name))}
	default:
		return "", vatErr
	}
}
