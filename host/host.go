// Package host is the shell around the kernel's state machine: one goroutine owns [kernel.Machine],
// talks to workers and to callers, and commits.
//
//	calls ──►                          ┌──► workers: deliveries
//	events of workers ──► loop ── Machine ──► pipeline ──► store.Commit ──► held outputs
//
// The loop handles one thing at a time: a call, a frame, a death. Each gives a commit of the machine. The commit is visible
// to the machine at once, and durable with its group (package pipeline). A delivery to a worker does not wait for the
// commit to be durable: the delivery dies with the kernel, together with the commits that it depends on. All other outputs
// wait.
//
// Handling one thing is a step of the loop. No held function runs within a step: a function held for a durable commit, or
// for the end of another operation, is called between two steps. No function that may block is called in the loop, except
// that a full group waits for the disk. Opening, closing and looking up run beside the loop, and the result of each is a
// step of its own. See loop.go.
//
// # Concurrency
//
// Exported methods may be called from any goroutine. The end of a context ends the waiting; the operation goes on.
//
// # Durability
//
// The answer of a method is durable. A commit that fails ends the process: [Shell.Run] returns its error, no held output is
// released, and the next start recovers.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/workers"
)

// ErrStopping is returned by calls that a stopping kernel does not accept any more.
var ErrStopping = errors.New("the kernel is stopping")

// ErrDiskFull is returned by calls that need space while the disk has too little.
var ErrDiskFull = errors.New("the disk has too little free space")

// DefaultKeepAnswers is how long a settled host call is remembered if Config does not say.
const DefaultKeepAnswers = limits.KeepAnswers

// Config is the configuration of a Shell.
type Config struct {
	// Store holds the state. Run closes it.
	Store storage.Store
	// Witness guards against a store that opens at an older state; nil for a store in memory.
	Witness *storage.Witness
	// StartsFile is the path of the file in which the kernel notes the vats that it works for, so that a vat which kills one
	// kernel after the other is held back; empty notes no vat. Crashed says that the last kernel has left the output of a Go
	// crash.
	StartsFile string
	Crashed    bool
	// AcceptRollback runs on a store that is older than its witness, or that was restored from a copy
	// together with it, under a new epoch: tickets handed out before are unknown.
	AcceptRollback bool
	// Workers starts workers. Run closes it.
	Workers workers.Starter
	Logger  *slog.Logger
	// KeepAnswers is how long a settled host call is remembered; 24 h if zero.
	KeepAnswers time.Duration
	// MaxWorkers is the number of idle workers above which the least recently used are stopped, if
	// nothing of their vats lives in their memory; 200 if zero.
	MaxWorkers int
	// Services are the kernel's services, by name; Kinds the kinds of which each subcluster has objects of its own,
	// IO channels among them.
	Services map[string]service.Registration
	Kinds    map[string]service.Kind
	// System declares the system subclusters of this run. If it is nil, the stored ones stay, suspended.
	System *cluster.System
	// UpgradeSystem applies a changed declaration to the running system subclusters.
	UpgradeSystem bool
	// Replace names system subclusters whose stored state the upgrade may delete: the declaration no longer names the
	// subcluster, or makes a change that cannot be made in place.
	Replace []string
	// CheckConfig takes the results of [cluster.Parse], and adds the checks for which worker programs have to be executed; nil
	// adds no check.
	CheckConfig func(ctx context.Context, cfg *cluster.Config, err error) error
	// Modules returns the names of the modules in a worker program, named as in a configuration, with the hash that it must
	// have. A subcluster that is to be reloaded is checked by it before the subcluster is deleted. Nil checks nothing.
	Modules func(ctx context.Context, program, sha256 string) ([]string, error)
	// Paused makes a kernel that begins no crank, does none of the work that earlier ones have left, and opens, closes and
	// removes nothing of services: for inspecting a state.
	Paused bool
	// Room tells whether the kernel has the space and descriptors to go on; nil if those cannot run out.
	Room Room
	// Owned returns an error if the state is not this kernel's any more: its directory was removed, or replaced. It is
	// called once a second; after an error Run returns the error at once, and leaves everything as it is. Nil is not called.
	Owned func() error
	// CacheBytes bounds the rows kept in memory; 32 MiB if zero.
	CacheBytes int
	// Driven has a test drive the kernel; nil for a kernel that goes on by itself. There is no Witness then: the store of a
	// driven kernel is in memory.
	Driven *Driven
}

