// Package worker is the worker's side of the protocol: the part of a worker program between its command line and the
// deliveries of its one vat. The kinds of vat (Go, JavaScript) stand on it.
//
// # Life
//
// [Main] answers the handshake of hashicorp/go-plugin, waits for [wire.Start], makes the vat and says
// hello. Then each [wire.Deliver] is handed to [Vat.Deliver] and answered by the [wire.Done] that it
// returns. The process ends with the stream on descriptor 3, even while the vat computes: a worker does not outlive its
// kernel.
//
// Frames travel on descriptor 3, by [Descriptor], unless the program brings another [Transport], as package grpcvat does.
//
// # Concurrency
//
// Deliver is called on one goroutine, for one crank at a time. The vat may use others; its [Store] can
// be used from any of them, one at a time, until Deliver returns.
//
// # Confinement
//
// If its kernel says so, the worker confines itself between the handshake and the first frame, for good: package sandbox, and
// docs/sandbox.md. What the program does before Main, in its init functions too, is not confined.
//
// # Output
//
// Descriptors 1 and 2 are both the log. The vat's output appears there as lines of the worker, and can neither disturb the
// protocol nor block for want of a reader.
package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/supervisor/sandbox"
	"ocapkernel.dev/wire"
)

// Store reads the vat's own store as it was when the crank began. Each call is a round trip to the
// kernel. Outside of a crank it fails.
type Store interface {
	// Get returns the value of key, and whether there is one.
	Get(key string) (value []byte, found bool, err error)
	// Next returns the row with the smallest key that is greater than after and begins with prefix.
	Next(prefix, after string) (key string, value []byte, found bool, err error)
}

// A Vat does the work of cranks.
type Vat interface {
	// Deliver does one delivery and returns its syscalls, in order, and its outcome. It is called for
	// one crank at a time, always on the same goroutine. The number in the result is set by the caller.
	// A panic ends the process, and thereby the crank.
	Deliver(wire.Deliver) wire.Done
}

// Program holds the parts of a worker program.
type Program struct {
	// Modules names the kinds of vat in this program, for people and for the kernel's configuration.
	Modules []string
	// New makes the vat. An error is told to the kernel, which then treats the start as failed.
	// The logger writes to the kernel's log. The store can not be used yet: it is for Deliver.
	New func(wire.Start, Store, *slog.Logger) (Vat, error)
}

// Exit statuses of a worker. Any other is the vat's doing.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs p as this process, with frames over the descriptor, and does not return. Call it first thing in main: the
// fewer goroutines, descriptors and output come before it, the better.
func Main(p Program) { MainOver(Descriptor, p) }

// MainOver is [Main] over the transport t.
func MainOver(t Transport, p Program) {
	// A vat runs one turn at a time, so that a second processor would only be woken in vain: measured, a
	// sixth of a worker's CPU time for small cranks.
	runtime.GOMAXPROCS(1)
	os.Exit(run(t, p, os.Args, os.Stdout, os.Stderr))
}

// IsWorker reports whether this process was started as a worker, or to list its modules: then it calls [Main].
func IsWorker() bool { return isWorker() || asksModules(os.Args) }

func isWorker() bool {
	return os.Getenv(wire.CookieKey) == wire.CookieValue && isSocket(wire.DataFD) && isSocket(wire.ControlFD)
}

func asksModules(args []string) bool { return len(args) == 2 && args[1] == wire.ModulesFlag }

func run(t Transport, p Program, args []string, stdout, stderr io.Writer) int {
	if asksModules(args) {
		names := p.Modules
		if names == nil {
			names = []string{}
		}
		if err := json.NewEncoder(stdout).Encode(names); err != nil {
			return exitFailed
		}
		return exitDone
	}
	if !isWorker() {
		fmt.Fprintf(stderr, `This is a worker program of the object-capability kernel. It runs one vat, and only
the kernel can start it: name it as "worker" of a vat in a cluster configuration, and
launch that with "kernel". To see which modules it contains: %s %s
`, args[0], wire.ModulesFlag)
		return exitUsage
	}
	// The end of the stream, and bye, end the process elsewhere.
	fmt.Fprintf(stderr, "worker: %v\n", serve(t, p))
	return exitFailed
}

func serve(t Transport, p Program) error {
	unix.CloseOnExec(wire.DataFD)
	unix.CloseOnExec(wire.ControlFD)
	nameProcess()
	policy, err := sandbox.ParsePolicy(os.Getenv(sandbox.Key))
	if err != nil {
		return err
	}
	if err := policy.Begin(wire.ControlFD); err != nil {
		return err
	}

	handshake, err := takeStdout()
	if err != nil {
		return err
	}
	go watch()
	dieOfSentSignals()
	level, ok := logging.ParseLevel(os.Getenv(wire.LogKey))
	if !ok {
		level = slog.LevelInfo
	}
	log := logging.NewWorker(os.Stderr, level)
	frames, err := t(handshake, log)
	if err != nil {
		return err
	}
	_ = os.Unsetenv(wire.CookieKey) // processes that the vat starts are no workers
	// All that the worker needs is open by now, and no byte that the vat may be made of has been read.
	if err := policy.Confine(); err != nil {
		return err
	}

	c := &conn{frames: frames}
	first, err := c.read()
	if err != nil {
		return err
	}
	start, ok := first.(wire.Start)
	if !ok {
		return fmt.Errorf("the first frame is a %T", first)
	}
	c.maxFrameBytes, c.maxSyscalls = start.MaxFrameBytes, start.MaxSyscalls
	vat, err := p.New(start, c, log)
	if err != nil {
		// The kernel kills us once it has read this; the status is for the case that it does not.
		if err := c.write(wire.Hello{Error: clip(err.Error())}); err != nil {
			return err
		}
		c.frames.Close()
		return fmt.Errorf("start of %s: %w", start.Module, err)
	}
	fault.Point(fault.InWorkerHello)
	if err := c.write(wire.Hello{}); err != nil {
		return err
	}
	return c.serve(vat)
}

// isSocket reports whether descriptor fd is open and a Unix stream socket.
func isSocket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}

// takeStdout takes descriptor 1 for the handshake and leaves the log in its place, so that a stray
// print, be it of C code, is a log line and not a broken handshake.
func takeStdout() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, wire.ControlFD+1)
	if err != nil {
		return nil, fmt.Errorf("keep standard output: %w", err)
	}
	if err := unix.Dup3(2, 1, 0); err != nil {
		return nil, fmt.Errorf("replace standard output: %w", err)
	}
	return os.NewFile(uintptr(fd), "handshake"), nil
}

// nameProcess gives the process the name under which tools list it. The kernel may have started the program by way of a
// descriptor, whose number would be the name. A failure is ignored.
func nameProcess() {
	_ = os.WriteFile("/proc/self/comm", []byte(wire.WorkerName), 0)
}

// clip shortens a text for people to the bound of a frame's field, and makes it UTF-8.
func clip(s string) string {
	const most = 1000
	return strings.ToValidUTF8(s[:min(len(s), most)], "?")
}
