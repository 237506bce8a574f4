package ocapkernel_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/service"
)

func TestAVatCallsAGoValue(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: newLab().object(t)})
	sub := k.ensure(t, `["lab"]`)
	got, err := k.Call(t.Context(), sub.ID, "ask", "lab", "echo", []any{map[string]any{"a": []int{1, 2}}})
	if err != nil || string(got) != `{"a":[1,2]}` {
		t.Errorf("echo: got %s, %v", got, err)
	}
	_, err = k.Call(t.Context(), sub.ID, "ask", "lab", "refuse", []any{})
	if !errors.Is(err, ocapkernel.ErrRejected) || !strings.Contains(err.Error(), "not today") {
		t.Errorf("refuse: %v", err)
	}
	if _, err = k.Call(t.Context(), sub.ID, "ask", "lab", "nothing", []any{}); !errors.Is(err, ocapkernel.ErrRejected) {
		t.Errorf("a method that is not there: %v", err)
	}
}

func TestAServiceThatPanicsRejectsAndTheKernelGoesOn(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: newLab().object(t)})
	sub := k.ensure(t, `["lab"]`)
	if _, err := k.Call(t.Context(), sub.ID, "ask", "lab", "panic", []any{}); !errors.Is(err, ocapkernel.ErrRejected) || !strings.Contains(err.Error(), "lab.panic") {
		t.Errorf("panic: %v, want a rejection that names the method", err)
	}
	if got, err := ocapkernel.Call[string](t.Context(), k.Kernel, sub.ID, "ask", "lab", "echo", []any{"still here"}); got != "still here" {
		t.Errorf("after a panic: %q, %v", got, err)
	}
}

func TestReferencesGoThroughServicesBothWays(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: newLab().object(t)})
	sub := k.ensure(t, `["lab"]`)
	same, err := ocapkernel.Call[ocapkernel.Ref](t.Context(), k.Kernel, sub.ID, "ask", "lab", "same", []any{ocapkernel.Ref(sub.Root)})
	if err != nil || string(same) != sub.Root {
		t.Fatalf("got %q, %v, want %s", same, err, sub.Root)
	}
	room, err := ocapkernel.Call[ocapkernel.Ref](t.Context(), k.Kernel, sub.ID, "ask", "lab", "room", []any{})
	if err != nil || room == "" {
		t.Fatalf("an exported object: %q, %v", room, err)
	}
	met := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := k.Call(t.Context(), string(room), "meet")
			met <- err
		}()
	}
	for range 2 {
		if err := <-met; err != nil {
			t.Errorf("call an exported object from outside: %v", err)
		}
	}
}

func TestWhatAnAnswerRefersToCanBeCalledAfterwards(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir()})
	sub := k.ensure(t, `[]`)
	thing, err := ocapkernel.Call[ocapkernel.Ref](t.Context(), k.Kernel, sub.ID, "make")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ocapkernel.Call[string](t.Context(), k.Kernel, string(thing), "say"); got != "made" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDifferentObjectsAreCalledAtTheSameTime(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: newLab().object(t)})
	sub := k.ensure(t, `["lab"]`)
	done := make(chan error, 2)
	for range 2 { // each waits for the other
		room, err := ocapkernel.Call[ocapkernel.Ref](t.Context(), k.Kernel, sub.ID, "ask", "lab", "room", []any{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := k.Call(t.Context(), string(room), "meet")
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCallsOnOneObjectBeginInTheOrderSent(t *testing.T) {
	o := &inOrder{}
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: map[string]ocapkernel.Service{"notes": {Object: o}}})
	sub := k.ensure(t, `["notes"]`)
	if _, err := k.Call(t.Context(), sub.ID, "burst", "notes", "note", 100); err != nil {
		t.Fatal(err)
	}
	if err := o.check(100); err != nil {
		t.Error(err)
	}
}

func TestAServiceThatThisRunHasNotIsGoneUntilOneHasItAgain(t *testing.T) {
	dir := t.TempDir()
	k := start(t, ocapkernel.Options{Dir: dir, Services: newLab().object(t)})
	sub := k.ensure(t, `["lab"]`)
	if _, err := k.Call(t.Context(), sub.ID, "keep", "lab", "room"); err != nil {
		t.Fatal(err)
	}
	k.end(t)

	k = start(t, ocapkernel.Options{Dir: dir})
	if _, err := k.Call(t.Context(), sub.ID, "ask", "lab", "echo", []any{1}); !errors.Is(err, ocapkernel.ErrServiceGone) {
		t.Errorf("a service that is not registered: %v, want SERVICE_GONE", err)
	}
	_, err := k.Launch(t.Context(), user(`["lab"]`))
	if !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("a launch with a service that is not registered: %v, want INVALID", err)
	}
	k.end(t)

	k = start(t, ocapkernel.Options{Dir: dir, Services: newLab().object(t)})
	if got, err := ocapkernel.Call[int](t.Context(), k.Kernel, sub.ID, "ask", "lab", "echo", []any{1}); got != 1 {
		t.Errorf("the service is back: %v, %v", got, err)
	}
	if _, err := k.Call(t.Context(), sub.ID, "askKept", "meet"); !errors.Is(err, ocapkernel.ErrServiceGone) {
		t.Errorf("an object that an earlier run exported: %v, want SERVICE_GONE", err)
	}
}

