// Package supervisor runs workers: one OS process for each [workers.Worker], which hosts one vat. It starts
// them, carries frames to and from them, holds them to their limits, and reports how they end.
//
// # Trust
//
// A worker is hostile. The length of each frame is checked before the frame is read, and the frame before it is decoded; a
// frame out of turn ends the worker. Its log lines are bounded in length and rate and contain no control characters. It
// inherits no standard input, and only the descriptors and environment variables that process.go lists. The worker of a frame
// is known by the link on which the frame arrives, never by a field.
//
// # Transport
//
// hashicorp/go-plugin does the launch: cookie, protocol version, handshake. By the address in its handshake a worker says how
// its frames travel, and from there on the two are alike (link.go):
//
//   - on a socketpair, descriptor 3 of the worker. No other process can connect to it, and it ends exactly when the worker
//     dies. [workers.Worker.Ping] uses a second socketpair, descriptor 4, on which a worker can answer while its vat computes.
//     The SDK uses this way, and it is the fast one.
//   - on the stream of one gRPC call, to a worker that go-plugin serves (stream.go, socket.go). A ping is go-plugin's
//     health check.
//
// # Concurrency
//
// Methods of a Worker may be called from any goroutine and never block on the worker: a frame that the socket does not take at
// once is handed to a goroutine. Each worker has one goroutine that reads its frames, and sends an event for each, in order, on
// the channel given to [Supervisor.Start]. Reading stops while that channel is full. The supervisor keeps the deadlines: it
// kills a worker that lets one pass.
//
// # Death
//
// A worker ends with its kernel, even with one that is killed: it sees the end of its descriptor 3. The supervisor ends a worker
// by SIGKILL to it, its process group and its descendants (family.go). A deadline is in the time in which the kernel ran
// (clock.go).
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/supervisor/sandbox"
	"ocapkernel.dev/workers"
)

// Config is the configuration of a Supervisor.
type Config struct {
	// RunDir is a directory for this kernel alone, at a short path. New makes it, in a directory that is there, and removes
	// the leftovers of an earlier run; Close removes it. It holds the socket of a plugin that is being started, in a directory
	// of that plugin: with a path of more than MaxRunDir bytes no worker over gRPC starts, and the log says so.
	RunDir string
	// Logger receives the starts and ends of workers, and their log lines, with the vat's id and name.
	Logger *slog.Logger
	// Starts is how many workers may be starting at the same time; 3 if zero. Starting is bound by CPU. A worker that
	// takes longer than a tenth of a second for it lets the next one begin.
	Starts int
	// StartTimeout is how long a worker may take from exec to hello; 10 s if zero. This and the time for a delivery are
	// of the time in which this process ran.
	StartTimeout time.Duration
	// StopTimeout is how long a worker may take to leave after bye; 1 s if zero.
	StopTimeout time.Duration
	// Allow is asked before a worker is started, which takes about [WorkerDescriptors], and returns false while there are
	// none to spare: then the start fails. Nil allows each.
	Allow func() bool
	// Sandbox says how each worker must be confined. A vat may ask for a stricter mode. The default is off.
	Sandbox sandbox.Policy
	// StockProgram is the path of the worker program for a Spec that names none.
	StockProgram string
}

// WorkerDescriptors is about how many descriptors of this process a worker takes.
const WorkerDescriptors = 8

// Supervisor runs workers until it is closed. It is a [workers.Starter].
type Supervisor struct {
	cfg    Config
	log    *slog.Logger
	starts lanes
	clock  clock
	done   chan struct{} // closed by Close: events have no receiver any more
	wg     sync.WaitGroup
	watch  sync.WaitGroup // the goroutine that reaps orphans; ends after the workers

	mu struct {
		sync.Mutex
		closed  bool
		workers map[*worker]struct{}
	}
}

