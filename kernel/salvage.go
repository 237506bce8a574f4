package kernel

import (
	"errors"
	"slices"

	"ocapkernel.dev/wire"
)

// A removal has to succeed although some of its rows cannot be read. A commit that removes something is therefore tried
// again, as a salvage: there a row that is missing or cannot be decoded reads as a guess, made from its key and its
// neighbours, and the trace names the row. A guess is written only where others rely on the row: then it says that the
// object, promise, vat or subcluster has ended. Any other guess is dropped with the commit, and the bytes of the row
// stay, unless the row is one of those that are removed.
//
// A guessed count is manyRefs. The object or promise behind it outlives its holders, and [Check] names it.
//
// The references in an unreadable row are not released, and the results of the messages in it have no vat that could
// settle them. Each salvage that has met such a row leaves work of the kind workStranded, which finds those results and
// rejects them, see stranded.go.

// manyRefs stands for a count that is not known. It keeps the counted object or promise.
const manyRefs = 1 << 40

// Salvage calls change, which is a method of m that removes something, such as Terminate, Work or FailLaunch. Rows that
// cannot be read do not make it fail: they are passed over, or removed, and each is an [Unreadable] of the commit's
// trace. The caller has tried change without Salvage before, in vain.
func (m *Machine) Salvage(change func() (Commit, error)) (Commit, error) {
	m.salvaging = true
	defer func() { m.salvaging = false }()
	return change()
}

// decoded calls decode, which reads the row under key. If the row cannot be read, decoded returns false in a salvage,
// and the trace names the row; otherwise it ends the commit.
func (t *tx) decoded(key string, decode func()) bool {
	if !t.salvaging {
		decode()
		return true
	}
	why := readable(decode)
	if why != nil {
		t.unreadable(key, why)
	}
	return why == nil
}

// unreadable notes a row that a salvage has met.
func (t *tx) unreadable(key string, why error) {
	for _, e := range t.trace {
		if e, ok := e.(Unreadable); ok && e.Key == key {
			return
		}
	}
	if why == nil {
		why = errMissing
	}
	t.event(Unreadable{key, why.Error()})
	switch key[:1] {
	case "q", "i", "a", "m", "p", "r", "k", "w": // a message, a row that tells where messages are, or an item of a search
		t.lookForStranded = true
	}
}

// The guesses at rows of each kind.

func (o *object) guess(KRef) { *o = object{reachable: manyRefs, recognizable: manyRefs} }

func (p *promise) guess(k KRef) { *p = promise{id: k, refs: manyRefs} }

func (u *run) guess(v VatID) {
	*u = run{id: v, phase: dead, memory: memory{inc: manyRefs, deadInc: manyRefs}}
}

func (s *service) guess(k KRef) {
	*s = service{id: k, calls: manyRefs, callBytes: manyRefs, units: manyRefs, nextUnit: manyRefs, next: manyRefs}
}

func (s *subcluster) guess(id SubID) { *s = subcluster{id: id} }

// invent returns a guess for a row that is missing.
func (c *cache[K, T, P]) invent(t *tx, id K) *T {
	e := c.entry(t, id)
	if e.val == nil {
		e.val, e.guessed = &e.space, true
		P(e.val).guess(id)
		t.unreadable(c.key(id), nil)
	}
	c.mark(e)
	return e.val
}

// isGuess reports whether the row that look and edit return is a guess.
func (c *cache[K, T, P]) isGuess(id K) bool {
	e := c.m[id]
	return e != nil && e.guessed
}

// keep has a guess written.
func (c *cache[K, T, P]) keep(id K) {
	e := c.m[id]
	e.guessed = false
	c.mark(e)
}

// guessVat is the row of a vat that cannot be read.
func (t *tx) guessVat(v VatID) *vatRow {
	row := &vatRow{root: t.guessRoot(v)}
	look := func(s SubID, sub *subcluster) {
		for _, mb := range sub.members {
			if mb.vat == v {
				row.sub, row.name = s, mb.name
			}
		}
	}
	for after := ""; ; {
		key, b := t.next("u.", after)
		if key == "" {
			break
		}
		after = key
		var sub subcluster
		if readable(func() { t.codec.decode(key, b, sub.fields) }) == nil {
			look(SubID(key[len("u."):]), &sub)
		}
	}
	for _, e := range t.subs.list { // a guess, which no row says yet
		if e.val != nil {
			look(e.id, e.val)
		}
	}
	return row
}

