package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor/sandbox"
)

// runFlags are the flags of run and start.
type runFlags struct {
	durability string
	// sandbox is the name of a mode of package sandbox; empty is that of the environment, or else off.
	sandbox        string
	acceptRollback bool
	reset          bool
	// yes says that reset deletes the state without asking.
	yes      bool
	logLevel string
	// system is the declaration of system subclusters, as an absolute path after check; empty means the
	// default.
	system        string
	upgradeSystem bool
	// noWait does not wait for the system subclusters.
	noWait bool
	// replace names system subclusters whose state the upgrade may delete.
	replace []string
	// diskReserve is in MiB.
	diskReserve int
	// background and readyFD are how start speaks to the kernel that it begins; hidden.
	background bool
	readyFD    int
}

func (f *runFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.durability, "durability", "power", "`LOSS` that an accepted call survives: power, or only that of the process (faster)")
	flags.StringVar(&f.sandbox, "sandbox", "", "`HOW` workers are confined: off, best-effort or required (default $"+sandboxEnv+", or else off)")
	flags.BoolVar(&f.acceptRollback, "accept-rollback", false, "run on a state that is older than what was acknowledged, or was restored from a copy; calls made before are forgotten")
	flags.IntVar(&f.diskReserve, "disk-reserve", statedir.DefaultReserve>>20, "free space, in `MiB`, below which nothing new is accepted")
	flags.BoolVar(&f.reset, "reset", false, "wipe the state first")
	flags.BoolVar(&f.yes, "yes", false, "with --reset, do not ask")
	flags.StringVar(&f.system, "system", "", "`FILE` that declares the system subclusters (default "+statedir.DeclarationName+" in the state directory, if it is there)")
	flags.BoolVar(&f.upgradeSystem, "upgrade-system", false, "apply the declaration to system subclusters that run another configuration, and keep what they have stored")
	flags.StringArrayVar(&f.replace, "replace", nil, "with --upgrade-system, `NAME` of a system subcluster that may lose what it has stored, if the declaration cannot be applied otherwise; may be repeated")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `LEVEL` that is logged: trace, debug, info, warn or error")
	flags.BoolVar(&f.noWait, "no-wait", false, "do not wait until the system subclusters run")
	completeFlagWith(cmd, "durability", "power", "process")
	completeFlagWith(cmd, "sandbox", sandbox.Modes()...)
	completeFlagWith(cmd, "log-level", "trace", "debug", "info", "warn", "error")
	registered(cmd.MarkFlagFilename("system", "json"))
}

// args are the flags as arguments of a run.
func (f *runFlags) args() []string {
	args := []string{"--durability", f.durability, "--log-level", f.logLevel, "--disk-reserve", strconv.Itoa(f.diskReserve)}
	if f.sandbox != "" {
		args = append(args, "--sandbox", f.sandbox)
	}
	if f.acceptRollback {
		args = append(args, "--accept-rollback")
	}
	if f.reset {
		args = append(args, "--reset", "--yes") // it was asked
	}
	if f.system != "" {
		args = append(args, "--system", f.system)
	}
	if f.upgradeSystem {
		args = append(args, "--upgrade-system")
	}
	if f.noWait {
		args = append(args, "--no-wait")
	}
	for _, name := range f.replace {
		args = append(args, "--replace", name)
	}
	return args
}

func (f *runFlags) check() error {
	if _, err := badgerstore.ParseDurability(f.durability); err != nil {
		return usagef("--durability is power or process, not %q", f.durability)
	}
	if _, ok := sandbox.ParseMode(f.sandbox); !ok && f.sandbox != "" {
		return usagef("--sandbox is off, best-effort or required, not %q", f.sandbox)
	}
	if _, ok := logging.ParseLevel(f.logLevel); !ok {
		return usagef("--log-level is trace, debug, info, warn or error, not %q", f.logLevel)
	}
	if least := statedir.LeastReserve >> 20; f.diskReserve < least {
		return usagef("--disk-reserve is at least %d MiB: what may be written between two looks", least)
	}
	if f.yes && !f.reset {
		return usagef("--yes belongs to --reset")
	}
	if len(f.replace) > 0 && !f.upgradeSystem {
		return usagef("--replace belongs to --upgrade-system")
	}
	return f.findSystem()
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := a.withJSON(&cobra.Command{
		Use:   "run [CONFIG]",
		Short: "Run a kernel in the foreground",
		Long: `Run a kernel in the foreground until Ctrl-C, SIGTERM, SIGHUP or kernel stop.

With CONFIG, launch that cluster, unless the state already runs it. What ran before goes on in any case.
The log goes to stderr, and to ` + logName + ` in the state directory, for kernel logs.
The first signal stops vats and kernel in order; a second SIGINT or SIGTERM ends the kernel at once, which is safe too.`,
		Args: optional("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.runKernel(cmd.Context(), &f, args)
		},
	})
	f.register(cmd)
	cmd.Flags().BoolVar(&f.background, "background", false, "")
	cmd.Flags().IntVar(&f.readyFD, "ready-fd", -1, "")
	for _, hidden := range []string{"background", "ready-fd"} {
		registered(cmd.Flags().MarkHidden(hidden))
	}
	return completeFile(cmd)
}

