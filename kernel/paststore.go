package kernel

import (
	"strings"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// pastStore is a vat's store as it was within a span, before its n-th delivery. A row is searched in three layers:
//
//	written   the rows that the cranks 0 to n-1 of the span wrote, in memory
//	former    z rows: the rows that the span wrote, as they were before it did; for many, absent
//	present   s rows, for rows that the span has not written
//
// The lower two do not change during a replay: a vat's rows change by its own cranks only.
type pastStore struct {
	*base
	written         *storage.Table[[]version]
	former, present layer
	// asked is the question that next could not answer yet, and how far it has come.
	asked question
}

// question is one question to next, and the key behind which its answer lies.
type question struct {
	prefix, after string
	n             uint64
	behind        string
}

// version is the value of a row after the n-th delivery of the span; nil: deleted.
type version struct {
	n     uint64
	value []byte
}

// lookAhead bounds the rows that one next reads.
const lookAhead = 1000

func newPastStore(b *base, v VatID, span uint64) *pastStore {
	p := &pastStore{base: b, written: storage.NewTable[[]version]()}
	p.former = newLayer(b.reader, prefixFormer(v, span), func(key string, row []byte) bool {
		_, existed := p.existed(prefixFormer(v, span)+key, row)
		return existed
	})
	p.present = newLayer(b.reader, keyStore(v, ""), func(key string, _ []byte) bool {
		_, written := p.former.get(key)
		return !written
	})
	return p
}

// write adds a version that a crank wrote. Readers want the last version that the crank `answered` sees, and newer
// ones: older versions are dropped. So each row is kept once, and a few more times while deliveries are ahead.
func (p *pastStore) write(key string, v version, answered uint64) {
	versions, _ := p.written.Get(key)
	seen := len(versions) - 1
	for seen > 0 && versions[seen].n >= answered {
		seen--
	}
	if seen > 0 {
		versions = append([]version{}, versions[seen:]...) // so that the values are let go
	}
	p.written.Put(key, append(versions, v))
}

// settle sorts the written rows after each crank, so that no read has to do it for all of them.
func (p *pastStore) settle() { p.written.Settle() }

// get returns a row as it was before the n-th delivery of the span.
func (p *pastStore) get(key string, n uint64) ([]byte, bool) {
	if value, known := p.writtenBefore(key, n); known {
		return value, value != nil
	}
	if b, found := p.former.get(key); found {
		return p.existed(p.former.base+key, b)
	}
	return p.present.get(key)
}

// writtenBefore returns a row as the cranks before the n-th left it; known is false if they did not write it.
func (p *pastStore) writtenBefore(key string, n uint64) (value []byte, known bool) {
	versions, _ := p.written.Get(key)
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].n < n {
			return versions[i].value, true
		}
	}
	return nil, false
}

// existed returns the value of a row from before the span first wrote it. Of a row that was absent the value is nil, as
// everywhere: a frame cannot carry an absent row that has a value.
func (p *pastStore) existed(key string, b []byte) (value []byte, existed bool) {
	var f former
	p.codec.decode(key, b, f.fields)
	switch {
	case !f.existed:
		return nil, false
	case f.value == nil:
		return []byte{}, true
	}
	return f.value, true
}

// next returns the row after `after` among those with the prefix, as it was before the n-th delivery. ready is false if
// it has read lookAhead rows and has not found the answer yet.
func (p *pastStore) next(prefix, after string, n uint64) (row wire.Row, ready bool) {
	q := question{prefix, after, n, after}
	if p.asked.prefix == prefix && p.asked.after == after && p.asked.n == n {
		q = p.asked // again
	}
	p.asked = question{}
	for budget := lookAhead; ; budget-- {
		after, key, found := q.behind, "", false
		for _, l := range []*layer{&p.former, &p.present} {
			k, ok, ready := l.next(prefix, after, &budget)
			if !ready {
				p.asked = q
				return wire.Row{}, false
			}
			if ok && (!found || k < key) {
				key, found = k, true
			}
		}
		if k, _, ok := p.written.Next(prefix, after); ok && (!found || k <= key) {
			key, found = k, true
		}
		if !found {
			return wire.Row{}, true
		}
		if value, exists := p.get(key, n); exists {
			return wire.Row{Key: key, Value: value, Found: true}, true
		}
		q.behind = key // deleted by then, or written only later
	}
}

// layer is a range of stored rows of which some count and some do not. Rows that do not count are walked over once:
// runs remembers them.
type layer struct {
	reader storage.Reader
	base   string
	counts func(key string, row []byte) bool
	// runs holds ranges of keys that do not count, each from the value to the key, both included. The ranges do not
	// touch each other.
	runs *storage.Table[string]
}

func newLayer(r storage.Reader, base string, counts func(string, []byte) bool) layer {
	return layer{reader: r, base: base, counts: counts, runs: storage.NewTable[string]()}
}

func (l *layer) get(key string) ([]byte, bool) {
	value, found, err := l.reader.Get(l.base + key)
	if err != nil {
		panic(failure{err})
	}
	return value, found
}

// next returns the first key after `after` that has the prefix and counts. ready is false if the budget of rows was
// used up before; the next call goes on there.
func (l *layer) next(prefix, after string, budget *int) (key string, found, ready bool) {
	// least is the smallest key that may be the answer. No key lies between a key and that key with a zero byte behind
	// it.
	least := max(prefix, after+"\x00")
	first, last := least, ""
	defer func() {
		if last != "" {
			l.add(first, last)
		}
	}()
	for {
		least = l.beyond(least)
		if *budget <= 0 {
			return "", false, false
		}
		*budget--
		behind, ok := strings.CutSuffix(least, "\x00")
		if !ok {
			behind = "" // least is the prefix itself, which may be a key
		}
		k, row, found, ready, err := storage.Step(l.reader, l.base+prefix, l.base+behind, passRows)
		switch {
		case err != nil:
			panic(failure{err})
		case ready && !found:
			return "", false, true
		}
		key = k[len(l.base):]
		if ready && l.counts(key, row) {
			return key, true, true
		}
		last, least = key, key+"\x00"
	}
}

// beyond returns the smallest key that is at least `least` and in no run.
func (l *layer) beyond(least string) string {
	for {
		end, start, found := l.runs.Seek(least)
		if !found || start > least {
			return least
		}
		least = end + "\x00"
	}
}

// add remembers that no key from start to end counts. It takes in the runs that it meets.
func (l *layer) add(start, end string) {
	if before := strings.TrimSuffix(start, "\x00"); before != start {
		if s, found := l.runs.Get(before); found {
			start = s
			l.runs.Delete(before)
		}
	}
	for {
		e, s, found := l.runs.Seek(start)
		if !found || s > end+"\x00" {
			break
		}
		start, end = min(start, s), max(end, e)
		l.runs.Delete(e)
	}
	l.runs.Put(end, start)
}
