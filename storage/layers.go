package storage

// Layers is the state as the machine sees it while the store lags behind. A row is searched in the current
// group (applied, not yet handed to the store), then in the group being committed, then in a bounded cache,
// then in the store.
//
//	Apply … Apply, Seal ──► store.Commit(sealed), elsewhere ──► Committed
//	Apply … Apply           meanwhile, into the next group
//
// # Concurrency
//
// One goroutine owns Layers. The writes that Seal returned are shared with the goroutine that commits them, and
// both sides only read them. The store's Commit may run at the same time as any method but Committed, which is
// called when Commit has returned without an error. After an error Layers cannot be used any more.
type Layers struct {
	store Reader
	// current takes the writes that are applied; sealed is being committed, and empty if no group is.
	current, sealed *Table[row]
	committing      bool
	currentBytes    int
	cache           *cache
}

// row is a group's knowledge of a key.
type row struct {
	// value is nil for a deletion.
	value []byte
	// fresh is set if no layer below this group has the key. A deletion is never fresh: it is elided.
	fresh bool
}

// NewLayers returns a view of store without any group. The cache holds about cacheBytes, keys and
// bookkeeping included; with zero nothing is cached.
func NewLayers(store Reader, cacheBytes int) *Layers {
	return &Layers{
		store:   store,
		current: NewTable[row](),
		sealed:  NewTable[row](),
		cache:   newCache(cacheBytes),
	}
}

// Get implements [Reader].
func (l *Layers) Get(key string) ([]byte, bool, error) {
	if r, ok := l.current.Get(key); ok {
		return r.value, r.value != nil, nil
	}
	if r, ok := l.sealed.Get(key); ok {
		return r.value, r.value != nil, nil
	}
	if value, ok := l.cache.get(key); ok {
		return value, value != nil, nil
	}
	value, found, err := l.store.Get(key)
	if err != nil {
		return nil, false, err
	}
	if !found {
		value = nil
	}
	l.cache.put(key, value)
	return value, found, nil
}

// Next implements [Reader]. Its cost does not depend on the size of the groups, except for the keys that were
// added since the last Next; it reads the store each time.
func (l *Layers) Next(prefix, after string) (string, []byte, bool, error) {
	for {
		key, value, found, err := l.store.Next(prefix, after)
		if err != nil {
			return "", nil, false, err
		}
		// Where layers have the same key, the uppermost layer holds: it comes last here.
		for _, t := range [...]*Table[row]{l.sealed, l.current} {
			if k, r, ok := t.Next(prefix, after); ok && (!found || k <= key) {
				key, value, found = k, r.value, true
			}
		}
		if !found || value != nil {
			return key, value, found, nil
		}
		after = key // deleted
	}
}

// deletedCost is the cost, in steps, of a row that the groups delete and that Step passes over: each takes a
// search of the store.
const deletedCost = 8

// Step implements [Stepper].
func (l *Layers) Step(prefix, after string, most int) (string, []byte, bool, bool, error) {
	for left := most; ; left -= deletedCost {
		key, value, found, ready, err := Step(l.store, prefix, after, max(left, 1))
		if err != nil {
			return "", nil, false, false, err
		}
		if !ready {
			value, found = nil, true // the last row that the store has passed is a removed one
		}
		reached := key
		for {
			for _, t := range [...]*Table[row]{l.sealed, l.current} {
				if k, r, ok := t.Next(prefix, after); ok && (!found || k <= key) {
					key, value, found = k, r.value, true
				}
			}
			if !found || value != nil {
				return key, value, found, true, nil
			}
			after = key
			if ready || key == reached {
				break
			}
			key = reached // the store has no row up to there
		}
		if !ready || left <= deletedCost {
			return after, nil, false, false, nil
		}
	}
}

// Freeze returns the state as the layers show it now, for another goroutine to read while these go on. store is the store
// of the layers, frozen in the same step of their owner. It costs as much as two groups have rows.
func (l *Layers) Freeze(store Frozen) *Layers {
	return &Layers{store: store, current: l.current.clone(), sealed: l.sealed.clone(), cache: newCache(0)}
}

// Apply adds the writes of one crank to the current group. Later writes to a key win, and a key that is born
// and dies inside one group leaves no write at all.
func (l *Layers) Apply(writes []Write) {
	for _, w := range writes {
		old, known := l.current.Get(w.Key)
		fresh := w.Fresh && l.absentFromSealed(w.Key)
		if known {
			// The layers below this group do not change while it grows: the first write knew.
			fresh = old.fresh
			l.currentBytes -= len(w.Key) + len(old.value)
		}
		if w.Value == nil && fresh {
			l.current.Delete(w.Key)
			continue
		}
		l.current.Put(w.Key, row{value: w.Value, fresh: fresh})
		l.currentBytes += w.Size()
	}
}

// absentFromSealed guards the promise of Fresh where that is cheap.
func (l *Layers) absentFromSealed(key string) bool {
	r, ok := l.sealed.Get(key)
	return !ok || r.value == nil
}

// Size returns how many rows the current group holds, and how many bytes of keys and values, as the
// store's [Limits] count them.
func (l *Layers) Size() (rows, bytes int) { return len(l.current.rows), l.currentBytes }

// Seal closes the current group, which is from then on the one being committed, and returns its
// writes, in the order of their keys, each key once; an empty group has none. The next group is empty.
//
// It panics if the last sealed group was not reported as Committed.
func (l *Layers) Seal() []Write {
	if l.committing {
		panic("storage: Seal while a group is being committed")
	}
	l.committing = true
	l.sealed, l.current = l.current, NewTable[row]()
	l.currentBytes = 0
	keys := l.sealed.keys()
	writes := make([]Write, len(keys))
	for i, key := range keys {
		r := l.sealed.rows[key]
		writes[i] = Write{Key: key, Value: r.value, Fresh: r.fresh}
	}
	return writes
}

// Committed notes that the sealed group is in the store. The rows of the group stay in the cache.
func (l *Layers) Committed() {
	if !l.committing {
		panic("storage: Committed without Seal")
	}
	l.committing = false
	for key, r := range l.sealed.rows {
		l.cache.put(key, r.value)
	}
	l.sealed = NewTable[row]()
}
