package host_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// deadly is a store on which a kernel dies that makes the memory of v1 again: its commits fail from then on. The worker
// of v1 is stopped meanwhile, so that the memory is not made before a commit has failed.
type deadly struct {
	*storage.Mem
	met atomic.Bool
}

func (d *deadly) Get(key string) ([]byte, bool, error) {
	if strings.HasPrefix(key, "y.v1.") {
		if !d.met.Swap(true) {
			stopWorkers("v1")
		}
	}
	return d.Mem.Get(key)
}

func (d *deadly) Commit(w []storage.Write) error {
	if d.met.Load() {
		return errDisk
	}
	return d.Mem.Commit(w)
}

func (d *deadly) Close() error { return nil }

// stopWorkers stops the workers of a vat, of any kernel in this process: tests that use it are not parallel to others.
func stopWorkers(vat string) {
	children, _ := filepath.Glob("/proc/self/task/*/children")
	for _, c := range children {
		pids, _ := os.ReadFile(c) // of a thread that has ended there are none
		for _, field := range strings.Fields(string(pids)) {
			pid, err := strconv.Atoi(field)
			line, _ := os.ReadFile(filepath.Join("/proc", field, "cmdline"))
			if err == nil && strings.Contains(string(line), "\x00"+vat+"\x00") {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
	}
}

const longMemory = 300 // deliveries

// pokes numbers the calls of dies: one that an earlier kernel has taken would change nothing.
var pokes atomic.Int64

// dies runs a kernel on a store that it dies on.
func dies(t *testing.T, mem *storage.Mem, noted func(*host.Config)) {
	t.Helper()
	k := start(t, &deadly{Mem: mem}, noted)
	deadline := time.After(time.Minute)
	for {
		select {
		case err := <-k.ended:
			if !errors.Is(err, errDisk) {
				t.Fatalf("the kernel ends with %v", err)
			}
		case <-time.After(2 * time.Millisecond):
			// Others have something to commit, also while the memory is being made.
			body, err := capdata.EncodeCall("play", []any{1.0})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = k.Call(t.Context(), "", fmt.Sprintf("poke%d", pokes.Add(1)), "s2", kernel.Data{Body: body}, false) // in vain, once it dies
			continue
		case <-deadline:
			t.Fatal("the kernel does not die")
		}
		break
	}
	reopen(t, mem)
}

func TestAVatOfWhichKernelsDieIsHeldBack(t *testing.T) {
	mem := busy(t, longMemory)
	path := filepath.Join(t.TempDir(), "starts")
	noted := func(c *host.Config) { c.StartsFile = path }
	for range 3 {
		dies(t, mem, noted)
	}
	// The store is still deadly, and the kernel does not die of it any more.
	k := start(t, &deadly{Mem: mem}, noted)
	if k.EarlierDeaths() != 3 {
		t.Errorf("%d kernels have died, want 3", k.EarlierDeaths())
	}
	if v := status(t, k, "v1"); !v.Held || !strings.Contains(v.Why, "3 kernels in a row died") || !strings.Contains(v.Why, errDisk.Error()) {
		t.Errorf("v1 is held: %t, %q", v.Held, v.Why)
	}
	if a, err := send(t.Context(), k, "other", "s2", "play", 3.0); err != nil || a.Rejected {
		t.Errorf("another vat answers %+v, %v", a, err)
	}
	k.end(t)
	reopen(t, mem)
	// It stays so, until a person lets it go.
	k = start(t, mem, noted)
	if k.EarlierDeaths() != 0 || !status(t, k, "v1").Held {
		t.Errorf("after a clean stop %d kernels have died, and v1 is held: %t", k.EarlierDeaths(), status(t, k, "v1").Held)
	}
	if err := k.Restart(t.Context(), "v1", true); err != nil {
		t.Fatal(err)
	}
	if a, err := k.Await(t.Context(), "", "long"); err != nil || !strings.Contains(a.Value.Body, "VAT_RESTARTED") {
		t.Errorf("who waits for the memory hears %+v, %v", a, err)
	}
	if a, err := send(t.Context(), k, "again", "s1", "play", 2.0); err != nil || a.Rejected {
		t.Errorf("v1 answers %+v, %v", a, err)
	}
	k.end(t)
	reopen(t, mem)
	k = start(t, mem, noted)
	if status(t, k, "v1").Held {
		t.Error("v1 is held again")
	}
	k.end(t)
}

// A vat that is held back can be tried again with its memory, and can be terminated.
func TestAVatThatIsHeldBackFromTheStart(t *testing.T) {
	t.Run("has its memory when it is tried again", func(t *testing.T) {
		mem := busy(t, longMemory)
		path := filepath.Join(t.TempDir(), "starts")
		noted := func(c *host.Config) { c.StartsFile = path }
		for range 3 {
			dies(t, mem, noted)
		}
		k := start(t, mem, noted)
		before := status(t, k, "v1")
		if !before.Held {
			t.Error("v1 is not held back")
		}
		if err := k.Restart(t.Context(), "v1", false); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return status(t, k, "v1").Records > before.Records })
		if v := status(t, k, "v1"); v.Held || v.Incarnation != before.Incarnation {
			t.Errorf("v1 is %+v, was %+v", v, before)
		}
		k.end(t)
	})
	t.Run("can be terminated", func(t *testing.T) {
		mem := busy(t, longMemory)
		path := filepath.Join(t.TempDir(), "starts")
		noted := func(c *host.Config) { c.StartsFile = path }
		for range 3 {
			dies(t, mem, noted)
		}
		k := start(t, mem, noted)
		if !status(t, k, "v1").Held {
			t.Error("v1 is not held back")
		}
		if err := k.Terminate(t.Context(), "s1"); err != nil {
			t.Fatal(err)
		}
		k.end(t)
		reopen(t, mem)
		k = start(t, mem, noted)
		if s, err := k.Status(t.Context()); err != nil || len(s.Held) > 0 {
			t.Errorf("held are %v, %v", s.Held, err)
		}
		k.end(t)
	})
}

