package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/storage"
)

// damagedRows is how many rows a damaged table holds.
const damagedRows = 5000

func damagedKey(i int) string { return fmt.Sprintf("row.%05d", i) }

// valueOf is the value of a row in a version.
func valueOf(i, version int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d of version %d ", i, version), 10)
}

// openTables opens a database that has each version of its rows in a table of its own.
func openTables(t *testing.T, dir string, versions int) *Store {
	t.Helper()
	for version := range versions {
		s, err := Open(dir, Options{Durability: Process})
		if err != nil {
			t.Fatal(err)
		}
		var writes []storage.Write
		for i := range damagedRows {
			writes = append(writes, storage.Write{Key: damagedKey(i), Value: valueOf(i, version)})
		}
		if err := s.Commit(writes); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil { // which makes a table
			t.Fatal(err)
		}
	}
	s, err := Open(dir, Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spoil changes a byte in the middle of the newest table, as a disk would that has gone bad.
func spoil(t *testing.T, dir string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	f, err := os.OpenFile(tables[len(tables)-1], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	at := info.Size() / 3
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// isOver checks that a store which has met a bad block does nothing more, and that the next Open says the same.
func isOver(t *testing.T, s *Store, dir string) {
	t.Helper()
	if err := s.Commit([]storage.Write{{Key: "what follows", Value: []byte{}}}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a commit after it: %v", err)
	}
	if _, _, err := s.Get("another"); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a read after it: %v", err)
	}
	if err := s.Close(); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("close after it: %v", err)
	}
	snapshot, err := Examine(dir)
	if err == nil {
		err = snapshot.Close()
	}
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("the next open: %v", err)
	}
}

// A block that goes bad while the database is open: no row in it is absent, or of an older version, and nothing more
// is committed.
func TestABlockThatGoesBad(t *testing.T) {
	for name, read := range map[string]func(s *Store, i, version int) error{
		"Get": func(s *Store, i, version int) error {
			value, found, err := s.Get(damagedKey(i))
			if err == nil && (!found || !bytes.Equal(value, valueOf(i, version))) {
				err = fmt.Errorf("%s is %v, %.30q", damagedKey(i), found, value)
			}
			return err
		},
		"Next": func(s *Store, i, version int) error {
			key, value, found, err := s.Next("row.", damagedKey(i-1))
			if err == nil && (!found || key != damagedKey(i) || !bytes.Equal(value, valueOf(i, version))) {
				err = fmt.Errorf("after %s comes %v, %s, %.30q", damagedKey(i-1), found, key, value)
			}
			return err
		},
	} {
		for _, versions := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s of version %d", name, versions), func(t *testing.T) {
				dir := t.TempDir()
				s := openTables(t, dir, versions)
				spoil(t, dir)
				var err error
				for i := 1; i < damagedRows && err == nil; i++ {
					err = read(s, i, versions-1)
				}
				if !errors.Is(err, storage.ErrCorrupt) {
					t.Fatalf("got %v", err)
				}
				isOver(t, s, dir)
			})
		}
	}
}

// A compaction that meets a bad block never ends, since it would take the rows in it for absent; and nothing more is committed.
func TestACompactionThatMeetsABadBlock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tables")
	// The compaction goes on behind the end of the test, and makes files while others are removed.
	t.Cleanup(func() {
		for deadline := time.Now().Add(time.Minute); os.RemoveAll(dir) != nil && time.Now().Before(deadline); {
		}
	})
	s := openTables(t, dir, 1) // a single table, which Badger leaves alone
	spoil(t, dir)
	go func() { _ = s.db.DropPrefix([]byte(damagedKey(0))) }() // it compacts the tables, and does not end
	deadline := time.Now().Add(time.Minute)
	var err error
	for err == nil && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
		err = s.health.check()
	}
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), ".sst is not what was written") {
		t.Fatalf("got %v", err)
	}
	isOver(t, s, dir)
}

// A bad block of one database is no matter of another one in the same process.
func TestABadBlockOfAnotherDatabase(t *testing.T) {
	dir := t.TempDir()
	bad, good := openTables(t, dir, 1), openTables(t, t.TempDir(), 1)
	spoil(t, dir)
	var err error
	for i := 0; i < damagedRows && err == nil; i++ {
		_, _, err = bad.Get(damagedKey(i))
	}
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	for i := range damagedRows {
		if value, _, err := good.Get(damagedKey(i)); err != nil || !bytes.Equal(value, valueOf(i, 0)) {
			t.Fatalf("%s is %.30q, %v", damagedKey(i), value, err)
		}
	}
	if err := errors.Join(good.Commit([]storage.Write{{Key: "k", Value: []byte{}}}), good.Close()); err != nil {
		t.Error(err)
	}
}
