// Package badgerstore is the durable [storage.Store], in a directory, on Badger.
//
// # Durability
//
// A Commit is one Badger transaction. It survives the death of the process in any case. [Durability] decides
// whether it survives a power loss.
//
// Badger silently opens at an older state if its files were damaged, and deletes the files that do not belong
// to that state. So [Open] examines the files first. It cannot tell a log that was cut from a log that was
// never longer; [storage.Witness] can.
//
// Badger writes into memory maps, where a disk without room is a SIGBUS. Each Commit has its blocks allocated
// beforehand, and its pages written to, where a SIGBUS is an error. For the tables that Badger makes of the commits later, Commit only checks that there is room:
// keep space free.
//
// # Concurrency
//
// Reads may come from any goroutine at any time; Commit from one at a time.
package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/storage"
)

// ErrLocked is returned, wrapped, by [Open] if another process (or another Store of this one) uses the
// directory. The caller tells the operator which kernel to stop.
var ErrLocked = errors.New("the database is in use by another process")

// Durability is the harm that a Commit survives once it has returned.
type Durability int

const (
	// Power is the default: a Commit survives a power loss. Each Commit waits for the disk.
	Power Durability = iota
	// Process: a Commit survives the death of the process only. It is faster, and a power loss may take the
	// last seconds.
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
	// Name is the directory's name in the log; empty for its path.
	Name string
	// Logger gets the log lines of Badger; nil for none.
	Logger *slog.Logger
	// Examined is called with the state as it lies in the files, before any file is changed. If it returns an
	// error, Open returns that error and changes nothing. Nil accepts each state that is whole.
	Examined func(storage.Reader) error
}

// Store is a [storage.Store] in a directory.
type Store struct {
	db      *badger.DB
	limits  storage.Limits
	reserve *reserve
	health  *health
	// internals is used by the one caller of Commit at a time.
	internals *internals
	values    *values

	durability Durability
	// unsynced is set when a commit could not sync a value log.
	unsynced *atomic.Bool
	// sized is the id of the next log when sizeLogs decided how large the current one becomes.
	sized int
	// skipped is the first version since the last commit that was handed out and not used; 0 if there is none.
	skipped uint64
}

// Open opens the database in dir, or makes one there. It returns [ErrLocked] if another process or Store has it
// open, [storage.ErrCorrupt] if a file is not as it was written, and [storage.ErrNoRoom] if the disk is full.
// All are wrapped, and then no file has changed.
//
// Open reads all files once, see [Examine]; besides, it takes some 10 ms, or 100 after a crash.
func Open(dir string, o Options) (*Store, error) {
	if locked(dir) {
		return nil, fmt.Errorf("open %s: %w", dir, ErrLocked)
	}
	snapshot, err := Examine(dir)
	if err != nil {
		return nil, err
	}
	values := newValues(snapshot.large)
	if o.Examined != nil {
		err = o.Examined(snapshot)
	}
	if err := errors.Join(err, snapshot.Close()); err != nil {
		return nil, err
	}
	reserve := newReserve(dir)
	if err := reserve.beforeOpen(snapshot); err != nil {
		return nil, fmt.Errorf("open database %s: %w", dir, err)
	}
	if err := snapshot.prepare(); err != nil {
		return nil, fmt.Errorf("open database %s: %w", dir, err)
	}
	fault.Point(fault.StorePrepared)
	watchBlocks()
	seen := badBlocks.Load()
	unsynced := new(atomic.Bool)
	options := badgerOptions(dir, o, unsynced)
	if snapshot.hasLogs() {
		err = replay(options)
	}
	var db *badger.DB
	if err == nil {
		db, err = open(options)
	}
	if err != nil {
		if locked(dir) { // by now
			return nil, fmt.Errorf("open %s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("open database %s: %w", dir, err)
	}
	internals, err := newInternals(db, dir)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", dir, errors.Join(err, db.Close()))
	}
	fault.Point(fault.StoreOpened)
	health := newHealth(func() error { return verify(db, dir) }, seen)
	return &Store{db: db, limits: limitsOf(db), reserve: reserve, health: health, internals: internals, values: values, durability: o.Durability, unsynced: unsynced}, nil
}

// replay makes tables of the logs that a death has left. They may be larger than the logs of this version.
func replay(o badger.Options) error {
	db, err := open(o.WithMemTableSize(transactionTable).WithCompactL0OnClose(false))
	if err != nil {
		return err
	}
	return db.Close()
}

// open opens the database, and returns a panic of Badger, which is its report of some damages, as an error.
func open(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged("%v", p)
		}
	}()
	return badger.Open(o)
}

