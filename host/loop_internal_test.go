package host

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/workers"
)

// gated is a store whose commits wait for the test, and whose limits the test sets.
type gated struct {
	*storage.Mem
	limits  storage.Limits
	gate    chan struct{}
	largest int // group so far, in bytes
	done    chan struct{}
}

func (g *gated) Limits() storage.Limits { return g.limits }

func (g *gated) Commit(w []storage.Write) error {
	<-g.gate
	bytes := 0
	for _, row := range w {
		bytes += row.Size()
	}
	g.largest = max(g.largest, bytes)
	err := g.Mem.Commit(w)
	g.done <- struct{}{}
	return err
}

// still is a kernel whose loop is the test, with workers that cannot start.
func still(t *testing.T, change func(*Config)) (*Shell, *gated) {
	t.Helper()
	sup, err := supervisor.New(supervisor.Config{RunDir: filepath.Join(t.TempDir(), "r"), StockProgram: "/there/is/no/such/program"})
	if err != nil {
		t.Fatal(err)
	}
	store := &gated{
		Mem: storage.NewMem(), limits: storage.Limits{Rows: 90_000, Bytes: 8 << 20},
		gate: make(chan struct{}, 1000), done: make(chan struct{}, 1000),
	}
	cfg := Config{Store: store, Workers: sup}
	if change != nil {
		change(&cfg)
	}
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(store.gate)
		_ = k.close() // of a kernel that was no whole one
	})
	return k, store
}

