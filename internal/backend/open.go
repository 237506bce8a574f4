// Package backend is a whole kernel in a process: the state directory, the database, the worker processes, the shell over
// the state machine, the services, the channels, and the control socket, wired together. The command kernel and the package
// ocapkernel, which is for programs that embed a kernel, are both made of it. A [Backend] is the [control.Backend] of the
// kernel that it is: it translates names, shapes and errors between the protocol and the shell, and decides nothing.
//
// # Concurrency
//
// The methods of a Backend may be called from any goroutine. [Backend.Run] does their work.
package backend

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/descriptors"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/supervisor"
)

// Backend is a kernel whose state is open.
type Backend struct {
	host     *host.Shell
	opts     Options
	lock     *statedir.Lock // nil if it is the caller's
	budget   *descriptors.Budget
	listener *control.Listener
	backups  backups
	stopping atomic.Bool
}

// New opens the state and recovers the work that was under way. The caller calls Run next, in any case: Run closes the
// state. Errors to branch on are [storage.ErrRolledBack], [storage.ErrCorrupt], and *control.Error with the
// code ALREADY_RUNNING, if another kernel has the directory, or INVALID, if the declaration has mistakes.
func New(o Options) (_ *Backend, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := checkWorker(); err != nil {
		return nil, err
	}
	if o.Worker, err = workerProgram(o.Worker); err != nil {
		return nil, err
	}
	if o.AdoptOrphans {
		if err := supervisor.AdoptOrphans(); err != nil {
			return nil, err
		}
	}
	b := &Backend{opts: o, budget: descriptors.New()}
	// If New fails, everything that it has opened is closed again, in reverse.
	var undo []func() error
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				err = errors.Join(err, undo[i]())
			}
		}
	}()
	lock := o.Lock
	if lock == nil {
		if lock, err = statedir.Open(o.Dir); err != nil {
			return nil, err
		}
		b.lock = lock
		undo = append(undo, lock.Close)
	}
	// The files below the lock's path have names that mean nothing to a person: the errors name the files of o.Dir.
	defer func() { err = lock.Explain(err) }()
	var room host.Room
	var owned func() error
	r := &statedir.Room{Dir: o.Dir, At: lock.Path("."), Reserve: o.DiskReserve, Descriptors: b.budget}
	if r.Reserve == 0 {
		r.Reserve = statedir.DefaultReserve
	}
	if o.Paused {
		if err := statedir.CheckWhole(o.Dir); err != nil {
			return nil, err
		}
	} else {
		// Check the room before anything is written: a database that has no room for its memory maps ends the process.
		room, owned = r, lock.Owned
		check := r.Check
		if o.Reset || statedir.ResetBegun(o.Dir) {
			check = func() error { return r.CheckReset(b.keep()) }
		}
		if err := check(); err != nil {
			return nil, err
		}
		if !o.Reset && !statedir.ResetBegun(o.Dir) {
			if err := statedir.CheckRestored(o.Dir); err != nil {
				return nil, err
			}
		}
	}
	if o.Control {
		if err := control.CheckSocket(o.Dir); err != nil {
			return nil, err
		}
	}
	system, err := b.loadSystem()
	if err != nil {
		return nil, err
	}
	if !o.Paused {
		if err := b.reset(); err != nil {
			return nil, err
		}
		if err := r.Check(); err != nil { // the wiped state has left less room than CheckReset had counted on
			return nil, err
		}
	}
	witness := storage.NewWitness(filepath.Join(o.Dir, witnessName))
	store, err := b.openStore(lock.Path("."), witness)
	if err != nil {
		return nil, err
	}
	b.backups.store, store = store, &backedUp{store, &b.backups}
	undo = append(undo, store.Close)
	if o.Control {
		// The socket is opened after the state, which may take long to open: no request of a client is answered before.
		if b.listener, err = control.Listen(o.Dir); err != nil {
			return nil, err
		}
		undo = append(undo, b.listener.Close)
	}
	workers, err := b.startWorkers()
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() error { return workers.Close(context.Background()) })
	if o.Paused {
		witness = nil // nothing is committed
	} else {
		b.sockets().Sweep(b.opts.Logger)
	}
	b.host, err = host.Open(host.Config{
		Store: store, Witness: witness, StartsFile: filepath.Join(o.Dir, "starts"), Crashed: o.Crashed, AcceptRollback: o.AcceptRollback, Paused: o.Paused,
		Workers: workers, Logger: o.Logger, Room: room, Owned: owned,
		MaxWorkers: o.MaxWorkers, KeepAnswers: o.KeepAnswers,
		Services: o.Services, Kinds: b.kinds(), System: system, UpgradeSystem: o.UpgradeSystem, Replace: o.Replace,
		CheckConfig: func(ctx context.Context, cfg *cluster.Config, err error) error { return b.check(false)(ctx, cfg, err) },
		Modules:     b.modules,
	})
	if err != nil {
		return nil, diskFull(err)
	}
	return b, nil
}

// loadSystem reads the declaration of the system subclusters.
func (b *Backend) loadSystem() (*cluster.System, error) {
	if b.opts.System == "" {
		return nil, nil
	}
	services := b.serviceNames(true)
	sys, err := cluster.LoadSystem(b.opts.System)
	err = cluster.CheckSystem(sys, err, func(cfg *cluster.Config, err error) error {
		return checkConfig(context.Background(), cfg, err, b.modules, services)
	})
	if err != nil {
		return nil, ConfigError(b.opts.System, err)
	}
	return sys, nil
}

// Run does the kernel's work until ctx ends or Shutdown is called, and returns when every worker is stopped and the state
// is closed. The other methods may be called before, during and after Run; while the kernel stops they fail with the code
// STOPPING. The caller of New calls Run exactly once.
func (b *Backend) Run(ctx context.Context) (err error) {
	if b.lock != nil {
		defer func() { err = errors.Join(err, b.lock.Close()) }()
	}
	context.AfterFunc(ctx, func() { b.stopping.Store(true) })
	defer b.stopping.Store(true)
	if b.listener == nil {
		return b.host.Run(ctx)
	}
	ctx, stopKernel := context.WithCancel(ctx)
	serverCtx, stopServer := context.WithCancel(context.WithoutCancel(ctx))
	server := control.NewServer(b.listener, b, control.ServerOptions{
		Version: b.opts.Version, Logger: logging.Named(b.opts.Logger, "control"), Allow: b.AllowControl,
	})
	var g errgroup.Group
	g.Go(func() error {
		defer stopServer() // after the kernel, so that clients that wait for an answer still get one
		return b.host.Run(ctx)
	})
	g.Go(func() error {
		defer stopKernel()
		return server.Run(serverCtx)
	})
	return g.Wait()
}

var _ control.Backend = (*Backend)(nil)
