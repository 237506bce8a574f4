package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/disktest"
	"ocapkernel.dev/storage"
)

// A disk without room, a quota that is reached and a table of files that is full are the same to a commit: nothing has
// changed, and when there is room again the same commit succeeds.
func TestACommitWithoutRoomCanBeMadeAgain(t *testing.T) {
	for _, lacks := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.ENFILE} {
		for _, size := range []int{10, largeValue} {
			dir := t.TempDir()
			s, err := Open(dir, Options{Durability: Process})
			if err != nil {
				t.Fatal(err)
			}
			allocate := s.reserve.allocate
			full := true
			s.reserve.allocate = func(f *os.File, offset, length int64) error {
				if full {
					return lacks
				}
				return allocate(f, offset, length)
			}
			writes := []storage.Write{{Key: "a", Value: make([]byte, size)}}
			for range 2 {
				if err := s.Commit(writes); !errors.Is(err, storage.ErrNoRoom) || !errors.Is(err, lacks) {
					t.Fatalf("%v: got %v", lacks, err)
				}
			}
			if _, found, err := s.Get("a"); found || err != nil {
				t.Errorf("%v: the row is there, or %v", lacks, err)
			}
			full = false
			if err := s.Commit(writes); err != nil {
				t.Fatal(err)
			}
			full = true
			if err := s.Close(); !errors.Is(err, storage.ErrNoRoom) {
				t.Fatalf("%v: close without room: %v", lacks, err)
			}
			full = false
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if value, _, err := s.Get("a"); len(value) != size || err != nil {
				t.Errorf("%v: after a start the row has %d bytes, %v", lacks, len(value), err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A commit that fails, however often it is made again and at whichever step it fails, asks for the same blocks and writes to
// the same pages as the first time.
func TestCommitsThatFailTakeNoMoreRoom(t *testing.T) {
	for name, test := range map[string]struct {
		value int // the size of the value
		fails func(f *os.File, dir string) bool
	}{
		"the blocks of a log":                {100_000, func(f *os.File, _ string) bool { return filepath.Ext(f.Name()) == ".mem" }},
		"the room for tables":                {100_000, func(f *os.File, dir string) bool { return f.Name() == dir }},
		"the blocks of a value log":          {largeValue, func(f *os.File, _ string) bool { return filepath.Ext(f.Name()) == ".vlog" }},
		"the room for tables, a large value": {largeValue, func(f *os.File, dir string) bool { return f.Name() == dir }},
		"the blocks of a log, a large value": {largeValue, func(f *os.File, _ string) bool { return filepath.Ext(f.Name()) == ".mem" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := Open(dir, Options{Durability: Process})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(rowsOf(0, 100, largeValue)); err != nil {
				t.Fatal(err)
			}
			allocate := s.reserve.allocate
			fails := false
			s.reserve.allocate = func(f *os.File, offset, length int64) error {
				if fails && test.fails(f, dir) {
					return unix.ENOSPC
				}
				return allocate(f, offset, length)
			}
			var want int64
			for n := range 200 {
				s.reserve.log = logEnd{} // so that the commit allocates
				fails = true
				if err := s.Commit(rowsOf(1, test.value)); !errors.Is(err, storage.ErrNoRoom) {
					t.Fatalf("got %v", err)
				}
				fails = false
				ends := s.internals.ends()
				taken := blocks(t, ends.log.path) + blocks(t, ends.values.path)
				if n == 0 {
					want = taken
				}
				if taken != want {
					t.Fatalf("after %d failures the logs take %d bytes, after the first %d", n+1, taken, want)
				}
			}
			if err := errors.Join(s.Commit(rowsOf(1, test.value)), s.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A commit for which there are no blocks writes to no page: a page without a block is a SIGBUS, or takes the last block.
func TestACommitWithoutBlocksTouchesNoPage(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	allocate := s.reserve.allocate
	s.reserve.allocate = func(*os.File, int64, int64) error { return unix.ENOSPC }
	ends := s.internals.ends()
	before := blocks(t, ends.log.path) + blocks(t, ends.values.path)
	if err := s.Commit(rowsOf(0, 900_000, 3<<20)); !errors.Is(err, storage.ErrNoRoom) {
		t.Fatalf("got %v", err)
	}
	if after := blocks(t, ends.log.path) + blocks(t, ends.values.path); after != before {
		t.Errorf("the logs take %d bytes, before they took %d", after, before)
	}
	s.reserve.allocate = allocate
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// readAt reads some of a file.
func readAt(path string, offset int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64<<10)
	n, err := f.ReadAt(out, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out[:n], errors.Join(err, f.Close())
}

// blocks returns how many bytes of a file have a place on the disk.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// For any rows, and through each change of logs, the log of the memory table has its blocks before it is
// written: the writes never reach the end of the blocks. A log that has none is written all the same, so only
// the bound that is held against Badger's own count tells.
func TestLogsHaveTheirBlocksBeforeTheyAreWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 250 MB")
	}
	for name, write := range map[string]func(i int) []storage.Write{
		"rows of 4000 bytes": func(i int) (out []storage.Write) {
			for j := range 1000 {
				out = append(out, storage.Write{Key: fmt.Sprint(i, ".", j), Value: bytes.Repeat([]byte{1}, 4000)})
			}
			return out
		},
		"small rows": func(int) (out []storage.Write) {
			for j := range 80_000 {
				out = append(out, storage.Write{Key: fmt.Sprintf("%x", j), Value: bytes.Repeat([]byte{1}, 20)})
			}
			return out
		},
		"large values": func(i int) []storage.Write {
			return []storage.Write{{Key: fmt.Sprint(i % 3), Value: bytes.Repeat([]byte{1}, 5<<20)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if raceDetector && name == "small rows" {
				t.Skip("a million rows take minutes under the race detector")
			}
			dir := t.TempDir()
			s, err := Open(dir, Options{Durability: Process})
			if err != nil {
				t.Fatal(err)
			}
			allocated := map[string]int64{} // by file, up to where
			allocate := s.reserve.allocate
			s.reserve.allocate = func(f *os.File, offset, length int64) error {
				allocated[filepath.Base(f.Name())] = offset + length
				return allocate(f, offset, length)
			}
			logs, values := map[string]bool{}, map[string]bool{}
			for i := 0; i < 200 && max(len(logs), len(values)) < 2; i++ {
				if err := s.Commit(write(i)); err != nil {
					t.Fatal(err)
				}
				current, _, _ := s.internals.log()
				log, vlog := current.Fd.Name(), s.internals.ends().values.path
				logs[log], values[vlog] = true, true
				for _, path := range []string{log, vlog} {
					file := filepath.Base(path)
					beyond, err := readAt(path, max(allocated[file], logHeaderBytes))
					if err != nil {
						t.Fatal(err)
					}
					if len(bytes.Trim(beyond, "\x00")) > 0 {
						t.Fatalf("commit %d: %s is written beyond %d, up to where it has blocks", i, file, allocated[file])
					}
				}
			}
			if max(len(logs), len(values)) < 2 {
				t.Errorf("there was no other log: %v, %v", logs, values)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*.mem")); len(left) > 0 || err != nil {
				t.Errorf("logs are left: %v, %v", left, err)
			}
		})
	}
}

// The room that a small state takes on the disk beside its content.
func TestASmallStateReservesLittle(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit([]storage.Write{{Key: "a", Value: []byte{}}}); err != nil {
		t.Fatal(err)
	}
	if n := blocks(t, logPath(dir, 1)); n > 5<<20 {
		t.Errorf("its log takes %d bytes", n)
	}
	if _, err := os.Stat(logPath(dir, 2)); err == nil {
		t.Error("there is a next log")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Another program fills the disk between two commits, at any time: the store goes on to where its blocks end, waits, and
// goes on when there is room.
func TestADiskThatAnotherProgramFills(t *testing.T) {
	dir := disktest.Mounted(t, "-t", "tmpfs", "-o", "size=400m", "tmpfs")
	s, err := Open(filepath.Join(dir, "db"), Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		// Each round ends at another place of the logs: one in the middle of the first, one past a change of logs.
		for i := range 7 * round {
			for j := range 3 {
				if err := s.Commit([]storage.Write{{Key: fmt.Sprint("row", i, j), Value: bytes.Repeat([]byte{7}, 900_000)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		hasItsTables(t, s)
		free := disktest.Fill(t, dir)
		n := 0
		for ; err == nil; n++ {
			err = s.Commit([]storage.Write{{Key: fmt.Sprint("full", n), Value: bytes.Repeat([]byte{8}, 100_000)}})
		}
		if !errors.Is(err, storage.ErrNoRoom) || n > 100 {
			t.Fatalf("round %d: after %d commits on a full disk: %v", round, n, err)
		}
		err = s.Commit([]storage.Write{{Key: "large", Value: make([]byte, 2<<20)}})
		if !errors.Is(err, storage.ErrNoRoom) {
			t.Fatalf("round %d: a large value on a full disk: %v", round, err)
		}
		free()
		if err = s.Commit([]storage.Write{{Key: "again", Value: []byte{byte(round)}}}); err != nil {
			t.Fatalf("round %d: with room again: %v", round, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// hasItsTables waits until Badger has made tables of all its logs but the last, and compacts none. For that it has no blocks
// beforehand: a disk that fills within it ends the process, as docs/caveats.md says of 16.
func hasItsTables(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) {
		logs, err := filepath.Glob(filepath.Join(s.internals.dir, "*.mem"))
		if err != nil {
			t.Fatal(err)
		}
		last, _, _ := s.internals.log()
		logs = slices.DeleteFunc(logs, func(log string) bool { return log >= last.Fd.Name() }) // a later one is made beforehand
		if len(logs) == 0 && !compacts(s) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("logs without tables: %q; tables: %+v", logs, s.db.Levels())
		}
	}
}

// compacts reports whether Badger makes tables of tables, or is about to.
func compacts(s *Store) bool {
	status := variable(variable(reflect.ValueOf(s.db).Elem(), "lc").Elem(), "cstatus")
	lock := variable(status, "RWMutex").Addr().Interface().(*sync.RWMutex)
	runs := func() bool {
		lock.RLock()
		defer lock.RUnlock()
		return variable(status, "tables").Len() > 0
	}
	// One that begins between the first look and the second was due at the second, or runs at the third.
	return runs() || slices.ContainsFunc(s.db.Levels(), func(l badger.LevelInfo) bool { return l.Score >= 1 }) || runs()
}

// A database is not opened on a disk without room, and nothing of it has changed.
func TestOpenOnAFullDisk(t *testing.T) {
	dir := disktest.Mounted(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
	free := disktest.Fill(t, dir)
	_, err := Open(filepath.Join(dir, "db"), Options{})
	if !errors.Is(err, storage.ErrNoRoom) {
		t.Errorf("got %v", err)
	}
	free()
	s, err := Open(filepath.Join(dir, "db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// With any number of descriptors a database is opened, or is not and says so. Badger would end the process.
func TestOpenWithFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	opened := 0
	for n := uint64(3); n < 200 && opened < 3; n++ {
		few := limit
		few.Cur = n
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{Durability: Process})
		if lifted := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); lifted != nil {
			t.Fatal(lifted)
		}
		if err != nil {
			if !errors.Is(err, unix.EMFILE) {
				t.Fatalf("%d descriptors: %v", n, err)
			}
			continue
		}
		opened++
		if err := errors.Join(s.Commit(rowsOf(opened, 100, largeValue)), s.Close()); err != nil {
			t.Fatalf("%d descriptors: %v", n, err)
		}
	}
	if opened < 3 {
		t.Error("it was never opened")
	}
}
