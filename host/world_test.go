package host_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

var (
	worlds    = flag.Int("worlds", worldsByDefault, "how many worlds the tests of worlds make")
	worldSeed = flag.Uint64("world", 0, "the seed of the one world that is made; 0 for many")
)

// A world is a whole shell over a store and vats in memory, in virtual time: clients call vats, while workers and kernels
// die between any two events. The seed sets the duration of each operation, so that a world can be made again.
//
// These are true in each world: every call is answered, once and with the same answer however often it is asked for; the
// answers agree with the vats; the stored state keeps the kernel's invariants; and nothing of the shell is left after its
// end.
type world struct {
	t       *testing.T
	seed    uint64
	program worker.Program
	mem     *storage.Mem
	// quiet says that nothing dies.
	quiet bool
	// change, if not nil, changes the configuration of each kernel of the world.
	change func(*host.Config)

	mu      sync.Mutex
	ctx     context.Context // ends when the world has taken too long
	k       *host.Shell
	vats    *inproc.Starter
	store   *mortal
	stop    context.CancelFunc
	ended   chan error
	changed chan struct{} // closed when k is another one
	said    map[string]uint64

	kernels, kills int
}

func newWorld(t *testing.T, seed uint64, program worker.Program, quiet bool) *world {
	return &world{
		t: t, seed: seed, program: program, quiet: quiet, mem: storage.NewMem(), said: map[string]uint64{}, changed: make(chan struct{}),
	}
}

// makeWorlds has make make worlds, each in a bubble of its own with another seed. make returns how many kernels it ran and
// how many workers it killed. percent says which part of all worlds they are.
func makeWorlds(t *testing.T, percent int, make func(t *testing.T, seed uint64) (kernels, kills int)) {
	first, n := rand.Uint64()>>1+1, *worlds*percent/100
	if testing.Short() {
		n = min(n, 50)
	}
	if *worldSeed != 0 {
		first, n = *worldSeed, 1
	}
	t.Logf("%d worlds from seed %d", n, first)
	var next, kernels, kills atomic.Int64
	for range min(n, runtime.GOMAXPROCS(0)) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				seed := first + uint64(i) - 1
				synctest.Test(t, func(t *testing.T) {
					t.Cleanup(func() {
						if t.Failed() {
							t.Logf("make the world again by: go test ./host -run '%s' -world %d", strings.Split(t.Name(), "/")[0], seed)
						}
					})
					moreKernels, moreKills := make(t, seed)
					kernels.Add(int64(moreKernels))
					kills.Add(int64(moreKills))
				})
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d kernels, %d workers killed", kernels.Load(), kills.Load()) })
}

const (
	// worldTime is how long a world may take, in its own time.
	worldTime = 10 * time.Minute
	// mostKernels is how many kernels a world has at most, and mostKills how often a worker of a vat is killed: a message
	// that was killed twenty times is poisoned.
	mostKernels, mostKills = 30, 19
)

// dice are the dice for one purpose in the world: draws for other purposes do not change them.
func (w *world) dice(what string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(what))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// someTime is a time up to most.
func someTime(dice *rand.Rand, most time.Duration) time.Duration {
	return 1 + time.Duration(dice.Int64N(int64(most)))
}

// live launches a cluster, calls talk, and disturbs the world until talk returns. Then it stops the kernel in order, and
// checks its leftovers.
func (w *world) live(talk func()) {
	ctx, cancel := context.WithTimeout(context.Background(), worldTime)
	defer cancel()
	w.ctx = ctx
	w.boot()
	through := make(chan struct{})
	go func() {
		defer close(through)
		talk()
	}()
	w.disturb(through)
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Errorf("the end: %v", err)
	}
	if live := w.vats.Live(); len(live) > 0 {
		w.t.Errorf("the kernel has ended, and %v live", live)
	}
	if err := w.mem.Reopen(); err != nil {
		w.t.Fatal(err)
	}
	problems, err := backend.CheckRows(w.mem)
	if err != nil || len(problems) > 0 {
		w.t.Errorf("invariants: %v, %q", err, problems)
	}
}

// launch has a subcluster run a configuration.
func (w *world) launch(config string) kernel.SubID {
	cfg, err := cluster.Parse("world.json", []byte(config))
	if err != nil {
		w.t.Fatal(err)
	}
	var sub host.Ensured
	err = w.until(func(k *host.Shell) (err error) {
		sub, err = k.Ensure(w.ctx, cfg)
		return err
	})
	if err != nil {
		w.t.Errorf("launch: %v", err)
	}
	return sub.ID
}