// sandboxEnv is the variable with the mode of confinement of a kernel whose flags name none.
const sandboxEnv = "OCAPKERNEL_SANDBOX"

// sandbox returns the mode of confinement that the flags or the environment name.
func (a *app) sandbox(f *runFlags) (sandbox.Mode, error) {
	name := f.sandbox
	if name == "" {
		name = a.getenv(sandboxEnv)
	}
	if name == "" {
		return sandbox.Off, nil
	}
	mode, ok := sandbox.ParseMode(name)
	if !ok {
		return 0, usagef("%s is off, best-effort or required, not %q", sandboxEnv, name)
	}
	return mode, nil
}

// optional allows one argument.
func optional(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return exactly(name)(cmd, args)
	}
}

// ready is the report of a kernel that runs, to the terminal or to the command start.
type ready struct {
	PID        int    `json:"pid"`
	State      string `json:"stateDir"`
	Durability string `json:"durability"`
	// Launched is the subcluster that CONFIG was launched as; nil without CONFIG, or if it ran before.
	Launched *control.Launched `json:"launched,omitempty"`
	// Already is the subcluster of CONFIG that ran before this kernel started; nil if there was none.
	Already *control.Subcluster `json:"already,omitempty"`
	// Failed says which of the declared system subclusters do not run, and why, a line for each.
	Failed []string `json:"failed,omitempty"`
	// NotUpgraded are the system subclusters that go on as they were, though this run was to upgrade them.
	NotUpgraded []control.System `json:"notUpgraded,omitempty"`
	// Held are the vats that are held back, and why.
	Held map[string]string `json:"held,omitempty"`
	// Preface has the lines at the beginning of CONFIG in which its author suggests commands to type.
	Preface []string `json:"-"`
}

