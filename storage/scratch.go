package storage

import "sync"

// Scratch is a [Store] over a reader that it does not change: commits stay in memory, and are gone with the
// Scratch. It is for trying changes of a state.
type Scratch struct {
	below  Reader
	limits Limits
	mu     struct {
		sync.Mutex
		rows *Table[[]byte] // nil for a row that was deleted
	}
}

// NewScratch returns a store that holds the rows of below. Its limits are about those of the durable store.
func NewScratch(below Reader) *Scratch {
	s := &Scratch{below: below, limits: (&Mem{}).Limits()}
	s.mu.rows = NewTable[[]byte]()
	return s
}

// Get implements [Reader].
func (s *Scratch) Get(key string) ([]byte, bool, error) {
	s.mu.Lock()
	value, known := s.mu.rows.Get(key)
	s.mu.Unlock()
	if known {
		return value, value != nil, nil
	}
	return s.below.Get(key)
}

// Next implements [Reader].
func (s *Scratch) Next(prefix, after string) (string, []byte, bool, error) {
	for {
		key, value, found, err := s.below.Next(prefix, after)
		if err != nil {
			return "", nil, false, err
		}
		s.mu.Lock()
		if k, v, ok := s.mu.rows.Next(prefix, after); ok && (!found || k <= key) {
			key, value, found = k, v, true
		}
		s.mu.Unlock()
		if !found || value != nil {
			return key, value, found, nil
		}
		after = key // deleted
	}
}

// Commit implements [Store].
func (s *Scratch) Commit(writes []Write) error {
	if err := s.limits.Check(writes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range writes {
		s.mu.rows.Put(w.Key, w.Value)
	}
	return nil
}

// Freeze implements [Store]. The reader below does not change.
func (s *Scratch) Freeze() Frozen {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &Scratch{below: s.below, limits: s.limits}
	f.mu.rows = s.mu.rows.clone()
	return frozenScratch{f}
}

type frozenScratch struct{ *Scratch }

func (f frozenScratch) Close() {}

// Limits implements [Store].
func (s *Scratch) Limits() Limits { return s.limits }

// Close implements [Store]. It leaves the reader below open.
func (s *Scratch) Close() error { return nil }
