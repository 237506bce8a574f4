// Package ocapkernel runs an object-capability kernel inside a Go program: the kernel that the command kernel
// runs, with services of the program's own.
//
//	k, err := ocapkernel.New(ocapkernel.Options{
//		Dir:      "state",
//		Services: map[string]ocapkernel.Service{"clock": {Object: clock}},
//	})
//	…
//	go k.Run(ctx)
//	sub, err := k.EnsureFile(ctx, "cluster.json")
//	now, err := ocapkernel.Call[string](ctx, k, sub.ID, "now")
//
// A service is any Go value with methods, made an object by [service.New], or an object of its own making; a
// cluster gets it if its configuration names it. The program may be its own worker program, too: see [Worker].
// The directory is one that the command kernel understands: with Options.Control its clients can talk to the
// program as well. A whole program is in examples/embed.
//
// # Concurrency
//
// Methods of a Kernel may be called from any goroutine, also before Run, which is what does their work. A
// context ends waiting; what was begun goes on.
//
// # Durability
//
// What a method has answered is durable. A program that is killed goes on where it was when it is started
// again on the same directory, and so do its vats. What the Go values behind services keep in memory does not:
// docs/caveats.md says what becomes of calls to them.
package ocapkernel

import (
	"context"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/descriptors"
	"ocapkernel.dev/host"
	"ocapkernel.dev/ioservice"
	"ocapkernel.dev/service"
	"ocapkernel.dev/statedir"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor"
)

// Service is a service of the kernel, which clusters name in their configuration.
type Service = host.Service

// Opening is what the object of an IO channel is made from.
type Opening = host.Opening

// ChannelFactory makes the object of an IO channel, at the launch of its subcluster and again in each later run.
// An object that is an [io.Closer] is closed with its subcluster or the kernel. An error fails the launch.
//
// The object's methods are those of the channel. Vats expect of them what docs/io.md says of read, write and
// accept; a method read that may be begun again after a death of the kernel is declared idempotent.
type ChannelFactory func(cluster.Channel, Opening) (service.Object, error)

// Options say what a kernel is made of. Only Dir must be given.
type Options struct {
	// Dir is the state directory. It is made if it is missing, closed to others, and must be ours alone.
	Dir string
	// Lock is that of the directory, if the caller has opened it with [statedir.Open]; it stays the caller's.
	Lock *statedir.Lock
	// Durability is what an accepted call survives: "power", the default, or "process".
	Durability string
	// AcceptRollback lets the kernel run on a state that is older than what it acknowledged; without it
	// [New] fails with [storage.ErrRolledBack].
	AcceptRollback bool
	// Crashed says that the last kernel on Dir has left what Go prints when a process crashes. Such a death counts as
	// one of its own doing: a vat of which kernels die again and again is held back. Without it, it is taken for a kill.
	Crashed bool
	// Reset wipes the state, once nothing else is left that New could refuse: a mistake in the options or in the declaration
	// deletes nothing. A reset that was interrupted is finished by the next New, whatever its options. The declaration
	// outlives a reset, and so do the files of Dir for whose names Keep, if there is one, returns true.
	Reset bool
	Keep  func(name string) bool
	// Paused makes a kernel that does nothing by itself, to look at its state, which it does not change. Its Lock may
	// be one for reading.
	Paused bool
	// DiskReserve is the free space, in bytes, below which nothing new is accepted; 256 MiB if zero.
	DiskReserve uint64
	// Services are registered under their names for this run. A service that an earlier run had and this one
	// has not rejects with SERVICE_GONE.
	Services map[string]Service
	// Channels make IO channels of a type in another way than the built-in one.
	Channels map[cluster.ChannelType]ChannelFactory
	// System is the path of the file that declares the system subclusters, empty if none are.
	System string
	// UpgradeSystem applies a declaration that differs from what runs.
	UpgradeSystem bool
	// Replace names system subclusters whose stored state the upgrade may delete, because the declaration no longer
	// names them, or changes what cannot be changed in place. Without a name here nothing of that is done.
	Replace []string
	// Worker is the worker program of vats whose configuration names none: a path, or [ThisProgram]. Empty is
	// vatworker, beside this program.
	Worker string
	// AdoptOrphans has what worker processes leave behind end with its worker, whatever it did to leave it (a daemon, a
	// session of its own). For that this process becomes the parent of all orphans below it, for good and for all of the
	// program: it is for a program whose other children stay in its own session, as those of os/exec do unless Setsid is
	// set. A child of the program that begins later, in a session of its own, is taken for such an orphan, and killed; one
	// that its parent has left is reaped. Children that are there at the first New are left alone, with what is in their
	// sessions. The first process of a container (process id 1) has all orphans for children anyway: it reaps them, and
	// kills what a worker has started as it does without this option. Without it what a worker has started ends with it if it is in the worker's process group, or
	// below the worker when this kernel kills it.
	AdoptOrphans bool
	// MaxWorkers is the number of idle workers above which the least recently used are stopped; 200 if zero.
	MaxWorkers int
	// KeepAnswers is how long a call is remembered after its answer; 24 hours if zero.
	KeepAnswers time.Duration
	// Control has Run serve clients, such as the command kernel, on Dir.
	Control bool
	// Stdin and Stdout are what IO channels of the type console read and write. A channel that would need one
	// that is nil is not made, and its launch fails. A read under way at the end of the kernel is left behind,
	// unless it is of an *os.File.
	Stdin  io.Reader
	Stdout io.Writer
	Logger hclog.Logger
	// Version is the version of this program, for clients.
	Version string
}

