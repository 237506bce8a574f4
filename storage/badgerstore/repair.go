package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"ocapkernel.dev/storage"
)

// A commit that could not begin a log.
//
// Once in 2 to 64 MB, a commit has Badger open and map a new log. If that fails, for want of a descriptor, the commit has
// not happened, and Badger is left in a state in which it cannot go on:
//
//   - The log of the memory table: Badger has handed the full memory table over, to be made a table of, and has no memory
//     table to write to. Each read panics, and the next commit ends the process. repair makes the full memory table the
//     current one again. Badger finds it full at the next commit, and hands it over a second time: two tables then hold the
//     same versions of the same rows, which reads and compactions take for one.
//   - The value log: Badger has cut the full value log to its content, and would let it grow again, at another place in
//     memory, while others read in it. repair lets it grow first, under its lock.

// repair repairs the database after a failed commit, before which held was held, if Badger could not begin a log.
// repaired is false if the commit failed for any other reason: then a part of it may have been written.
func (in *internals) repair(held memTable) (repaired bool, err error) {
	in.lock.Lock()
	lost := in.table.IsNil()
	if lost {
		in.table.Set(reflect.ValueOf(held))
	}
	in.lock.Unlock()
	if lost {
		// A file that could be opened and not be mapped is there, and Badger would not take it for new.
		path := logPath(in.dir, uint64(*in.nextLog))
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return true, os.Truncate(path, 0)
		}
		return true, nil
	}
	held.DecrRef()
	log, lock := in.lastValueLog()
	end := int64(in.valuesEnd.Load())
	if end <= in.valueLogSize.Int() || int64(len(log.Data)) != end {
		return false, nil
	}
	if err := os.Remove(valueLogPath(in.dir, uint64(*in.lastValues)+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	lock.Lock()
	defer lock.Unlock()
	return true, remap(log, end+mappedBeyond)
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
	table := s.internals.hold()
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
	repaired, err := s.internals.repair(table)
	if err != nil {
		return s.health.fail(fmt.Errorf("%w; and then: %w", failed, err))
	}
	if !repaired {
		return s.health.fail(failed)
	}
	if s.skipped == 0 {
		s.skipped = txn.ReadTs() + 1
	}
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
