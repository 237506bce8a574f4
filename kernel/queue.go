package kernel

import "slices"

// push appends an item to a vat's queue. The item's counts are taken by the caller.
func (t *tx) push(u *run, it item) {
	if it.from == "" {
		it.from = t.actor
	}
	t.create(keyQueue(u.id, u.queue.tail), t.codec.encode(it.fields))
	t.clearSuspect(it.msg.result)
	u.queue.tail++
	u.queue.items++
	t.effect(Wake{u.id})
}

// headItem returns the item at the head of a vat's queue.
func (t *tx) headItem(u *run) item {
	it, ok := t.itemAt(u.id, u.queue.head)
	if !ok {
		t.lacks(keyQueue(u.id, u.queue.head))
	}
	return it
}

func (t *tx) itemAt(v VatID, n uint64) (it item, found bool) {
	key := keyQueue(v, n)
	b, ok := t.get(key)
	if !ok {
		return item{}, false
	}
	t.codec.decode(key, b, it.fields)
	it.at = n
	return it, true
}

// isItem reports whether there is an item at a position of a vat's queue.
func (t *tx) isItem(v VatID, n uint64) bool {
	_, ok := t.get(keyQueue(v, n))
	return ok
}

// holdWindow bounds the items that are read to find one that is not held back; the budget of bytes bounds them, too.
const holdWindow = 256

// released returns the first item that is delivered although messages are held back: a notification, or a message that
// the vat which caused it has sent before.
func (t *tx) released(u *run) (item, bool) {
	first := map[VatID]item{} // that each vat has sent
	for n := u.queue.head; n < u.queue.tail && n < u.queue.head+holdWindow && t.left.bytes > 0; n++ {
		it, found := t.itemAt(u.id, n)
		if !found {
			continue
		}
		earlier, sent := first[it.from]
		switch held := it.kind == itemMessage || it.kind == itemDrain; {
		case held && !sent && it.from != "":
			first[it.from] = it
		case held:
		case sent:
			return earlier, true
		default:
			return it, true
		}
	}
	return item{}, false
}

// pop removes an item from a vat's queue. A drain item goes with the last message that it stands for: pop removes that
// message, and the item only if none is left. The counts of the removed message pass to the caller; those of the drain
// item itself are given back here.
func (t *tx) pop(u *run, it item) {
	if it.at == u.charged.at {
		u.acquit()
	}
	switch it.kind {
	case itemDrain:
		p := t.promise(it.promise)
		if p.head != p.tail {
			t.takeParked(p)
		}
		if p.head != p.tail {
			return
		}
		t.release(it.promise)
	case itemNotify:
		p := t.promise(it.promise)
		if i := slices.Index(p.told, u.id); i >= 0 { // an earlier version did not always say so
			p.told = slices.Delete(p.told, i, i+1)
		}
	case itemMessage:
		u.queue.messages--
		less(&u.queue.bytes, it.msg.size())
	}
	t.removeItem(u, it.at)
}

// removeItem removes an item, and moves the head a bounded way towards the next one.
func (t *tx) removeItem(u *run, at uint64) {
	t.delete(keyQueue(u.id, at))
	u.queue.items--
	if at == u.queue.head || u.queue.items == 0 {
		t.passHoles(u, holdWindow)
	}
}

// passHoles moves the head to the first item, over at most so many holes: positions whose items were removed out of
// turn. An item that stays may be followed by as many holes as messages were rejected behind it.
func (t *tx) passHoles(u *run, most int) {
	if u.queue.items == 0 {
		u.queue.head = u.queue.tail
		return
	}
	for ; most > 0 && !t.isItem(u.id, u.queue.head); most-- {
		if u.queue.head++; u.queue.head == u.queue.tail && t.salvaging {
			t.unreadable(keyQueue(u.id, u.queue.head-1), nil)
			u.queue.items = 0
			return
		}
		if u.queue.head == u.queue.tail {
			t.lacks(keyQueue(u.id, u.queue.head))
		}
	}
}

// dropHead ends the item at the head of a dead vat's queue.
func (t *tx) dropHead(u *run) {
	var it item
	if !t.decoded(keyQueue(u.id, u.queue.head), func() { it = t.headItem(u) }) {
		t.removeItem(u, u.queue.head)
		return
	}
	switch it.kind {
	case itemDrain:
		// The messages are rejected like others to a target that is gone; the item's count passes to the work.
		t.addWork(work{kind: workDrain, promise: it.promise})
		t.removeItem(u, it.at)
	case itemMessage:
		t.pop(u, it)
		t.route(it.msg, false)
		t.releaseMessage(it.msg)
	default:
		t.pop(u, it)
		if it.kind == itemNotify {
			t.release(it.promise)
		}
	}
}

// wakeMore wakes the vat again if it may have more to do.
func (t *tx) wakeMore(v VatID) {
	if t.hasStep(t.lookRun(v)) {
		t.effect(Wake{v})
	}
}

// hasStep reports whether Begin may have a step for a vat.
func (t *tx) hasStep(u *run) bool {
	switch {
	case u.memory.reap != 0, u.queue.rejectAt < u.queue.rejectUntil:
		return true
	}
	return u.phase == live && (u.queue.head != u.queue.tail || !u.looks.isEmpty() || u.isRoundDue())
}

// dropLoose ends an item of a dead vat's queue that lies outside of the counters of the queue.
func (t *tx) dropLoose(key string, b []byte) {
	t.delete(key)
	var it item
	if !t.decoded(key, func() { t.codec.decode(key, b, it.fields) }) {
		return
	}
	switch it.kind {
	case itemDrain:
		t.addWork(work{kind: workDrain, promise: it.promise}) // with the item's count
	case itemNotify:
		t.release(it.promise)
	case itemMessage:
		t.endMessage(it.msg)
	}
}
