package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/storage"
)

// After a commit that failed for good, the store answers each call with the reason, and never with a panic: nobody knows which
// of its writes a read would find. What was committed before is there at the next start.
func TestAfterACommitThatFailedForGood(t *testing.T) {
	for name, test := range map[string]struct {
		kind  string // of fillers
		spoil func(s *Store) error
	}{
		"a directory has the name of the next log": {"log", func(s *Store) error { return os.Mkdir(s.internals.nextPath(), 0o700) }},
		"a file has the name of the next log":      {"log", func(s *Store) error { return os.WriteFile(s.internals.nextPath(), make([]byte, 100), 0o600) }},
		"a directory has the name of the next value log": {"value log", func(s *Store) error {
			return os.Mkdir(valueLogPath(s.internals.dir, uint64(*s.internals.lastValues)+1), 0o700)
		}},
		"a full log cannot be synced": {"log", func(s *Store) error {
			s.internals.syncFile = func(*z.MmapFile) error { return errors.New("a bad disk") }
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() || raceDetector {
				t.Skip("writes 70 MB")
			}
			dir := t.TempDir()
			s, err := Open(dir, Options{Durability: Process})
			if err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(s); err != nil {
				t.Fatal(err)
			}
			before := s.Freeze()
			n := 0
			for ; err == nil && n < 300; n++ {
				err = s.Commit(fillers[test.kind](n))
			}
			if err == nil || errors.Is(err, storage.ErrNoRoom) {
				t.Fatalf("after %d commits: %v", n, err)
			}
			why := *s.health.damage.Load()
			after := s.Freeze()
			for call, err := range map[string]error{
				"Commit":            s.Commit(rowsOf(1000, 1)),
				"Commit of nothing": s.Commit(nil),
				"Get":               only(s.Get("0000.0")),
				"Get of no row":     only(s.Get("none")),
				"Next":              only2(s.Next("", "")),
				"Step":              func() error { _, _, _, _, err := s.Step("", "", 10); return err }(),
				"Get of a moment":   only(before.Get("0000.0")),
				"Next of a moment":  only2(before.Next("", "")),
				"Get of one later":  only(after.Get("0000.0")),
				"Close":             s.Close(),
			} {
				if !errors.Is(err, why) {
					t.Errorf("%s: got %v, want %v", call, err, why)
				}
			}
			before.Close()
			after.Close()
		})
	}
}

func only(_ []byte, _ bool, err error) error            { return err }
func only2(_ string, _ []byte, _ bool, err error) error { return err }

// What the collection of value logs cannot do ends the store like a commit that failed: the caller is told so once, and no later
// call succeeds.
func TestACollectionThatFailsEndsTheStore(t *testing.T) {
	t.Parallel()
	if testing.Short() || raceDetector {
		t.Skip("writes 200 MB")
	}
	s, err := Open(t.TempDir(), Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(rowsOf(0, largeValue)); err != nil { // it is moved later
		t.Fatal(err)
	}
	const lost = "0000.0"
	s.values.at["lost"] = place{log: s.values.at[lost].log, bytes: largeValue} // as if a row had gone
	delete(s.values.at, lost)
	for n := 0; err == nil && n < 60; n++ {
		err = s.Commit([]storage.Write{{Key: "busy", Value: make([]byte, 4<<20)}})
	}
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	if again := s.Commit(rowsOf(1, 1)); !errors.Is(again, storage.ErrCorrupt) {
		t.Errorf("the next commit: %v", again)
	}
	if _, _, err := s.Get("busy"); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a read: %v", err)
	}
}