// prepare repairs the files that a death has left unfinished, as Badger would, and also those that Badger
// cannot bear: it cuts logs behind their last whole entry, and removes files in which nothing was ever
// written.
func (s *Snapshot) prepare() error {
	if s.fresh {
		return nil // at most LOCK, or a MANIFEST that has no name yet
	}
	for _, f := range slices.AppendSeq(slices.Clone(s.logs), maps.Values(s.values)) {
		var err error
		switch {
		case f.end < logHeaderBytes:
			// Badger makes a log empty, and cuts a log to nothing before it removes it.
			err = os.Remove(f.path)
		case f.end < f.size:
			err = os.Truncate(f.path, f.end)
		}
		if err != nil {
			return err
		}
	}
	// The file only counts bytes that could be reclaimed, and Badger does not check whether it is whole.
	discard := filepath.Join(s.dir, discardName)
	if info, err := os.Lstat(discard); err == nil && info.Size() != discardBytes {
		return os.Remove(discard)
	}
	return nil
}

// locked reports whether another process or Store holds Badger's lock of dir. Badger's own error is only prose.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // releases the lock, if we got it
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// badgerOptions returns the options of Badger. unsynced is set when a commit succeeds whose large values are not on the disk.
func badgerOptions(dir string, o Options, unsynced *atomic.Bool) badger.Options {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return badger.DefaultOptions(dir).
		WithLogger(badgerLog{log: logger, dir: dir, name: o.Name, unsynced: unsynced}).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(true).
		WithSyncWrites(o.Durability == Power).
		// There is one writer.
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(maxLogBytes).
		WithCompactL0OnClose(true).
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
		// another file could be lost alone, and has to be collected: see values.
		WithValueThreshold(largeValue).
		WithValueLogFileSize(mappedBeyond)
}

// limitsOf returns limits below the size of a transaction. Badger also counts bytes that [storage.Write.Size]
// does not: per row the version, two bytes of meta and the bookkeeping of the transaction, and one row for its
// end.
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
	return s.get(key, s.once)
}

// once has something read in a transaction of its own.
func (s *Store) once(read func(*badger.Txn) error) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return read(txn)
}

// get reads a row, in the transaction in which in has it read.
func (s *Store) get(key string, in func(read func(*badger.Txn) error) error) (value []byte, found bool, err error) {
	if !validKey(key) {
		return nil, false, nil
	}
	err = s.health.read(func() error {
		return in(func(txn *badger.Txn) error {
			item, err := txn.Get([]byte(key))
			if found = !errors.Is(err, badger.ErrKeyNotFound); !found {
				return nil
			}
			if err == nil {
				value, err = copyValue(item)
			}
			return err
		})
	})
	if err != nil {
		return nil, false, fmt.Errorf("read row %.80q: %w", key, err)
	}
	return value, found, nil
}

// Next implements [storage.Reader].
func (s *Store) Next(prefix, after string) (key string, value []byte, found bool, err error) {
	return s.next(prefix, after, s.once)
}

// next reads the next row, in the transaction in which in has it read.
func (s *Store) next(prefix, after string, in func(read func(*badger.Txn) error) error) (key string, value []byte, found bool, err error) {
	err = s.health.read(func() error {
		return in(func(txn *badger.Txn) (err error) {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
			defer it.Close()
			// The smallest string above after is after with a zero byte.
			it.Seek([]byte(max(prefix, after+"\x00")))
			for it.Valid() && !validKey(string(it.Item().Key())) {
				it.Next()
			}
			if found = it.Valid(); !found {
				return nil
			}
			key = string(it.Item().Key())
			value, err = copyValue(it.Item())
			return err
		})
	})
	switch {
	case err != nil:
		return "", nil, false, fmt.Errorf("read the row after %.80q: %w", after, err)
	case !found:
		return "", nil, false, nil
	}
	return key, value, true, nil
}

// Step implements [storage.Stepper]. The versions of rows that were written over count as removed rows.
func (s *Store) Step(prefix, after string, most int) (key string, value []byte, found, ready bool, err error) {
	return s.step(prefix, after, most, s.once)
}

