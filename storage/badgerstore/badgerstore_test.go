package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/storage/storagetest"
)

func TestStore(t *testing.T) {
	for _, d := range []badgerstore.Durability{badgerstore.Power, badgerstore.Process} {
		t.Run(d.String(), func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) (storage.Store, func() (storage.Store, error)) {
				dir := t.TempDir()
				open := func() (storage.Store, error) {
					return badgerstore.Open(dir, badgerstore.Options{Durability: d})
				}
				s, err := open()
				if err != nil {
					t.Fatal(err)
				}
				return s, open
			})
		})
	}
}

func TestOpenOfAnOpenDirectory(t *testing.T) {
	dir := t.TempDir()
	s, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = badgerstore.Open(dir, badgerstore.Options{})
	if !errors.Is(err, badgerstore.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	if want := "open " + dir + ": the database is in use by another process"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A kill at the moment when a log is made leaves it empty, and so does one while a log is removed, which need not be the last
// one. That is no reason not to start again.
func TestOpenAfterAKillWhileALogWasMadeOrRemoved(t *testing.T) {
	for _, log := range []string{"00000.mem", "00099.mem", "000000.vlog", "000099.vlog"} {
		dir := t.TempDir()
		s, err := badgerstore.Open(dir, badgerstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit([]storage.Write{{Key: "k", Value: []byte("v")}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, log), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err = badgerstore.Open(dir, badgerstore.Options{})
		if err != nil {
			t.Errorf("with an empty %s: %v", log, err)
			continue
		}
		if v, ok, err := s.Get("k"); err != nil || !ok || string(v) != "v" {
			t.Errorf("with an empty %s, k is %q, %v, %v", log, v, ok, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenOfAFile(t *testing.T) {
	_, err := badgerstore.Open("badgerstore_test.go", badgerstore.Options{})
	if err == nil || errors.Is(err, badgerstore.ErrLocked) {
		t.Errorf("got %v", err)
	}
}

func TestLimitsAreUseful(t *testing.T) {
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // nothing was written
	if l := s.Limits(); l.Rows < 90_000 || l.Bytes < 8<<20 {
		t.Errorf("got %+v", l)
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := logging.NewText(&out, slog.LevelDebug)
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "[DEBUG] badger: message=") {
		t.Errorf("got %q", out.String())
	}
}

func TestParseDurability(t *testing.T) {
	for _, d := range []badgerstore.Durability{badgerstore.Power, badgerstore.Process} {
		if got, err := badgerstore.ParseDurability(d.String()); got != d || err != nil {
			t.Errorf("%v: got %v, %v", d, got, err)
		}
	}
	if _, err := badgerstore.ParseDurability("paper"); err == nil {
		t.Error("an unknown name was accepted")
	}
}

// A search that meets many removed rows, or many versions of one, can be done in steps, of which each goes on where the
// last one ended.
func TestRemovedRowsArePassedInSteps(t *testing.T) {
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const n = 3000
	var set, removed []storage.Write
	for i := range n {
		key := fmt.Sprintf("m.%05d", i)
		set = append(set, storage.Write{Key: key, Value: []byte("v")})
		removed = append(removed, storage.Write{Key: key})
	}
	set = append(set, storage.Write{Key: "m.a", Value: []byte("first")}, storage.Write{Key: "n.a", Value: []byte("other")})
	for range 3 {
		for _, writes := range [][]storage.Write{set, removed} {
			if err := s.Commit(writes); err != nil {
				t.Fatal(err)
			}
		}
	}
	layers := storage.NewLayers(s, 1<<20)
	for i := range 500 {
		layers.Apply([]storage.Write{{Key: fmt.Sprintf("m.%05d", 6*i)}}) // once more, in a group of its own
	}
	for name, r := range map[string]storage.Reader{"store": s, "layers": layers} {
		steps, after := 0, "m."
		for {
			key, value, found, ready, err := storage.Step(r, "m.", after, 100)
			if err != nil {
				t.Fatal(err)
			}
			if ready {
				if key != "m.a" || string(value) != "first" || !found {
					t.Errorf("%s: got %q, %q, %t", name, key, value, found)
				}
				break
			}
			if key <= after || found {
				t.Fatalf("%s: after %q: got %q, found %t", name, after, key, found)
			}
			after, steps = key, steps+1
		}
		if steps < n/100 {
			t.Errorf("%s: %d steps", name, steps)
		}
		if key, _, found, ready, err := storage.Step(r, "m.", "m.a", 100); found || !ready || err != nil {
			t.Errorf("%s: behind the last: got %q, %t, %t, %v", name, key, found, ready, err)
		}
	}
}