// runKernel runs a kernel until it is told to stop.
func (a *app) runKernel(ctx context.Context, f *runFlags, args []string) (err error) {
	var announce io.WriteCloser
	if f.readyFD >= 0 {
		unix.CloseOnExec(f.readyFD) // workers must not hold it
		announce = os.NewFile(uintptr(f.readyFD), "ready")
		defer announce.Close()
	}
	var cfg *configFile
	if len(args) > 0 {
		// Before anything else: mistakes should not need a kernel to be found.
		if cfg, err = a.loadConfig(ctx, args[0]); err != nil {
			return err
		}
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	lock, err := openState(dir)
	if control.CodeOf(err) == errcode.AlreadyRunning {
		return &hinted{err, fmt.Sprintf("stop it with: %s stop, or name another state: --state DIR", a.typed())}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := f.checkRoom(dir); err != nil {
		return err
	}
	if err := a.confirmReset(f, dir, "run", args); err != nil {
		return err
	}
	system, err := f.declaration(dir)
	if err != nil {
		return err
	}
	durability, err := badgerstore.ParseDurability(f.durability)
	if err != nil {
		return err
	}
	confinement, err := a.sandbox(f)
	if err != nil {
		return err
	}
	log, crashed, closeLog, err := a.logger(f, dir)
	if err != nil {
		return err
	}
	defer closeLog()

	ctx, release := stopSignals(ctx, func() {
		log.Info("stopping in order; a second signal ends the kernel at once")
	})
	defer release()

	kernel, err := a.newKernel(backend.Options{
		Dir: dir, Lock: lock, Durability: durability, Sandbox: confinement, DiskReserve: uint64(f.diskReserve) << 20, AcceptRollback: f.acceptRollback, Reset: f.reset, Keep: isLog, Logger: log, Version: a.version,
		Crashed: crashed, System: system, UpgradeSystem: f.upgradeSystem, Replace: f.replace, Control: true, Stdin: a.stdin, Stdout: a.stdout,
	})
	if err != nil {
		return damagedHint(diskHint(err, reserveHint))
	}
	judgedCrash(dir)
	var told chan struct{} // closed when the report was printed; nil if none is printed
	defer func() {
		if told == nil {
			return
		}
		select {
		case <-told:
		case <-time.After(courtesyTime): // standard output is not read
		}
	}()
	return a.serve(ctx, kernel, log, func(ctx context.Context) error {
		r, err := a.launchFirst(ctx, kernel, cfg, f)
		if err != nil {
			return err
		}
		r.State, r.Durability = dir, f.durability
		log.Info("kernel runs", "pid", r.PID, "durability", r.Durability)
		if announce != nil {
			// If the command that has started the kernel waits no longer, the writing fails; that is no error.
			_ = errors.Join(json.NewEncoder(announce).Encode(r), announce.Close())
			return nil
		}
		a.complainOfUpgrades(r)
		a.describeHeld(a.stderr, r.Held)
		if failed := a.systemFailed(r); failed != nil {
			a.complain(failed) // the others go on
		}
		// Nor is it an error if standard output is not read, now or ever: a goroutine of its own writes to it.
		told = make(chan struct{})
		go func() {
			defer close(told)
			end := "Ctrl-C"
			if len(heeded(os.Interrupt)) == 0 { // it is in the background of a script
				end = a.typed() + " stop"
			}
			_ = a.print(r, func(w io.Writer) { a.describe(w, r, end) })
		}()
		return nil
	})
}

// serve runs the kernel, and first beside it. It returns when both have ended. The kernel ends because ctx ended, a client
// asked for a shutdown, or first failed.
func (a *app) serve(ctx context.Context, kernel openKernel, log *slog.Logger, first func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		defer stop() // ends first, too, if the kernel ended by itself
		return kernel.Run(ctx)
	})
	g.Go(func() error {
		err := first(ctx)
		if err != nil && ctx.Err() != nil {
			return nil // it was told to stop meanwhile
		}
		if err != nil {
			stop()
		}
		return err
	})
	err := g.Wait()
	log.Info("kernel stopped")
	if errors.Is(err, storage.ErrCorrupt) { // found while it ran
		return &hinted{err, waysOut}
	}
	return err
}

// trialTime is the time for which a kernel must run before it announces that it runs, if the last kernel died by itself.
const trialTime = 3 * time.Second

// launchFirst waits for the system subclusters, unless the flags say otherwise, and launches the configuration that was
// named on the command line, unless it runs already.
func (a *app) launchFirst(ctx context.Context, kernel openKernel, cfg *configFile, f *runFlags) (*ready, error) {
	r := &ready{PID: os.Getpid()}
	if kernel.EarlierDeaths() > 0 {
		// The last kernel died by itself. This one may die of the same work, so it announces itself after a trial.
		select {
		case <-time.After(trialTime):
		case <-ctx.Done(): // it has ended, too
			return nil, ctx.Err()
		}
	}
	status, err := kernel.Status(ctx)
	if err != nil { // it does not answer
		return r, err
	}
	r.Held = status.Held
	if !f.noWait {
		var failed *control.Error
		switch err := kernel.SystemReady(ctx); {
		case errors.As(err, &failed) && failed.Code == errcode.Rejected:
			r.Failed = failed.Details
		case err != nil:
			return nil, err
		}
		if f.upgradeSystem {
			list, err := kernel.System(ctx)
			if err != nil {
				return nil, err
			}
			r.NotUpgraded = slices.DeleteFunc(list, func(s control.System) bool { return !s.Changed || s.Why == "" })
		}
	}
	if cfg == nil {
		return r, nil
	}
	r.Preface = preface(cfg.text)
	e, err := kernel.Ensure(ctx, control.LaunchRequest{Path: cfg.Source, Config: cfg.text})
	if control.CodeOf(err) == errcode.Conflict {
		return nil, a.changed(ctx, kernel, cfg, err)
	}
	if err != nil {
		return nil, err
	}
	if !e.Launched {
		r.Already = &e.Subcluster
		return r, nil
	}
	l := control.NewLaunched(e.Subcluster, e.Result)
	r.Launched = &l
	return r, nil
}

