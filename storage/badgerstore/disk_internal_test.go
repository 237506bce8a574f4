package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/torture"
	"ocapkernel.dev/storage"
)

// diskBytes returns the bytes of the disk that the files of a directory take.
func diskBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, e.Name()), &st); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		n += st.Blocks * 512
	}
	return n
}

// steady is a workload whose state stays as large as it is: a queue, a vat's rows that are written over, and rows with large
// values that are written over and deleted.
type steady struct {
	rng             *rand.Rand
	cranks          int
	rows, large     int
	content, larger []byte
}

// cranksOfAGroup is a divisor of 200.
const cranksOfAGroup = 40

func newSteady(rows, large int) *steady {
	w := &steady{rng: rand.New(rand.NewPCG(1, 2)), rows: rows, large: large, larger: make([]byte, 3*largeValue)}
	for i := range w.larger {
		w.larger[i] = byte(w.rng.Uint32())
	}
	w.content = w.larger[:1<<16]
	return w
}

// value returns a value that was not there before.
func (w *steady) value(size int) []byte {
	at := w.rng.IntN(len(w.content) - size)
	return w.content[at : at+size]
}

// group returns the writes of some cranks.
func (w *steady) group() (out []storage.Write) {
	writes := map[string][]byte{}
	for range cranksOfAGroup {
		w.cranks++
		writes[fmt.Sprintf("q.%d", w.cranks)] = w.value(200)
		if w.cranks > 100 {
			writes[fmt.Sprintf("q.%d", w.cranks-100)] = nil
		}
		for range 3 {
			writes[fmt.Sprintf("s.%d", w.rng.IntN(w.rows))] = w.value(100 + w.rng.IntN(200))
		}
		if w.large > 0 && w.cranks%200 == 0 {
			n := w.cranks / 200
			if w.rng.IntN(2) == 0 { // written over
				n = max(0, n-1-w.rng.IntN(w.large))
			}
			writes[fmt.Sprintf("l.%d", n)] = w.larger[:largeValue+w.rng.IntN(largeValue)]
			writes[fmt.Sprintf("l.%d", w.cranks/200-w.large)] = nil
		}
	}
	for key, value := range writes {
		out = append(out, storage.Write{Key: key, Value: value})
	}
	slices.SortFunc(out, func(a, b storage.Write) int { return int(int8(b.Key[0])) - int(int8(a.Key[0])) })
	return out
}