// Kernels that are killed while they make the same memory again, one after the other, are no reason to hold it back.
func TestKillsHoldNobodyBack(t *testing.T) {
	t.Parallel()
	mem := busy(t, longMemory)
	path := filepath.Join(t.TempDir(), "starts")
	noted := func(c *host.Config) { c.StartsFile = path }
	for i := range 8 {
		k := start(t, &slow{mem}, noted)
		var killed []byte
		waitFor(t, func() bool {
			var err error
			killed, err = os.ReadFile(path)
			return err == nil && strings.Contains(string(killed), `"open":["v1"]`)
		})
		k.end(t)
		reopen(t, mem)
		if err := os.WriteFile(path, killed, 0o600); err != nil { // as a kill leaves it
			t.Fatal(err)
		}
		k = start(t, mem, noted)
		if v := status(t, k, "v1"); v.Held {
			t.Errorf("after %d kills v1 is held: %s", i+1, v.Why)
		}
		if k.EarlierDeaths() != 0 {
			t.Errorf("%d kernels died by themselves", k.EarlierDeaths())
		}
		if a, err := send(t.Context(), k, fmt.Sprintf("other%d", i), "s2", "play", 1.0); err != nil || a.Rejected {
			t.Errorf("another vat answers %+v, %v", a, err)
		}
		k.end(t)
		reopen(t, mem)
		if err := os.WriteFile(path, killed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// slow is a store from which a memory is made slowly.
type slow struct{ *storage.Mem }

func (s *slow) Get(key string) ([]byte, bool, error) {
	if strings.HasPrefix(key, "y.") {
		<-time.After(time.Millisecond)
	}
	return s.Mem.Get(key)
}

func (s *slow) Close() error { return nil }

// A kernel that cannot note its deaths, since the file cannot be used, runs without that.
func TestAKernelRunsWithoutANoteOfItsDeaths(t *testing.T) {
	k := start(t, storage.NewMem(), func(c *host.Config) { c.StartsFile = t.TempDir() })
	if n := k.EarlierDeaths(); n != 0 {
		t.Errorf("%d kernels have died, want none", n)
	}
	sub := launch(t, k, "pingpong")
	if a, err := send(t.Context(), k, "one", string(sub.ID), "play", 2.0); err != nil || a.Rejected {
		t.Errorf("got %+v, %v", a, err)
	}
	k.end(t)
}
