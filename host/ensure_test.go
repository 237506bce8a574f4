package host_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// parsed is a configuration of one vat, as if it stood in /test/NAME.json.
func parsed(t *testing.T, name, module string) *cluster.Config {
	t.Helper()
	cfg, err := cluster.Parse("/test/"+name+".json", fmt.Appendf(nil, `{"bootstrap": "a", "vats": {"a": {"module": %q}}}`, module))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// answers fails the test unless the vats of a subcluster answer.
func answers(t *testing.T, k *running, e host.Ensured) {
	t.Helper()
	a, err := send(t.Context(), k, "answers-"+string(e.ID), string(e.ID), "hello", "world")
	if err != nil || a.Rejected {
		t.Errorf("%s does not answer: %+v, %v", e.ID, a, err)
	}
	if e.State != kernel.SubRunning {
		t.Errorf("%s is %s", e.ID, e.State)
	}
}

// The kernel ends at each commit of a first launch, and of the removal of a subcluster. The subcluster that the next kernel
// ensures runs, and is there once.
func TestWhatIsEnsuredRunsWhereverTheKernelDied(t *testing.T) {
	cfg := parsed(t, "hello", "hello")
	acts := map[string]struct {
		before func(k *running) error
		act    func(ctx context.Context, k *running) error
	}{
		"launch": {
			func(*running) error { return nil },
			func(ctx context.Context, k *running) error { _, err := k.Ensure(ctx, cfg); return err },
		},
		"terminate": {
			func(k *running) error { _, err := k.Ensure(t.Context(), cfg); return err },
			func(ctx context.Context, k *running) error { return k.Terminate(ctx, "s1") },
		},
		"reload": {
			func(k *running) error { _, err := k.Ensure(t.Context(), cfg); return err },
			func(ctx context.Context, k *running) error { _, err := k.Reload(ctx, "s1"); return err },
		},
		"reset": {
			func(k *running) error { _, err := k.Ensure(t.Context(), cfg); return err },
			func(ctx context.Context, k *running) error { return k.Reset(ctx) },
		},
	}
	for name, a := range acts {
		t.Run(name, func(t *testing.T) {
			for n := int64(0); ; n++ {
				if n > 60 {
					t.Fatal("it does not come to an end")
				}
				mem := storage.NewMem()
				f := &faulty{Store: mem}
				f.left.Store(1 << 60)
				k := start(t, f, nil)
				if err := a.before(k); err != nil {
					t.Fatal(err)
				}
				f.left.Store(n)
				done := a.act(t.Context(), k) == nil
				k.stop()
				if err := <-k.ended; err != nil && !errors.Is(err, errDisk) {
					t.Fatal(err)
				}
				if err := mem.Reopen(); err != nil {
					t.Fatal(err)
				}
				k = start(t, mem, nil)
				e, err := k.Ensure(t.Context(), cfg)
				if err != nil {
					t.Fatalf("death at commit %d: %v", n, err)
				}
				answers(t, k, e)
				again, err := k.Ensure(t.Context(), cfg)
				if err != nil || again.ID != e.ID || again.Launched {
					t.Errorf("death at commit %d: ensured again it is %+v, %v, want %s", n, again, err, e.ID)
				}
				k.end(t)
				if done || t.Failed() {
					return
				}
			}
		})
	}
}

func TestEnsureAtTheSameTimeLaunchesOnce(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	cfg := parsed(t, "hello", "hello")
	var wg sync.WaitGroup
	var mu sync.Mutex
	launched, ids := 0, map[kernel.SubID]bool{}
	for range 8 {
		wg.Go(func() {
			e, err := k.Ensure(t.Context(), cfg)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[e.ID] = true
			if e.Launched {
				launched++
			}
		})
	}
	wg.Wait()
	if launched != 1 || len(ids) != 1 {
		t.Errorf("launched %d times, as %v, want once", launched, ids)
	}
	k.end(t)
}

func TestEnsureOfAnotherTextIsAConflictAndChangesNothing(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	e, err := k.Ensure(t.Context(), parsed(t, "hello", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Ensure(t.Context(), parsed(t, "hello", "bank.mint"))
	if refusal, ok := errors.AsType[*kernel.Refusal](err); !ok || refusal.Code != errcode.Conflict {
		t.Errorf("got %v, want a conflict", err)
	}
	answers(t, k, e)
	// Once it is removed, the other text is launched, also while the removal goes on.
	removed := make(chan error, 1)
	go func() { removed <- k.Terminate(t.Context(), e.ID) }()
	err = scripttest.Within(30*time.Second, func() error {
		_, err := k.Ensure(t.Context(), parsed(t, "hello", "bank.mint"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	k.end(t)
}

// A system subcluster of the same file is another one: Ensure does not return it.
func TestEnsurePassesOverSystemSubclusters(t *testing.T) {
	sys, err := cluster.ParseSystem("/test/kernel.json", []byte(`{"system": {"hello": {"bootstrap": "a", "vats": {"a": {"module": "hello"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	k := start(t, storage.NewMem(), func(c *host.Config) { c.System = sys })
	there(t, k, 1)
	e, err := k.Ensure(t.Context(), sys.Subclusters[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Launched || e.System != "" {
		t.Errorf("got %+v, want a subcluster of its own", e)
	}
	k.end(t)
}

// A call of a subcluster by its name during its launch is served when the subcluster runs.
func TestACallByNameWaitsForTheLaunch(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	launched := make(chan error, 1)
	go func() {
		_, err := k.Launch(t.Context(), parsed(t, "hello", "hello"))
		launched <- err
	}()
	err := scripttest.Within(30*time.Second, func() error {
		a, err := send(t.Context(), k, "early", "s1", "hello", "world")
		if err == nil && a.Rejected {
			return fmt.Errorf("rejected: %+v", a)
		}
		return err // there may be no s1 yet
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-launched; err != nil {
		t.Error(err)
	}
	k.end(t)
}

// Vats are launched in the order of the file, not of their names.
func TestVatsAreLaunchedInTheOrderOfTheFile(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	cfg, err := cluster.Parse("/test/order.json", []byte(`{"bootstrap": "b", "vats": {
		"z": {"module": "hello"}, "b": {"module": "hello"}, "a": {"module": "hello"}, "c": {"module": "hello"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		sub, err := k.Launch(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var order string
		for i, v := range sub.Vats {
			order += v.Name
			if i > 0 && len(v.Vat) <= len(sub.Vats[i-1].Vat) && v.Vat < sub.Vats[i-1].Vat {
				t.Errorf("%s has the id %s, after %s", v.Name, v.Vat, sub.Vats[i-1].Vat)
			}
		}
		if order != "zbac" {
			t.Errorf("the order is %s, want zbac", order)
		}
		list, err := k.Reload(t.Context(), string(sub.ID)) // from the stored configuration
		if err != nil || len(list) != 1 || list[0].Vats[0].Name != "z" || list[0].Vats[2].Name != "a" {
			t.Errorf("reloaded as %+v, %v", list, err)
		}
	}
	k.end(t)
}