// guessSub gathers a subcluster whose row is missing or cannot be read from other rows, and has it written. It returns
// nil if no row tells of it.
func (t *tx) guessSub(s SubID) *subcluster {
	sub := &subcluster{id: s, state: SubTerminating, settled: true, guessed: true}
	var lost []VatID // that no readable row tells the subcluster of
	for after := ""; ; {
		key, b := t.next("v.", after)
		if key == "" {
			break
		}
		after = key
		row, v := vatRow{}, VatID(key[len("v."):])
		switch {
		case readable(func() { t.codec.decode(key, b, row.fields) }) == nil:
			if row.sub == s {
				sub.members = append(sub.members, member{row.name, v})
			}
		case t.guessVat(v).sub == "":
			lost = append(lost, v)
		}
	}
	if others := t.unreadableSubs(); len(others) == 0 || len(others) == 1 && others[0] == s {
		for _, v := range lost {
			sub.members = append(sub.members, member{string(v), v})
		}
	}
	for after := ""; ; sub.services++ {
		if after, _ = t.next(prefixServicesOf(s), after); after == "" {
			break
		}
	}
	for after := ""; ; {
		key, b := t.next("g.", after)
		if key == "" {
			break
		}
		if after = key; SubID(b) == s {
			sub.system = key[len("g."):]
		}
	}
	_, sub.apart = t.get(keyResult(s))
	sub.known = !sub.apart
	_, there := t.get(keySub(s))
	if !there && len(sub.members) == 0 && sub.services == 0 && sub.system == "" {
		return nil
	}
	if len(sub.members) > 0 {
		sub.bootstrap, sub.root = sub.members[0].vat, t.guessRoot(sub.members[0].vat)
	}
	*t.subs.invent(t, s) = *sub
	t.subs.keep(s)
	return t.subs.look(t, s)
}

// completeMembers has a running subcluster and its vats agree with each other: vats that say that they are in it become
// members, and members that say otherwise are told, or are no members if another subcluster lists them.
func (t *tx) completeMembers(sub *subcluster) {
	listed := map[VatID]bool{}
	var members []member
	for _, mb := range sub.members {
		key, row := keyVat(mb.vat), vatRow{}
		if b, _ := t.get(key); t.peek(key, b, row.fields) && row.sub != sub.id {
			if other := t.sub(row.sub); other != nil && slices.ContainsFunc(other.members, func(o member) bool { return o.vat == mb.vat }) {
				continue
			}
			row.sub = sub.id
			t.set(key, t.codec.encode(row.fields))
		}
		listed[mb.vat] = true
		members = append(members, mb)
	}
	for rest, b := range t.all("v.", "") {
		var row vatRow
		if v := VatID(rest); t.peek(keyVat(v), b, row.fields) && row.sub == sub.id && !listed[v] {
			members = append(members, member{row.name, v})
		}
	}
	sub.members = members
}

func (t *tx) guessRoot(v VatID) KRef {
	k, _ := t.kref(v, wire.RootRef)
	return k
}

func (t *tx) unreadableSubs() (out []SubID) {
	for after := ""; ; {
		key, b := t.next("u.", after)
		if key == "" {
			return out
		}
		after = key
		var sub subcluster
		if readable(func() { t.codec.decode(key, b, sub.fields) }) != nil {
			out = append(out, SubID(key[len("u."):]))
		}
	}
}

// guessService completes the guess at a service object.
func (t *tx) guessService(k KRef, s *service) {
	s.sub = t.ownerOf(k)
	for after := ""; ; {
		key, b := t.next("n.", after)
		if key == "" {
			return
		}
		if after = key; KRef(b) == k {
			s.name = key[len("n."):]
		}
	}
}

