// Package badgerstore is the durable [storage.Store], in a directory, on Badger.
//
// # Durability
//
// A Commit is one Badger transaction. It survives the death of the process in any case. Whether it
// survives a power loss is the choice of [Durability].
//
// Badger can silently open at an older state if its files were damaged; see [storage.Witness].
// It writes into sparse memory maps, so a full disk kills the process with SIGBUS: keep space free.
//
// # Concurrency
//
// Reads may come from any goroutine at any time; Commit from one at a time.
package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/storage"
)

// ErrLocked is returned, wrapped, by [Open] if another process (or another Store of this one) uses
// the directory. The caller tells the user which kernel to stop.
var ErrLocked = errors.New("the database is in use by another process")

// Durability says what a Commit that has returned survives.
type Durability int

const (
	// Power is the default: a power loss. Each Commit waits for the disk.
	Power Durability = iota
	// Process is the death of the process only: faster, and a power loss may take the last seconds.
	Process
)

// String returns the name that ParseDurability knows.
func (d Durability) String() string {
	switch d {
	case Power:
		return "power"
	case Process:
		return "process"
	default:
		return fmt.Sprintf("durability(%d)", int(d))
	}
}

// ParseDurability returns the Durability of that name, "power" or "process".
func ParseDurability(name string) (Durability, error) {
	for _, d := range []Durability{Power, Process} {
		if name == d.String() {
			return d, nil
		}
	}
	return 0, fmt.Errorf("unknown durability %q: want power or process", name)
}

// Options are the choices of [Open]. The zero value is the safe one.
type Options struct {
	Durability Durability
	// Logger gets what Badger has to say; nil for nothing.
	Logger hclog.Logger
}

// memTableBytes decides what one transaction may hold: 15 %, about 10 MB and 100,000 rows. Two of
// them are held in memory at most.
const memTableBytes = 64 << 20

// Store is a [storage.Store] in a directory.
type Store struct {
	db     *badger.DB
	limits storage.Limits
}

// Open opens the database in dir, or makes one there. It returns [ErrLocked] if somebody else has it open.
// It takes some 10 ms, or 100 after a crash.
func Open(dir string, o Options) (*Store, error) {
	if locked(dir) {
		return nil, fmt.Errorf("open %s: %w", dir, ErrLocked)
	}
	if err := removeUnborn(dir); err != nil {
		return nil, fmt.Errorf("open database %s: %w", dir, err)
	}
	db, err := badger.Open(badgerOptions(dir, o))
	if err != nil {
		if locked(dir) { // by now
			return nil, fmt.Errorf("open %s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("open database %s: %w", dir, err)
	}
	return &Store{db: db, limits: limitsOf(db)}, nil
}

// removeUnborn removes logs without a byte, which a kill has left at the moment of their making. Nothing was ever
// in them, and Badger does not open a database with one.
func removeUnborn(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new database
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() == 0 {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// locked tells whether somebody else holds Badger's lock of dir. Badger says so only in prose.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // releases the lock, if we got it
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func badgerOptions(dir string, o Options) badger.Options {
	logger := o.Logger
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	return badger.DefaultOptions(dir).
		WithLogger(badgerLog{logger}).
		WithMetricsEnabled(false).
		WithSyncWrites(o.Durability == Power).
		// There is one writer.
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(memTableBytes).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		// Tables are mapped: the page cache is the cache. Block cache and compression go together.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		// Values stay in the LSM tree, beside their keys, up to the most that Badger allows; a value in
		// another file could be lost alone, and the value log hardly ever shrinks.
		WithValueThreshold(1 << 20).
		WithValueLogFileSize(64 << 20)
}

// limitsOf stays below what a transaction takes, by what Badger counts and [storage.Write.Size] does not:
// per row the version, two bytes of meta and the bookkeeping of the transaction, and one row for its end.
func limitsOf(db *badger.DB) storage.Limits {
	const perRow = 16
	rows := int(db.MaxBatchCount()) * 9 / 10
	return storage.Limits{
		Rows:  rows,
		Bytes: int(db.MaxBatchSize()) - rows*perRow,
	}
}

// Get implements [storage.Reader].
func (s *Store) Get(key string) (value []byte, found bool, err error) {
	if !validKey(key) {
		return nil, false, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	item, err := txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err == nil {
		value, err = copyValue(item)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read row %.80q: %w", key, err)
	}
	return value, true, nil
}

// Next implements [storage.Reader].
func (s *Store) Next(prefix, after string) (key string, value []byte, found bool, err error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
	defer it.Close()
	// The smallest string above after is after with a zero byte.
	it.Seek([]byte(max(prefix, after+"\x00")))
	if !it.Valid() {
		return "", nil, false, nil
	}
	key = string(it.Item().Key())
	if value, err = copyValue(it.Item()); err != nil {
		return "", nil, false, fmt.Errorf("read row %.80q: %w", key, err)
	}
	return key, value, true, nil
}

// Commit implements [storage.Store].
func (s *Store) Commit(writes []storage.Write) error {
	if err := s.limits.Check(writes); err != nil {
		return err
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, w := range writes {
		var err error
		if w.Value == nil {
			err = txn.Delete([]byte(w.Key))
		} else {
			// Badger keeps the value until it is written out; the contract gives it to us.
			err = txn.Set([]byte(w.Key), w.Value)
		}
		if err != nil {
			return fmt.Errorf("commit row %.80q: %w", w.Key, err)
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("commit %d rows: %w", len(writes), err)
	}
	return nil
}

// Limits implements [storage.Store].
func (s *Store) Limits() storage.Limits { return s.limits }

// Close implements [storage.Store]. It writes out what is in memory and takes some 50 ms.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// validKey tells keys that can have a row from those that cannot: a question for them is answered "no row".
func validKey(key string) bool { return key != "" && key[0] != '!' }

// copyValue never returns nil for a row that exists, which would mean a deletion if it was written back.
func copyValue(item *badger.Item) ([]byte, error) {
	value, err := item.ValueCopy(nil)
	if value == nil && err == nil {
		value = []byte{}
	}
	return value, err
}
