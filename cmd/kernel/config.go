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
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
)

// configFile is a configuration that was read and has no mistakes.
type configFile struct {
	*cluster.Config
	// text is the text that a kernel is sent.
	text []byte
}

// loadConfig reads a configuration and checks all of it, for a kernel that this program begins.
func (a *app) loadConfig(ctx context.Context, path string) (*configFile, error) {
	return readConfig(path, func(cfg *cluster.Config, err error) error {
		if a.check == nil {
			return err
		}
		return a.check(ctx, cfg, err, false)
	})
}

// readConfig reads a configuration, and checks the parts that need no kernel and no worker programs; check
// completes that.
func readConfig(path string, check func(*cluster.Config, error) error) (*configFile, error) {
	cfg, err := cluster.Load(path)
	if check != nil {
		err = check(cfg, err)
	}
	if err != nil {
		return nil, backend.ConfigError(path, err)
	}
	text, err := os.ReadFile(cfg.Source)
	if err != nil {
		return nil, err
	}
	return &configFile{cfg, text}, nil
}

// checkConfig checks a configuration by the running kernel, which knows its services and worker program. If no
// kernel runs, it checks against the services that every kernel has.
func (a *app) checkConfig(ctx context.Context, path string) (*configFile, error) {
	client, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return a.loadConfig(ctx, path)
	}
	defer client.Close()
	cfg, err := readConfig(path, nil)
	if err != nil {
		return nil, err
	}
	return cfg, asTyped(client.CheckConfig(ctx, control.LaunchRequest{Path: cfg.Source, Config: cfg.text}), cfg.Source, path)
}

// dial connects to the kernel of this state. It returns nil if no kernel runs, and an error if one runs that
// does not answer: its services are not known.
func (a *app) dial(ctx context.Context) (*control.Client, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, nil
	}
	client, err := a.reach(ctx, dir)
	if control.CodeOf(err) == errcode.Timeout {
		return nil, err
	}
	return client, nil
}

// asTyped gives the mistakes that a kernel found in a file the name under which the file was given.
func asTyped(err error, source, typed string) error {
	var e *control.Error
	if !errors.As(err, &e) || e.Code != errcode.Invalid {
		return err
	}
	out := *e
	out.Message = strings.ReplaceAll(e.Message, source, typed)
	out.Details = nil
	for _, line := range e.Details {
		if rest, ok := strings.CutPrefix(line, source+":"); ok {
			line = typed + ":" + rest
		}
		out.Details = append(out.Details, line)
	}
	return &out
}

// preface returns the comment at the very top of a configuration, in which its author tells a person the next
// commands: lines that begin with //, without the slashes.
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
	config := group(&cobra.Command{Use: "config", Short: "Work with configuration files"})
	system := false
	check := completeFile(a.withJSON(&cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration, without running it",
		Args:  exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if system {
				return a.checkDeclaration(cmd.Context(), args[0])
			}
			cfg, err := a.checkConfig(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(map[string]any{"source": cfg.Source, "hash": cfg.Hash, "vats": len(cfg.Vats)}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is right: %s\n", printable(args[0]), plural(len(cfg.Vats), "vat"))
			})
		},
	}))
	check.Flags().BoolVar(&system, "system", false, "FILE declares system subclusters, as kernel.json does")
	config.AddCommand(check)
	return config
}

// checkDeclaration returns the mistakes in a declaration of system subclusters, as checkConfig does.
func (a *app) checkDeclaration(ctx context.Context, path string) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
	}
	sys, err := cluster.LoadSystem(path)
	if a.check != nil && client == nil {
		err = cluster.CheckSystem(sys, err, func(cfg *cluster.Config, err error) error { return a.check(ctx, cfg, err, true) })
	}
	if err != nil {
		return backend.ConfigError(path, err)
	}
	if client != nil {
		text, err := os.ReadFile(sys.Source)
		if err == nil {
			err = client.CheckSystem(ctx, control.LaunchRequest{Path: sys.Source, Config: text})
		}
		if err != nil {
			return asTyped(err, sys.Source, path)
		}
	}
	names := []string{}
	for _, s := range sys.Subclusters {
		names = append(names, s.Name)
	}
	return a.print(map[string]any{"source": sys.Source, "systems": names}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is right: %s\n", printable(path), plural(len(names), "system subcluster"))
	})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
