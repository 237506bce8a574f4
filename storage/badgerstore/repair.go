package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/ristretto/v2/z"

	"ocapkernel.dev/storage"
)

// repairer repairs a database in which Badger could not begin a log, so that the commit can be made again.
//
// Once in some 64 MB, a commit has Badger open and map a new log. If that fails, for want of a descriptor, the commit has
// not happened, and Badger is left in a state in which it cannot go on:
//
//   - The log of the memory table: Badger has handed the full memory table over, to be made a table of, and has no memory
//     table to write to. Each read panics, and the next commit ends the process. The repairer makes the full memory table
//     the current one again. Badger finds it full at the next commit, and hands it over a second time: two tables then
//     hold the same versions of the same rows, which reads and compactions take for one.
//   - The value log: Badger has cut the full value log to its content, and would let it grow again, at another place in
//     memory, while others read in it. The repairer lets it grow first, under its lock.
//
// These are private fields of Badger. [Open] fails if the fields are not as in the version that go.mod names.
type repairer struct {
	dir string
	// lock guards table, a variable of type *badger.memTable: the memory table that is written to.
	lock  *sync.RWMutex
	table reflect.Value
	// nextLog is the id of the next log of a memory table.
	nextLog *int
	// values are the value logs by id, of type map[uint32]*badger.logFile. lastValues is the id of the one that is written
	// to, valuesEnd its content. They are written by commits only.
	values     reflect.Value
	lastValues *uint32
	valuesEnd  *atomic.Uint32
}

// memTable is the part of a memory table that the repairer needs. A memory table is released, and its log removed, at the
// last DecrRef.
type memTable interface {
	IncrRef()
	DecrRef()
}

// newRepairer returns the repairer of a database.
func newRepairer(db *badger.DB, dir string) (r *repairer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("another version of Badger than this program was written for: %v", p)
		}
	}()
	inner := reflect.ValueOf(db).Elem()
	values := inner.FieldByName("vlog")
	r = &repairer{
		dir:        dir,
		lock:       variable(inner, "lock").Addr().Interface().(*sync.RWMutex),
		table:      variable(inner, "mt"),
		nextLog:    variable(inner, "nextMemFid").Addr().Interface().(*int),
		values:     variable(values, "filesMap"),
		lastValues: variable(values, "maxFid").Addr().Interface().(*uint32),
		valuesEnd:  variable(values, "writableLogOffset").Addr().Interface().(*atomic.Uint32),
	}
	_ = r.table.Interface().(memTable)
	// Badger closes MANIFEST before it opens the file that replaces it, and makes no more tables if that fails. The file
	// grows by some 20 bytes a table: it is not replaced while the database is open.
	manifest := variable(inner, "manifest").Elem()
	lock := variable(manifest, "appendLock").Addr().Interface().(*sync.Mutex)
	lock.Lock()
	defer lock.Unlock()
	variable(manifest, "deletionsRewriteThreshold").SetInt(math.MaxInt)
	_, _ = r.lastValueLog()
	return r, nil
}

// variable returns a field of a struct as a variable that can be read and set. It panics if there is no such field.
func variable(of reflect.Value, name string) reflect.Value {
	f := of.FieldByName(name)
	return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
}

// lastValueLog returns the value log that is written to, and its lock.
func (r *repairer) lastValueLog() (*z.MmapFile, *sync.RWMutex) {
	log := r.values.MapIndex(reflect.ValueOf(*r.lastValues)).Elem()
	return variable(log, "MmapFile").Interface().(*z.MmapFile), variable(log, "lock").Addr().Interface().(*sync.RWMutex)
}

// hold keeps the current memory table until the commit that follows has ended: then its DecrRef is called, or repair.
// No commit may be under way.
func (r *repairer) hold() memTable {
	table := r.table.Interface().(memTable)
	table.IncrRef()
	return table
}

// repair repairs the database after a failed commit, before which held was held, if Badger could not begin a log.
// repaired is false if the commit failed for any other reason: then a part of it may have been written.
func (r *repairer) repair(held memTable) (repaired bool, err error) {
	r.lock.Lock()
	lost := r.table.IsNil()
	if lost {
		r.table.Set(reflect.ValueOf(held))
	}
	r.lock.Unlock()
	if lost {
		// A file that could be opened and not be mapped is there, and Badger would not take it for new.
		path := logPath(r.dir, uint64(*r.nextLog))
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return true, os.Truncate(path, 0)
		}
		return true, nil
	}
	held.DecrRef()
	log, lock := r.lastValueLog()
	end := int64(r.valuesEnd.Load())
	if end <= valueLogBytes || int64(len(log.Data)) != end {
		return false, nil
	}
	if err := os.Remove(valueLogPath(r.dir, uint64(*r.lastValues)+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	lock.Lock()
	defer lock.Unlock()
	return true, log.Truncate(end + valueLogBytes)
}

// logPath returns the path of a log of the memory table.
func logPath(dir string, id uint64) string { return filepath.Join(dir, fmt.Sprintf("%05d.mem", id)) }

// valueLogPath returns the path of a value log.
func valueLogPath(dir string, id uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%06d.vlog", id))
}

// commit hands a transaction to Badger. It returns an error that wraps [storage.ErrNoRoom] if Badger could not begin a log
// for want of a descriptor, of memory or of room in a directory: nothing has changed then.
func (s *Store) commit(txn *badger.Txn) error {
	s.health.commits.Lock()
	defer s.health.commits.Unlock()
	table := s.repairer.hold()
	failed := txn.Commit()
	if failed == nil {
		table.DecrRef()
		return nil
	}
	lacks, short := shortageIn(failed)
	if !short {
		table.DecrRef()
		return s.health.fail(failed)
	}
	repaired, err := s.repairer.repair(table)
	if err != nil {
		return s.health.fail(fmt.Errorf("%w; and then: %w", failed, err))
	}
	if !repaired {
		return s.health.fail(failed)
	}
	s.reserve.lookAgain()
	s.health.repairs.Add(1)
	return fmt.Errorf("%w: %w (%w)", storage.ErrNoRoom, lacks, failed)
}

// shortageIn finds the shortage that is the cause of an error of Badger, whose errors are only prose.
func shortageIn(err error) (syscall.Errno, bool) {
	// The text of one errno may begin with the text of another.
	var found syscall.Errno
	for _, e := range shortages {
		if strings.Contains(err.Error(), e.Error()) && (found == 0 || len(e.Error()) > len(found.Error())) {
			found = e
		}
	}
	return found, found != 0
}
