package kernel

import (
	"bytes"
	"encoding/binary"
	"strings"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
)

// tx is the overlay in which one commit is made, over the state as it is now. Dropping it undoes
// everything. It decodes each row at most once and encodes each changed one once, at the end; nothing
// of it outlives the commit, but for the memory, which the machine uses again: each crank takes two.
type tx struct {
	*base
	now int64
	// actor is the vat whose crank this is; empty for other inputs.
	actor VatID
	// retiring are the promises that the actor has resolved, in order: its names for them end with the crank, and
	// until then values may mention them.
	retiring   []KRef
	isRetiring map[KRef]bool

	rows    map[string]*row
	slab    slab[row]
	changed []string // keys in the order of their first change

	objects  cache[KRef, object, *object]
	promises cache[KRef, promise, *promise]
	runs     cache[VatID, run, *run]
	services cache[KRef, service, *service]
	subs     cache[SubID, subcluster, *subcluster]

	maybeFree   []KRef // krefs whose count fell, in order, possibly more than once
	maybeCircle []KRef // promises that have lost a holder and have others, or were settled, in order, possibly more than once
	failed      []SubID
	queueFull   bool // a message found no room
	// lookForStranded says that a row which a salvage could not read may have held a message.
	lookForStranded bool
	delivered       bool // it is that of a crank
	// left is the rest of this commit's budget, own the demand of the vat itself.
	left       budget
	own        demand
	wroteBytes int // of values, which lie in memory until the next transaction

	effects []Effect
	trace   []Event
}

// row is the state of one key, as far as the transaction knows it.
type row struct {
	value   []byte // nil: absent
	existed bool   // before this transaction; meaningful if known
	known   bool
	changed bool
}

// base is the ground of a machine's transactions: the store, its codec and the limits.
type base struct {
	reader storage.Reader
	codec  *codec
	// limits bound a commit. They are 0, as is queueBytes, for questions.
	limits storage.Limits
	// queueBytes is maxQueueBytes, or less in tests.
	queueBytes uint64
	// salvaging says that rows which cannot be read do not end the commit, see Salvage.
	salvaging bool
	// searching says that there is a row of a search, as [Open] and each commit find: see stranded.go.
	searching bool
}

// begin starts a transaction. It drops the one started before, if that was not done.
func (q *View) begin(now int64) *tx {
	t := q.tx
	if t == nil || len(t.rows) > keepRows || whole.bytes-t.left.bytes+t.wroteBytes > keepBytes {
		t = &tx{base: q.base, rows: make(map[string]*row, 32)}
		t.objects.init(keyObject)
		t.promises.init(keyPromise)
		t.runs.init(keyRun)
		t.services.init(keyService)
		t.subs.init(keySub)
		q.tx = t
	}
	t.now, t.actor = now, ""
	clear(t.rows)
	t.slab.n = 0
	t.changed, t.maybeFree, t.failed, t.retiring = t.changed[:0], t.maybeFree[:0], t.failed[:0], t.retiring[:0]
	t.maybeCircle = t.maybeCircle[:0]
	clear(t.isRetiring)
	t.objects.reset()
	t.promises.reset()
	t.runs.reset()
	t.services.reset()
	t.subs.reset()
	t.left, t.own, t.wroteBytes, t.queueFull, t.delivered = whole, demand{}, 0, false, false
	t.lookForStranded = false
	t.effects, t.trace = nil, nil // the last commit took them along
	return t
}

// retireLater notes that the actor has resolved a promise.
func (t *tx) retireLater(k KRef) {
	if t.isRetiring == nil {
		t.isRetiring = make(map[KRef]bool, 8)
	}
	t.isRetiring[k] = true
	t.retiring = append(t.retiring, k)
}

// keepRows and keepBytes bound the transaction whose memory is used again: the rows that it has read stay in memory
// until then.
const keepRows, keepBytes = 2000, 1 << 20

// slab hands out values that are all returned at once, by setting n to 0.
type slab[T any] struct {
	chunks [][]T
	n      int
}

func (s *slab[T]) next() *T {
	const chunk = 64
	if s.n/chunk == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, chunk))
	}
	p := &s.chunks[s.n/chunk][s.n%chunk]
	var zero T
	*p = zero
	s.n++
	return p
}