// fresh returns what a copy of the state takes that is made in an empty directory, once it is open and written to, and once it is
// closed.
func fresh(t *testing.T, from storage.Reader) (open, stopped int64) {
	t.Helper()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	var writes []storage.Write
	for after, size := "", 0; ; {
		key, value, found, err := from.Next("", after)
		if err != nil {
			t.Fatal(err)
		}
		if after = key; found {
			writes, size = append(writes, storage.Write{Key: key, Value: value}), size+len(value)
		}
		if !found || size > 4<<20 {
			if err := s.Commit(writes); err != nil {
				t.Fatal(err)
			}
			writes, size = nil, 0
		}
		if !found {
			break
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	stopped = diskBytes(t, dir)
	s = mustOpen(t, dir)
	if err := s.Commit(rowsOf(0, 1)); err != nil {
		t.Fatal(err)
	}
	open = diskBytes(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open, stopped
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Under a steady workload with restarts the directory takes at most three times what a fresh copy of its state takes: when it is
// stopped, and when it is open and Badger has made its tables. While tables are made of logs and of others, it may take inFlight
// more: what the commits have written since.
func TestTheDiskFollowsTheState(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("writes 100 MB")
	}
	diskFollows(t, 20_000)
}

// The same with the number of cranks that the promise is about.
func TestTortureDisk(t *testing.T) {
	if !torture.Long() {
		t.Skip("takes minutes: make torture")
	}
	const cranks = 1_000_000
	t.Cleanup(func() { torture.Report(t, torture.Row{Part: "Disk", Scenarios: 3, Cranks: 3 * cranks}) })
	diskFollows(t, cranks)
}

func diskFollows(t *testing.T, cranks int) {
	const restarts, inFlight = 20, 16 << 20
	for name, test := range map[string]struct{ rows, large int }{
		"a small state": {2000, 0},
		"a larger one":  {50_000, 0},
		"large values":  {2000, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := newSteady(test.rows, test.large)
			var written, atRest, stopped int64
			for restart := 1; restart <= restarts; restart++ {
				s := mustOpen(t, dir)
				for w.cranks < restart*cranks/restarts {
					if err := s.Commit(w.group()); err != nil {
						t.Fatal(err)
					}
					if w.cranks%200 == 0 {
						written = max(written, diskBytes(t, dir))
					}
				}
				hasItsTables(t, s)
				atRest = max(atRest, diskBytes(t, dir))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				stopped = max(stopped, diskBytes(t, dir))
			}
			s := mustOpen(t, dir)
			open, copied := fresh(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			const mib = 1 << 20
			t.Logf("MiB: open %d, at rest %d, of a copy %d; stopped %.1f, of a copy %.1f", written/mib, atRest/mib, open/mib, float64(stopped)/mib, float64(copied)/mib)
			if atRest > 3*open || written > 3*open+inFlight {
				t.Errorf("open it takes %d bytes, and while it is written to %d; a copy %d", atRest, written, open)
			}
			if stopped > 3*copied {
				t.Errorf("stopped it takes %d bytes; a copy %d", stopped, copied)
			}
		})
	}
}

// A database that an earlier version wrote, whose logs were four times as large, is opened as its kernel left it when it was
// killed.
func TestLogsOfAnEarlierVersionAreRead(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("writes 200 MB")
	}
	for name, rows := range map[string]struct{ n, size int }{"small rows": {40_000, 60}, "rows": {2000, 2000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			written := t.TempDir()
			// The options of that version.
			db, err := badger.Open(badgerOptions(written, Options{Durability: Process}, new(atomic.Bool)).
				WithMemTableSize(64 << 20).WithValueLogFileSize(64 << 20))
			if err != nil {
				t.Fatal(err)
			}
			const commits = 7
			for n := range commits {
				txn := db.NewTransaction(true)
				for i := range rows.n {
					err = errors.Join(err, txn.Set(fmt.Appendf(nil, "%d.%06d", n, i), bytes.Repeat([]byte{byte(n)}, rows.size)))
				}
				err = errors.Join(err, txn.Set([]byte("large"), bytes.Repeat([]byte{byte(n)}, 2*largeValue)))
				if err := errors.Join(err, txn.Commit()); err != nil {
					t.Fatal(err)
				}
			}
			dir := filepath.Join(t.TempDir(), "db")
			if err := os.CopyFS(dir, os.DirFS(written)); err != nil { // what a kill leaves
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			snapshot, err := Examine(dir)
			if err != nil {
				t.Fatal(err)
			}
			if end := snapshot.logs[0].end; end < maxLogBytes {
				t.Errorf("the log has %d bytes, which one of this version may have", end)
			}
			if err := snapshot.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s := mustOpen(t, dir)
				n, after := 0, ""
				for {
					key, value, found, err := s.Next("", after)
					if err != nil {
						t.Fatal(err)
					}
					if !found {
						break
					}
					n, after = n+1, key
					if key != "large" && (len(value) != rows.size || value[0] != key[0]-'0') || key == "large" && (len(value) != 2*largeValue || value[0] != commits-1) {
						t.Fatalf("row %q has %d bytes", key, len(value))
					}
				}
				if n != commits*rows.n+1 {
					t.Errorf("%d rows", n)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A transaction is as large as ever, also behind a log that is nearly full.
func TestTheLargestCommitFollowsAnyOther(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("writes 200 MB")
	}
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	limits := s.Limits()
	if limits.Bytes < 2*4_278_196 || limits.Rows < 90_000 {
		t.Errorf("a commit may have %d rows, %d bytes", limits.Rows, limits.Bytes)
	}
	most := func(rows int) (out []storage.Write) {
		for i := range rows {
			key := fmt.Sprintf("%05d", i)
			out = append(out, storage.Write{Key: key, Value: make([]byte, limits.Bytes/rows-len(key))})
		}
		return out
	}
	for round := range 2 {
		for _, rows := range []int{limits.Rows, 2, 3000} {
			if err := s.Commit(most(rows)); err != nil {
				t.Fatalf("round %d: %d rows: %v", round, rows, err)
			}
			if err := s.Commit(rowsOf(round, 100_000+round*400_000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(dir, Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A commit without large values begins no value log, for whose first block it has asked nobody: also if the value log that is written
// to has become full since, because the values of others went. The next commit with a large value does.
func TestASmallCommitBeginsNoValueLog(t *testing.T) {
	s, err := Open(t.TempDir(), Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	commit := func(writes ...storage.Write) {
		t.Helper()
		if err := s.Commit(writes); err != nil {
			t.Fatal(err)
		}
	}
	value := bytes.Repeat([]byte{1}, 2*largeValue)
	n := 0
	for ; n < 30 || s.internals.valuesEnd.Load() < 9<<20; n++ {
		commit(storage.Write{Key: fmt.Sprint("large", n), Value: value})
	}
	log, end := *s.internals.lastValues, s.internals.valuesEnd.Load()
	for i := range n {
		if fullValueLog(s.values.bytes) < int64(end) {
			break
		}
		commit(storage.Write{Key: fmt.Sprint("large", i)}) // fewer than have the logs collected
	}
	commit(storage.Write{Key: "small", Value: []byte{1}})
	if full := fullValueLog(s.values.bytes); int64(end) <= full {
		t.Fatalf("the log has %d bytes and is full at %d: the test shows nothing", end, full)
	}
	if now := *s.internals.lastValues; now != log {
		t.Errorf("commits without large values have begun value log %d", now)
	}
	commit(storage.Write{Key: "another", Value: value})
	commit(storage.Write{Key: "small", Value: []byte{2}})
	if now := *s.internals.lastValues; now == log {
		t.Errorf("a large value has begun no value log, at %d bytes", s.internals.valuesEnd.Load())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
