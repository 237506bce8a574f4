package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	"ocapkernel.dev/workers/inproc"
)

// drive runs a kernel, and launches the bank in it. A kernel that is not driven goes on by itself.
func drive(t *testing.T, driven *host.Driven) (k *host.Shell, vats *inproc.Starter, sub kernel.SubID) {
	t.Helper()
	vats = inproc.New(inproc.Config{Program: programOf(t, bank.Modules())})
	k, err := host.Open(host.Config{
		Store: storage.NewMem(), Workers: vats, Driven: driven,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- k.Run(context.Background()) }()
	t.Cleanup(func() {
		k.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	cfg, err := cluster.Parse("bank.json", []byte(bankConfig))
	if err != nil {
		t.Fatal(err)
	}
	launched := make(chan error, 1)
	go func() {
		s, err := k.Launch(t.Context(), cfg)
		sub = s.ID
		launched <- err
	}()
	for {
		select {
		case err := <-launched:
			if err != nil {
				t.Fatal(err)
			}
			return k, vats, sub
		default:
		}
		if driven != nil {
			steps(t, k)
		}
	}
}

// steps makes steps until nothing is left to do, and returns the vats of their cranks.
func steps(t *testing.T, k *host.Shell) (cranks []kernel.VatID) {
	t.Helper()
	for {
		p, err := k.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p.Vat != "" {
			cranks = append(cranks, p.Vat)
		}
		if !p.More {
			return cranks
		}
	}
}

func driven() *host.Driven {
	now := time.UnixMilli(1_000_000)
	return &host.Driven{Now: func() time.Time { return now }, Seed: func() uint64 { return 7 }}
}

func callTransfer(t *testing.T, k *host.Shell, sub kernel.SubID, ticket string) host.Answer {
	t.Helper()
	body, err := capdata.EncodeCall("transfer", []any{"alice", "bob", 10.0})
	if err != nil {
		t.Fatal(err)
	}
	a, err := k.Call(t.Context(), "", ticket, string(sub), kernel.Data{Body: body}, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Without a step nothing is delivered, and each step has one crank, after which everything that follows from it is done.
func TestDrivenKernelDoesOneCrankForEachStep(t *testing.T) {
	k, _, sub := drive(t, driven())
	callTransfer(t, k, sub, "t1")
	if p, err := k.Settle(t.Context()); err != nil || p.More || p.Vat != "" {
		t.Fatalf("without a step: %+v, %v", p, err)
	}
	if a := callTransfer(t, k, sub, "t1"); !a.Pending {
		t.Fatalf("it is answered without a step: %+v", a)
	}
	cranks := 0
	for {
		p, err := k.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !p.More {
			break
		}
		delivered := 0
		for _, e := range p.Trace {
			if d, ok := e.(kernel.Delivered); ok {
				delivered++
				if d.Vat != p.Vat {
					t.Errorf("a crank of %s in the step of %s", d.Vat, p.Vat)
				}
			}
		}
		if delivered != 1 {
			t.Errorf("%d cranks in a step: %v", delivered, p.Trace)
		}
		cranks++
	}
	if a := callTransfer(t, k, sub, "t1"); a.Pending || a.Rejected {
		t.Errorf("after %d cranks: %+v", cranks, a)
	}
}

// The cranks are the same whatever time passes between steps: a wait after the death of a worker ends with a step only.
func TestDrivenKernelMakesTheSameCranksAgain(t *testing.T) {
	var first string
	for i := range 4 {
		synctest.Test(t, func(t *testing.T) {
			got := storyWithDeaths(t, time.Duration(i)*120*time.Millisecond)
			if first == "" {
				first = got
			}
			if got != first || !strings.Contains(got, "died: killed") {
				t.Errorf("first\n%s\nthen\n%s", first, got)
			}
		})
	}
}

// storyWithDeaths returns what a driven kernel does whose worker is killed again and again. A pause comes before each step.
func storyWithDeaths(t *testing.T, pause time.Duration) string {
	t.Helper()
	k, vats, sub := drive(t, driven())
	for i := range 4 {
		callTransfer(t, k, sub, fmt.Sprint("t", i))
	}
	var story []string
	for n := 0; ; n++ {
		<-time.After(pause)
		p, err := k.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !p.More {
			return strings.Join(story, "\n")
		}
		for _, e := range p.Trace {
			story = append(story, e.String())
		}
		if n%3 == 1 {
			vats.Signal("v1")
		}
	}
}

// The wait before a worker is started once more ends with a step, and not with time.
func TestDrivenKernelWaitsForNoTime(t *testing.T) {
	k, vats, sub := drive(t, driven())
	for i := range 6 {
		callTransfer(t, k, sub, fmt.Sprint("t", i))
		if _, err := k.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 4 { // with no progress between them
			for _, v := range vats.Live() {
				vats.Signal(v)
			}
			if _, err := k.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	steps(t, k)
	for i := range 6 {
		if a := callTransfer(t, k, sub, fmt.Sprint("t", i)); a.Pending || a.Rejected {
			t.Errorf("transfer %d after %v: %+v", i, time.Since(began), a)
		}
	}
}

func TestKernelThatIsNotDrivenTakesNoSteps(t *testing.T) {
	k, _, _ := drive(t, nil)
	if _, err := k.Step(t.Context()); err == nil || errors.Is(err, host.ErrStopping) {
		t.Errorf("got %v", err)
	}
}

// A driven kernel has a store in memory: a witness of another one is refused, and the store is left as it is.
func TestADrivenKernelTakesNoWitness(t *testing.T) {
	t.Parallel()
	mem := storage.NewMem()
	k, err := host.Open(host.Config{Store: mem, Witness: new(storage.Witness), Driven: &host.Driven{}})
	if err == nil || k != nil || !strings.Contains(err.Error(), "Witness") {
		t.Errorf("got %v, %v", k, err)
	}
	if rows := mem.Snapshot(); len(rows) > 0 {
		t.Errorf("it has written %v", rows)
	}
}

// dying is a store whose commits fail once it is dead.
type dying struct {
	*storage.Mem
	dead atomic.Bool
}

func (d *dying) Commit(writes []storage.Write) error {
	if d.dead.Load() {
		return errDead
	}
	return d.Mem.Commit(writes)
}

// A kernel ends when a commit fails, though no other input comes: whoever waits for the commit is told, and does not wait for ever.
func TestDrivenKernelEndsWhenACommitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &dying{Mem: storage.NewMem()}
		k, err := host.Open(host.Config{Store: store, Workers: inproc.New(inproc.Config{Program: programOf(t, bank.Modules())}), Driven: driven()})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- k.Run(context.Background()) }()
		cfg, err := cluster.Parse("bank.json", []byte(bankConfig))
		if err != nil {
			t.Fatal(err)
		}
		launched := make(chan error, 1)
		go func() {
			_, err := k.Launch(t.Context(), cfg)
			launched <- err
		}()
		for synctest.Wait(); len(launched) == 0; synctest.Wait() {
			steps(t, k)
		}
		if err := <-launched; err != nil {
			t.Fatal(err)
		}
		store.dead.Store(true)
		if _, err := k.Call(t.Context(), "", "t1", "s1", kernel.Data{Body: `#["audit",[]]`}, false); !errors.Is(err, host.ErrStopping) {
			t.Errorf("call: %v, want that the kernel is stopping", err)
		}
		if err := <-ended; !errors.Is(err, errDead) {
			t.Errorf("the end: %v, want that of the store", err)
		}
	})
}
