package kernel

import (
	"slices"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// route puts a message that is new to the queues where it belongs: the queue of the vat that owns the
// target, the parked messages of an unresolved promise, or nowhere, which rejects its result. It takes
// the counts that its place needs; the caller holds none for it. A bounded message counts against the
// bounds; the kernel's own (bootstrap, a retry) do not.
func (t *tx) route(m message, bounded bool) {
	for m.target.IsPromise() {
		p := t.touch(m.target)
		if p.state == unresolved {
			t.park(m, p, bounded)
			return
		}
		next, leads := KRef(""), false
		if p.state == fulfilled {
			next, leads = t.leadsTo(m.target, p)
		}
		switch {
		case leads:
			m.target = next
			continue
		case p.isTelling():
			idle := p.head == p.tail
			if t.park(m, p, bounded) && idle { // else the kernel's work rejects it with those that are there
				t.drain(m.target, p)
			}
		case p.state == rejected:
			t.splatLike(m, m.target, p)
		default:
			t.splat(m, capdata.CodeBadTarget, "the promise was fulfilled with something that is no object")
		}
		return
	}
	o := t.objects.look(t, m.target)
	if o != nil && o.revoked {
		t.splat(m, capdata.CodeRevoked, "the object was revoked")
		return
	}
	if o != nil && o.service {
		t.ask(m.target, m, bounded)
		return
	}
	v := t.owner(o)
	if v == "" {
		t.splat(m, capdata.CodeObjectDeleted, "the object does not exist any more")
		return
	}
	u := t.run(v)
	switch {
	case t.isForgedBootstrap(v, m.target, m):
		t.splat(m, capdata.CodeBadTarget, "bootstrap is for the kernel to call, once")
	case u.phase == stopped:
		t.splat(m, capdata.CodeVatTerminated, "the vat is stopped: "+u.why)
	case bounded && (u.messages >= u.maxQueue || u.queueBytes >= t.m.queueBytes):
		t.full(m)
	default:
		t.holdMessage(m)
		u.messages++
		u.queueBytes += m.size()
		t.push(v, u, item{kind: itemMessage, msg: m})
	}
}

// park puts a message to the others that wait for their target, a promise. It returns whether it did; otherwise the
// message's result is rejected.
func (t *tx) park(m message, p *promise, bounded bool) bool {
	if bounded && (p.tail-p.head >= MaxParked || p.parkedBytes >= t.m.queueBytes) {
		t.full(m)
		return false
	}
	if m.result != "" {
		if code, detail, bad := t.waitsInCircle(m); bad {
			t.splat(m, code, detail)
			return false
		}
		t.promise(m.result).waitsFor = m.target
	}
	t.create(keyParked(m.target, p.tail), t.m.enc.row(messageFields, func() { t.m.enc.message(m) }))
	p.tail++
	p.parkedBytes += m.size()
	t.holdMessage(m)
	return true
}

// isForgedBootstrap says whether a message for an object of a vat calls the bootstrap method of its root, and is not
// the one that its launch has sent.
func (t *tx) isForgedBootstrap(v VatID, target KRef, m message) bool {
	if capdata.MethodOf(m.methArgs.Body) != "bootstrap" {
		return false
	}
	if ref, _, ok := t.vref(v, target); !ok || ref != wire.RootRef {
		return false
	}
	if m.from != "" || m.result == "" {
		return true
	}
	p := t.promises.look(t, m.result)
	return p == nil || p.launch == ""
}

// waitsInCircle says whether parking the message would make its result wait for itself, which nobody
// could ever settle. A promise waits for another while the message whose result it is is parked there.
// Only a result on which something is parked already can close a circle, so that the walk is rare.
func (t *tx) waitsInCircle(m message) (capdata.Code, string, bool) {
	k := m.target
	if p := t.promises.look(t, m.result); p.head == p.tail && k != m.result {
		return "", "", false
	}
	for range maxChain {
		if k == m.result {
			return capdata.CodeBadTarget, "the message waits for its own result", true
		}
		if t.walked++; t.walked > maxWalk || t.walkReads > maxWalkReads {
			return capdata.CodeLimit, "the messages sent at once wait for chains of too many others", true
		}
		reads := t.reads
		k = t.promises.look(t, k).waitsFor
		if t.walkReads += t.reads - reads; k == "" {
			return "", "", false
		}
	}
	return capdata.CodeLimit, "the message waits for a chain of more than " + num(maxChain) + " others", true
}

// loneObject returns the object that a value is, if it is one object and nothing else.
func loneObject(d Data) (KRef, bool) {
	if len(d.Body) <= maxLoneBytes && capdata.LoneSlot(d.Body, len(d.Slots)) && !d.Slots[0].IsPromise() {
		return d.Slots[0], true
	}
	return "", false
}

// push appends an item to a vat's queue. The item's counts are taken by the caller.
func (t *tx) push(v VatID, u *run, it item) {
	if it.from == "" {
		it.from = t.actor
	}
	t.create(keyQueue(v, u.tail), it.encode(t.m.enc))
	u.tail++
	u.items++
	t.effect(Wake{v})
}

const queueFull = "the queue of the receiver is full"

func (t *tx) full(m message) {
	t.queueFull = true
	if m.result == "" {
		t.event(Dropped{m.target})
		return
	}
	t.splat(m, capdata.CodeQueueFull, queueFull)
}

// splat ends a message that holds no counts by rejecting its result.
func (t *tx) splat(m message, code capdata.Code, detail string) {
	t.event(Rejected{m.target, m.result, string(code)})
	if m.result != "" {
		t.settle(m.result, true, t.reason(code, detail))
	}
}

// reason returns the value with which the kernel rejects a promise. Details may be long, and are repeated for
// each promise: beyond maxRepeated in one commit the code alone is said.
func (t *tx) reason(code capdata.Code, detail string) Data {
	if d := kernelError(code, detail); t.repeated+len(d.Body) <= maxRepeated {
		t.repeated += len(d.Body)
		return d
	}
	return kernelError(code, "this has happened to many at once, of whom others were told more")
}

// splatLike repeats the reason of a rejected promise, unless that is large, or repeated too often in one
// commit: a small message must not make a large row.
func (t *tx) splatLike(m message, k KRef, p *promise) {
	body, slots := t.valueSize(k, p)
	size := body + 16*slots
	if m.result != "" && (size > maxReason || t.repeated+size > maxRepeated) {
		t.splat(m, capdata.CodeLimit, "the promise was rejected, with a reason that is too large to repeat")
		return
	}
	t.event(Rejected{m.target, m.result, ""})
	if m.result != "" {
		t.repeated += size
		t.settle(m.result, true, t.value(k, p))
	}
}

func kernelError(code capdata.Code, detail string) Data {
	return Data{Body: capdata.KernelError(code, detail)}
}

// takeParked removes the first message parked on a promise and returns it, its counts with it.
func (t *tx) takeParked(k KRef, p *promise) message {
	m := t.parked(k, p)
	if m.result != "" {
		t.promise(m.result).waitsFor = ""
	}
	t.delete(keyParked(k, p.head))
	p.head++
	less(&p.parkedBytes, m.size())
	return m
}

// parked returns the first message parked on a promise.
func (t *tx) parked(k KRef, p *promise) message {
	key := keyParked(k, p.head)
	t.m.dec.open(key, t.must(key), messageFields)
	return t.m.dec.message()
}

// headItem returns the item at the head of a vat's queue.
func (t *tx) headItem(v VatID, u *run) item {
	it, ok := t.itemAt(v, u.head)
	if !ok {
		t.lacks(keyQueue(v, u.head))
	}
	return it
}

func (t *tx) itemAt(v VatID, n uint64) (it item, found bool) {
	key := keyQueue(v, n)
	b, ok := t.get(key)
	if !ok {
		return item{}, false
	}
	it.decode(t.m.dec, key, b)
	it.at = n
	return it, true
}

// holdWindow bounds how many items are looked at for one that is not held back; they are not looked at beyond
// sliceBytes either.
const holdWindow = 256

// released returns the first item that is delivered although messages are held back: a notification, or
// what the vat that caused it has sent before.
func (t *tx) released(v VatID, u *run) (item, bool) {
	first := map[VatID]item{} // that each vat has sent
	for n := u.head; n < u.tail && n < u.head+holdWindow && t.readBytes < sliceBytes; n++ {
		it, found := t.itemAt(v, n)
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

// pop removes an item from a vat's queue. A drain item goes with the last message that it stands for: pop
// removes that message, and the item only if none is left. The counts of what was removed pass to the
// caller; those of the drain item itself are given back here.
func (t *tx) pop(v VatID, u *run, it item) {
	if it.at == u.charged {
		u.acquit()
	}
	switch it.kind {
	case itemDrain:
		p := t.promise(it.promise)
		if p.head != p.tail {
			t.takeParked(it.promise, p)
		}
		if p.head != p.tail {
			return
		}
		t.release(it.promise)
	case itemNotify:
		p := t.promise(it.promise)
		if i := slices.Index(p.told, v); i >= 0 { // an earlier version did not always say so
			p.told = slices.Delete(p.told, i, i+1)
		}
	case itemMessage:
		u.messages--
		less(&u.queueBytes, it.msg.size())
	}
	t.removeItem(v, u, it.at)
}

// removeItem takes an item out, and moves the head a bounded way towards the next one.
func (t *tx) removeItem(v VatID, u *run, at uint64) {
	t.delete(keyQueue(v, at))
	u.items--
	if at == u.head || u.items == 0 {
		t.passHoles(v, u, holdWindow)
	}
}

// passHoles moves the head to the first item, over at most so many positions whose items were taken out of turn. There may be
// as many of them as messages were rejected behind an item that stays.
func (t *tx) passHoles(v VatID, u *run, most int) {
	if u.items == 0 {
		u.head = u.tail
		return
	}
	for ; most > 0 && !t.isItem(v, u.head); most-- {
		if u.head++; u.head == u.tail {
			t.lacks(keyQueue(v, u.head))
		}
	}
}

// isItem reports whether there is an item at a position of a vat's queue.
func (t *tx) isItem(v VatID, n uint64) bool {
	_, ok := t.get(keyQueue(v, n))
	return ok
}
