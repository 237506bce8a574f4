package badgerstore

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"

	"ocapkernel.dev/storage"
)

// A block of a table can go bad while the database is open. Badger verifies each block that it reads, and takes
// a block that is not as it was written for the end of its table: the rows in it, and behind it, are absent, or
// show an older version. A compaction that reads such a block would make that permanent. Badger reports
// nothing; but at that moment it renders the error y.ErrChecksumMismatch, a variable that this package
// replaces.

// badBlocks counts the bad blocks, of any database of this process, that were read.
var badBlocks atomic.Int64

// watchBlocks has Badger count bad blocks. Open calls it before it opens a database.
var watchBlocks = sync.OnceFunc(func() { y.ErrChecksumMismatch = &badBlock{y.ErrChecksumMismatch} })

// badBlock is the error of a checksum that is wrong. The goroutine that has read the block renders the error
// before it goes on.
type badBlock struct{ error }

// Error implements error.
func (b *badBlock) Error() string {
	badBlocks.Add(1)
	if compacting() {
		// The compaction must not come to its end, at which it deletes the tables that it has read. The process
		// ends before long: a store with a damaged table answers every call with an error.
		select {}
	}
	return b.error.Error()
}

// compacting reports whether this goroutine makes tables of other tables.
func compacting() bool {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "levelsController).subcompact") {
			return true
		}
		if !more {
			return false
		}
	}
}

// health decides whether one database can go on.
type health struct {
	// verify reads all tables, and returns an error if one is damaged.
	verify func() error
	// seen is the number of bad blocks after which all tables were found to be whole.
	seen atomic.Int64
	// damage is the reason why the database cannot go on, for good; nil if there is none.
	damage    atomic.Pointer[error]
	verifying sync.Mutex
	// commits is held while Badger commits. repairs counts the repairs after commits that failed, see repair.
	commits sync.Mutex
	repairs atomic.Int64
}

// newHealth returns the health of a database whose tables verify reads. The tables were whole when seen bad
// blocks had been met.
func newHealth(verify func() error, seen int64) *health {
	h := &health{verify: verify}
	h.seen.Store(seen)
	return h
}

// check returns an error if the database cannot go on; it wraps storage.ErrCorrupt if a table is damaged.
func (h *health) check() error {
	if err := h.damage.Load(); err != nil {
		return *err
	}
	n := badBlocks.Load()
	if h.seen.Load() == n {
		return nil
	}
	h.verifying.Lock()
	defer h.verifying.Unlock()
	if h.damage.Load() == nil {
		if err := noPanic(h.verify); err != nil {
			return h.fail(fmt.Errorf("a table has gone bad: %w", err))
		}
		h.seen.Store(n) // it was a table of another database
	}
	return h.check()
}

// verify reads all tables of a database. Badger's own function of this kind panics at the first bad block.
func verify(db *badger.DB, dir string) error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a table may be cut while it is read
	files := &Snapshot{dir: dir}
	for _, there := range db.Tables() {
		t, err := files.openTable(there.ID)
		if err == nil {
			_ = t.Close(-1) // only read
			continue
		}
		// A compaction has removed the table meanwhile, if Badger does not list it any more.
		if slices.ContainsFunc(db.Tables(), func(t badger.TableInfo) bool { return t.ID == there.ID }) {
			return err
		}
	}
	return nil
}

// fail notes the reason why the database cannot go on. The first reason stays.
func (h *health) fail(err error) error {
	h.damage.CompareAndSwap(nil, &err)
	return *h.damage.Load()
}

// read performs a read of the database. It returns an error instead of the answer of a read that has met a bad
// block.
func (h *health) read(f func() error) error {
	if err := h.check(); err != nil {
		return err
	}
	const attempts = 3
	for attempt := 0; attempt < attempts; attempt++ {
		n, repairs := badBlocks.Load(), h.repairs.Load()
		err := noPanic(f)
		if errors.Is(err, storage.ErrCorrupt) {
			if h.repaired(repairs) {
				attempt = -1
				continue
			}
			return h.fail(err)
		}
		if badBlocks.Load() == n {
			return err
		}
		if err := h.check(); err != nil {
			return err
		}
	}
	return h.fail(damaged("a block of a table cannot be read"))
}

// repaired reports whether the database was repaired after the first so many repairs. It waits for a commit under way:
// between the failure of a commit and the repair, reads panic.
func (h *health) repaired(repairs int64) bool {
	h.commits.Lock()
	defer h.commits.Unlock()
	return h.repairs.Load() != repairs
}

// noPanic returns a panic, which is Badger's report of a block that is no block, as an error.
func noPanic(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged("%v", p)
		}
	}()
	return f()
}
