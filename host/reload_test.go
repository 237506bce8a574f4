package host_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// A subcluster that could not be launched again is not removed: its worker program is missing, or lacks the module.
func TestAReloadThatCannotBeLaunchedDeletesNothing(t *testing.T) {
	wrong := map[string]func() ([]string, error){
		"no such file":  func() ([]string, error) { return nil, errors.New("no such file") },
		"has no module": func() ([]string, error) { return []string{"another"}, nil },
	}
	change := withController(t)
	var now atomic.Pointer[func() ([]string, error)]
	var asked atomic.Int64
	mem := storage.NewMem()
	k := start(t, mem, func(c *host.Config) {
		change(c)
		c.Modules = func(context.Context, string, string) ([]string, error) {
			asked.Add(1)
			return (*now.Load())()
		}
	})
	there(t, k, 1)
	sub := launch(t, k, "hello")
	vats, err := k.Vats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for text, modules := range wrong {
		now.Store(&modules)
		for _, which := range []string{string(sub.ID), "controller", ""} {
			asked.Store(0)
			_, err := k.Reload(t.Context(), which)
			refusal, ok := errors.AsType[*kernel.Refusal](err)
			if !ok || refusal.Code != errcode.Invalid || !strings.Contains(refusal.Detail, text) {
				t.Errorf("reload of %q: got %v, want a refusal with %q", which, err, text)
			}
			if n := asked.Load(); n != 1 { // they have one program
				t.Errorf("reload of %q asked %d times for modules", which, n)
			}
		}
	}
	there(t, k, 2)
	after, err := k.Vats(t.Context())
	if err != nil || len(after) != len(vats) {
		t.Fatalf("got %d vats, %v, want %d", len(after), err, len(vats))
	}
	for i, v := range after {
		if v.ID != vats[i].ID || v.Pid != vats[i].Pid || v.Pid == 0 {
			t.Errorf("%s of %s has process %d, want that nothing was touched: %s, %d", v.ID, v.Sub, v.Pid, vats[i].ID, vats[i].Pid)
		}
	}
	right := func() ([]string, error) { return []string{"controller", "hello"}, nil }
	now.Store(&right)
	if list, err := k.Reload(t.Context(), string(sub.ID)); err != nil || len(list) != 1 || list[0].ID == sub.ID {
		t.Errorf("with its program there again: got %+v, %v, want another subcluster", list, err)
	}
	k.end(t)
}