// systemFailed is the error that some system subclusters do not run, or nil.
func (a *app) systemFailed(r *ready) error {
	if len(r.Failed) == 0 {
		return nil
	}
	err := control.Errorf(errcode.Rejected, "the kernel runs, but without %s", plural(len(r.Failed), "system subcluster"))
	err.Details = r.Failed
	return &hinted{err, fmt.Sprintf("they are launched again with the next start, or with: %s reload NAME", a.typed())}
}

// changed returns err, for a configuration that runs in another version, with hints on the commands that help.
func (a *app) changed(ctx context.Context, kernel openKernel, cfg *configFile, err error) error {
	status, statusErr := kernel.Status(ctx)
	if statusErr != nil {
		return err
	}
	for _, s := range status.Clusters {
		if s.Source == cfg.Source && s.System == "" {
			return &hinted{err, fmt.Sprintf("keep what runs: %[1]s run, without CONFIG\nchange it, and keep its state: %[1]s run, then %[1]s apply %[3]s\nreplace it: %[1]s run, then %[1]s terminate %[2]s and %[1]s launch %[3]s\nstart over and lose all state: %[1]s run --reset %[3]s",
				a.typed(), s.ID, shellQuote(cfg.Source))}
		}
	}
	return err
}

// describe prints, for a person, the kernel and subcluster that run, and the commands to type next.
func (a *app) describe(w io.Writer, r *ready, stop string) {
	fmt.Fprintf(w, "kernel runs: pid %d, state %s, durability %s\n", r.PID, printable(r.State), r.Durability)
	var sub *control.Subcluster
	switch {
	case r.Launched != nil:
		sub = &r.Launched.Subcluster
		describeLaunched(w, *r.Launched)
	case r.Already != nil:
		sub = r.Already
		fmt.Fprintf(w, "%s runs already, as %s: nothing was launched\n", printable(filepath.Base(sub.Source)), sub.ID)
	}
	fmt.Fprintf(w, "\nNext, in another terminal:\n")
	if sub != nil && len(r.Preface) > 0 {
		fmt.Fprintf(w, "  (from %s)\n", printable(filepath.Base(sub.Source)))
		for _, line := range r.Preface {
			fmt.Fprintln(w, strings.TrimRight("  "+printable(strings.ReplaceAll(line, "\t", "  ")), " "))
		}
	}
	rows := [][2]string{
		{a.typed() + " ps", "the vats and their processes: kill -9 any of them"},
		{stop, "stop in order; kill -9 is safe as well"},
	}
	switch {
	case sub == nil:
		rows = slices.Insert(rows, 0, [2]string{a.typed() + " launch CONFIG", "launch a cluster"})
	case len(r.Preface) == 0:
		rows = slices.Insert(rows, 0, [2]string{fmt.Sprintf("%s send %s METHOD [JSON…]", a.typed(), sub.ID), "call a method of its root object"})
	}
	width := 0
	for _, row := range rows {
		width = min(max(width, len([]rune(row[0]))), 48) // a long --state would push the rest off the screen
	}
	for _, row := range rows {
		fmt.Fprintf(w, "  %-*s  %s\n", width, row[0], row[1])
	}
}

// inLaunchOrder lists the names of vats in the order in which they were launched, which is that of their ids.
func inLaunchOrder(vats map[string]string) []string {
	return slices.SortedFunc(maps.Keys(vats), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(vats[a]), len(vats[b])), strings.Compare(vats[a], vats[b]))
	})
}

// describeLaunched tells a person about a new subcluster.
func describeLaunched(w io.Writer, l control.Launched) {
	vats := make([]string, 0, len(l.Vats))
	for _, name := range inLaunchOrder(l.Vats) {
		vats = append(vats, name+" "+l.Vats[name])
	}
	fmt.Fprintf(w, "launched %s as %s, root %s: %s\n", printable(filepath.Base(l.Source)), l.ID, l.Root, printable(strings.Join(vats, ", ")))
	switch result := human(l.Result); {
	case l.ResultProblem != "":
		fmt.Fprintf(w, "bootstrap answered what cannot be shown: %s\n", printable(l.ResultProblem))
	case result != "null" && result != "undefined":
		fmt.Fprintf(w, "bootstrap answered %s\n", result)
	}
}