// New checks cfg and makes its run directory. It also marks all descriptors of this process, other than
// the standard three, to be closed on exec: those that the process itself inherited would else go on to
// every worker.
func New(cfg Config) (*Supervisor, error) {
	if cfg.RunDir == "" {
		return nil, errors.New("supervisor: no run directory")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Starts <= 0 {
		cfg.Starts = limits.Starts
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = limits.Start
	}
	if cfg.StopTimeout <= 0 {
		cfg.StopTimeout = time.Second
	}
	if cfg.Sandbox.Limits == (sandbox.Limits{}) {
		cfg.Sandbox.Limits = sandbox.DefaultLimits()
	}
	if err := sandbox.CanConfine(cfg.Sandbox.Mode); err != nil {
		return nil, err
	}
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("supervisor: close descriptors on exec (Linux 5.11 or later is needed): %w", err)
	}
	if err := makeRunDir(cfg.RunDir); err != nil {
		return nil, err
	}
	s := &Supervisor{
		cfg:    cfg,
		log:    logging.Named(cfg.Logger, "vat"),
		starts: newLanes(cfg.Starts),
		done:   make(chan struct{}),
	}
	if n := len(cfg.RunDir); n > MaxRunDir {
		s.log.Warn("the path of the run directory is too long for the socket of a plugin: no worker over gRPC starts; "+
			"give the kernel a shorter --state, or a shorter TMPDIR", "dir", cfg.RunDir, "bytes", n, "most", MaxRunDir)
	}
	if ours.reaps.Load() {
		s.watch.Go(func() { ours.watch(s.done) })
	}
	logSandbox(s.log, cfg.Sandbox.Mode)
	s.mu.workers = make(map[*worker]struct{})
	return s, nil
}

// MaxRunDir is the length in bytes that the path of a run directory may have: of the 107 bytes of a socket's path, 41 are left
// for a directory and a socket as go-plugin names them.
const MaxRunDir = limits.RunDirBytes

// makeRunDir leaves dir empty and private. Since it removes the files in dir, it refuses a directory with any file that is
// not ours.
func makeRunDir(dir string) error {
	if err := checkRunDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("run directory: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), runPrefix) {
			return fmt.Errorf("run directory %s holds %q, which is not ours", dir, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("run directory: %w", err)
		}
	}
	return ensureRunDir(dir)
}

// ensureRunDir makes the directory if it is missing: it is empty most of the time, and cleaners of temporary files remove
// such directories. Another user may make one of that name then. The directory around it is not made: if that is gone, the
// state was removed, and a directory in its place would be taken for a damaged state.
func ensureRunDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("run directory: %w", err)
	}
	return checkRunDir(dir)
}

// checkRunDir refuses a directory that is not ours alone: its name may be in a directory that everybody writes to.
func checkRunDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; !info.IsDir() || int(owner) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("run directory %s is to be a directory of this user, which nobody else writes to, and is %s of user %d: remove it",
			dir, info.Mode(), owner)
	}
	return nil
}

// runPrefix begins the name of each file that go-plugin puts into the run directory.
const runPrefix = "plugin"

// Start is part of being a [workers.Starter].
func (s *Supervisor) Start(spec workers.Spec, events chan<- workers.Event) workers.Worker {
	w := newWorker(s, spec, events)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		w.Kill()
		return w
	}
	s.mu.workers[w] = struct{}{}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		w.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.workers, w)
	}()
	return w
}

// Abandon kills all workers and returns. Nothing of the run directory is touched, which may be another kernel's by now.
func (s *Supervisor) Abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.mu.closed = true
		close(s.done)
	}
	for w := range s.mu.workers { // in any order
		w.Kill()
	}
}

// Close stops all workers: each is asked to leave, and killed if it has not left after Config.StopTimeout, or when ctx
// ends. It returns when their processes and goroutines are gone and the run directory is removed. An error names the
// leftovers. Events are no longer sent, so the caller need not receive any.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.mu.closed
	s.mu.closed = true
	live := make([]*worker, 0, len(s.mu.workers))
	for w := range s.mu.workers { // in any order: each is only told to leave
		live = append(live, w)
	}
	s.mu.Unlock()
	if first {
		close(s.done)
	}
	for _, w := range live {
		w.Stop()
	}
	gone := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		for _, w := range live {
			w.Kill()
		}
		select {
		case <-gone:
		case <-time.After(2 * time.Second): // a process that even SIGKILL does not end: not ours to fix
			return fmt.Errorf("supervisor: workers do not end: %w", ctx.Err())
		}
	}
	s.watch.Wait()
	ours.killRest(0)
	if err := os.RemoveAll(s.cfg.RunDir); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	return nil
}
