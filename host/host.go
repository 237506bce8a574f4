// Package host is the shell around the kernel's state machine: one goroutine owns [kernel.Machine],
// talks to workers and to callers, and commits.
//
//	calls ──►                          ┌──► workers: deliveries
//	events of workers ──► loop ── Machine ──► group ──► store.Commit ──► held outputs
//
// Everything that comes in is handled one at a time: a call, a frame, a death. Each gives a commit of the
// machine, which is visible to the machine at once and durable with its group. Deliveries to workers do
// not wait for that: they die with the kernel, together with what they depended on. All other outputs do.
//
// Handling one thing is a step of the loop. No held function runs within a step: what waited for a commit to be
// durable, or for the end of something else, is called between two steps. Nothing that may block is called
// in the loop, but the group that is full, which waits for the disk: what opens, closes or looks up does so beside
// the loop, and its result is a step of its own.
//
// # Concurrency
//
// Exported methods may be called from any goroutine. A context ends waiting; what was begun goes on.
//
// # Durability
//
// What a method has answered is durable. A commit that fails ends the process: [Shell.Run] returns its
// error, nothing that was held is released, and the next start recovers.
package host

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/workers"
)

// ErrStopping is returned by calls that a stopping kernel does not accept any more.
var ErrStopping = errors.New("the kernel is stopping")

// ErrDiskFull is returned by calls that need space while the disk has too little.
var ErrDiskFull = errors.New("the disk has too little free space")

// Config says what a kernel is made of.
type Config struct {
	// Store holds the state. Run closes it.
	Store storage.Store
	// Witness guards against a store that opens at an older state; nil for a store in memory.
	Witness *storage.Witness
	// StartsFile is where the kernel notes for which vats it works, so that a vat of which kernels die again and again
	// is held back; empty notes nothing. Crashed says that the last kernel has left what Go prints in a crash.
	StartsFile string
	Crashed    bool
	// AcceptRollback runs on a store that is older than its witness, or that was restored from a copy
	// together with it, under a new epoch: tickets handed out before are unknown.
	AcceptRollback bool
	// Workers starts workers. Run closes it.
	Workers workers.Starter
	Logger  hclog.Logger
	// KeepAnswers is how long a settled host call is remembered; 24 h if zero.
	KeepAnswers time.Duration
	// MaxWorkers is the number of idle workers above which the least recently used are stopped, if
	// nothing of their vats lives in their memory; 200 if zero.
	MaxWorkers int
	// Services are those of the kernel, by name; Kinds those of which each subcluster has objects of its own,
	// IO channels among them.
	Services map[string]Service
	Kinds    map[string]Kind
	// System declares the system subclusters of this run. If it is nil, those that there are stay, suspended.
	System *cluster.System
	// UpgradeSystem applies a declaration that has changed to what runs.
	UpgradeSystem bool
	// Replace names system subclusters whose stored state the upgrade may delete: the declaration no longer names them,
	// or changes what cannot be changed in place.
	Replace []string
	// CheckConfig completes [cluster.Parse], whose results it takes, by what needs worker programs to be asked;
	// nil checks nothing more.
	CheckConfig func(ctx context.Context, cfg *cluster.Config, err error) error
	// Modules returns the names of the modules in a worker program, named as in a configuration, with the hash that it must
	// have: what is loaded anew is checked by it before it is deleted. Nil checks nothing.
	Modules func(ctx context.Context, program, sha256 string) ([]string, error)
	// Paused makes a kernel that begins no crank, does none of the work that earlier ones have left, and opens, closes and
	// removes nothing of services: for looking at a state.
	Paused bool
	// Room tells whether the kernel has what it needs to go on; nil if that cannot run out.
	Room Room
	// Owned returns an error if the state is not this kernel's any more: its directory was removed, or replaced. It is
	// asked once a second; then Run returns the error at once, and leaves everything as it is. Nil is not asked.
	Owned func() error
	// CacheBytes bounds the rows kept in memory; 32 MiB if zero.
	CacheBytes int
}