// Open opens the state in cfg.Store and recovers the operations that the last kernel had not ended.
// Errors to branch on are [storage.ErrRolledBack], [kernel.ErrNewerSchema], [storage.ErrCorrupt] and [storage.ErrNoRoom].
// The caller calls Run next, in any case.
func Open(cfg Config) (*Shell, error) {
	if cfg.Driven != nil && cfg.Witness != nil {
		return nil, errors.New("host: a driven kernel has a store in memory, and takes no Witness; leave one of Driven and Witness out")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.KeepAnswers <= 0 {
		cfg.KeepAnswers = DefaultKeepAnswers
	}
	if cfg.MaxWorkers <= 0 {
		cfg.MaxWorkers = limits.IdleWorkers
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 32 << 20
	}
	s, err := newShell(cfg)
	if err != nil {
		return nil, err
	}
	s.pipeline.Hurry(true) // a start on a full disk says so
	defer s.pipeline.Hurry(false)
	if err := s.isolated(s.recover); err != nil { // of a state with many vats in more than one group
		s.pipeline.Stop()
		s.vats.starts.end(err)
		return nil, err
	}
	return s, nil
}

// newEpoch returns the name of a new epoch, which follows from a random number.
func newEpoch(dice uint64) string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	b := make([]byte, 8)
	for i := range b {
		b[i] = letters[dice%uint64(len(letters))]
		dice /= uint64(len(letters))
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

// recover brings a stored state to life: the workers and launches of the last kernel are over.
func (s *Shell) recover() error {
	m, first, err := kernel.Open(s.layers, s.cfg.Store.Limits(), newEpoch(s.seed()))
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	s.use(m, stored(m, first))
	if s.cfg.Witness != nil {
		stored := s.pipeline.Durable()
		err := s.cfg.Witness.Check(stored)
		if s.cfg.AcceptRollback && (err == nil || errors.Is(err, storage.ErrRolledBack)) {
			s.log.Warn("running on a state that may be older than what was acknowledged", "commit", stored, "err", err)
			s.apply(first)
			if err := s.cfg.Witness.Accept(stored); err != nil {
				return err
			}
			first, err = m.NewEpoch(newEpoch(s.seed()))
		} else if err == nil {
			err = s.cfg.Witness.Prepare()
		}
		if err != nil {
			return err
		}
	}
	fault.Point(fault.StateRead)
	s.vats.beginWork()
	s.apply(first)
	vats, err := m.Vats()
	if err != nil {
		return err
	}
	s.vats.holdKillers(vats)
	for _, v := range vats {
		s.vats.recover(v)
	}
	subs, err := m.Subclusters()
	if err != nil {
		return err
	}
	for _, sub := range subs {
		if sub.Corrupt != nil {
			s.log.Error("subcluster is damaged: kernel terminate removes it", "subcluster", sub.ID, "err", sub.Corrupt)
			s.names.list(sub)
			s.vats.holdMembers(sub.ID, sub.Corrupt)
			continue
		}
		s.names.put(sub)
		if s.cfg.Paused {
			continue
		}
		// A call of the facet that waits for it is begun again.
		if err := s.isolated(func() error {
			c, err := s.removal(func() (kernel.Commit, error) {
				return m.InterruptLaunch(sub.ID, "the kernel ended during the launch")
			})
			if err == nil {
				s.apply(c)
			}
			return err
		}); err != nil {
			s.log.Error("subcluster suspended: its launch cannot be ended", "subcluster", sub.ID, "err", err)
			s.subs.suspend(sub.ID)
			s.vats.holdMembers(sub.ID, fmt.Errorf("end the launch of %s: %w", sub.ID, err))
		}
	}
	s.work.mayBe()
	if err := s.system.holdDamaged(); err != nil {
		return err
	}
	fault.Point(fault.StateRecovered)
	return s.system.find()
}
