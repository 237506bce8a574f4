package badgerstore_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

// valueLogs returns the bytes of the disk that the value logs of a database take, and their number.
func valueLogs(t *testing.T, dir string) (bytes int64, n int) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			continue // removed meanwhile
		}
		bytes += st.Blocks * 512
		n++
	}
	return bytes, n
}

const large = 2 << 20

// largeRow is a row with a large value, which tells its key and how often it was written.
func largeRow(key string, n int) storage.Write {
	value := bytes.Repeat([]byte(fmt.Sprintf("%-20s", key)), large/20)
	binary.BigEndian.PutUint64(value, uint64(n))
	return storage.Write{Key: key, Value: value}
}

func openAt(t *testing.T, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(dir, badgerstore.Options{Durability: badgerstore.Process})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Large values that are replaced or deleted do not take space for good, whoever reads meanwhile, and across restarts. Values
// that are never written again move, and stay what they are.
func TestSpaceOfLargeValuesIsGivenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, dir)
	commit := func(writes ...storage.Write) {
		t.Helper()
		if err := s.Commit(writes); err != nil {
			t.Fatal(err)
		}
	}
	const quiet = 8
	newest := map[string]int{}
	check := func(r storage.Reader, key string, want int) {
		value, found, err := r.Get(key)
		if err != nil || !found || !bytes.Equal(value, largeRow(key, want).Value) {
			t.Errorf("row %s: %d bytes, %v, %v, want version %d", key, len(value), found, err, want)
		}
	}
	var most int64
	for n := range 130 {
		if n%15 == 0 && n/15 < quiet { // one in a log, so that each log has something to be moved
			commit(largeRow(fmt.Sprintf("quiet%d", n/15), 0))
		}
		commit(largeRow("busy", n), storage.Write{Key: "small", Value: []byte{byte(n)}})
		if n%3 == 0 {
			commit(largeRow("short", n))
			commit(storage.Write{Key: "short"})
		}
		newest["busy"] = n
		if n%100 == 60 { // a reader of a moment keeps its values, however long it takes
			f := s.Freeze()
			for m := range 20 {
				commit(largeRow("busy", 1000+m))
			}
			check(f, "busy", n)
			check(f, "quiet0", 0)
			f.Close()
			commit(largeRow("busy", n))
			continue
		}
		if n%50 == 49 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openAt(t, dir)
		}
		if used, _ := valueLogs(t, dir); n > 90 {
			most = max(most, used)
		}
	}
	for i := range quiet {
		check(s, fmt.Sprintf("quiet%d", i), 0)
	}
	check(s, "busy", newest["busy"])
	if most > 300<<20 {
		t.Errorf("the value logs take %d MiB, with %d MiB of values", most>>20, (quiet+1)*large>>20)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	snapshot, err := badgerstore.Examine(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	for i := range quiet {
		check(snapshot, fmt.Sprintf("quiet%d", i), 0)
	}
	check(snapshot, "busy", newest["busy"])
}

// Reads that meet the removal of a log get the value all the same.
func TestReadsWhileValueLogsAreRemoved(t *testing.T) {
	t.Parallel()
	s := openAt(t, t.TempDir())
	if err := s.Commit([]storage.Write{largeRow("quiet", 0), largeRow("busy", 0)}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, key := range []string{"quiet", "busy"} {
					value, found, err := s.Get(key)
					if err != nil || !found || len(value) != large/20*20 {
						t.Errorf("row %s: %d bytes, %v, %v", key, len(value), found, err)
						return
					}
				}
				f := s.Freeze()
				if _, found, err := f.Get("quiet"); err != nil || !found {
					t.Errorf("frozen: %v, %v", found, err)
				}
				f.Close()
			}
		})
	}
	for n := range 80 {
		if err := s.Commit([]storage.Write{largeRow("busy", n)}); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A death while a log was removed leaves it empty. A log that has a value still is missed.
func TestDeathWhileAValueLogWasRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, dir)
	for n := range 3 { // each start begins a log
		if err := s.Commit([]storage.Write{largeRow("busy", 37+n)}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n < 2 {
			s = openAt(t, dir)
		}
	}
	first := filepath.Join(dir, "000001.vlog")
	if err := os.WriteFile(first, nil, 0o600); err != nil { // none of its values was any row's
		t.Fatal(err)
	}
	s = openAt(t, dir)
	value, found, err := s.Get("busy")
	if err != nil || !found || !bytes.Equal(value, largeRow("busy", 39).Value) {
		t.Errorf("the row: %d bytes, %v, %v", len(value), found, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); !os.IsNotExist(err) {
		t.Errorf("the empty log is there: %v", err)
	}
	last, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(last) == 0 {
		t.Fatal(last, err)
	}
	for _, path := range last {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := badgerstore.Open(dir, badgerstore.Options{}); err == nil {
		_ = s.Close()
		t.Error("a database without the log of a value is opened")
	}
}
