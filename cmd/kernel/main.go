// Command kernel runs a kernel, and talks to one that runs: docs/cli.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/supervisor"
)

// The exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// Its children are worker programs, and processes that those leave behind. If it cannot adopt these, it
	// goes on.
	_ = supervisor.AdoptOrphans()
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run performs one command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv, version: version(), program: programName(os.Args[0]),
		newKernel: newKernel, check: backend.CheckConfig, patience: patience,
	}
	return a.run(ctx, args)
}

// openKernel is a kernel whose state is open: a [backend.Backend], or, in tests of the command, one without vats.
type openKernel interface {
	control.Backend
	Run(ctx context.Context) error
	SystemReady(ctx context.Context) error
	EarlierDeaths() int
	Ensure(ctx context.Context, r control.LaunchRequest) (backend.Ensured, error)
}

func newKernel(o backend.Options) (openKernel, error) {
	leaveProcessors()
	return backend.New(o)
}

// leaveProcessors leaves half of the processors to the workers, which do the work. The kernel's loop is one
// goroutine; with two processors of two the kernel spends a third more CPU time, most of it on waking the other
// thread.
func leaveProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}

// programName returns the name that a person typed to run this program: bin/kernel, or kernel if it was found
// on the path.
func programName(arg0 string) string {
	if strings.ContainsRune(arg0, '/') && !filepath.IsAbs(arg0) {
		return arg0
	}
	return "kernel"
}

// app is the part that the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	version        string
	// program is the name by which a person calls this program.
	program   string
	newKernel func(backend.Options) (openKernel, error)
	// check completes the check of a configuration; nil does not.
	check func(ctx context.Context, cfg *cluster.Config, err error, system bool) error

	// state and json are the values of the flags of the same names.
	state string
	json  bool
	// patience is the constant of that name, but in tests.
	patience time.Duration
	// courtesy is stderr, behind a queue so that it delays no caller.
	courtesy *courtesy
	// started is set when a command's own code begins: an error before is one of usage.
	started bool
	// helped is the command of which kernel help was asked, helpErr the fault of a request for help.
	helped  *cobra.Command
	helpErr error
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(numbersAreNoFlags(args))
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	defer func() {
		if a.courtesy != nil {
			a.courtesy.close(courtesyTime)
		}
	}()
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.helpErr
	}
	if err == nil {
		return exitDone
	}
	var usage *usageError
	if !a.started && !errors.As(err, &usage) { // cobra found it
		err = &usageError{message: err.Error(), hint: "kernel help"}
	}
	a.complain(err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kernel",
		Short: "Run vats: isolated programs that talk by messages and survive any crash",
		Long: `kernel runs vats: isolated programs, each in a process of its own, that hold references to each
other's objects and talk by messages. Kill any of them, or the kernel, at any moment: what was
accepted is not lost, and nothing happens twice.`,
		Version:       a.version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			return checkTimeout(cmd)
		},
	}
	group(root)
	root.SetVersionTemplate(a.versionLine() + "\n")
	a.setHelp(root)
	root.PersistentFlags().StringVar(&a.state, "state", "", "`DIR` that holds the state (default $"+stateEnv+", else "+defaultStateHelp+")")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	registered(root.MarkPersistentFlagDirname("state"))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{message: err.Error(), hint: cmd.CommandPath() + " --help"}
	})
	root.AddGroup(
		&cobra.Group{ID: "life", Title: "A kernel's life:"},
		&cobra.Group{ID: "look", Title: "Looking at it:"},
		&cobra.Group{ID: "work", Title: "Working with it:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("life", a.runCommand(), a.startCommand(), a.stopCommand(), a.backupCommand(), a.restoreCommand(), a.compactCommand())
	add("look", a.statusCommand(), a.psCommand(), a.logsCommand(), a.systemCommand(), a.servicesCommand(), a.ioCommand(), a.inspectCommand(), a.stateCommand(),
		a.poisonedCommand(), a.replayCommand(), a.checkCommand(), a.exportCommand(), a.pingCommand())
	add("work", a.launchCommand(), a.applyCommand(), a.reloadCommand(), a.terminateCommand(), a.sendCommand(), a.awaitCommand(), a.restartCommand(),
		a.revokeCommand(), a.collectCommand(), a.clearCommand())
	root.AddCommand(a.configCommand(), a.versionCommand())
	return root
}

// withJSON gives a command the flag --json.
func (a *app) withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	return cmd
}

// version returns the module's version and the commit that the program was built from, as far as they are
// known.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+dirty"
			}
		}
	}
	if len(revision) >= 12 && !strings.Contains(v, revision[:12]) {
		v += " " + revision[:12] + modified
	}
	return v
}

// complain prints an error: its details, then one line, then a hint. With --json a failure that has a code goes
// to stdout as well, where the calling program reads.
func (a *app) complain(err error) {
	if errors.Is(err, errReported) {
		return
	}
	text := err.Error()
	var coded *control.Error
	if errors.As(err, &coded) {
		if len(coded.Details) > 0 {
			text, _, _ = strings.Cut(text, "\n") // the details follow
		}
		for _, line := range coded.Details {
			fmt.Fprintln(a.stderr, printableError(line))
		}
		if a.json {
			_ = a.printJSON(map[string]any{"error": coded}) // stderr has it too
		}
	}
	fmt.Fprintf(a.stderr, "kernel: %s\n", printableError(text))
	if hint := hintFor(err); hint != "" {
		fmt.Fprintln(a.stderr, hint)
	}
}

// errReported stands for a failure that the command has reported already.
var errReported = errors.New("reported")

func hintFor(err error) string {
	var h *hinted
	var u *usageError
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &u):
		if u.hint != "" {
			return "try: " + u.hint
		}
		return ""
	}
	switch control.CodeOf(err) {
	case errcode.NotRunning:
		return "start one with: kernel start CONFIG"
	case errcode.DiskFull:
		return "free some space on the disk of the state directory: the kernel goes on by itself"
	}
	return ""
}
