package storage_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/storage"
)

func TestWitness(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	w := storage.NewWitness(path)
	if err := w.Check(0); err != nil {
		t.Errorf("new database without a witness: %v", err)
	}
	if err := w.Check(1); !errors.Is(err, storage.ErrRolledBack) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("old database without a witness: %v", err)
	}
	for _, n := range []uint64{1, 7, 5} { // 5 is not news
		if err := w.Record(n); err != nil {
			t.Fatal(err)
		}
	}
	next := storage.NewWitness(path)
	for commit, ok := range map[uint64]bool{0: false, 6: false, 7: true, 8: true, 1 << 63: true} {
		err := next.Check(commit)
		if ok && err != nil || !ok && !errors.Is(err, storage.ErrRolledBack) {
			t.Errorf("Check(%d): %v", commit, err)
		}
	}
	// The older state is accepted: Record goes on from there.
	if err := next.Accept(3); err != nil {
		t.Fatal(err)
	}
	if err := next.Record(4); err != nil {
		t.Fatal(err)
	}
	if err := storage.NewWitness(path).Check(4); err != nil {
		t.Error(err)
	}
	if err := storage.NewWitness(path).Check(3); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("Check(3): %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "kernel witness 1 commit 4 crc 8b64ed2f\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

// Whatever else is in the file, it is not taken for a number.
func TestWitnessDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	w := storage.NewWitness(path)
	if err := w.Record(1234567); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{
		strings.Repeat("x", 1<<20), string(good) + "\n", string(good) + strings.Repeat(" ", 1000),
		"kernel witness 1 commit 99999999999999999999999 crc 00000000\n", "kernel witness 1 commit -1 crc 00000000\n",
	}
	for i := range good {
		bad = append(bad, string(good[:i]))
		for bit := range 8 {
			flipped := []byte(string(good))
			flipped[i] ^= 1 << bit
			bad = append(bad, string(flipped))
		}
	}
	for _, text := range bad {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := storage.NewWitness(path).Check(9_999_999_999); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%.60q: got %v", text, err)
		}
	}
	if err := w.Accept(5); err != nil {
		t.Fatal(err)
	}
	if err := storage.NewWitness(path).Check(5); err != nil {
		t.Error(err)
	}
}

func TestWitnessWithoutDirectory(t *testing.T) {
	w := storage.NewWitness(filepath.Join(t.TempDir(), "gone", "witness"))
	if err := w.Record(1); err == nil {
		t.Error("a record without a directory succeeded")
	}
}

// A crash between writing the next content and naming it leaves the old one in force.
func TestWitnessInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	if err := storage.NewWitness(path).Record(5); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".next", []byte("kernel wit"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := storage.NewWitness(path)
	if err := w.Check(5); err != nil {
		t.Error(err)
	}
	if err := w.Record(6); err != nil {
		t.Error(err)
	}
	if err := w.Check(5); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("got %v", err)
	}
}
