// Package storage is the kernel's view of durable state: ordered keys and values, read one at a time
// or by prefix, written in groups that are durable as a whole or not at all.
//
// The durable store is [ocapkernel.dev/storage/badgerstore]; [Mem] keeps everything in memory, and
// [Faulty] wraps a store with failures for tests. The package storage/storagetest holds the suite that
// every store passes. Between the machine and a store stand [Layers], the groups that are not durable
// yet; beside it stands a [Witness], which notices a store that went back in time.
package storage

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrCorrupt is returned, wrapped, when stored bytes are not the bytes that were written. The process must stop
// without committing anything more. A store that has found itself damaged answers every later call with it.
var ErrCorrupt = errors.New("stored state is corrupt")

// ErrNoRoom is returned, wrapped, if the disk, a quota, the table of open files or the memory has no room for the call. The
// call has changed nothing, and may be made again. [IsDiskFull] tells the disk from the others.
var ErrNoRoom = errors.New("there is no room for what the database writes next")

// IsDiskFull reports whether err is an [ErrNoRoom] that an operator mends by freeing space. The others are about files that
// cannot be opened or memory that cannot be mapped, which other processes may give back.
func IsDiskFull(err error) bool {
	if !errors.Is(err, ErrNoRoom) {
		return false
	}
	for _, other := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// Reader reads state. Keys are compared bytewise.
type Reader interface {
	// Get returns the value of key; found reports whether the row exists. The value of a row that exists is not
	// nil; it must not be changed, and stays valid. The error is the world's (a disk that fails), never "not
	// found".
	Get(key string) (value []byte, found bool, err error)
	// Next returns the row with the smallest key that is greater than after and begins with prefix.
	Next(prefix, after string) (key string, value []byte, found bool, err error)
}

// Stepper is a Reader that can find the next row in steps. A store that removes rows by marking them passes
// over the marks until it has compacted them, and there may be many.
type Stepper interface {
	Reader
	// Step is Next, but gives up when it has passed over about most removed rows. Then ready is false, and key
	// is the last key that it has passed: a Step with that key as after goes on there.
	Step(prefix, after string, most int) (key string, value []byte, found, ready bool, err error)
}

// Step calls r.Step if r is a [Stepper], else r.Next, which is always ready.
func Step(r Reader, prefix, after string, most int) (key string, value []byte, found, ready bool, err error) {
	if s, ok := r.(Stepper); ok {
		return s.Step(prefix, after, most)
	}
	key, value, found, err = r.Next(prefix, after)
	return key, value, found, true, err
}

// Write is a change of one row.
type Write struct {
	// Key is not empty, at most [MaxKeyBytes] long, and does not begin with '!', which Badger keeps to itself.
	Key string
	// Value is the new value, owned by the store from now on. Nil deletes the row; an empty, non-nil
	// value is a value.
	Value []byte
	// Fresh promises that the key does not exist before this write, so that a later deletion in the same group
	// can leave no trace at all. A false promise makes that deletion disappear.
	Fresh bool
}

// MaxKeyBytes bounds a key.
const MaxKeyBytes = 65000

// Store is durable state with a single writer.
type Store interface {
	Reader
	// Commit makes writes durable, all or none. After an error that is not [ErrNoRoom] the state of the writes
	// is unknown: the process must stop and start again. A store may answer every later call with that error, reads
	// included. Later writes to the same key in one call win. Commit
	// may run during reads: a read sees the state before or after, never between.
	Commit(writes []Write) error
	// Freeze returns the state as it is now, for one goroutine to read while the store goes on. It may be called while a
	// Commit runs: then it shows the state before or after. The caller closes it before the store is closed.
	Freeze() Frozen
	// Limits returns the bounds of one Commit.
	Limits() Limits
	// Close releases the store. The caller makes sure that no call is under way and none follows.
	Close() error
}

// Frozen is the state of a store at one moment. It belongs to one goroutine.
type Frozen interface {
	Reader
	// Close lets the state go. It is called once.
	Close()
}

// Limits bound one Commit.
type Limits struct {
	// Rows is the greatest number of writes.
	Rows int
	// Bytes bounds the keys and values together.
	Bytes int
}

// Check returns an error if writes hold an impossible key, or more than one Commit of a store with
// these limits may. Stores call it before they change anything.
func (l Limits) Check(writes []Write) error {
	if len(writes) > l.Rows {
		return fmt.Errorf("commit of %d rows is above the limit of %d", len(writes), l.Rows)
	}
	size := 0
	for _, w := range writes {
		switch {
		case w.Key == "":
			return errors.New("commit has an empty key")
		case w.Key[0] == '!':
			return fmt.Errorf("commit has the reserved key %.40q", w.Key)
		case len(w.Key) > MaxKeyBytes:
			return fmt.Errorf("commit has a key of %d bytes, the limit is %d", len(w.Key), MaxKeyBytes)
		}
		size += w.Size()
	}
	if size > l.Bytes {
		return fmt.Errorf("commit of %d bytes is above the limit of %d", size, l.Bytes)
	}
	return nil
}

// Size returns the bytes that the write counts against [Limits].Bytes.
func (w Write) Size() int { return len(w.Key) + len(w.Value) }
