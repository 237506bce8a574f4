package kernel_test

import (
	"errors"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// Each row that a machine writes is described, and a value that is cut is an error, never a panic.
func TestRowsAreDescribed(t *testing.T) {
	t.Parallel()
	store := storage.NewMem()
	m, c, err := kernel.Open(storage.NewLayers(store, 0), store.Limits(), "epoch")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(c.Writes); err != nil {
		t.Fatal(err)
	}
	_, c, err = m.Launch(kernel.Launch{
		Source: "/c.json", Hash: "h", Bootstrap: "a", Config: []byte("{}"),
		Vats: []kernel.LaunchVat{{Name: "a", Config: []byte("{}")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(c.Writes); err != nil {
		t.Fatal(err)
	}
	described := map[string]int{}
	for after := ""; ; {
		key, value, found, err := store.Next("", after)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			break
		}
		d, err := kernel.DescribeRow(key, value)
		if err != nil {
			t.Errorf("row %s: %v", key, err)
		}
		if kind, _, _ := strings.Cut(key, "."); d.Fields != nil || d.IsNumber {
			described[kind]++
		}
		for n := range value {
			if _, err := kernel.DescribeRow(key, value[:n]); err == nil && (d.Fields != nil || d.IsNumber) {
				t.Errorf("row %s, cut at %d of %d, is described", key, n, len(value))
			} else if err != nil && !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("row %s, cut at %d: got %v, want ErrCorrupt", key, n, err)
			}
		}
		after = key
	}
	for _, kind := range []string{"schema", "commit", "count", "next", "v", "r", "u", "o"} {
		if described[kind] == 0 {
			t.Errorf("no row %s is described", kind)
		}
	}
	for _, key := range []string{"", ".", "v", "work.x", "s.v1.", "nothing.at.all"} {
		if d, err := kernel.DescribeRow(key, nil); err != nil || d.Fields != nil {
			t.Errorf("%q: got %+v, %v, want no fields", key, d, err)
		}
	}
}
