package host_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
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
	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

var (
	worlds    = flag.Int("worlds", worldsByDefault, "how many worlds TestWorlds makes")
	worldSeed = flag.Uint64("world", 0, "the seed of the one world that TestWorlds makes; 0 for many")
)

// A world is a whole shell over a store and vats in memory, in virtual time: two clients move money in the bank of
// the examples, while workers and kernels die between any two events. All that takes time takes a time that the seed
// says, so that a world can be made again.
//
// What must be true in each: every call is answered, once and with the same answer whenever it is asked for again; the
// money that each answered transfer has moved, and no other, is where it belongs; the stored state keeps the kernel's
// invariants; and nothing of the shell is left when it has ended.
type world struct {
	t    *testing.T
	seed uint64
	mem  *storage.Mem

	mu      sync.Mutex
	ctx     context.Context // ends when the world has taken too long
	k       *host.Kernel
	vats    *inproc.Starter
	store   *mortal
	stop    context.CancelFunc
	ended   chan error
	changed chan struct{} // closed when k is another one
	said    map[string]uint64

	kernels, kills int
}

func TestWorlds(t *testing.T) {
	program, err := vat.Program(bank.Modules())
	if err != nil {
		t.Fatal(err)
	}
	first, n := rand.Uint64()>>1+1, *worlds
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
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				seed := first + uint64(i)
				synctest.Test(t, func(t *testing.T) {
					w := &world{t: t, seed: seed, mem: storage.NewMem(), said: map[string]uint64{}, changed: make(chan struct{})}
					w.run(program)
					kernels.Add(int64(w.kernels))
					kills.Add(int64(w.kills))
				})
				if t.Failed() {
					t.Fatalf("make the world again by: go test ./host -run TestWorlds -world %d", seed)
				}
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d kernels, %d workers killed", kernels.Load(), kills.Load()) })
}

const (
	// worldTime is how long a world may take, in its own time.
	worldTime = time.Hour
	// mostDeaths is after how many deaths a world is left in peace, so that it comes to its end.
	mostDeaths = 100
)

// dice are the dice for one thing in the world: what others draw does not change what they show.
func (w *world) dice(what string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(what))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// someTime is a time up to most.
func someTime(dice *rand.Rand, most time.Duration) time.Duration {
	return 1 + time.Duration(dice.Int64N(int64(most)))
}

func (w *world) run(program worker.Program) {
	ctx, cancel := context.WithTimeout(context.Background(), worldTime)
	defer cancel()
	w.ctx = ctx
	w.boot(program)
	dice := w.dice("world")
	cfg, err := cluster.Parse("world.json", []byte(`{"bootstrap": "teller", "vats": {
		"teller": {"module": "bank.teller"}, "mint": {"module": "bank.mint"},
		"alice": {"module": "bank.account", "parameters": {"owner": "alice", "amount": 1000}},
		"bob": {"module": "bank.account", "parameters": {"owner": "bob", "amount": 1000}}}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	sub, err := w.kernel().Launch(ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}

	var clients sync.WaitGroup
	balances := map[string]int{"alice": 1000, "bob": 1000}
	for c := range 2 {
		clients.Go(func() { w.client(c, string(sub.ID), balances) })
	}
	served := make(chan struct{})
	go func() { clients.Wait(); close(served) }()
	for over := false; !over; {
		most := 20 * time.Millisecond
		if w.kernels+w.kills > mostDeaths {
			most = worldTime
		}
		select {
		case <-served:
			over = true
		case <-time.After(someTime(dice, most)):
			w.disturb(program, dice)
		}
	}
	for name, want := range balances {
		a := w.call("balance of "+name, string(sub.ID), "balance", name)
		if got := a.Value.Body; a.Rejected || got != fmt.Sprintf("#%d", want) {
			w.t.Errorf("%s has %s, want %d", name, got, want)
		}
	}
	if a := w.call("audit", string(sub.ID), "audit"); a.Rejected || a.Value.Body != "#2000" {
		w.t.Errorf("the audit says %s", a.Value.Body)
	}
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Errorf("the end: %v", err)
	}
	if err := w.mem.Reopen(); err != nil {
		w.t.Fatal(err)
	}
	problems, err := kernel.Check(w.mem)
	if err != nil || len(problems) > 0 {
		w.t.Errorf("invariants: %v, %q", err, problems)
	}
}

// client makes transfers one after the other, and notes in balances what each answered one has moved.
func (w *world) client(n int, sub string, balances map[string]int) {
	dice := w.dice(fmt.Sprintf("client %d", n))
	names := []string{"alice", "bob"}
	for i := range 3 {
		<-time.After(someTime(dice, 20*time.Millisecond))
		from, to, amount := names[dice.IntN(2)], names[dice.IntN(2)], dice.IntN(600)
		ticket := fmt.Sprintf("client %d transfer %d", n, i)
		a := w.call(ticket, sub, "transfer", from, to, float64(amount))
		w.mu.Lock()
		switch {
		case !a.Rejected:
			balances[from] -= amount
			balances[to] += amount
		case !strings.Contains(a.Value.Body, "which holds"):
			w.t.Errorf("%s: %s", ticket, a.Value.Body)
		}
		w.mu.Unlock()
		if again := w.call(ticket, sub, "transfer", from, to, float64(amount)); again.Value.Body != a.Value.Body {
			w.t.Errorf("%s: answered %s and then %s", ticket, a.Value.Body, again.Value.Body)
		}
	}
}

// call makes a call until some kernel has answered it.
func (w *world) call(ticket, sub, method string, args ...any) host.Answer {
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		w.t.Error(err)
	}
	for {
		w.mu.Lock()
		k, changed := w.k, w.changed
		w.mu.Unlock()
		a, err := k.Call(w.ctx, "", ticket, sub, kernel.Data{Body: body}, true)
		if err == nil {
			return a
		}
		if w.ctx.Err() != nil {
			w.t.Errorf("%s: no answer within %v: %v", ticket, worldTime, err)
			return host.Answer{}
		}
		if !errors.Is(err, host.ErrStopping) && !errors.Is(err, errDead) {
			w.t.Errorf("%s: %v", ticket, err)
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
		}
	}
}

// disturb has something die.
func (w *world) disturb(program worker.Program, dice *rand.Rand) {
	if live := w.vats.Live(); len(live) > 0 && dice.IntN(3) > 0 {
		w.kills++
		w.vats.Signal(live[dice.IntN(len(live))])
		return
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
	w.boot(program)
}

// boot starts a kernel on what the last one has left.
func (w *world) boot(program worker.Program) {
	w.kernels++
	vats := inproc.New(inproc.Config{Program: program, Delay: func(l workers.Worker) time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said[l.Vat()]++
		return someTime(w.dice(fmt.Sprintf("%s says %d", l.Vat(), w.said[l.Vat()])), time.Millisecond)
	}})
	store := &mortal{Store: w.mem, dice: w.dice(fmt.Sprintf("store %d", w.kernels))}
	k, err := host.Open(host.Config{Store: store, Workers: vats})
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

func (w *world) kernel() *host.Kernel {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.k
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