// step is Step in the transaction that in hands out.
func (s *Store) step(prefix, after string, most int, in func(read func(*badger.Txn) error) error) (key string, value []byte, found, ready bool, err error) {
	err = s.health.read(func() error {
		return in(func(txn *badger.Txn) (err error) {
			key, value, found, ready, err = stepIn(txn, prefix, after, most)
			return err
		})
	})
	if err != nil {
		return "", nil, false, false, fmt.Errorf("read the row after %.80q: %w", after, err)
	}
	return key, value, found, ready, nil
}

func stepIn(txn *badger.Txn, prefix, after string, most int) (key string, value []byte, found, ready bool, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix), AllVersions: true})
	defer it.Close()
	passed := after
	for it.Seek([]byte(max(prefix, after+"\x00"))); it.Valid(); it.Next() {
		item := it.Item()
		// The newest version of a row comes first. The older versions of a removed row follow it.
		if k := string(item.Key()); validKey(k) && k != passed {
			if !item.IsDeletedOrExpired() {
				value, err = copyValue(item)
				return k, value, true, true, err
			}
			passed = k
		}
		if most--; most <= 0 && passed != after {
			return passed, nil, false, false, nil
		}
	}
	return "", nil, false, true, nil
}

// frozen is the state as one transaction sees it.
type frozen struct {
	s   *Store
	txn *badger.Txn
	err error // why there is no transaction; nil if there is one
}

// Freeze implements [storage.Store].
func (s *Store) Freeze() storage.Frozen {
	f := &frozen{s: s}
	// From here on no value log is removed. A log that was removed before held no value of the state as it is now.
	s.values.count(1)
	f.err = s.health.read(func() error {
		f.txn = s.db.NewTransaction(false)
		return nil
	})
	return f
}

// Get implements [storage.Reader].
func (f *frozen) Get(key string) ([]byte, bool, error) { return f.s.get(key, f.in) }

// Next implements [storage.Reader].
func (f *frozen) Next(prefix, after string) (string, []byte, bool, error) {
	return f.s.next(prefix, after, f.in)
}

// Step implements [storage.Stepper], as [Store.Step] does.
func (f *frozen) Step(prefix, after string, most int) (key string, value []byte, found, ready bool, err error) {
	return f.s.step(prefix, after, most, f.in)
}

// in has something read in the transaction.
func (f *frozen) in(read func(*badger.Txn) error) error {
	if f.err != nil {
		return f.err
	}
	return read(f.txn)
}

// Close implements [storage.Frozen].
func (f *frozen) Close() {
	f.s.values.count(-1)
	if f.txn != nil {
		// A read that panicked while Badger had no memory table counts as one under way, on which Discard panics. The
		// versions of rows that the transaction sees are then kept until the next Open.
		_ = noPanic(func() error { f.txn.Discard(); return nil })
	}
}

// Commit implements [storage.Store]. After a commit it goes on with the collection of value logs, within a budget.
//
// An error about the writes themselves changes nothing, and neither does [storage.ErrNoRoom]. After any other error each later
// call of the store returns it, reads of moments that were frozen before included: nobody knows which of the writes a read
// would find.
func (s *Store) Commit(writes []storage.Write) error {
	if err := s.limits.Check(writes); err != nil {
		return err
	}
	err := s.commitWrites(writes)
	if err == nil {
		if err = s.collect(); err != nil {
			err = fmt.Errorf("collect value logs: %w", err)
		}
	}
	if err != nil && !errors.Is(err, storage.ErrNoRoom) {
		_ = s.health.fail(err) // the caller gets this error, which says more than the first one
	}
	return err
}