// check says what is wrong with the options.
func (o *Options) check() error {
	switch {
	case o.Dir == "":
		return control.Errorf(control.CodeInvalid, "the options name no state directory")
	case o.Durability != "" && o.Durability != "power" && o.Durability != "process":
		return control.Errorf(control.CodeInvalid, "durability is power or process, not %q", o.Durability)
	case o.Paused && o.Reset:
		return control.Errorf(control.CodeInvalid, "a paused kernel changes nothing: it cannot reset the state")
	}
	builtin := BuiltinServices(true)
	for _, name := range slices.Sorted(maps.Keys(o.Services)) {
		switch {
		case !cluster.ValidServiceName(name):
			return control.Errorf(control.CodeInvalid, "service %q: a name is a letter, then up to 63 letters, digits, _, - and .", name)
		case slices.Contains(builtin, name) || name == host.KindIO || name == ioservice.ConnectionKind:
			return control.Errorf(control.CodeInvalid, "service %q: there is a built-in one of this name", name)
		case o.Services[name].Object == nil:
			return control.Errorf(control.CodeInvalid, "service %q has no object", name)
		}
	}
	return nil
}

// Kernel is a kernel whose state is open. It is a control.Backend.
type Kernel struct {
	host     *host.Shell
	opts     Options
	lock     *statedir.Lock // nil if it is the caller's
	budget   *descriptors.Budget
	listener *control.Listener
	stopping atomic.Bool
}