// done settles the counts of a transaction, writes the rows that it has decoded and changed, and seals the commit.
func (m *Machine) done(t *tx) Commit {
	t.endFailed()
	t.free()
	t.suspectCircles()
	if t.lookForStranded {
		t.addWork(work{kind: workStranded})
	}
	t.objects.flush(t)
	t.promises.flush(t)
	t.runs.flush(t)
	t.services.flush(t)
	t.subs.flush(t)
	if m.older {
		t.setUint(keySchema, SchemaVersion)
	}
	c := m.seal(t)
	m.older = false
	if r := t.rows[keySearch]; r != nil && r.changed {
		m.searching = r.value != nil
	}
	return c
}

// read returns the state of key; it reads the store once for each key.
func (t *tx) read(key string) *row {
	r := t.rows[key]
	if r == nil {
		r = t.slab.next()
		t.rows[key] = r
	}
	if !r.known {
		v, found, err := t.reader.Get(key)
		if err != nil {
			panic(failure{err})
		}
		r.known, r.existed = true, found
		t.left.reads--
		t.left.bytes -= len(v)
		if !r.changed && found {
			r.value = v
			if v == nil {
				r.value = []byte{}
			}
		}
	}
	return r
}

// knows notes the value of a row that the caller has read: it is not read again.
//
// Preconditions: the transaction has neither read nor changed the row.
func (t *tx) knows(key string, value []byte) {
	r := t.slab.next()
	r.known, r.existed, r.value = true, true, value
	t.rows[key] = r
}

func (t *tx) get(key string) ([]byte, bool) {
	if r := t.rows[key]; r != nil && (r.changed || r.known) {
		return r.value, r.value != nil
	}
	r := t.read(key)
	return r.value, r.value != nil
}

// has reports whether there is a row under key.
func (t *tx) has(key string) bool {
	_, ok := t.get(key)
	return ok
}

// must returns the value of a row that another row refers to: without it the state is corrupt.
func (t *tx) must(key string) []byte {
	b, ok := t.get(key)
	if !ok {
		t.lacks(key)
	}
	return b
}

// lacks ends the commit: the state is corrupt, since it has no row under key.
func (t *tx) lacks(key string) {
	t.codec.corruptAt(key, errMissing)
}

// dataAt returns the data of a row that holds nothing else.
func (t *tx) dataAt(key string) Data {
	var a answer
	if !t.decoded(key, func() { t.codec.decode(key, t.must(key), a.fields) }) {
		return kernelError(errcode.Unknown, "the value cannot be read")
	}
	return a.value
}

// set writes a row; nil deletes it.
func (t *tx) set(key string, value []byte) {
	r := t.rows[key]
	if r == nil {
		r = t.slab.next()
		t.rows[key] = r
	}
	if !r.changed {
		r.changed = true
		t.changed = append(t.changed, key)
	}
	r.value = value
	t.wroteBytes += len(value)
}

// create writes a row that cannot exist yet, because its key holds a number just allocated.
func (t *tx) create(key string, value []byte) {
	t.set(key, value)
	t.rows[key].known = true
}

func (t *tx) delete(key string) { t.set(key, nil) }

// next returns the row after `after` among those with the prefix, as this transaction sees it. Rows that the
// transaction created are not found: no caller needs those.
func (t *tx) next(prefix, after string) (string, []byte) {
	for {
		key, value, ready := t.step(prefix, after)
		if ready {
			return key, value
		}
		after = key
	}
}

// step is next, but stops at the end of the budget if the store has to pass over many removed rows. Then ready is
// false, and a step after the returned key goes on there.
func (t *tx) step(prefix, after string) (key string, value []byte, ready bool) {
	for {
		key, value, found, ready, err := storage.Step(t.reader, prefix, after, passRows)
		if err != nil {
			panic(failure{err})
		}
		t.left.reads--
		t.left.bytes -= len(value)
		if !ready {
			if after = key; t.spent() {
				return key, nil, false
			}
			continue
		}
		if !found {
			return "", nil, true
		}
		r := t.rows[key]
		if r == nil || !r.changed {
			return key, value, true
		}
		if r.value != nil {
			return key, r.value, true
		}
		after = key
	}
}

// writes lists the changes, in the order of first change; a row that this transaction has both created and deleted is
// left out.
func (t *tx) writes() []storage.Write {
	ws := make([]storage.Write, 0, len(t.changed)+1)
	for _, key := range t.changed {
		r := t.rows[key]
		fresh := r.known && !r.existed
		if fresh && r.value == nil {
			continue
		}
		ws = append(ws, storage.Write{Key: key, Value: r.value, Fresh: fresh})
	}
	return ws
}

