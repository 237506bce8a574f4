package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/statedir"
)

func (a *app) stopCommand() *cobra.Command {
	var timeout time.Duration
	cmd := a.withJSON(&cobra.Command{
		Use:   "stop",
		Short: "Stop a kernel, and wait until it is gone",
		Long: `Stop the kernel of this state, and wait until its process is gone. Its state stays, and goes on with the next run.
It is no failure if none runs. A kernel that starts is stopped as soon as it can be; one whose control socket is gone
gets SIGTERM.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return a.stop(ctx, timeout)
		},
	})
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for it")
	return cmd
}

// signalAfter is how long a kernel may be without a control socket before it is sent SIGTERM: it may start.
const signalAfter = time.Second

func (a *app) stop(ctx context.Context, timeout time.Duration) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	held, err := statedir.Holder(dir)
	if err != nil {
		return err
	}
	if !held.Kernel {
		return a.print(map[string]any{"stopped": false}, func(w io.Writer) { fmt.Fprintf(w, "no kernel runs at %s\n", printable(dir)) })
	}
	s := stopping{dir: dir, pid: held.PID, since: time.Now()}
	// The system drops the lock when the process is gone, and reports that to no one.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// A connection's timer may be up a moment before that of the context from which it has its time.
		if err := s.ask(ctx); err != nil && ctx.Err() == nil && !timedOut(err) {
			return err
		}
		now, err := statedir.Holder(dir)
		if err != nil {
			return err
		}
		// If another process has the lock, the one that was told to stop is gone. One that was not told yet may
		// have been a start, which hands the lock on to its kernel.
		if !now.Kernel || now.PID != s.pid && s.asked {
			return a.print(map[string]any{"stopped": true}, func(w io.Writer) { fmt.Fprintf(w, "kernel stopped (pid %s)\n", s.pid) })
		}
		if now.PID != s.pid {
			s.pid, s.since = now.PID, time.Now()
		}
		select {
		case <-ctx.Done():
			return s.stuck(timeout)
		case <-tick.C:
		}
	}
}

// stopping is a kernel that is to stop.
type stopping struct {
	dir   string
	pid   string // the process that holds the lock
	since time.Time
	// asked is set once the kernel was told to stop.
	asked bool
}

// ask tells the kernel to stop, unless it was told before: over its control socket, or, if there has been none
// for a while, by a signal.
func (s *stopping) ask(ctx context.Context) error {
	if s.asked {
		return nil
	}
	client, err := control.Dial(ctx, s.dir)
	if err == nil {
		defer client.Close()
		err = client.Shutdown(ctx)
	}
	switch control.CodeOf(err) {
	case errcode.Stopping:
		err = nil
	case errcode.NotRunning: // it starts, or ends, or its socket is gone
		if time.Since(s.since) >= signalAfter && signalHolder(s.dir, s.pid) {
			s.asked = true
		}
		return nil
	}
	if err != nil {
		return err
	}
	s.asked = true
	// Between the look-up and the request, a start may have handed on the lock.
	if now, err := statedir.Holder(s.dir); err == nil && now.Kernel {
		s.pid = now.PID
	}
	return nil
}

// signalHolder sends SIGTERM to a process if it has the lock file of the state open, and reports whether it
// has.
func signalHolder(dir, pid string) bool {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	fd, err := unix.PidfdOpen(n, 0) // keeps the id from being another process's, from here on
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }() // only used to send
	if !hasOpen(pid, statedir.LockFile(dir)) {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) == nil
}

// hasOpen reports whether a process has a file open.
func hasOpen(pid, path string) bool {
	want, err := os.Stat(path)
	if err != nil {
		return false
	}
	fds := filepath.Join("/proc", pid, "fd")
	entries, _ := os.ReadDir(fds) // a process whose files cannot be seen is not ours
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(fds, e.Name())); err == nil && os.SameFile(want, info) {
			return true
		}
	}
	return false
}

// stuck returns the error when the time is up.
func (s *stopping) stuck(timeout time.Duration) error {
	err := fmt.Errorf("the kernel (pid %s) still runs after %v", s.pid, timeout)
	if !s.asked {
		return &hinted{err, fmt.Sprintf("it does not answer; kill -TERM %s stops it in order", s.pid)}
	}
	return &hinted{err, fmt.Sprintf("kill -KILL %s is safe: what was accepted is not lost", s.pid)}
}
