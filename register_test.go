package ocapkernel_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ocapkernel.dev"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/scripttest"
)

// A service that is registered while the kernel runs is there for clusters that are launched from then on, and, under
// the name of one of an earlier run, for the vats that hold that.
func TestAServiceIsRegisteredWhileTheKernelRuns(t *testing.T) {
	dir := t.TempDir()
	k := start(t, ocapkernel.Options{Dir: dir})
	if _, err := k.Ensure(t.Context(), user(`["lab"]`)); !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("before: %v, want that the service is unknown", err)
	}
	declares := func(k *embedded, service string) error {
		text := fmt.Sprintf(`{"system": {"a": {"bootstrap": "user", "services": [%q], "vats": {"user": {"module": "user"}}}}}`, service)
		return k.Backend().CheckSystem(t.Context(), control.LaunchRequest{Path: filepath.Join(dir, "system.json"), Config: []byte(text)})
	}
	if err := declares(k, "lab"); control.CodeOf(err) != errcode.Invalid {
		t.Errorf("a declaration, before: %v, want that the service is unknown", err)
	}
	lab := newLab().object(t)["lab"]
	if err := k.Register(t.Context(), "lab", lab); err != nil {
		t.Fatal(err)
	}
	echo := func(sub, want string) {
		t.Helper()
		got, err := k.Call(t.Context(), sub, "ask", "lab", "echo", []any{"a"})
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	if err := declares(k, "lab"); err != nil {
		t.Errorf("a declaration with it: %v", err)
	}
	if err := declares(k, "labs"); control.CodeOf(err) != errcode.Invalid {
		t.Errorf("a declaration with another: %v, want that the service is unknown", err)
	}
	sub := k.ensure(t, `["lab"]`)
	echo(sub.ID, `"a"`)
	for name, s := range map[string]ocapkernel.Service{
		"lab": lab, "timer": lab, "kernelFacet": lab, "io": lab, "no name": lab, "": lab, "empty": {},
	} {
		if err := k.Register(t.Context(), name, s); !errors.Is(err, ocapkernel.ErrInvalid) {
			t.Errorf("register %q: %v, want INVALID", name, err)
		}
	}
	if err := k.Unregister(t.Context(), "kernelFacet"); !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("unregister kernelFacet: %v, want INVALID", err)
	}
	k.end(t)

	k = start(t, ocapkernel.Options{Dir: dir})
	if _, err := k.Call(t.Context(), sub.ID, "ask", "lab", "echo", []any{"a"}); !errors.Is(err, ocapkernel.ErrServiceGone) {
		t.Errorf("in a run without it: %v, want SERVICE_GONE", err)
	}
	// Each refusal waits longer. The call that waits for the sixth is not refused, but done, once, by the object that comes.
	for range 5 {
		if _, err := k.Call(t.Context(), sub.ID, "ask", "lab", "echo", []any{"a"}); !errors.Is(err, ocapkernel.ErrServiceGone) {
			t.Errorf("in a run without it: %v, want SERVICE_GONE", err)
		}
	}
	waited := make(chan error, 1)
	go func() {
		got, err := k.Call(t.Context(), sub.ID, "ask", "lab", "count", []any{})
		if err == nil && string(got) != "1" {
			err = fmt.Errorf("got %s, want 1", got)
		}
		waited <- err
	}()
	err := scripttest.Within(30*time.Second, func() error {
		list, err := k.Backend().Services(t.Context())
		if err == nil && !slices.ContainsFunc(list, func(s control.Service) bool { return s.Name == "lab" && s.Pending == 1 }) {
			err = fmt.Errorf("the call is not begun: %+v", list)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Register(t.Context(), "lab", lab); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	echo(sub.ID, `"a"`)
	if list, err := k.Backend().Services(t.Context()); err != nil || len(list) == 0 {
		text, _ := json.Marshal(list)
		t.Errorf("got %s, %v", text, err)
	}
	k.end(t)
}
