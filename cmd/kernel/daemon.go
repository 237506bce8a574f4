package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

func (a *app) startCommand() *cobra.Command {
	var f runFlags
	var timeout time.Duration
	cmd := a.withJSON(&cobra.Command{
		Use:   "start [CONFIG]",
		Short: "Run a kernel in the background",
		Long: `Run a kernel in the background. Returns when it answers and CONFIG, if given, is launched; or prints the end of
its log and fails. The log is ` + logName + ` in the state directory, rotated at 10 MiB.`,
		Args: optional("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return a.start(ctx, &f, args)
		},
	})
	f.register(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait for it")
	return completeFile(cmd)
}

// start runs this program again, detached, and waits for its message over a pipe.
func (a *app) start(ctx context.Context, f *runFlags, args []string) error {
	var words []string
	var pre []string
	if len(args) > 0 {
		// Mistakes are better shown here than out of a log.
		cfg, err := a.loadConfig(ctx, args[0])
		if err != nil {
			return err
		}
		words, pre = []string{cfg.Source}, preface(cfg.text)
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	// The lock also makes the directory, and refuses a foreign one. It is released for the child.
	lock, err := openState(dir)
	if control.CodeOf(err) == errcode.AlreadyRunning {
		return &hinted{err, fmt.Sprintf("add a cluster with: %[1]s launch CONFIG, stop it with: %[1]s stop", a.typed())}
	}
	if err != nil {
		return err
	}
	err = f.checkRoom(dir)
	if err == nil { // a person is asked only if the kernel could start
		err = a.confirmReset(f, dir, "start", args)
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	// Output outside of the log, a panic above all, goes to a file of its own, which is not rotated away.
	logPath := filepath.Join(dir, logName)
	out, err := openCrashFile(dir)
	if err = errors.Join(err, lock.Close()); err != nil {
		return err
	}
	defer out.Close()
	before := markStart(dir)
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	hear, say, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hear.Close()
	// A descriptor that this process has inherited from its caller (the write end of a pipeline's pipe, a lock,
	// a terminal) would be held by the kernel for as long as it runs.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close descriptors on exec (Linux 5.11 or later is needed): %w", err)
	}
	child := exec.Command(exe) // not CommandContext: it outlives this
	child.Args = append([]string{os.Args[0], "run", "--state", dir, "--background", "--ready-fd", "3"}, append(f.args(), words...)...)
	child.Dir = dir // the kernel keeps no other directory busy
	child.Stdout, child.Stderr = out, out
	child.ExtraFiles = []*os.File{say}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(child.Start(), say.Close()); err != nil {
		return err
	}

	heard := make(chan *ready, 1)
	go func() {
		var r ready
		if json.NewDecoder(hear).Decode(&r) != nil {
			close(heard) // it ended, or is about to
			return
		}
		heard <- &r
	}()
	stopTelling := a.tellWaits(ctx, "")
	defer stopTelling()
	select {
	case r, ok := <-heard:
		stopTelling()
		if !ok {
			_ = child.Wait() // the log has the end
			return a.startFailed(dir, before)
		}
		r.Preface = pre
		a.complainOfUpgrades(r)
		a.describeHeld(a.stderr, r.Held)
		return errors.Join(a.print(r, func(w io.Writer) { a.describe(w, r, a.typed()+" stop") }), a.systemFailed(r))
	case <-ctx.Done():
		stopTelling()
		return &hinted{
			fmt.Errorf("the kernel (pid %d) is still starting", child.Process.Pid),
			fmt.Sprintf("its log is %s; ask again with: %s status", printable(logPath), a.typed()),
		}
	}
}

// startMarks are the log of a state before a kernel was started on it, or nil if there was none, and the
// content of its crash file.
type startMarks struct {
	log   os.FileInfo
	crash string
}

func markStart(dir string) startMarks {
	info, err := os.Stat(filepath.Join(dir, logName))
	if err != nil {
		info = nil // it does not exist yet
	}
	return startMarks{log: info, crash: readCrash(dir)}
}

// loggedSince returns the last lines that were logged since, at most that many. The log may have been rotated
// meanwhile. Files that cannot be read are left out.
func (m startMarks) loggedSince(dir string, most int) (lines []string) {
	files, _ := openLogs(dir)
	defer closeLogs(files)
	first := max(0, len(files)-1)
	for i, f := range files {
		info, err := f.file.Stat()
		if err == nil && m.log != nil && os.SameFile(info, m.log) {
			first = i
			_, _ = f.file.Seek(min(m.log.Size(), info.Size()), io.SeekStart)
		}
	}
	add := func(line string) {
		if line != "" {
			lines = append(lines, strings.Split(shownEntry(line), "\n")...)
			lines = slices.Delete(lines, 0, max(0, len(lines)-most))
		}
	}
	for _, f := range files[first:] {
		for {
			line, err := f.next()
			if err != nil {
				break
			}
			add(line)
		}
		add(f.rest())
	}
	return lines
}

// startFailed shows the output of a kernel that could not start: of a panic the beginning, else the end of its
// log and its error.
func (a *app) startFailed(dir string, before startMarks) error {
	const mostLines = 20
	lines := before.loggedSince(dir, mostLines)
	// A kernel that came far enough has moved the old content into its log.
	printed := crashLines(dir, strings.TrimPrefix(readCrash(dir), before.crash), -1)
	panicked := slices.IndexFunc(printed, beginsCrash)
	if panicked >= 0 {
		lines = printed[panicked:min(len(printed), panicked+mostLines)]
	} else {
		lines = append(lines, printed...)
		lines = lines[max(0, len(lines)-mostLines):]
	}
	for _, line := range lines {
		fmt.Fprintf(a.stderr, "| %s\n", printable(strings.ReplaceAll(line, "\t", "    ")))
	}
	return &hinted{errors.New("the kernel did not start; above is what it said"), "its log is " + printable(filepath.Join(dir, logName))}
}
