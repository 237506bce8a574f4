package kernel

import "ocapkernel.dev/errcode"

// park queues a message at its target, an unresolved promise. It returns whether it did; otherwise the message's result
// is rejected.
func (t *tx) park(m message, p *promise, bounded bool) bool {
	if bounded && (p.tail-p.head >= MaxParked || p.parkedBytes >= t.queueBytes) {
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
	t.create(keyParked(m.target, p.tail), t.codec.encode(m.fields))
	t.clearSuspect(m.result)
	p.tail++
	p.parkedBytes += m.size()
	t.holdMessage(m)
	return true
}

// waitsInCircle reports whether parking the message would make its result wait for itself, so that it could never be
// settled. Promise A waits for promise B while the message with the result A is parked on B. Only a result on which
// something is parked already can close a circle, so that the walk is rare.
func (t *tx) waitsInCircle(m message) (errcode.Code, string, bool) {
	k := m.target
	if p := t.promises.look(t, m.result); p.head == p.tail && k != m.result {
		return "", "", false
	}
	for range maxChain {
		if k == m.result {
			return errcode.BadTarget, "the message waits for its own result", true
		}
		if t.left.walked--; t.left.walked < 0 || t.left.walkReads < 0 {
			return errcode.Limit, "the messages sent at once wait for chains of too many others", true
		}
		reads := t.left.reads
		k = t.promises.look(t, k).waitsFor
		if t.left.walkReads -= reads - t.left.reads; k == "" {
			return "", "", false
		}
	}
	return errcode.Limit, "the message waits for a chain of more than " + num(maxChain) + " others", true
}

// drain schedules the messages parked on a settled promise, all at once and in order. If the promise leads to an object
// of a vat, one item in the queue of that vat stands for them, so that nothing newer overtakes them and no commit grows
// with their number. If it leads to no vat, the kernel's own work rejects them.
func (t *tx) drain(p *promise) {
	p.drained = true
	t.hold(p.id)
	if p.state == fulfilled {
		if ko, ok := t.leadsTo(p); ok {
			if v := t.owner(t.objects.look(t, ko)); v != "" {
				u := t.run(v)
				t.push(u, item{kind: itemDrain, promise: p.id})
				if u.phase == stopped { // to be rejected with the rest of the queue, also if the vat is restarted before
					t.rejectFrom(u, u.queue.tail-1)
				}
				return
			}
			if s := t.services.look(t, ko); s != nil && t.gone(s) == "" {
				s = t.service(ko)
				t.queueCall(s, item{kind: itemDrain, promise: p.id})
				t.beginMore(s)
				return
			}
		}
	}
	t.addWork(work{kind: workDrain, promise: p.id})
}

// takeParked removes the first message parked on a promise and returns it. Its counts pass to the caller.
func (t *tx) takeParked(p *promise) message {
	m := t.parked(p)
	if m.result != "" {
		t.promise(m.result).waitsFor = ""
	}
	t.delete(keyParked(p.id, p.head))
	p.head++
	less(&p.parkedBytes, m.size())
	return m
}

// parked returns the first message parked on a promise.
func (t *tx) parked(p *promise) (m message) {
	key := keyParked(p.id, p.head)
	t.codec.decode(key, t.must(key), m.fields)
	return m
}

// rejectParked routes the messages parked on a settled promise, a slice at a time, which rejects them. It waits while
// the promise has subscribers that are not told yet, which is so only if telling them had to be put off.
func (t *tx) rejectParked(k KRef) (done bool) {
	p := t.promise(k)
	if p.isTelling() {
		return false
	}
	for p.head != p.tail {
		if t.spent() {
			return false
		}
		if key := keyParked(k, p.head); t.salvaging && !t.decoded(key, func() { t.parked(p) }) {
			t.delete(key)
			p.head++
			continue
		}
		m := t.takeParked(p)
		t.route(m, false)
		t.releaseMessage(m)
	}
	t.release(k)
	return true
}
