package ocapkernel_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/service"
)

// Inn is a service that hands out keys, and is told when one is not held any more.
type Inn struct{ back chan int }

// Key hands out a key.
func (i *Inn) Key(ctx context.Context, n int) (service.Ref, error) {
	return service.ExportObject(ctx, &Key{n, i.back}, service.Name("key"))
}

// Again returns what it is given.
func (i *Inn) Again(keys []service.Ref) []service.Ref { return keys }

// Key opens a door.
type Key struct {
	n    int
	back chan int
}

// Open returns the number of the door.
func (k *Key) Open() int { return k.n }

// Close is called when nobody holds the key any more.
func (k *Key) Close() error {
	k.back <- k.n
	return nil
}

// A reference that answers have brought is kept until it is released, however many answers brought it; then the object of a service
// ends, and one that a vat holds as well does not.
func TestReleasedReferencesAreLetGo(t *testing.T) {
	inn := &Inn{back: make(chan int, 10)}
	o, err := service.New(inn, service.Name("inn"))
	if err != nil {
		t.Fatal(err)
	}
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: map[string]ocapkernel.Service{"inn": {Object: o}}})
	sub := k.ensure(t, `["inn"]`)
	key := func(n int) ocapkernel.Ref {
		t.Helper()
		ref, err := ocapkernel.Call[ocapkernel.Ref](t.Context(), k.Kernel, sub.ID, "ask", "inn", "key", []any{n})
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	collect := func() {
		t.Helper()
		// The vat that has passed a key on is asked whether it holds it.
		if _, err := k.Backend().CollectGarbage(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	one, two := key(1), key(2)
	// A second answer that brings the first key, and both in one answer.
	both, err := ocapkernel.Call[[]ocapkernel.Ref](t.Context(), k.Kernel, sub.ID, "ask", "inn", "again", []any{[]any{one, two, one}})
	if err != nil || !slices.Equal(both, []ocapkernel.Ref{one, two, one}) {
		t.Fatalf("got %v, %v", both, err)
	}
	collect()
	for _, ref := range both {
		if n, err := ocapkernel.Call[int](t.Context(), k.Kernel, string(ref), "open"); err != nil || n == 0 {
			t.Errorf("%s: %d, %v", ref, n, err)
		}
	}
	k.Release(two, "ko999", two)
	k.Release(one)
	collect()
	if a, b := <-inn.back, <-inn.back; a+b != 3 {
		t.Errorf("keys %d and %d have come back, want 1 and 2", a, b)
	}
	_, err = k.Call(t.Context(), string(one), "open")
	if !errors.Is(err, ocapkernel.ErrObjectDeleted) && !errors.Is(err, ocapkernel.ErrServiceGone) {
		t.Errorf("call of a key that was released: %v", err)
	}
	k.Release(key(3))
	collect()
	if n := <-inn.back; n != 3 || len(inn.back) > 0 {
		t.Errorf("key %d has come back, and %d more; want 3", n, len(inn.back))
	}
}
