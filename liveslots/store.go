package liveslots

import (
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// Store reads the vat's own rows, as they were at the start of the crank. An error means that the kernel is
// gone; the vat can do nothing about it.
type Store interface {
	Get(key string) (value []byte, found bool, err error)
	Next(prefix, after string) (key string, value []byte, found bool, err error)
}

// maxCacheBytes bounds one generation of the row cache.
const maxCacheBytes = 1 << 20

// rows is the vat's view of its store during a crank: the writes of this crank, over the rows that were read.
//
// Rows that were read stay cached, since only this vat's committed cranks change them. The cache has two
// generations: when the young one is full it becomes the old one, and the old one is forgotten.
type rows struct {
	below   Store
	written map[string]row
	// writtenBytes is the size of the written rows, with their keys.
	writtenBytes int
	// sorted holds the keys of written, or is nil until the crank first iterates. Then each new key is put in
	// its place: a vat that iterates over a Map and writes in the loop must not pay for a sort at each step.
	sorted []string
	// gaps are ranges without rows, for the prefixes over which the crank iterated last. A vat that uses a Map
	// as a queue takes the first entry again and again, and without gaps each step would walk over all entries
	// taken before.
	gaps       []gap
	young, old map[string]row
	youngBytes int
	// reads and readBytes count the reads of the store in this crank. They depend on the cache, and so on the life of the
	// worker: only a bring out your dead may be bounded by them, which is never replayed.
	reads, readBytes int
}

// A gap is a range of keys, above from and below to, in which a prefix has no row.
type gap struct{ prefix, from, to string }

// maxGaps bounds the gaps, since each write looks through them.
const maxGaps = 8

type row struct {
	value []byte
	found bool
}

func newRows(below Store) *rows {
	return &rows{below: below, written: map[string]row{}, young: map[string]row{}}
}

func (s *rows) get(key string) ([]byte, bool) {
	if r, ok := s.written[key]; ok {
		return r.value, r.found
	}
	if r, ok := s.young[key]; ok {
		return r.value, r.found
	}
	if r, ok := s.old[key]; ok {
		s.cache(key, r)
		return r.value, r.found
	}
	value, found, err := s.below.Get(key)
	if err != nil {
		panic(fault("read of the vat's store: " + err.Error()))
	}
	s.reads++
	s.readBytes += len(value)
	s.cache(key, row{value, found})
	return value, found
}

func (s *rows) set(key string, value []byte) { s.write(key, row{value, true}) }
func (s *rows) delete(key string)            { s.write(key, row{}) }

func (s *rows) write(key string, r row) {
	old, ok := s.written[key]
	if ok {
		s.writtenBytes -= len(key) + len(old.value)
	} else if s.sorted != nil {
		i, _ := slices.BinarySearch(s.sorted, key)
		s.sorted = slices.Insert(s.sorted, i, key)
	}
	s.writtenBytes += len(key) + len(r.value)
	s.written[key] = r
	if r.found {
		for i, g := range s.gaps {
			if g.from < key && key < g.to && strings.HasPrefix(key, g.prefix) {
				s.gaps[i].to = key
			}
		}
	}
}

// next returns the first row with a prefix whose key is greater than after.
func (s *rows) next(prefix, after string) (key string, value []byte, found bool) {
	g := slices.IndexFunc(s.gaps, func(g gap) bool { return g.prefix == prefix })
	from := after
	if g >= 0 && s.gaps[g].from <= after && after < s.gaps[g].to {
		to := s.gaps[g].to
		// There was a row at the end of the gap; it may be deleted by now.
		if r, ok := s.written[to]; !ok || r.found {
			value, found := s.get(to)
			return to, value, found
		}
		from, after = s.gaps[g].from, to
	}
	key, value, found = s.search(prefix, after)
	if found {
		if g < 0 {
			if len(s.gaps) == maxGaps {
				s.gaps = slices.Delete(s.gaps, 0, 1)
			}
			s.gaps, g = append(s.gaps, gap{}), len(s.gaps)
		}
		s.gaps[g] = gap{prefix, from, key}
	}
	return key, value, found
}

// search is next without the knowledge of gaps.
func (s *rows) search(prefix, after string) (key string, value []byte, found bool) {
	if s.sorted == nil {
		s.sorted = slices.AppendSeq(make([]string, 0, len(s.written)), maps.Keys(s.written))
		slices.Sort(s.sorted)
	}
	i, ok := slices.BinarySearch(s.sorted, max(prefix, after))
	if ok && s.sorted[i] == after {
		i++
	}
	for ; i < len(s.sorted) && !s.written[s.sorted[i]].found; i++ {
	}
	lower := after
	for {
		k, val, ok, err := s.below.Next(prefix, lower)
		s.reads++
		s.readBytes += len(val)
		if err != nil {
			panic(fault("read of the vat's store: " + err.Error()))
		}
		if !ok {
			break
		}
		if i < len(s.sorted) && s.sorted[i] <= k {
			break // the written row comes first, or hides this one
		}
		if _, hidden := s.written[k]; hidden {
			lower = k
			continue
		}
		return k, val, true
	}
	if i < len(s.sorted) && strings.HasPrefix(s.sorted[i], prefix) {
		return s.sorted[i], s.written[s.sorted[i]].value, true
	}
	return "", nil, false
}

// prime takes over the rows that came with a delivery.
func (s *rows) prime(rs []wire.Row) {
	for _, r := range rs {
		s.cache(r.Key, row{r.Value, r.Found})
	}
}

func (s *rows) cache(key string, r row) {
	n := len(key) + len(r.value)
	if s.youngBytes+n > maxCacheBytes {
		s.old, s.young, s.youngBytes = s.young, map[string]row{}, 0
	}
	s.young[key] = r
	s.youngBytes += n
}

// flush yields the crank's writes in the order of their keys, and starts the next crank's.
func (s *rows) flush(emit func(wire.Syscall)) {
	s.reads, s.readBytes = 0, 0
	if len(s.written) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(s.written)) {
		r := s.written[key]
		if r.found {
			emit(wire.StoreSet{Key: key, Value: r.value})
		} else {
			emit(wire.StoreDelete{Key: key})
		}
		delete(s.old, key)
		s.cache(key, r)
	}
	s.written, s.writtenBytes = emptied(s.written), 0
	s.sorted = nil
	s.gaps = s.gaps[:0]
}
