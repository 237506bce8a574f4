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
	if err := w.Record(1); err == nil {
		t.Error("a record before Prepare succeeded")
	}
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
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
	if want := "kernel witness 2 sequence 3 commit 4 crc "; !strings.HasPrefix(string(text), want) || len(text) != 1024 {
		t.Errorf("got %q, want it to begin with %q", text, want)
	}
}

// The file of an earlier kernel is read, and becomes two slots before anything is recorded.
func TestWitnessOfOneLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	if err := os.WriteFile(path, []byte("kernel witness 1 commit 4 crc 8b64ed2f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := storage.NewWitness(path)
	if err := w.Check(3); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("Check(3): %v", err)
	}
	if err := w.Check(4); err != nil {
		t.Error(err)
	}
	if err := errors.Join(w.Prepare(), w.Record(9), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := storage.NewWitness(path).Check(8); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("Check(8): %v", err)
	}
}

// Recording makes no file and opens none: it goes on where there is no inode and no descriptor left, and it touches
// nothing at its path, where another kernel's witness may be by now.
func TestWitnessIsRewrittenInPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "witness")
	w := storage.NewWitness(path)
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another kernel's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Record(5), w.Sync(), w.Record(6), w.Close()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "another kernel's" {
		t.Errorf("the file at the path is %q, %v", text, err)
	}
	if err := storage.NewWitness(path + ".moved").Check(5); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("got %v, %v, want two files", entries, err)
	}
}

// With any damage to one slot, the other one has the synced commit.
func TestWitnessLosesASlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	w := storage.NewWitness(path)
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n < 9; n++ {
		err := w.Record(n)
		synced := n / 3 * 3
		if n%3 == 0 {
			err = errors.Join(err, w.Sync())
		}
		if err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for slot := range 2 {
			torn := []byte(string(good))
			copy(torn[slot*512:], "torn")
			other := filepath.Join(t.TempDir(), "witness")
			if err := os.WriteFile(other, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := storage.NewWitness(other).Check(n); err != nil {
				t.Errorf("commit %d without slot %d: %v", n, slot, err)
			}
			if synced == 0 {
				continue
			}
			if err := storage.NewWitness(other).Check(synced - 1); !errors.Is(err, storage.ErrRolledBack) {
				t.Errorf("commit %d, synced %d, without slot %d: a state at %d is accepted: %v", n, synced, slot, synced-1, err)
			}
		}
	}
}

// A link, or a pipe, where the witness is to be made is not written to.
func TestWitnessIsNotWrittenThroughALink(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"witness", "witness.next"} {
		link := filepath.Join(dir, name)
		if err := os.Symlink(precious, link); err != nil {
			t.Fatal(err)
		}
		if err := storage.NewWitness(filepath.Join(dir, "witness")).Prepare(); err == nil {
			t.Errorf("%s is a link, and Prepare succeeds", name)
		}
		if text, err := os.ReadFile(precious); err != nil || string(text) != "precious" {
			t.Errorf("%s: what the link leads to is %q, %v", name, text, err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

// No other content of the file is taken for a number.
func TestWitnessDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	w := storage.NewWitness(path)
	good := []byte("kernel witness 1 commit 1234567 crc 5f1bb6bb\n")
	if err := w.Accept(1234567); err != nil {
		t.Fatal(err)
	}
	slots, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{
		string(slots[:512]), string(slots[:1023]), string(slots) + "\n", strings.Repeat(string(slots[1:513]), 2),
		strings.Repeat("x", 1<<20), string(good) + "\n", string(good) + strings.Repeat(" ", 1000),
		"kernel witness 1 commit 99999999999999999999999 crc 00000000\n", "kernel witness 1 commit -1 crc 00000000\n",
	}
	for i := range 60 {
		for bit := range 8 {
			flipped := []byte(string(slots))
			flipped[i] ^= 1 << bit
			flipped[512+i] ^= 1 << bit
			bad = append(bad, string(flipped))
		}
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
	if err := w.Prepare(); err == nil {
		t.Error("a witness without a directory was made")
	}
}

// A crash between writing the file and naming it leaves the old one in force, or none of a database without commits.
func TestWitnessInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	if err := os.WriteFile(path+".next", []byte("kernel wit"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := storage.NewWitness(path)
	if err := errors.Join(w.Check(0), w.Prepare(), w.Record(5), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".next", []byte("kernel wit"), 0o600); err != nil {
		t.Fatal(err)
	}
	w = storage.NewWitness(path)
	if err := errors.Join(w.Check(5), w.Accept(6), w.Close()); err != nil {
		t.Error(err)
	}
	if err := w.Check(5); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("got %v", err)
	}
}