// Without power durability, too, a log of the memory table is on the disk before anything is written to the next one: what a power
// loss leaves has no gap.
func TestAFullLogIsSyncedBeforeTheNextOne(t *testing.T) {
	t.Parallel()
	if testing.Short() || raceDetector {
		t.Skip("writes 200 MB")
	}
	s, err := Open(t.TempDir(), Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	synced := map[string][]byte{}
	s.internals.syncFile = func(f *z.MmapFile) error {
		_, end, _ := s.internals.log()
		synced[f.Fd.Name()] = bytes.Clone(f.Data[:end])
		return f.Sync()
	}
	changes := 0
	current, end, _ := s.internals.log()
	for n := 0; changes < 2 && n < 500; n++ {
		// The memory table may be given back, with its log, when the commit has handed it over.
		content := bytes.Clone(current.Data[:end])
		if err := s.Commit(fillers["log"](n)); err != nil {
			t.Fatal(err)
		}
		now, nowEnd, _ := s.internals.log()
		if now != current {
			changes++
			if !bytes.Equal(synced[current.Fd.Name()], content) {
				t.Errorf("%s had %d bytes when the next log began, and %d were synced", filepath.Base(current.Fd.Name()), len(content), len(synced[current.Fd.Name()]))
			}
		}
		current, end = now, nowEnd
	}
	if changes < 2 {
		t.Error("no log became full")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Freezing waits for reads while it holds no lock for which the removal of a value log waits: that one holds the lock for which
// a read waits that has failed.
func TestAMomentIsFrozenWhileAValueLogIsRemoved(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	reads, goes := make(chan struct{}), make(chan struct{})
	verify := s.health.verify
	s.health.verify = sync.OnceValue(func() error {
		close(reads)
		<-goes
		return verify()
	})
	badBlocks.Add(1) // the next read verifies all tables
	var wg sync.WaitGroup
	wg.Go(func() { s.Freeze().Close() })
	<-reads
	removed := make(chan struct{})
	wg.Go(func() {
		s.takeValueLog(1)
		close(removed)
	})
	select {
	case <-removed:
	case <-time.After(time.Minute):
		t.Error("the removal waits for a read")
	}
	close(goes)
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A value log's end that is no entry is cut by an open. If a value lies behind it, nothing is cut and nothing is opened.
func TestAValueBehindTheEndOfItsLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	first := s.internals.ends().values
	for n := range 2 { // the first value is garbage
		if err := s.Commit([]storage.Write{{Key: "row", Value: bytes.Repeat([]byte{byte(n)}, largeValue)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(first.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("spoiled"), first.at+1000); err != nil {
		t.Fatal(err)
	}
	before, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err = Open(dir, Options{Durability: Process})
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if err == nil {
		_ = s.Close()
	}
	after, err := f.Stat()
	if err != nil || after.Size() != before.Size() {
		t.Errorf("the log has %d bytes, and had %d, %v", after.Size(), before.Size(), err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// A commit whose large values could not be synced has failed, although Badger only logs it; and so has each later one.
func TestAValueLogThatIsNotSynced(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(rowsOf(0, largeValue)); err != nil {
		t.Fatal(err)
	}
	s.db.Opts().Logger.Errorf("Error while curlf sync: %v\n", unix.EIO) // as in valueLog.write of Badger
	for range 2 {
		if err := s.Commit(rowsOf(1, largeValue)); err == nil || errors.Is(err, storage.ErrNoRoom) {
			t.Errorf("got %v", err)
		}
	}
	if _, _, err := s.Get("0000.0"); err == nil {
		t.Error("a read succeeds")
	}
}

// The texts by which errors of Badger are known are those of the version that go.mod names.
func TestTheTextsOfBadgersErrors(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/dgraph-io/badger/v4").Output()
	if err != nil {
		t.Skip(err)
	}
	var source strings.Builder
	for _, name := range []string{"db.go", "iterator.go", "memtable.go", "value.go"} {
		content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), name))
		if err != nil {
			t.Skip(err)
		}
		source.Write(content)
	}
	for _, text := range append(slices.Clone(returned), notSynced) {
		if !strings.Contains(source.String(), `Errorf("`+text) {
			t.Errorf("Badger does not log %q", text)
		}
	}
}

// Errors that the store returns, or that go away when a read is made again, are no errors in the log: nobody has to act. An
// error that only the log tells is one.
func TestLevelsOfBadgersErrors(t *testing.T) {
	var out strings.Builder
	l := badgerLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	l.Errorf("Unable to read: Key: %v, Version : %v, meta: %v, userMeta: %v Error: %v", "k", 1, 0, 0, "no such file")
	l.Errorf("Key: %v, Version : %v, meta: %v, userMeta: %v valuePointer: %+v", "k", 1, 0, 0, 0)
	l.Errorf("Invalid read: vp: %+v", 0)
	l.Errorf("writeRequests: %v", fmt.Errorf("too many open files"))
	l.Errorf("Got error: %v for id: %d\n", "too many open files", 2)
	if out.Len() > 0 {
		t.Errorf("logged: %s", out.String())
	}
	l.Errorf("error flushing memtable to disk: %v, retrying", "no space left")
	if !strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("not logged: %s", out.String())
	}
}