// guessDead is for a vat with a row that cannot be read: it writes the vat's rows as those of a dead vat, so that all
// readers can read them, and has the vat removed.
func (t *tx) guessDead(v VatID, why string) {
	row := t.vat(v)
	t.set(keyVat(v), t.codec.encode(row.fields))
	t.run(v)
	t.runs.keep(v)
	if t.isRemoving(v) {
		return
	}
	if row.root != "" {
		t.release(row.root)
	}
	t.addWork(work{kind: workRemoveVat, vat: v})
	t.effect(StopWorker{v})
	t.event(VatTerminated{v, why})
}

// isRemoving reports whether the removal of a vat is among the kernel's own work.
func (t *tx) isRemoving(v VatID) bool {
	for after := ""; ; {
		key, b := t.next("w.", after)
		if key == "" {
			return false
		}
		after = key
		var w work
		if readable(func() { t.codec.decode(key, b, w.fields) }) == nil && w.kind == workRemoveVat && w.vat == v {
			return true
		}
	}
}

// restore settles a promise that is a guess. If its value can be read, the promise was settled before; else it is
// rejected with why. All vats that know the promise are told, since its subscribers are not known.
func (t *tx) restore(k KRef, p *promise, why Data) {
	t.promises.keep(k)
	value, settled := why, false
	if b, ok := t.get(keyValue(k)); ok {
		key := keyValue(k)
		var a answer
		if settled = t.decoded(key, func() { t.codec.decode(key, b, a.fields) }); settled {
			value = a.value
		}
	}
	p.state = rejected
	if settled && !isErrorBody(value.Body) {
		p.state = fulfilled
	}
	if !settled {
		t.holdData(value)
		t.mentioned(value.Slots, +1)
		a := answer{value}
		t.set(keyValue(k), t.codec.encode(a.fields))
	}
	p.value, p.known, p.size, p.slots = value, true, 1+uint64(len(value.Body)), uint64(len(value.Slots))
	t.event(Settled{k, p.state == rejected})
	for after := ""; ; {
		key, _ := t.next("r.", after)
		if key == "" {
			break
		}
		after = key
		v := VatID(key[len("r."):])
		if _, ok := t.get(keyCListK(v, k)); ok && t.alive(v) {
			p.subscribers = append(p.subscribers, v)
		}
	}
	if len(p.subscribers) > 0 {
		t.hold(k)
		t.addWork(work{kind: workTell, promise: k})
	}
	if key, _ := t.next("m."+string(k)+".", ""); key != "" {
		t.hold(k)
		t.addWork(work{kind: workLoose, promise: k})
	}
}

// sendLoose routes the messages that are parked on a restored promise, a slice at a time: the counters that tell where
// they are were lost.
func (t *tx) sendLoose(w *work) (done bool) {
	prefix := "m." + string(w.promise) + "."
	for key, b := range t.scanByNumber(prefix, &w.after) {
		t.delete(key)
		var msg message
		if t.decoded(key, func() { t.codec.decode(key, b, msg.fields) }) {
			t.endMessage(msg)
		}
	}
	if t.spent() {
		return false
	}
	t.release(w.promise)
	return true
}

// endMessage routes a message from a queue that is removed, and gives its counts back.
func (t *tx) endMessage(m message) {
	if m.result != "" {
		t.promise(m.result).waitsFor = ""
	}
	t.route(m, false)
	t.releaseMessage(m)
}

// removeBadEntry removes an entry of a dead vat's c-list whose row cannot be read. It is not known whether the vat
// could reach the object, so that the counts of the object stay.
func (t *tx) removeBadEntry(v VatID, key string, k KRef) {
	t.unreadable(key, errors.New("not a c-list entry"))
	t.delete(key)
	switch {
	case k.IsPromise():
		t.release(k)
	case t.objects.look(t, k) != nil && t.object(k).owner == v:
		t.object(k).owner, t.object(k).inc = "", 0
		t.maybeFree = append(t.maybeFree, k)
	}
}

// isEntry reports whether the row of a c-list under a kref can be read.
func isEntry(b []byte) bool {
	if len(b) < 4 || b[0] != 'r' && b[0] != '_' {
		return false
	}
	_, err := wire.ParseRef(string(b[1:]))
	return err == nil
}