// Shell is a running kernel.
type Shell struct {
	cfg     Config
	log     hclog.Logger
	machine *kernel.Machine
	layers  *storage.Layers
	group   group

	inbox  chan func() // what other goroutines ask of the loop; full: they wait
	events chan workers.Event
	done   chan struct{} // closed when the loop has ended

	stopOnce sync.Once
	stop     chan struct{} // closed by Stop

	// Of the loop's goroutine only:
	vats       map[kernel.VatID]*vat
	ready      []kernel.VatID // vats that may have something for Begin, least recently served first
	working    bool           // the machine has work of its own
	work       ownWork        // what failed of that
	stopping   bool
	told       <-chan struct{} // ends when Run is told to stop
	applying   bool            // a commit is being applied; it stays so if that breaks off
	finishing  bool            // what is under way may end, and the calls that it made begin
	lost       bool            // the state is not ours any more
	lacks      string          // what Room says; empty if nothing is short
	diskFull   bool
	fatal      error
	live       int                                     // live or starting
	dropped    uint64                                  // messages without result, for full queues
	waiting    map[string][]chan struct{}              // for the answer of a ticket
	launches   map[kernel.SubID][]func(failure string) // for the end of a launch
	changed    []func()                                // for the end of a reload or a reset
	gone       map[kernel.SubID][]func()               // for nothing being left of a subcluster
	leaving    map[workers.Worker]kernel.SubID         // workers that were given up and have not exited
	buried     map[kernel.SubID]bool                   // Gone is durable
	rehearsals map[workers.Worker]*rehearsal
	expiring   bool // a timer will call expire
	settings   settings
	keepUntil  time.Time // nothing is forgotten before that, since the wall clock was set
	// suspended are the subclusters whose vats are not run: their channels are not there yet, or they are not
	// declared in this run.
	suspended map[kernel.SubID]bool
	// notUpgraded says why a declaration that has changed was not applied, by the name of the system subcluster.
	notUpgraded map[string]refusedUpgrade
	reloads     map[kernel.SubID]*reload // subclusters that are loaded anew
	unreadable  map[kernel.SubID]bool    // of those, what cannot be read
	resets      int                      // how many callers have the state cleared
	turns       turns                    // launches of system subclusters
	directory   directory
	services    services
	intake      []input // inputs for which there is no room in the group
	starts      *starts
	// earlierDeaths does not change after Open.
	earlierDeaths int

	// byName are the services of this run; Unregister replaces the map.
	byName atomic.Pointer[map[string]Service]
}

// Open opens the state in cfg.Store and recovers what was under way when the last kernel ended.
// Errors to branch on are [storage.ErrRolledBack], [kernel.ErrNewerSchema], [storage.ErrCorrupt] and [storage.ErrNoRoom].
// The caller calls Run next, in any case.
func Open(cfg Config) (*Shell, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.KeepAnswers <= 0 {
		cfg.KeepAnswers = 24 * time.Hour
	}
	if cfg.MaxWorkers <= 0 {
		cfg.MaxWorkers = 200
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 32 << 20
	}
	k := &Shell{
		cfg: cfg, log: cfg.Logger.Named("host"), layers: storage.NewLayers(cfg.Store, cfg.CacheBytes),
		inbox: make(chan func(), 64), events: make(chan workers.Event, 256), done: make(chan struct{}), stop: make(chan struct{}),
		vats: map[kernel.VatID]*vat{}, waiting: map[string][]chan struct{}{},
		launches: map[kernel.SubID][]func(string){}, gone: map[kernel.SubID][]func(){},
		leaving: map[workers.Worker]kernel.SubID{}, buried: map[kernel.SubID]bool{}, rehearsals: map[workers.Worker]*rehearsal{},
		suspended: map[kernel.SubID]bool{}, notUpgraded: map[string]refusedUpgrade{}, reloads: map[kernel.SubID]*reload{}, unreadable: map[kernel.SubID]bool{}, turns: turns{failed: map[string]string{}},
	}
	k.group.init(k)
	k.services.init()
	k.directory.init()
	if err := k.registerFacet(); err != nil {
		return nil, err
	}
	k.group.impatient.Store(true) // a start on a full disk says so
	defer k.group.impatient.Store(false)
	go k.group.run() // a state with many vats is recovered in more than one group
	if err := k.isolated(k.recover); err != nil {
		k.group.stop()
		k.starts.end(err)
		return nil, err
	}
	return k, nil
}

func newEpoch() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	b := make([]byte, 8)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

// stored returns the number of the last commit in a store from which a machine was opened.
func stored(m *kernel.Machine, first kernel.Commit) uint64 {
	if first.Number != 0 {
		return 0 // it is still to be committed
	}
	return m.CommitNumber()
}