func (t *tx) uintRow(key string) (uint64, bool) {
	b, ok := t.get(key)
	if !ok {
		return 0, false
	}
	if len(b) != 8 && t.salvaging && !strings.HasPrefix(key, "next.") {
		t.unreadable(key, errLength)
		t.delete(key)
		return 0, false
	}
	if len(b) != 8 {
		t.codec.corruptAt(key, errLength)
	}
	return binary.BigEndian.Uint64(b), true
}

func (t *tx) setUint(key string, n uint64) { t.set(key, binary.BigEndian.AppendUint64(nil, n)) }

// allocate hands out the next number of a kind.
func (t *tx) allocate(x string) uint64 {
	n, ok := t.uintRow(keyNext(x))
	if !ok {
		n = 1
	}
	t.setUint(keyNext(x), n+1)
	return n
}

// rowOf is a decoded row.
type rowOf[K ~string, T any] interface {
	*T
	fields(*codec)
	// guess fills a row that cannot be read with a salvage's guess.
	guess(K)
}

// cache holds decoded rows of one kind within a transaction. A row handed out by edit is written back.
type cache[K ~string, T any, P rowOf[K, T]] struct {
	key  func(K) string
	m    map[K]*cached[K, T]
	list []*cached[K, T] // in the order of first edit
	slab slab[cached[K, T]]
}

type cached[K ~string, T any] struct {
	id      K
	val     *T // nil: absent, else space
	space   T
	edited  bool
	created bool
	guessed bool // the row cannot be read, and is not written, unless it is kept or removed
}

func (c *cache[K, T, P]) init(key func(K) string) {
	c.key = key
	c.m = make(map[K]*cached[K, T], 8)
}

func (c *cache[K, T, P]) reset() {
	clear(c.m)
	c.list = c.list[:0]
	c.slab.n = 0
}

func (c *cache[K, T, P]) entry(t *tx, id K) *cached[K, T] {
	e := c.m[id]
	if e == nil {
		e = c.slab.next()
		e.id = id
		key := c.key(id)
		if b, ok := t.get(key); ok {
			e.val = &e.space
			if !t.salvaging {
				c.read(t, key, b, e.val)
			} else if why := readable(func() { c.read(t, key, b, e.val) }); why != nil {
				t.unreadable(key, why)
				P(e.val).guess(id)
				e.guessed = true
			}
		}
		c.m[id] = e
	}
	return e
}

// read decodes a row into v, which is zero.
func (c *cache[K, T, P]) read(t *tx, key string, b []byte, v *T) {
	t.codec.begin(key, b)
	P(v).fields(t.codec)
	t.codec.end()
}

// look returns the row for reading; nil if there is none.
func (c *cache[K, T, P]) look(t *tx, id K) *T { return c.entry(t, id).val }

// edit returns the row for changing; nil if there is none.
func (c *cache[K, T, P]) edit(t *tx, id K) *T {
	e := c.entry(t, id)
	c.mark(e)
	return e.val
}

func (c *cache[K, T, P]) mark(e *cached[K, T]) {
	if !e.edited {
		e.edited = true
		c.list = append(c.list, e)
	}
}

// create adds a row whose id was just allocated.
func (c *cache[K, T, P]) create(id K, v *T) *T {
	e := c.slab.next()
	e.id, e.space, e.created = id, *v, true
	e.val = &e.space
	c.m[id] = e
	c.mark(e)
	return e.val
}

func (c *cache[K, T, P]) remove(t *tx, id K) {
	e := c.entry(t, id)
	e.val = nil
	c.mark(e)
}

func (c *cache[K, T, P]) flush(t *tx) {
	for _, e := range c.list {
		key := c.key(e.id)
		var b []byte
		if e.val != nil && e.guessed {
			continue
		}
		if e.val != nil {
			t.codec.beginRow()
			P(e.val).fields(t.codec)
			b = t.codec.row()
		}
		switch {
		case e.created:
			t.create(key, b)
		case !bytes.Equal(t.rows[key].value, b) || b == nil && t.rows[key].value != nil: // an edit need not have changed anything
			t.set(key, b)
		}
	}
}
