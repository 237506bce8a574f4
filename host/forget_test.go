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

// A memory is forgotten only if a worker could be started from the store: its program is asked first.
func TestAMemoryIsNotForgottenForAWorkerThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	var now atomic.Pointer[func() ([]string, error)]
	k := start(t, storage.NewMem(), func(c *host.Config) {
		c.Modules = func(context.Context, string, string) ([]string, error) { return (*now.Load())() }
	})
	sub := launch(t, k, "pingpong")
	before, err := k.Vats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for text, modules := range map[string]func() ([]string, error){
		"no such file":  func() ([]string, error) { return nil, errors.New("no such file") },
		"has no module": func() ([]string, error) { return []string{"another"}, nil },
	} {
		now.Store(&modules)
		err := k.Restart(t.Context(), sub.Bootstrap, true)
		if refusal, ok := errors.AsType[*kernel.Refusal](err); !ok || refusal.Code != errcode.Invalid || !strings.Contains(refusal.Detail, text) {
			t.Errorf("got %v, want a refusal with %q", err, text)
		}
	}
	after, err := k.Vats(t.Context())
	if err != nil || len(after) != len(before) {
		t.Fatalf("%+v, %v", after, err)
	}
	for i, v := range after {
		if v.Incarnation != before[i].Incarnation || v.Pid != before[i].Pid || v.Restarts != before[i].Restarts {
			t.Errorf("%s has changed: %+v, was %+v", v.ID, v, before[i])
		}
	}
	if err := k.Restart(t.Context(), sub.Bootstrap, false); err != nil {
		t.Errorf("a restart with its memory asks no program: %v", err)
	}
	all := func() (modules []string, err error) {
		for _, v := range example(t, "pingpong").Vats {
			modules = append(modules, v.Module)
		}
		return modules, nil
	}
	now.Store(&all)
	if err := k.Restart(t.Context(), sub.Bootstrap, true); err != nil {
		t.Errorf("where the program is there: %v", err)
	}
	if a, err := send(t.Context(), k, "after", string(sub.ID), "play", 2.0); err != nil || a.Rejected {
		t.Errorf("%+v, %v", a, err)
	}
	k.end(t)
}