func TestWhatIsPendingOfAServiceThatIsTakenAwayIsRejected(t *testing.T) {
	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: lab.object(t)})
	sub := k.ensure(t, `["lab"]`)
	pending := make(chan error, 1)
	go func() {
		_, err := k.Call(t.Context(), sub.ID, "ask", "lab", "wait", []any{})
		pending <- err
	}()
	<-lab.began
	if err := k.Unregister(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	if err := <-pending; !errors.Is(err, ocapkernel.ErrServiceGone) {
		t.Errorf("a pending call: %v, want SERVICE_GONE", err)
	}
	if err := <-lab.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the context of the call: %v, want that it was canceled", err)
	}
	if _, err := k.Call(t.Context(), sub.ID, "ask", "lab", "echo", []any{1}); !errors.Is(err, ocapkernel.ErrServiceGone) {
		t.Errorf("a later call: %v, want SERVICE_GONE", err)
	}
	if err := k.Unregister(t.Context(), "lab"); !errors.Is(err, ocapkernel.ErrNotFound) {
		t.Errorf("it was taken away before: %v, want NOT_FOUND", err)
	}
	if _, err := k.Launch(t.Context(), user(`["lab"]`)); !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("a launch with it: %v, want INVALID", err)
	}
}

func TestAServiceForSystemSubclustersIsForNoOther(t *testing.T) {
	lab := newLab().object(t)
	lab["lab"] = ocapkernel.Service{Object: lab["lab"].Object, SystemOnly: true}
	dir := t.TempDir()
	system := write(t, filepath.Join(dir, "kernel.json"), `{"system":{"boss":{"bootstrap":"user","vats":{"user":{"module":"user"}},"services":["lab"]}}}`)
	k := start(t, ocapkernel.Options{Dir: filepath.Join(dir, "state"), Services: lab, System: system})
	_, err := k.Ensure(t.Context(), user(`["lab"]`))
	if !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("an ordinary cluster: %v, want INVALID", err)
	}
	root, err := k.Root(t.Context(), "boss")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ocapkernel.Call[string](t.Context(), k.Kernel, root, "ask", "lab", "echo", []any{"yes"}); got != "yes" {
		t.Errorf("the system subcluster: %q, %v", got, err)
	}
}

func TestServicesOfTheProgramHaveNamesOfTheirOwn(t *testing.T) {
	o, err := service.New(newLab())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]ocapkernel.Service{
		"timer": {Object: o}, "kernelFacet": {Object: o}, "io": {Object: o}, "my lab": {Object: o}, "": {Object: o}, "none": {},
	} {
		_, err := ocapkernel.New(ocapkernel.Options{Dir: t.TempDir(), Services: map[string]ocapkernel.Service{name: s}})
		if !errors.Is(err, ocapkernel.ErrInvalid) {
			t.Errorf("service %q: %v, want INVALID", name, err)
		}
	}
}

func TestAStopInOrderLeavesNoCallInDoubt(t *testing.T) {
	dir := t.TempDir()
	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: dir, Services: lab.object(t)})
	sub := k.ensure(t, `["lab"]`)
	go func() { _, _ = k.CallOnce(t.Context(), "id", sub.ID, "ask", "lab", "slow", []any{}) }()
	<-lab.began
	if err := k.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The kernel stops soon, as this answer shows: the call ends afterwards.
	var err error
	for err == nil { // what is asked at the same time may be answered still
		_, err = k.Call(t.Context(), sub.ID, "hello", "you")
	}
	if !errors.Is(err, ocapkernel.ErrStopping) {
		t.Fatalf("got %v", err)
	}
	close(lab.slow)
	k.end(t)

	k = start(t, ocapkernel.Options{Dir: dir, Services: newLab().object(t)})
	got, err := k.CallOnce(t.Context(), "id", sub.ID, "ask", "lab", "slow", []any{})
	if err != nil || string(got) != `"slow, but sure"` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestTheKernelEndsAfterTheMethodsOfItsServices(t *testing.T) {
	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: lab.object(t)})
	sub := k.ensure(t, `["lab"]`)
	go func() { _, _ = k.Call(t.Context(), sub.ID, "ask", "lab", "waitTwice", []any{}) }()
	<-lab.began
	k.end(t)
	select {
	case <-lab.ended:
	default:
		t.Error("the kernel has ended and the method has not")
	}
}
