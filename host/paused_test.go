package host_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// copyOf copies a state as a kernel would leave it that is killed now.
func copyOf(t *testing.T, mem *storage.Mem) *storage.Mem {
	t.Helper()
	out := storage.NewMem()
	if err := out.Commit(mem.Snapshot()); err != nil {
		t.Fatal(err)
	}
	return out
}

// A paused kernel on the state of a killed kernel removes nothing of it: the next kernel does.
func TestAPausedKernelRemovesNothing(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	slow := func(c *host.Config) {
		c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(service.Opening) (service.Object, error) {
			<-open
			return patient{}, nil
		}}}
	}
	mem := storage.NewMem()
	k := start(t, mem, slow)
	launched := make(chan error, 1)
	go func() {
		_, err := k.Launch(t.Context(), example(t, "repl"))
		launched <- err
	}()
	state := func(k *running) kernel.SubState {
		t.Helper()
		st, err := k.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range st.Subclusters {
			return s.State
		}
		return ^kernel.SubState(0)
	}
	waitFor(t, func() bool { return len(mem.Snapshot()) > 10 && state(k) == kernel.SubLaunching })
	launching := copyOf(t, mem)
	close(open)
	if err := <-launched; err != nil {
		t.Fatal(err)
	}
	k.end(t)
	reopen(t, mem)
	running := copyOf(t, mem)
	m, first, err := kernel.Open(mem, mem.Limits(), "e")
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Terminate("s1")
	if err != nil {
		t.Fatal(err)
	}
	if err := mem.Commit(append(first.Writes, c.Writes...)); err != nil {
		t.Fatal(err)
	}
	for want, mem := range map[kernel.SubState]*storage.Mem{kernel.SubLaunching: launching, kernel.SubRunning: running, kernel.SubTerminating: mem} {
		var touched atomic.Int64
		k := start(t, mem, func(c *host.Config) {
			c.Paused = true
			c.Kinds = map[string]service.Kind{host.KindIO: {
				Open:   func(service.Opening) (service.Object, error) { touched.Add(1); return nil, errors.New("not now") },
				Remove: func(string, []byte) { touched.Add(1) },
			}}
		})
		if _, err := k.Collect(t.Context(), ""); err != nil {
			t.Error(err)
		}
		if got := state(k); got != want {
			t.Errorf("a subcluster that is %s is %s", want, got)
		}
		if _, _, _, err := k.Stored(context.Background(), "v1", "", "", 10); err != nil {
			t.Errorf("of a subcluster that is %s: %v", want, err)
		}
		k.end(t)
		if n := touched.Load(); n > 0 {
			t.Errorf("of a subcluster that is %s, %d channels are opened or removed", want, n)
		}
	}
}
