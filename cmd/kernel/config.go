package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
)

// configFile is a configuration that was read and found without mistakes.
type configFile struct {
	*cluster.Config
	// text is what a kernel is sent.
	text []byte
}

// loadConfig reads a configuration and checks all of it.
func (a *app) loadConfig(ctx context.Context, path string) (*configFile, error) {
	cfg, err := cluster.Load(path)
	if a.modules != nil {
		err = cluster.CheckModules(cfg, err, func(program string) ([]string, error) { return a.modules(ctx, program) })
	}
	if err = checkServed(cfg, err); err != nil {
		return nil, configError(path, err)
	}
	text, err := os.ReadFile(cfg.Source)
	if err != nil {
		return nil, err
	}
	return &configFile{cfg, text}, nil
}

// checkServed completes the check of a configuration by what this version serves: no service, and no channel.
func checkServed(cfg *cluster.Config, err error) error {
	err = cluster.CheckServices(cfg, err, func(string) bool { return false }, nil)
	if err == nil && len(cfg.IO) > 0 {
		return &cluster.Errors{Problems: []cluster.Problem{cfg.ProblemAt("io", "channels are not served yet by this version: leave them out")}}
	}
	return err
}

// configError turns the mistakes of a configuration into an error that prints one line for each, and
// that crosses the control protocol unchanged.
func configError(path string, err error) error {
	var mistakes *cluster.Errors
	if !errors.As(err, &mistakes) {
		return err
	}
	n := len(mistakes.Problems) + mistakes.More
	out := control.Errorf(control.CodeInvalid, "%s in %s", plural(n, "mistake"), path)
	for _, p := range mistakes.Problems {
		out.Details = append(out.Details, p.String())
	}
	if mistakes.More > 0 {
		out.Details = append(out.Details, fmt.Sprintf("and %d more", mistakes.More))
	}
	return out
}

// preface returns the comment at the very top of a configuration, where its author says what to type:
// lines that begin with //, without that.
func preface(text []byte) []string {
	const most = 40
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\uFEFF")) {
		line = strings.TrimSpace(line)
		comment, ok := strings.CutPrefix(line, "//")
		if line == "" && len(lines) == 0 {
			continue
		}
		if !ok || len(lines) == most {
			break
		}
		lines = append(lines, strings.TrimRight(strings.TrimPrefix(comment, " "), " \t"))
	}
	return lines
}

func (a *app) configCommand() *cobra.Command {
	config := &cobra.Command{
		Use:   "config",
		Short: "Work with configuration files",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	config.AddCommand(completeFile(a.withJSON(&cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration, without running it",
		Args:  exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.loadConfig(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(map[string]any{"source": cfg.Source, "hash": cfg.Hash, "vats": len(cfg.Vats)}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is right: %s\n", printable(args[0]), plural(len(cfg.Vats), "vat"))
			})
		},
	})))
	return config
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// exactly demands the arguments that are named.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		message := "missing argument " + strings.Join(names[min(len(args), len(names)):], ", ")
		if len(args) > len(names) {
			message = fmt.Sprintf("unexpected argument %q", args[len(names)])
		}
		return &usageError{message, cmd.CommandPath() + " --help"}
	}
}