// recover brings a stored state to life: incarnations and launches of the last kernel are over.
func (k *Shell) recover() error {
	m, first, err := kernel.Open(k.layers, k.cfg.Store.Limits(), newEpoch())
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	k.machine = m
	k.group.durable = stored(m, first)
	if err := k.checkDamage(); err != nil { // before anything is written
		return err
	}
	if k.cfg.Witness != nil {
		stored := k.group.durable
		err := k.cfg.Witness.Check(stored)
		if k.cfg.AcceptRollback && (err == nil || errors.Is(err, storage.ErrRolledBack)) {
			k.log.Warn("running on a state that may be older than what was acknowledged", "commit", stored, "err", err)
			k.apply(first)
			if err := k.cfg.Witness.Accept(stored); err != nil {
				return err
			}
			first, err = m.NewEpoch(newEpoch())
		} else if err == nil {
			err = k.cfg.Witness.Prepare()
		}
		if err != nil {
			return err
		}
	}
	k.beginWork()
	k.earlierDeaths = k.starts.deaths()
	k.apply(first)
	vats, err := m.Vats()
	if err != nil {
		return err
	}
	k.holdKillers(vats)
	for _, v := range vats {
		k.vat(v.ID).sub = v.Sub
		if k.vat(v.ID).held != "" {
			continue // its recovery may be what the kernel dies of; Machine.Restart does the same
		}
		k.forVat(k.vat(v.ID), "recover", func() error { return k.recoverVat(v) })
	}
	subs, err := m.Subclusters()
	if err != nil {
		return err
	}
	for _, s := range subs {
		if s.Corrupt != nil {
			k.log.Error("subcluster is damaged", "subcluster", s.ID, "err", s.Corrupt)
			k.holdMembers(s.ID, s.Corrupt)
			continue
		}
		k.directory.put(s)
		if k.cfg.Paused {
			continue
		}
		// A call of the facet that waits for it is begun again.
		if err := k.isolated(func() error {
			c, err := m.InterruptLaunch(s.ID, "the kernel ended during the launch")
			if err == nil {
				k.apply(c)
			}
			return err
		}); err != nil {
			k.log.Error("subcluster suspended: its launch cannot be ended", "subcluster", s.ID, "err", err)
			k.suspended[s.ID] = true
			k.holdMembers(s.ID, fmt.Errorf("end the launch of %s: %w", s.ID, err))
		}
	}
	k.working = true
	return k.findSystem()
}

// recoverVat brings a vat to life: the worker of the last kernel is gone.
func (k *Shell) recoverVat(v kernel.Vat) error {
	if v.Corrupt != nil {
		return v.Corrupt
	}
	if v.Live && !v.Terminated {
		c, err := k.machine.Died(kernel.Death{Vat: v.ID, Incarnation: v.Incarnation, Cause: kernel.CauseKernel}, nowMillis())
		if err != nil {
			return err
		}
		k.apply(c)
	}
	if v.HasWork {
		k.wake(v.ID)
	}
	return nil
}

func nowMillis() int64 { return time.Now().UnixMilli() }

// Run does the kernel's work until ctx ends or Stop is called, then stops the workers in order, commits,
// and closes the store. It returns an error if it ended for another reason, or could not end in order.
// It is called once.
func (k *Shell) Run(ctx context.Context) error {
	defer close(k.done)
	k.told = ctx.Done()
	defer context.AfterFunc(ctx, func() { k.group.impatient.Store(true) })() // as in Stop
	k.guard(k.expire)
	if !k.cfg.Paused {
		k.guard(k.resumeReset)
		k.guard(func() { k.fail(k.resume()) })
		k.awaitObjects()
		k.guard(k.startSystem)
	}
	k.watchOwned()
	k.after(wellTime, k.starts.ranWell)
	for k.fatal == nil && !k.stopping {
		k.guard(k.pump)
		k.guard(k.group.flush)
		k.takeIntake()
		select {
		case <-ctx.Done():
			k.stopping = true
		case <-k.stop:
			k.stopping = true
		case f := <-k.inbox:
			k.guard(f)
		case e := <-k.heard():
			k.guard(func() { k.event(e) })
		case err := <-k.group.committed:
			k.guard(func() { k.group.release(err) })
		case <-k.services.replied:
			k.takeReplies()
		case <-k.more():
		}
		k.drain()
	}
	return k.close()
}

// drain takes what else has come in meanwhile, so that one group and one round of the pump serve it all.
func (k *Shell) drain() {
	for range 128 {
		select {
		case f := <-k.inbox:
			k.guard(f)
		case e := <-k.heard():
			k.guard(func() { k.event(e) })
		default:
			return
		}
		if k.fatal != nil {
			return
		}
	}
}

// always is ready at any time.
var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// more is ready if the loop has something to do without waiting.
func (k *Shell) more() <-chan struct{} {
	if k.canWork() || (len(k.ready) > 0 && k.lacks == "" && !k.cfg.Paused) {
		return always
	}
	return nil
}

// guard runs a step of the loop, and then, each as a step of its own, what it has released. Only the loop itself
// calls it, never a step.
func (k *Shell) guard(step func()) {
	k.attempt(step)
	for k.fatal == nil && len(k.group.released) > 0 {
		f := k.group.released[0]
		k.group.released = k.group.released[1:]
		k.attempt(f)
	}
}

// attempt runs a step. A broken invariant stops the kernel before anything more is committed; it must not end
// in a stack trace alone, since the workers are to be stopped.
func (k *Shell) attempt(step func()) {
	defer func() {
		if p := recover(); p != nil {
			k.log.Error("invariant broken", "err", p, "stack", string(debug.Stack()))
			k.fail(fmt.Errorf("invariant broken: %v", p))
		}
	}()
	if k.fatal == nil {
		step()
	}
}

