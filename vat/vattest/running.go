package vattest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

// running is a kernel's shell that runs, with its parts.
type running struct {
	shell   *host.Shell
	workers starter
	store   *mortal
	cancel  context.CancelFunc
	ended   chan error // has the result of the shell's Run
}

// forever is a deadline that no test meets.
const forever = 100 * 365 * 24 * time.Hour

// boot starts a kernel on the stored state.
func (k *Kernel) boot() {
	k.tb.Helper()
	k.running = running{
		store: &mortal{Store: k.mem}, ended: make(chan error, 1),
		workers: starter{inproc.New(inproc.Config{Program: worker.Program{New: k.newLife}}), make(chan struct{}, 1)},
	}
	kinds := timer.KindsBy(k.clock)
	kinds[host.KindIO] = service.Kind{Open: k.played.open}
	kinds[kindPlayed] = service.Kind{Service: true, Open: k.played.open}
	shell, err := host.Open(host.Config{
		Store: k.store, Workers: k.workers, Kinds: kinds, KeepAnswers: forever, Logger: k.kernelLogger(),
		Driven: &host.Driven{Now: k.clock.Now, Seed: func() uint64 { return uint64(k.clock.Now().UnixMilli()) }},
	})
	if err != nil {
		k.tb.Fatal(err)
	}
	k.shell = shell
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	ended := k.ended
	go func() { ended <- shell.Run(ctx) }()
	k.settle()
}

// stop stops the kernel in order, and leaves its state to be read.
func (k *Kernel) stop() error {
	k.cancel()
	err := <-k.ended
	k.ended <- err
	return errors.Join(err, k.mem.Reopen())
}

// RestartKernel has the kernel die by kill -9 and start again on the same state, with all its workers. Turns
// that wait go on, since a vat with work is given its past. Calls of services wait for their answers as before.
// A launch that is not over fails.
func (k *Kernel) RestartKernel() {
	k.tb.Helper()
	k.store.dead.Store(true)
	if err := k.stop(); err != nil && !errors.Is(err, errDead) {
		k.tb.Fatal(err)
	}
	k.played.forget()
	k.clock.forget()
	k.boot()
}

// progress has the kernel go on, and takes note of what it did.
func (k *Kernel) progress(f func(*host.Shell, context.Context) (host.Progress, error)) host.Progress {
	if !k.helpers {
		k.tb.Helper()
	}
	p, err := f(k.shell, context.Background())
	if k.alive(err) != nil {
		k.tb.Fatal(err)
	}
	l := k.life(p.Vat)
	k.bury()
	k.complain(l)
	for _, e := range p.Trace {
		switch e := e.(type) {
		case kernel.Delivered:
			k.delivered(e, l)
		case kernel.MemoryLost:
			k.memoryLost(e)
		case kernel.Died:
			k.died(e)
		case kernel.Dropped, kernel.Poisoned, kernel.Rejected, kernel.ServiceFailed, kernel.Settled, kernel.TranscriptFull, kernel.Unreadable,
			kernel.VatStopped, kernel.VatTerminated:
			// the log has those that are errors
		}
	}
	return p
}

// settle waits until the kernel has done everything but cranks.
func (k *Kernel) settle() {
	if !k.helpers {
		k.tb.Helper()
	}
	k.progress((*host.Shell).Settle)
}

// do takes the result of an order to the kernel.
func (k *Kernel) do(err error) {
	k.tb.Helper()
	if k.alive(err) != nil {
		k.tb.Fatal(err)
	}
	k.settle()
}

// alive returns err. If the kernel has ended, the test fails with the reason.
func (k *Kernel) alive(err error) error {
	if errors.Is(err, host.ErrStopping) {
		k.tb.Helper()
		why := <-k.ended
		k.ended <- why
		k.tb.Fatalf("the kernel has ended: %v", why)
	}
	return err
}

// bury waits until the code of dead workers has ended.
func (k *Kernel) bury() {
	live := k.workers.Live()
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, l := range k.mu.lives { // in any order
		if !slices.Contains(live, string(id)) {
			<-l.closed
			delete(k.mu.lives, id)
		}
	}
}

// kernelLogger takes the kernel's errors into the test's log. What the kernel says below that level is no news to a test.
func (k *Kernel) kernelLogger() *slog.Logger {
	return logging.New(slog.LevelError, func(l logging.Line) { k.log("kernel", l) })
}

// starter starts vats in memory. There is no deadline for a launch: begun has a value when one has begun.
type starter struct {
	*inproc.Starter
	begun chan struct{}
}

// AfterRunning is part of being a [workers.Starter]. The kernel calls it for the deadline of a launch only.
func (s starter) AfterRunning(time.Duration, func()) (stop func()) {
	s.begun <- struct{}{}
	return func() {}
}

var _ workers.Starter = starter{}

// mortal is a store that keeps nothing more once it is dead.
type mortal struct {
	storage.Store
	dead atomic.Bool
}

var errDead = errors.New("the kernel is dead")

// Commit is part of being a [storage.Store].
func (m *mortal) Commit(writes []storage.Write) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Store.Commit(writes)
}