// commitWrites commits writes.
func (s *Store) commitWrites(writes []storage.Write) error {
	// A read on which this commit depends may have met a bad block, or a compaction may have.
	if err := s.health.check(); err != nil {
		return fmt.Errorf("commit %d rows: %w", len(writes), err)
	}
	if err := s.sizeLogs(writes); err != nil {
		return fmt.Errorf("commit %d rows: %w", len(writes), err)
	}
	if err := s.makeRoom(writes); err != nil {
		return fmt.Errorf("commit %d rows: %w", len(writes), err)
	}
	if s.internals.full() {
		// Badger begins another log, and never syncs this one again. Without power durability a power loss would else leave a
		// later log and not this one, and rows whose values removeValueLog counts as moved.
		fault.Point(fault.StoreBeforeLog)
		if err := s.internals.sync(); err != nil {
			return fmt.Errorf("sync a full log: %w", err)
		}
		fault.Point(fault.StoreFullLogSynced)
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	written := false
	for _, w := range writes {
		var err error
		if w.Value == nil {
			err = txn.Delete([]byte(w.Key))
		} else {
			// Badger keeps the value until it is written out; by the contract it is the store's.
			err = txn.Set([]byte(w.Key), w.Value)
			written = true
		}
		if err != nil {
			return fmt.Errorf("commit row %.80q: %w", w.Key, err)
		}
	}
	if !written && len(writes) > 0 {
		// A compaction may forget deletions, and their version with them: then [Examine] would miss the
		// version.
		if err := txn.Set([]byte(versionKey), []byte{}); err != nil {
			return fmt.Errorf("commit row %s: %w", versionKey, err)
		}
	}
	if s.skipped > 0 {
		if err := txn.Set([]byte(skippedKey), binary.BigEndian.AppendUint64(nil, s.skipped)); err != nil {
			return fmt.Errorf("commit row %s: %w", skippedKey, err)
		}
	}
	log := *s.internals.lastValues // Badger begins another one at the end of a commit
	fault.Point(fault.StoreBeforeCommit)
	if err := s.commit(txn); err != nil {
		return fmt.Errorf("commit %d rows: %w", len(writes), err)
	}
	if s.unsynced.Load() {
		return fmt.Errorf("commit %d rows: value log %06d.vlog could not be synced", len(writes), log)
	}
	fault.Point(fault.StoreAfterCommit)
	s.skipped = 0
	s.values.committed(writes, log)
	return nil
}

// makeRoom makes sure that there is room for a commit of these writes. It writes to no page if a log lacks blocks.
func (s *Store) makeRoom(writes []storage.Write) error {
	if _, values := logged(writes); values > 0 {
		if err := s.internals.stretch(); err != nil {
			return err
		}
	}
	if err := s.reserve.room(writes, s.internals.ends()); err != nil {
		return err
	}
	return s.internals.touch(writes)
}

// Limits implements [storage.Store].
func (s *Store) Limits() storage.Limits { return s.limits }

// Close implements [storage.Store]. It writes out the memory table, and has Badger drop what was written over or deleted since
// its last compaction, if there is room for that: some 50 ms, or a second after much was written. It returns
// [storage.ErrNoRoom], wrapped, if the disk has no room for that. If a Commit has failed for another reason than
// that, or a table is not as it was written, it returns that error. Then the database stays as it is until the end of the process: the
// next Open finds everything in the logs.
func (s *Store) Close() error {
	if err := s.health.check(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	content := s.internals.ends().content
	if err := s.reserve.beforeClose(content); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	if s.reserve.beforeCompaction(content) != nil {
		s.internals.doNotCompact()
	}
	fault.Point(fault.StoreBeforeClose)
	if err := errors.Join(s.closeDatabase(), removeEmpty(s.internals.nextPath())); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	fault.Point(fault.StoreClosed)
	return nil
}

// closeDatabase closes the database. A compaction that meets a bad block does not end, and Badger would wait for it.
func (s *Store) closeDatabase() error {
	closed := make(chan error, 1)
	go func() { closed <- s.db.Close() }()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-closed:
			return err
		case <-look.C:
			if err := s.health.check(); err != nil {
				return err
			}
		}
	}
}

const (
	// lockName holds the id of the process that has the database open.
	lockName = "LOCK"
	// discardName is a file of discardBytes that Badger maps.
	discardName  = "DISCARD"
	discardBytes = 1 << 20
	// versionKey is the row of a commit that would otherwise write none.
	versionKey = "!version"
	// skippedKey is the row of a commit after one that Badger could not begin a log for: the versions from its value, 8 bytes
	// big-endian, to the commit's own were handed out and not used. Otherwise [Examine] would miss them.
	skippedKey = "!skipped"
)

// validKey reports whether a row can have this key. A read of any other key finds no row.
func validKey(key string) bool { return key != "" && key[0] != '!' }

// copyValue returns the value of a row, which is never nil: nil would mean a deletion if it was written back.
// Badger returns no value, and no error, for a value in a value log that cannot be read.
func copyValue(item *badger.Item) ([]byte, error) {
	value, err := item.ValueCopy(nil)
	if err == nil && value == nil && item.EstimatedSize() > int64(len(item.Key())) {
		return nil, damaged("its value in the value log cannot be read")
	}
	if value == nil && err == nil {
		value = []byte{}
	}
	return value, err
}