// stops says whether the kernel stops, or has been told to: what happens from then on may be of the same cause.
func (k *Shell) stops() bool {
	select {
	case <-k.told:
		return true
	case <-k.stop:
		return true
	default:
		return k.stopping
	}
}

// fail ends the kernel: the state in memory can no longer be trusted or kept.
func (k *Shell) fail(err error) {
	if err != nil && k.fatal == nil {
		k.fatal = err
	}
}

// Stop makes Run return. It may be called at any time, and returns at once.
func (k *Shell) Stop() {
	k.stopOnce.Do(func() {
		k.group.impatient.Store(true) // the loop may be waiting for the committer, see handOver
		close(k.stop)
	})
}

// post hands a step to the loop, from a goroutine that is not the loop. It says whether the loop took it.
func (k *Shell) post(f func()) bool {
	select {
	case k.inbox <- f:
		return true
	case <-k.done:
		return false
	}
}

// after runs a step in the loop when some time has passed. The timer dies with the loop.
func (k *Shell) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { k.post(f) })
}

// apply takes a commit of the machine: its writes are visible at once, its effects wait for them to be
// durable, but for those that stay inside this process. It applies no other commit: what an effect leads to is a
// step of its own.
func (k *Shell) apply(c kernel.Commit) {
	if c.Number == 0 {
		return
	}
	outer := k.applying
	k.applying = true
	k.group.admit(c.Writes)
	k.layers.Apply(c.Writes)
	k.group.newest = c.Number
	for _, e := range c.Trace {
		k.trace(e)
	}
	for _, e := range c.Effects {
		switch e := e.(type) {
		case kernel.Wake:
			k.wake(e.Vat)
		case kernel.StopWorker:
			k.detach(e.Vat)
		case kernel.Answer:
			k.whenDurable(func() { k.answered(e.Ticket) })
		case kernel.LaunchSettled:
			k.whenDurable(func() { k.launchSettled(e) })
		case kernel.Gone:
			k.directory.remove(e.Sub)
			k.whenDurable(func() { k.subGone(e.Sub) })
		case kernel.Invoke:
			k.whenDurable(func() { k.invoke(e) })
		case kernel.CancelCall:
			k.cancelCall(e)
		case kernel.EndService:
			k.whenDurable(func() { k.endService(e) })
		case kernel.UnitBack:
			k.soon(func() { k.unitBack(e.Service) })
		default:
			panic(fmt.Sprintf("host: unknown effect %T", e))
		}
	}
	// Any commit may leave work; asking costs one cached read.
	k.working = true
	k.group.bound()
	k.applying = outer
}

func (k *Shell) trace(e kernel.Event) {
	switch e := e.(type) {
	case kernel.Delivered:
		k.recorded(k.vat(e.Vat), e.Records)
		if k.log.IsDebug() {
			k.log.Debug("crank", "vat", e.Vat, "delivery", e.Number, "what", e.What)
		}
	case kernel.Settled:
		if k.log.IsTrace() {
			k.log.Trace("promise settled", "kref", e.Promise, "rejected", e.Rejected)
		}
	case kernel.Rejected:
		k.log.Debug("message rejected", "target", e.Target, "result", e.Result, "code", e.Code)
	case kernel.Dropped:
		k.dropped++
		k.log.Warn("message without result dropped, queue full", "target", e.Target)
	case kernel.Died:
		switch e.Cause {
		case kernel.CauseStopped, kernel.CauseKernel:
			k.log.Debug("incarnation over", "vat", e.Vat, "incarnation", e.Incarnation, "cause", e.Cause.String())
		default:
			k.log.Warn("worker died", "vat", e.Vat, "incarnation", e.Incarnation, "cause", e.Cause.String(), "attempt", e.Attempts)
		}
	case kernel.Poisoned:
		k.log.Error("delivery poisoned", "vat", e.Vat, "id", e.N, "what", e.What, "code", e.Code)
	case kernel.TranscriptFull:
		k.log.Warn("transcript full: until it is quiescent the vat would start from its durable state", "vat", e.Vat, "records", e.Records, "bytes", e.Bytes)
	case kernel.MemoryLost:
		k.log.Error("memory lost, the vat starts from its durable state", "vat", e.Vat, "why", e.Why)
	case kernel.ServiceFailed:
		k.log.Warn("call of a service failed, and nobody waits for the answer", "service", e.Service, "call", e.Call, "why", e.Why)
	case kernel.VatStopped:
		k.log.Error("vat stopped", "vat", e.Vat, "why", e.Why)
	case kernel.VatTerminated:
		k.log.Info("vat terminated", "vat", e.Vat, "why", e.Why)
		k.starts.release(e.Vat)
	}
}
