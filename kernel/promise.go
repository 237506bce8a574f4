package kernel

import (
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// newPromise makes a promise that the vat decides; it has no decider if that is empty.
func (t *tx) newPromise(decider VatID, inc uint64) KRef {
	k := KRef("kp" + num(t.allocate("p")))
	t.promises.create(k, &promise{id: k})
	if decider != "" {
		t.setDecider(k, decider, inc)
	}
	t.maybeFree = append(t.maybeFree, k)
	return k
}

func (t *tx) newObject(owner VatID, inc uint64) KRef {
	k := KRef("ko" + num(t.allocate("o")))
	t.objects.create(k, &object{owner: owner, inc: inc})
	t.maybeFree = append(t.maybeFree, k) // a watch mentions an object and holds nothing
	return k
}

func (t *tx) setDecider(k KRef, v VatID, inc uint64) {
	p := t.promise(k)
	p.decider, p.inc = v, inc
	t.set(keyDecides(v, k), []byte(num(inc)))
	u := t.run(v)
	u.decided++
	if inc != 0 {
		u.memory.decides++
	}
}

func (t *tx) clearDecider(k KRef) {
	p := t.promise(k)
	if p.decider != "" {
		t.delete(keyDecides(p.decider, k))
		if t.lookRun(p.decider) != nil {
			u := t.run(p.decider)
			less(&u.decided, 1)
			switch {
			case u.phase != dead && p.inc > u.memory.deadInc:
				u.memory.decides--
			case p.inc != 0:
				less(&u.memory.owed, 1)
			}
		}
		p.decider, p.inc, p.awaitsEnd = "", 0, false
	}
}

// touch returns a promise in the state that readers must see: if its decider is dead, touch rejects it here and now,
// unless that was done before. A settled promise may have subscribers that are not told yet, see isTelling.
func (t *tx) touch(k KRef) *promise {
	p := t.promise(k)
	if p.state == unresolved && p.decider != "" {
		if code, detail, lost := t.lost(p); lost {
			if slices.Contains(p.subscribers, p.decider) {
				// The decider's own store waits for the promise: the vat keeps its name, and is told by it.
				if p.inc == 0 {
					p.inStead = p.decider // which will try to settle it by that name
				}
				t.clearDecider(k)
			}
			t.left.touched--
			t.settle(k, true, t.reason(code, detail))
		}
	}
	return p
}

// touchDecided touches the promises that a vat decides, in the order in which they were made, a slice at a time: a
// subscriber of several is told of them in that order.
func (t *tx) touchDecided(v VatID, cursor *string) {
	prefix := prefixDecides(v)
	for key := range t.scanByNumber(prefix+"kp", cursor) {
		k := KRef(key[len(prefix):])
		if t.promise(k); t.promises.isGuess(k) {
			t.settle(k, true, t.reason(errcode.VatTerminated, fmt.Sprintf("vat %s was terminated", v)))
			t.delete(key)
			continue
		}
		t.touchOf(v, k)
	}
}

// touchOf touches a promise that a vat decides, or whose decider's end settles it.
func (t *tx) touchOf(v VatID, k KRef) {
	if p := t.promise(k); p.awaitsEnd && t.run(v).phase == dead {
		t.settleEnd(k, p.decider)
	} else {
		t.touch(k)
	}
}

// lost reports whether the decider of a promise can settle it no more.
func (t *tx) lost(p *promise) (errcode.Code, string, bool) {
	u := t.lookRun(p.decider)
	switch {
	case p.awaitsEnd: // the slices that remove the vat tell all subscribers of it
		return "", "", false
	case t.lacksRun(p.decider): // its removal settles what it decides
		return "", "", false
	case u == nil || u.phase == dead:
		return errcode.VatTerminated, fmt.Sprintf("vat %s was terminated", p.decider), true
	case u.phase == stopped && p.inc <= u.memory.deadInc:
		return errcode.VatTerminated, fmt.Sprintf("vat %s is stopped: %s", p.decider, u.why), true
	case p.inc == 0, p.inc > u.memory.deadInc:
		return "", "", false
	default:
		return errcode.VatRestarted, fmt.Sprintf("vat %s was restarted and has lost what would have answered", p.decider), true
	}
}

// lacksRun reports whether a vat is damaged: it is there, and its run row is not. Such a vat has ended for nobody until it is
// removed. In a salvage there is a guess at the run row.
func (t *tx) lacksRun(v VatID) bool { return t.lookRun(v) == nil && t.has(keyVat(v)) && !t.salvaging }

// settle fulfils or rejects an unresolved promise: its subscribers are told, and parked messages go on.
//
// Preconditions: the promise is unresolved, and the actor may settle it. A fulfilment is never a lone promise.
func (t *tx) settle(k KRef, reject bool, value Data) {
	p := t.promise(k)
	switch {
	case t.salvaging && p.state != unresolved:
		return
	case t.promises.isGuess(k):
		t.restore(k, p, value)
		return
	case p.state != unresolved:
		panic(fmt.Sprintf("kernel: %s is settled twice", k))
	}
	t.holdData(value)
	p.state, p.value, p.known = fulfilled, value, true
	p.size, p.slots = 1+uint64(len(value.Body)), uint64(len(value.Slots))
	t.mentioned(value.Slots, +1)
	t.maybeCircle = append(t.maybeCircle, k)
	a := answer{value}
	t.create(keyValue(k), t.codec.encode(a.fields))
	if reject {
		p.state = rejected
	}
	if p.decider != "" {
		decider := p.decider
		if t.lacksRun(decider) {
			t.lacks(keyRun(decider))
		}
		if u := t.lookRun(decider); u != nil && p.inc == 0 && u.phase == stopped {
			p.inStead = decider
		}
		t.clearDecider(k)
		switch {
		case p.inStead != "":
		case decider == t.actor:
			t.retireLater(k)
		default:
			t.retire(decider, k)
		}
	}
	t.event(Settled{k, reject})
	if len(p.subscribers) <= t.left.notified {
		subscribers := p.subscribers
		p.subscribers = nil
		for _, v := range subscribers {
			t.left.notified--
			t.notify(v, k)
		}
	} else if len(p.subscribers) > 0 {
		t.left.notified = min(t.left.notified, 0) // so that promises that are settled later are told later
		t.hold(k)
		t.addWork(work{kind: workTell, promise: k})
	}
	if p.head != p.tail {
		t.drain(p)
	}
	if p.ticket != "" {
		t.settleTicket(p)
	}
	if p.launch != "" {
		t.settleLaunch(p)
	}
}

// isTelling reports whether a settled promise has subscribers whose notifications are not queued yet: slices of the
// kernel's own work queue them. Messages to a promise that leads to no object wait until then to be rejected, so that no vat
// hears of such a rejection before it hears of the promise.
func (p *promise) isTelling() bool { return p.state != unresolved && len(p.subscribers) > 0 }

// tell queues notifications of a settled promise for its subscribers, in the order of their subscriptions, until the
// budget is spent. It returns whether all are told. The remaining subscribers stay in the promise's row; a subscriber
// that has ended meanwhile is passed over.
func (t *tx) tell(p *promise) (done bool) {
	told := 0
	for told < len(p.subscribers) && !t.spent() {
		t.notify(p.subscribers[told], p.id)
		told++
	}
	p.subscribers = slices.Delete(p.subscribers, 0, told)
	return len(p.subscribers) == 0
}

// notify queues the notification of a settled promise for a vat, unless one is in its queue already, and returns
// whether it did. So there are never more notifications than promises that the vat knows.
func (t *tx) notify(v VatID, k KRef) bool {
	if u := t.lookRun(v); u == nil || u.phase == dead {
		return false
	}
	p := t.promise(k)
	if slices.Contains(p.told, v) {
		return false
	}
	t.hold(k)
	p.told = append(p.told, v)
	t.push(t.run(v), item{kind: itemNotify, promise: k})
	return true
}

// value returns the value of a settled promise.
func (t *tx) value(p *promise) Data {
	if !p.known {
		p.value, p.known = t.dataAt(keyValue(p.id)), true
	}
	return p.value
}

// valueSize returns the length of a settled promise's body and the number of its references. If an earlier version
// settled the promise, that needs a read of the value.
func (t *tx) valueSize(p *promise) (body, slots int) {
	if p.size > 0 {
		return int(p.size - 1), int(p.slots)
	}
	d := t.value(p)
	return len(d.Body), len(d.Slots)
}

// leadsTo returns the object that a fulfilled promise leads to, if its value is one object and nothing else. A value
// whose size shows that it is something else is not read.
func (t *tx) leadsTo(p *promise) (KRef, bool) {
	if p.size > 0 && (p.size-1 > maxLoneBytes || p.slots != 1) {
		return "", false
	}
	return loneObject(t.value(p))
}

// subscribe makes a vat wait for a promise; stored says that its store does. A crank that subscribes to many promises
// of a dead decider waits for the slices that reap the decider.
func (t *tx) subscribe(v VatID, k KRef, stored bool) {
	p := t.promise(k)
	if t.left.touched > 0 {
		p = t.touch(k)
	}
	if stored && !slices.Contains(p.watched, v) {
		p.watched = append(p.watched, v)
	}
	if p.state != unresolved {
		if i := slices.Index(p.subscribers, v); i >= 0 { // its turn to be told had not come
			p.subscribers = slices.Delete(p.subscribers, i, i+1)
		}
		if t.notify(v, k) {
			t.own.rows++
		}
		return
	}
	if !slices.Contains(p.subscribers, v) {
		p.subscribers = append(p.subscribers, v)
	}
}

// isErrorBody reports whether a body is an error value and nothing else, by its shape.
func isErrorBody(body string) bool { return strings.HasPrefix(body, `#{"#error":`) }

// loneObject returns the object of a value that is one object and nothing else.
func loneObject(d Data) (KRef, bool) {
	if len(d.Body) <= maxLoneBytes && capdata.LoneSlot(d.Body, len(d.Slots)) && !d.Slots[0].IsPromise() {
		return d.Slots[0], true
	}
	return "", false
}
