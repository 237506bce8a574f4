package storage

import (
	"errors"
	"sync"
)

// ErrInjected is the failure that [Faulty] reports.
var ErrInjected = errors.New("injected fault")

// Faults chooses the call at which a [Faulty] store fails. A number of zero matches no call.
type Faults struct {
	// Commit is the number of the Commit that fails, from 1.
	Commit int
	// Read is the number of the Get or Next that fails, from 1.
	Read int
	// Torn performs the failing Commit and then reports the failure. An error of Commit can mean both: that it
	// happened, and that it did not.
	Torn bool
}

// Faulty wraps a store with failures, for sweeps: fail the n-th call, for n = 1, 2, … until Fired stays false.
// Once it has failed, every call fails, since the contract of [Store] is that its user stops; the wrapped store
// is unharmed and can be given to the next user. It is safe for concurrent use if the wrapped store is.
type Faulty struct {
	store  Store
	faults Faults
	mu     struct {
		sync.Mutex
		commits, reads int
		fired          bool
	}
}

// NewFaulty wraps store; the caller still closes store.
func NewFaulty(store Store, faults Faults) *Faulty { return &Faulty{store: store, faults: faults} }

// Fired reports whether the failure has happened.
func (f *Faulty) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.fired
}

// Calls returns the numbers of commits and reads so far.
func (f *Faulty) Calls() (commits, reads int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.commits, f.mu.reads
}

// Get implements [Reader].
func (f *Faulty) Get(key string) ([]byte, bool, error) {
	if err := f.read(); err != nil {
		return nil, false, err
	}
	return f.store.Get(key)
}

// Next implements [Reader].
func (f *Faulty) Next(prefix, after string) (string, []byte, bool, error) {
	if err := f.read(); err != nil {
		return "", nil, false, err
	}
	return f.store.Next(prefix, after)
}

// Commit implements [Store].
func (f *Faulty) Commit(writes []Write) error {
	f.mu.Lock()
	before := f.mu.fired
	f.mu.commits++
	f.mu.fired = before || f.mu.commits == f.faults.Commit
	fired := f.mu.fired
	f.mu.Unlock()
	if !fired {
		return f.store.Commit(writes)
	}
	if !before && f.faults.Torn {
		if err := f.store.Commit(writes); err != nil {
			return err
		}
	}
	return ErrInjected
}

// Freeze implements [Store]. Reads of what it returns are not counted.
func (f *Faulty) Freeze() Frozen { return f.store.Freeze() }

// Limits implements [Store].
func (f *Faulty) Limits() Limits { return f.store.Limits() }

// Close implements [Store]. It leaves the wrapped store open.
func (f *Faulty) Close() error { return nil }

func (f *Faulty) read() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.reads++
	if f.mu.reads == f.faults.Read {
		f.mu.fired = true
	}
	if f.mu.fired {
		return ErrInjected
	}
	return nil
}
