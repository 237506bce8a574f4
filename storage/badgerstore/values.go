package badgerstore

import (
	"errors"
	"sync"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/storage"
)

// values gives back the space of value logs.
//
// A value of largeValue bytes and more lies in a value log, in which nothing is ever changed: where the row is written again, or
// deleted, the old value stays. Badger's own collection of value logs waits for compactions to find that out, which a few
// large rows hardly cause, and it writes entries that are no transactions of ours, which [Examine] would take for the end of
// a log. So the store knows where each large value is, and moves the values that are left in a log, by commits like any
// other, to the log that is written to. When none is left, and nobody reads the state of an earlier moment, the log is removed.
// The versions of rows whose values were in it are never read again, and a compaction drops them.
//
// A death at any moment leaves a row with its old place or its new one. A log is removed when the new places are on the disk.
//
// The methods are called by the one caller of [Store.Commit] at a time, except count.
type values struct {
	at   map[string]place
	live map[uint32]int64 // bytes of the values in each log
	// bytes are those of all values.
	bytes int64
	// collecting is set if there may be something to collect.
	collecting bool

	// frozen guards the number of moments that are read. It is taken while health.commits is held, and no lock is taken
	// while it is held but the one of Badger's list of value logs.
	frozen struct {
		sync.Mutex
		n int
	}
}

// place is where the value of a row lies.
type place struct {
	log   uint32
	bytes int64
}

// moveBytes bounds the values that are moved beside one commit. A single value may be larger.
const moveBytes = 4 << 20

func newValues(at map[string]place) *values {
	v := &values{at: at, live: map[uint32]int64{}, collecting: true}
	for _, p := range at {
		v.live[p.log] += p.bytes
		v.bytes += p.bytes
	}
	return v
}

// committed notes the writes of a commit, whose large values have gone to a log.
func (v *values) committed(writes []storage.Write, log uint32) {
	for _, w := range writes {
		if p, ok := v.at[w.Key]; ok {
			v.live[p.log] -= p.bytes
			v.bytes -= p.bytes
			delete(v.at, w.Key)
			v.collecting = true
		}
		if len(w.Value) >= largeValue {
			p := place{log, int64(w.Size())}
			v.at[w.Key] = p
			v.live[log] += p.bytes
			v.bytes += p.bytes
			v.collecting = true
		}
	}
}

// worst returns the value log that has the most garbage, if there is too much garbage in all; not the log that is written to.
// files are the bytes of all others.
func (v *values) worst(files map[uint32]int64) (log uint32, found bool) {
	var all, live int64
	for id, bytes := range files {
		all, live = all+bytes, live+v.live[id]
		if gain := bytes - v.live[id]; !found || gain > files[log]-v.live[log] || gain == files[log]-v.live[log] && id < log {
			log, found = id, true
		}
	}
	return log, found && all > 2*live
}

// collect goes on with the collection of value logs: it moves some values, or removes a log. A lack of room ends it for now.
// The error is one after which the store cannot go on.
func (s *Store) collect() error {
	if !s.values.collecting {
		return nil
	}
	files, err := s.internals.fullValueLogs()
	if err != nil {
		return nil // the next commit tries again
	}
	log, found := s.values.worst(files)
	if !found {
		s.values.collecting = false // until a value is written or deleted
		return nil
	}
	if s.values.live[log] > 0 {
		return s.move(log)
	}
	return s.removeValueLog(log)
}

// move moves some of the values in a log.
func (s *Store) move(log uint32) error {
	var writes []storage.Write
	size := 0
	for key, p := range s.values.at {
		if p.log != log || size > 0 && size+int(p.bytes) > moveBytes {
			continue
		}
		value, found, err := s.Get(key)
		if err != nil {
			return err
		}
		if !found {
			return damaged("row %.80q, whose value is in value log %06d.vlog, is missing", key, log)
		}
		writes = append(writes, storage.Write{Key: key, Value: value})
		size += int(p.bytes)
	}
	fault.Point(fault.StoreBeforeMove)
	err := s.commitWrites(writes)
	fault.Point(fault.StoreAfterMove)
	if errors.Is(err, storage.ErrNoRoom) {
		return nil
	}
	return err
}

// removeValueLog removes a log in which no value is left, unless somebody reads the state of an earlier moment.
func (s *Store) removeValueLog(log uint32) error {
	if s.values.count(0) > 0 {
		return nil // the next commit tries again
	}
	// Without power durability the new places are not on the disk yet. Sync is of the logs that are written to; the full ones
	// were synced before, the log of the memory table by commitWrites, the value log by Badger.
	fault.Point(fault.StoreBeforeSync)
	if err := s.db.Sync(); err != nil {
		return err
	}
	fault.Point(fault.StoreAfterSync)
	s.health.commits.Lock()
	defer s.health.commits.Unlock()
	// A read that has found the old place and not the log is made again, as after a repair.
	defer s.health.repairs.Add(1)
	remove := s.takeValueLog(log)
	if remove == nil {
		return nil
	}
	delete(s.values.live, log)
	fault.Point(fault.StoreBeforeRemoval)
	err := remove()
	fault.Point(fault.StoreAfterRemoval)
	return err
}

// takeValueLog takes a log out of the database, in which it is not found any more, and returns the function that removes its
// file; nil if somebody reads the state of an earlier moment. A moment that is frozen later has no value in the log.
func (s *Store) takeValueLog(log uint32) (remove func() error) {
	f := &s.values.frozen
	f.Lock()
	defer f.Unlock()
	if f.n > 0 {
		return nil
	}
	return s.internals.takeValueLog(log)
}

// count adds to the number of moments that are read, and returns it.
func (v *values) count(more int) int {
	v.frozen.Lock()
	defer v.frozen.Unlock()
	v.frozen.n += more
	return v.frozen.n
}
