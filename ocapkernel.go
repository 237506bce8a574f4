// Package ocapkernel runs an object-capability kernel inside a Go program: the kernel that the command kernel runs, with
// services of the program's own. A whole program is in examples/embed. In the order in which a program meets them:
//
// # The worker program
//
// Each vat runs in a process of its own. A program that calls [Worker] first in main is the program of those processes,
// too, and contains the modules of its vats. A program that does not call it needs the program vatworker beside it, or
// names another one in Options.Worker.
//
// # The kernel
//
// [New] opens the state in a directory, and [Kernel.Run] does the kernel's work until its context ends:
//
//	func main() {
//		ocapkernel.Worker(vat.Modules{"greeter": NewGreeter})
//		…
//		k, err := ocapkernel.New(ocapkernel.Options{
//			Dir:      "state",
//			Services: map[string]ocapkernel.Service{"clock": {Object: clock}},
//		})
//		…
//		go func() { ended <- k.Run(ctx) }()
//
// The directory is one that the command kernel understands. With Options.Control the command's clients can talk to the
// program as well: kernel ps, send, inspect and so on.
//
// # Clusters
//
// A cluster is a configuration of vats that are launched together; docs/config.md describes it. [Kernel.Ensure] and
// [Kernel.EnsureFile] are for a program that wants, at each start, the cluster that its first start has launched.
// [Kernel.Launch] and [Kernel.LaunchFile] launch one more each time. A cluster that was launched is a [Subcluster]:
//
//	sub, err := k.EnsureFile(ctx, "cluster.json")
//
// [Kernel.Apply] changes a subcluster to another configuration and keeps the state of its vats. [Kernel.Reload] replaces
// the subcluster by a fresh one, [Kernel.Terminate] deletes it.
//
// # Calls
//
// [Call] calls a method of an object in a vat, and waits for the answer. [Kernel.Call] does the same and returns the
// answer as JSON. [Kernel.CallOnce] makes a call that has one effect, however often it is made, and even if the program,
// the kernel or a worker crashes meanwhile:
//
//	now, err := ocapkernel.Call[string](ctx, k, sub.ID, "now")
//
// The target of a call is a subcluster's id, such as s1, which stands for the root object of its bootstrap vat, or the
// kernel's name of an object, such as ko4: the Root of a Subcluster, the result of [Kernel.Root], or a [Ref] that an
// answer contained.
//
// # Services
//
// A service is a Go value with methods, made an object by service.New, or an implementation of service.Object. A cluster
// gets the service if its configuration names it. Options.Services has those that are there from the start;
// [Kernel.Register] and [Kernel.Unregister] add and remove them while the kernel runs.
//
// # Errors
//
// The variables whose names begin with Err are for [errors.Is]. An error with a code is an [*Error].
//
// # Concurrency
//
// The methods of a Kernel may be called from any goroutine, also before Run, and block until Run has done their work or
// their context ends. A context ends the waiting; the work goes on.
//
// # Durability
//
// The effect of a method that has returned without an error is durable, and so is the answer that it returned. A program
// that is killed and started again on the same directory goes on where it was, and so do its vats. The memory of
// the Go values behind services is lost: docs/caveats.md describes the consequences for calls to them.
package ocapkernel

import (
	"context"
	"fmt"
	"os"

	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor/sandbox"
)

// Kernel is a kernel whose state is open.
type Kernel struct {
	b    *backend.Backend
	held *held
}

// New opens the state in Options.Dir and recovers the work that was under way there. Call [Kernel.Run] next in any case,
// with a context that has ended if the kernel is not wanted any more: Run closes the state.
//
// Errors to branch on are [ErrInvalid], if the options or the declaration of system subclusters have mistakes,
// [ErrAlreadyRunning], if another kernel has the directory, [ErrDiskFull], [ErrRolledBack] and [ErrDamaged]. New takes
// the time of reading the whole state once.
func New(o Options) (*Kernel, error) {
	durability := badgerstore.Power
	if o.Durability != "" {
		var err error
		if durability, err = badgerstore.ParseDurability(string(o.Durability)); err != nil {
			return nil, &Error{Code: ErrInvalid.Code, Message: err.Error()}
		}
	}
	confinement := sandbox.Off
	if o.Sandbox != "" {
		var ok bool
		if confinement, ok = sandbox.ParseMode(string(o.Sandbox)); !ok {
			return nil, &Error{Code: ErrInvalid.Code, Message: fmt.Sprintf("sandbox is off, best-effort or required, not %q", o.Sandbox)}
		}
	}
	if o.Worker == "" && isWorkerProgram.Load() {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Worker = self
	}
	b, err := backend.New(backend.Options{
		Dir: o.Dir, Durability: durability, AcceptRollback: o.AcceptRollback, Reset: o.Reset, DiskReserve: o.DiskReserve,
		Services: services(o.Services), Channels: channels(o.Channels),
		System: o.System, UpgradeSystem: o.UpgradeSystem, Replace: o.Replace,
		Worker: o.Worker, Sandbox: confinement, AdoptOrphans: o.AdoptOrphans, MaxWorkers: o.MaxWorkers, KeepAnswers: o.KeepAnswers,
		Control: o.Control, Stdin: o.Stdin, Stdout: o.Stdout, Logger: o.Logger, Version: o.Version,
	})
	if err != nil {
		return nil, public(err)
	}
	return &Kernel{b: b, held: newHeld(o.KeepAnswers)}, nil
}

// Run does the kernel's work until ctx ends or [Kernel.Shutdown] is called. It returns when the calls of services that
// must not be begun twice have ended, every worker is stopped and the state is closed. Call it once. While it stops, and
// after it has returned, the other methods fail with [ErrStopping]. Another error than nil is one of the disk, or of the
// kernel itself: the state is as the last durable commit left it, and a new Kernel can be opened on it.
func (k *Kernel) Run(ctx context.Context) error { return public(k.b.Run(ctx)) }

// Shutdown tells the kernel to stop, as the end of Run's context does, and returns at once, without an error: Run
// returns when the kernel has stopped.
func (k *Kernel) Shutdown(ctx context.Context) error { return public(k.b.Shutdown(ctx)) }