func launchIdle(t *testing.T, k *Shell) (kernel.SubID, kernel.VatID) {
	t.Helper()
	cfg, err := cluster.MarshalStored(cluster.Vat{Name: "a", Module: "hello", Limits: cluster.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	s, c, err := k.machine.Launch(kernel.Launch{Bootstrap: "a", Vats: []kernel.LaunchVat{{Name: "a", Config: cfg, MaxQueue: 10, MaxRestarts: 5, MaxRecords: 10}}})
	if err != nil {
		t.Fatal(err)
	}
	k.guard(func() { k.apply(c) })
	sub, _, err := k.machine.Subcluster(s)
	if err != nil {
		t.Fatal(err)
	}
	return s, sub.Vats[0].Vat
}

// settleAll makes all that was applied durable.
func settleAll(k *Shell, store *gated) {
	for range 100 {
		store.gate <- struct{}{}
	}
	k.flushAll()
	for len(store.gate) > 0 {
		<-store.gate
	}
	for len(store.done) > 0 {
		<-store.done
	}
}

// underWay hands a group to the committer, for which f waits, and returns when it is committed and the loop has
// not looked. The group that follows is full then: the next commit is one too many.
func underWay(t *testing.T, k *Shell, store *gated, f func()) {
	t.Helper()
	k.guard(func() {
		c, err := k.machine.NewEpoch("another")
		k.input(c, err)
		k.whenDurable(f)
		k.handOver()
	})
	if k.pipeline.Idle() {
		t.Fatal("the committer has no group")
	}
	store.gate <- struct{}{}
	<-store.done
	for range 100 {
		store.gate <- struct{}{} // later commits need not wait
	}
	k.guard(func() {
		c, err := k.machine.NewEpoch("next")
		k.input(c, err)
	})
	store.limits.Rows, _ = k.layers.Size()
}

func TestWhatWaitsIsCalledBetweenTwoSteps(t *testing.T) {
	var disk disk
	// Each case makes held ready in the middle of a step, at whose end it calls ended.
	for name, run := range map[string]func(t *testing.T, k *Shell, store *gated, held, ended func()){
		"a group is full": func(t *testing.T, k *Shell, store *gated, held, ended func()) {
			underWay(t, k, store, held)
			k.guard(func() {
				c, err := k.machine.NewEpoch("third")
				k.input(c, err)
				ended()
			})
		},
		"there is nothing to wait for": func(_ *testing.T, k *Shell, _ *gated, held, ended func()) {
			k.guard(func() { k.whenDurable(held); ended() })
		},
		"a subcluster is gone": func(t *testing.T, k *Shell, store *gated, held, ended func()) {
			s, _ := launchIdle(t, k)
			k.guard(func() { k.subs.failLaunch(s, "for the test") })
			for k.work.working {
				k.guard(k.pump)
			}
			settleAll(k, store)
			k.subs.removed[s] = true
			k.guard(func() { k.subs.whenGone(s, held); ended() })
		},
		"a unit of input comes back": func(t *testing.T, k *Shell, _ *gated, held, ended func()) {
			k.guard(func() {
				k.apply(kernel.Commit{Number: k.pipeline.Durable(), Effects: []kernel.Effect{kernel.UnitBack{Service: "ko9"}}})
				k.soon(held)
				ended()
			})
		},
		"the disk has space again": func(t *testing.T, k *Shell, _ *gated, held, ended func()) {
			k.guard(func() {
				disk.full = true
				k.look()
				disk.full = false
				k.look()
				if len(k.next) != 1 {
					t.Errorf("%d functions wait for the end of the step, want the one that launches what had to wait", len(k.next))
				}
				k.soon(held)
				ended()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, store := still(t, func(c *Config) { c.Room = &disk })
			settleAll(k, store)
			var got []string
			run(t, k, store, func() { got = append(got, "held") }, func() { got = append(got, "the step ends") })
			if want := []string{"the step ends", "held"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestWorkThatAHeldFunctionMakesIsNotForgotten(t *testing.T) {
	k, store := still(t, nil)
	s1, _ := launchIdle(t, k)
	s2, _ := launchIdle(t, k)
	settleAll(k, store)
	k.guard(func() { k.subs.failLaunch(s1, "for the test") })
	slices := 0
	for k.work.working {
		c, more, err := k.machine.Work(0)
		if err != nil {
			t.Fatal(err)
		}
		k.guard(func() { k.apply(c) })
		k.work.working = more
		slices++
	}
	settleAll(k, store)
	// Another one ends, but for its last slice, which fills the group.
	s3, _ := launchIdle(t, k)
	settleAll(k, store)
	k.guard(func() { k.subs.failLaunch(s3, "for the test") })
	for range slices - 1 {
		c, _, err := k.machine.Work(0)
		if err != nil {
			t.Fatal(err)
		}
		k.guard(func() { k.apply(c) })
	}
	settleAll(k, store)
	underWay(t, k, store, func() {
		c, err := k.machine.Terminate(s2)
		k.input(c, err)
	})
	k.guard(k.pump)
	if !k.work.working {
		t.Errorf("the loop believes that there is no work, and %s is to be removed", s2)
	}
}

func TestAVatThatEndsWhileItsWorkerStartsHasNone(t *testing.T) {
	k, store := still(t, nil)
	s1, v1 := launchIdle(t, k)
	settleAll(k, store)
	underWay(t, k, store, func() {
		c, err := k.machine.Terminate(s1)
		k.input(c, err)
	})
	var started workers.Worker
	k.guard(func() {
		k.fail(k.vats.start(k.vats.vat(v1)))
		started = k.vats.table[v1].worker
	})
	if started == nil {
		t.Fatal("no worker was started")
	}
	if k.vats.table[v1].worker != nil || k.subs.leaving[started] != s1 {
		t.Errorf("the vat of a subcluster that has ended keeps its worker")
	}
	gone := false
	k.guard(func() { k.subs.whenGone(s1, func() { gone = true }) })
	if gone {
		t.Error("the subcluster is said to be gone while its worker is there")
	}
}

func TestNothingIsKeptOfVatsWhoseWorkersNeverStarted(t *testing.T) {
	k, store := still(t, nil)
	var subs []kernel.SubID
	for range 3 {
		s, _ := launchIdle(t, k)
		subs = append(subs, s)
	}
	settleAll(k, store)
	if len(k.vats.table) != 3 {
		t.Fatalf("%d vats are known, want 3", len(k.vats.table))
	}
	for _, s := range subs[:2] {
		k.guard(func() {
			c, err := k.machine.Terminate(s)
			k.input(c, err)
		})
	}
	for k.work.working {
		k.guard(k.work.do)
	}
	settleAll(k, store)
	if len(k.vats.table) != 1 {
		t.Errorf("%d vats are known, want the one that is left", len(k.vats.table))
	}
}

// fill is a commit of some bytes, as a host call of that size makes.
func fill(t *testing.T, k *Shell, target kernel.KRef, id string, bytes int) {
	t.Helper()
	_, c, err := k.machine.Call(kernel.HostCall{
		Ticket: k.machine.Epoch() + "." + id, Hash: id, Target: target, MethArgs: kernel.Data{Body: `#["` + strings.Repeat("x", bytes) + `",[]]`},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	k.guard(func() { k.apply(c) })
}

func TestNoGroupIsLargerThanATransactionWhateverItsCommitsAre(t *testing.T) {
	for _, sizes := range [][]int{{300, 700}, {499, 900}, {1, 499, 400, 990}, slices.Repeat([]int{100, 800}, 4)} {
		k, store := still(t, nil)
		s, _ := launchIdle(t, k)
		sub, _, err := k.machine.Subcluster(s)
		if err != nil {
			t.Fatal(err)
		}
		settleAll(k, store)
		store.limits.Bytes, store.largest = 1_000_000, 0
		for range 100 {
			store.gate <- struct{}{}
		}
		for i, kilobytes := range sizes {
			fill(t, k, sub.Root, "t"+strings.Repeat("i", i), kilobytes*1000)
		}
		settleAll(k, store)
		if store.largest > store.limits.Bytes {
			t.Errorf("commits of %d kB made a group of %d bytes, above the transaction's %d", sizes, store.largest, store.limits.Bytes)
		}
		if k.fatal != nil {
			t.Error(k.fatal)
		}
	}
}

// A loop that waits for the committer, which waits for descriptors, does not keep the kernel from being stopped.
func TestAKernelWhoseGroupIsFullStops(t *testing.T) {
	lacks := &lacking{}
	k, store := still(t, func(c *Config) { c.Room = lacks })
	s, _ := launchIdle(t, k)
	sub, _, err := k.machine.Subcluster(s)
	if err != nil {
		t.Fatal(err)
	}
	settleAll(k, store)
	lacks.set.Store(true)
	fill(t, k, sub.Root, "one", 1000)
	k.guard(k.handOver)
	if k.pipeline.Idle() {
		t.Fatal("the committer has no group")
	}
	store.limits.Bytes = 4_000_000
	fill(t, k, sub.Root, "two", 1_000_000)
	waits := make(chan struct{})
	go func() {
		defer close(waits)
		fill(t, k, sub.Root, "three", 3_500_000) // together more than a transaction takes: the loop waits
	}()
	for lacks.asked.Load() < 3 {
		runtime.Gosched()
	}
	select {
	case <-waits:
		t.Fatal("the loop does not wait for the committer")
	default:
	}
	k.Stop()
	<-waits
	if k.fatal == nil || !strings.Contains(k.fatal.Error(), "no descriptors") {
		t.Errorf("the kernel ends with %v, want what it lacks", k.fatal)
	}
}

// lacking is room that lacks descriptors once that is set.
type lacking struct {
	set   atomic.Bool
	asked atomic.Int64 // how often since then
}

func (l *lacking) Lacks() (string, bool) { return "", false }

func (l *lacking) Ready() error {
	if !l.set.Load() {
		return nil
	}
	l.asked.Add(1)
	return errors.New("no descriptors")
}

// disk is room that a test takes away.
type disk struct{ full bool }

func (d *disk) Lacks() (string, bool) {
	if d.full {
		return "the disk is full", true
	}
	return "", false
}

func (d *disk) Ready() error { return nil }