// New opens the state and recovers what was under way. Run is called next, in any case: it is what closes the
// state. Errors to branch on are [storage.ErrRolledBack], [storage.ErrCorrupt], and *control.Error with the
// code ALREADY_RUNNING, if another kernel has the directory, or INVALID, if the declaration has mistakes.
func New(o Options) (_ *Kernel, err error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	durability := badgerstore.Power
	if o.Durability == "process" {
		durability = badgerstore.Process
	} else {
		o.Durability = "power"
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := checkWorker(o.Worker); err != nil {
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
	k := &Kernel{opts: o, budget: descriptors.New()}
	// What was opened is closed again, in reverse, unless all goes well.
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
		k.lock = lock
		undo = append(undo, lock.Close)
	}
	// What is opened below the lock's path has names that mean nothing to a person.
	defer func() { err = lock.Explain(err) }()
	var room host.Room
	var owned func() error
	if o.Paused {
		if err := statedir.CheckWhole(o.Dir); err != nil {
			return nil, err
		}
	} else {
		// Before anything is written: a database that has no room for its maps ends the process.
		r := &statedir.Room{Dir: o.Dir, At: lock.Path("."), Reserve: o.DiskReserve, Descriptors: k.budget}
		if r.Reserve == 0 {
			r.Reserve = statedir.DefaultReserve
		}
		check := r.Check
		if o.Reset || statedir.ResetBegun(o.Dir) {
			check = func() error { return r.CheckReset(k.keep()) }
		}
		if err := check(); err != nil {
			return nil, err
		}
		room, owned = r, lock.Owned
	}
	if o.Control {
		if err := control.CheckSocket(o.Dir); err != nil {
			return nil, err
		}
	}
	system, err := k.loadSystem()
	if err != nil {
		return nil, err
	}
	if !o.Paused {
		if err := k.reset(); err != nil {
			return nil, err
		}
		if what, full := room.Lacks(); full { // what was wiped has left less room than it took
			return nil, control.Errorf(control.CodeDiskFull, "%s", what)
		}
	}
	witness := storage.NewWitness(filepath.Join(o.Dir, "witness"))
	store, err := k.openStore(lock.Path("db"), durability, witness)
	if err != nil {
		return nil, err
	}
	undo = append(undo, store.Close)
	if o.Control {
		// Not before the state is open, which may take long: a client would connect, and nobody would answer it.
		if k.listener, err = control.Listen(o.Dir); err != nil {
			return nil, err
		}
		undo = append(undo, k.listener.Close)
	}
	workers, err := k.startWorkers()
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() error { return workers.Close(context.Background()) })
	if o.Paused {
		witness = nil // nothing is committed
	} else {
		k.sweepSockets()
	}
	k.host, err = host.Open(host.Config{
		Store: store, Witness: witness, StartsFile: filepath.Join(o.Dir, "starts"), Crashed: o.Crashed, AcceptRollback: o.AcceptRollback, Paused: o.Paused,
		Workers: workers, Logger: o.Logger, Room: room, Owned: owned,
		MaxWorkers: o.MaxWorkers, KeepAnswers: o.KeepAnswers,
		Services: o.Services, Kinds: k.kinds(), System: system, UpgradeSystem: o.UpgradeSystem, Replace: o.Replace,
		CheckConfig: func(ctx context.Context, cfg *cluster.Config, err error) error { return k.check(false)(ctx, cfg, err) },
		Modules:     k.modules,
	})
	if err != nil {
		return nil, diskFull(err)
	}
	return k, nil
}

// loadSystem reads the declaration of the system subclusters.
func (k *Kernel) loadSystem() (*cluster.System, error) {
	if k.opts.System == "" {
		return nil, nil
	}
	services := k.serviceNames(true)
	sys, err := cluster.LoadSystem(k.opts.System)
	err = cluster.CheckSystem(sys, err, func(cfg *cluster.Config, err error) error {
		return checkConfig(context.Background(), cfg, err, k.modules, services)
	})
	if err != nil {
		return nil, ConfigError(k.opts.System, err)
	}
	return sys, nil
}

// Run does the kernel's work until ctx ends or Shutdown is called, and returns when every worker is stopped
// and the state is closed. Until then, and afterwards, the other methods may be called; while it stops they
// fail with the code STOPPING. It is called once, whatever happens.
func (k *Kernel) Run(ctx context.Context) (err error) {
	if k.lock != nil {
		defer func() { err = errors.Join(err, k.lock.Close()) }()
	}
	context.AfterFunc(ctx, func() { k.stopping.Store(true) })
	defer k.stopping.Store(true)
	if k.listener == nil {
		return k.host.Run(ctx)
	}
	ctx, stopKernel := context.WithCancel(ctx)
	serverCtx, stopServer := context.WithCancel(context.WithoutCancel(ctx))
	server := control.NewServer(k.listener, k, control.ServerOptions{
		Version: k.opts.Version, Logger: k.opts.Logger.Named("control"), Allow: k.AllowControl,
	})
	var g errgroup.Group
	g.Go(func() error {
		defer stopServer() // so that whoever waits for an answer still gets one
		return k.host.Run(ctx)
	})
	g.Go(func() error {
		defer stopKernel()
		return server.Run(serverCtx)
	})
	return g.Wait()
}

// Root returns the kernel's name of the root object of a system subcluster.
func (k *Kernel) Root(ctx context.Context, name string) (string, error) {
	list, err := k.System(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range list {
		if s.Name == name && s.Root != "" {
			return s.Root, nil
		}
	}
	return "", control.Errorf(control.CodeNotFound, "there is no system subcluster %s", name)
}

var _ control.Backend = (*Kernel)(nil)