// terminate removes a subcluster.
func (w *world) terminate(id kernel.SubID) {
	err := w.until(func(k *host.Shell) error { return k.Terminate(w.ctx, id) })
	var refusal *kernel.Refusal
	if err != nil && (!errors.As(err, &refusal) || refusal.Code != errcode.NotFound) { // an earlier kernel was through with it
		w.t.Errorf("terminate: %v", err)
	}
}

// until has do done by one kernel after the other, until one is neither stopping nor dead.
func (w *world) until(do func(k *host.Shell) error) error {
	for {
		w.mu.Lock()
		k, changed := w.k, w.changed
		w.mu.Unlock()
		err := do(k)
		if !errors.Is(err, host.ErrStopping) && !errors.Is(err, errDead) {
			return err
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return fmt.Errorf("not done within %v: %w", worldTime, err)
		}
	}
}

// call makes a call until some kernel has answered it, or refused it.
func (w *world) call(ticket, target, method string, wait bool, args ...any) (a host.Answer, err error) {
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		return host.Answer{}, err
	}
	err = w.until(func(k *host.Shell) (err error) {
		a, err = k.Call(w.ctx, "", ticket, target, kernel.Data{Body: body}, wait)
		return err
	})
	return a, err
}

// must makes a call that is answered.
func (w *world) must(ticket, target, method string, args ...any) host.Answer {
	a, err := w.call(ticket, target, method, true, args...)
	if err != nil {
		w.t.Errorf("%s: %v", ticket, err)
	}
	return a
}

// disturb has workers and kernels die until through is closed.
func (w *world) disturb(through chan struct{}) {
	dice := w.dice("world")
	killed := map[string]int{}
	for {
		pause := someTime(dice, 20*time.Millisecond)
		if w.quiet {
			pause = worldTime
		}
		select {
		case <-through:
			return
		case <-time.After(pause):
		}
		if live := w.vats.Live(); len(live) > 0 && dice.IntN(3) > 0 {
			vat := live[dice.IntN(len(live))]
			if killed[vat] < mostKills {
				killed[vat]++
				w.kills++
				w.vats.Signal(vat)
			}
			continue
		}
		if w.kernels == mostKernels {
			continue
		}
		w.store.die()
		w.stop()
		if err := <-w.ended; err != nil && !errors.Is(err, errDead) {
			w.t.Errorf("the kernel ends by itself: %v", err)
		}
		w.vats.Abandon()
		if err := w.mem.Reopen(); err != nil {
			w.t.Fatal(err)
		}
		w.boot()
	}
}

// boot starts a kernel on the state of the last one.
func (w *world) boot() {
	w.kernels++
	vats := inproc.New(inproc.Config{Program: w.program, Delay: func(l workers.Worker) time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said[l.Vat()]++
		return someTime(w.dice(fmt.Sprintf("%s says %d", l.Vat(), w.said[l.Vat()])), time.Millisecond)
	}})
	store := &mortal{Store: w.mem, dice: w.dice(fmt.Sprintf("store %d", w.kernels))}
	var log *slog.Logger
	if *worldSeed != 0 {
		log = logging.NewText(w.t.Output(), slog.LevelDebug)
	}
	cfg := host.Config{Store: store, Workers: vats, Logger: log}
	if w.change != nil {
		w.change(&cfg)
	}
	k, err := host.Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.k, w.vats, w.store, w.stop, w.ended = k, vats, store, stop, ended
	close(w.changed)
	w.changed = make(chan struct{})
}

// mortal is a store that takes its time for a commit, and keeps nothing more once it is dead: all that a kernel does
// then is lost, as of one that was killed. A commit that is under way at the death may have been kept.
type mortal struct {
	storage.Store
	dice *rand.Rand
	mu   sync.Mutex
	dead bool
}

var errDead = errors.New("the kernel is dead")

func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// Commit is part of [storage.Store]. It is called on one goroutine.
func (m *mortal) Commit(writes []storage.Write) error {
	before := m.isDead()
	<-time.After(someTime(m.dice, 3*time.Millisecond))
	kept := m.dice.IntN(2) == 0
	if after := m.isDead(); before || after && !kept {
		return errDead
	}
	if err := m.Store.Commit(writes); err != nil {
		return err
	}
	if m.isDead() {
		return errDead
	}
	return nil
}

func (m *mortal) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}
