package storage

import (
	"errors"
	"sync"
)

// errClosed is the error of a store that is used after Close.
var errClosed = errors.New("store is closed")

// Mem is a [Store] in memory, for tests, simulations and benchmarks: as exact about its contract as a durable
// store, including limits and the order of keys.
//
// A test that lets the user of a Mem crash drops the user, and gives the same Mem to the next one. After Close
// a Mem refuses every call, until Reopen.
type Mem struct {
	mu struct {
		sync.RWMutex
		table  *Table[[]byte]
		closed bool
	}
}

// NewMem returns an empty Mem.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.table = NewTable[[]byte]()
	return m
}

// Get implements [Reader].
func (m *Mem) Get(key string) ([]byte, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.mu.closed {
		return nil, false, errClosed
	}
	value, found := m.mu.table.Get(key)
	return value, found, nil
}

// Next implements [Reader].
func (m *Mem) Next(prefix, after string) (string, []byte, bool, error) {
	m.mu.Lock() // the table sorts its new keys
	defer m.mu.Unlock()
	if m.mu.closed {
		return "", nil, false, errClosed
	}
	key, value, found := m.mu.table.Next(prefix, after)
	return key, value, found, nil
}

// Commit implements [Store].
func (m *Mem) Commit(writes []Write) error {
	if err := m.Limits().Check(writes); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return errClosed
	}
	for _, w := range writes {
		if w.Value == nil {
			m.mu.table.Delete(w.Key)
		} else {
			m.mu.table.Put(w.Key, w.Value)
		}
	}
	return nil
}

// Freeze implements [Store]. It copies the keys of all rows.
func (m *Mem) Freeze() Frozen {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f := NewMem()
	f.mu.table = m.mu.table.clone()
	f.mu.closed = m.mu.closed
	return frozenMem{f}
}

type frozenMem struct{ *Mem }

func (f frozenMem) Close() { _ = f.Mem.Close() } // it is closed once

// Limits implements [Store]. The limits are about those of the durable store.
func (m *Mem) Limits() Limits { return Limits{Rows: 90_000, Bytes: 8 << 20} }

// Close implements [Store]. The rows are kept for Reopen.
func (m *Mem) Close() error { return m.setClosed(true) }

// Reopen lets a closed Mem be used again, with the rows that it had.
func (m *Mem) Reopen() error { return m.setClosed(false) }

func (m *Mem) setClosed(closed bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed == closed && closed {
		return errClosed
	}
	m.mu.closed = closed
	return nil
}

// Snapshot returns all rows, in order. Values are shared, not copied.
func (m *Mem) Snapshot() []Write {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keys := m.mu.table.keys()
	rows := make([]Write, len(keys))
	for i, key := range keys {
		value, _ := m.mu.table.Get(key)
		rows[i] = Write{Key: key, Value: value}
	}
	return rows
}
