package kernel

import "ocapkernel.dev/errcode"

// endServices ends the service objects of a subcluster, a slice at a time.
func (t *tx) endServices(w *work) (done bool) {
	prefix := prefixServicesOf(w.sub)
	for key := range t.scan(prefix, &w.after) {
		t.endService(KRef(key[len(prefix):]))
	}
	return !t.spent()
}

// pinned is the reachable count of a service object that exists, and that nothing holds.
const pinned = 1

// endUnheard ends a service object that a call has made, such as a connection, once nothing holds it. The objects of a
// configuration have names, by which they are held. An object that holds others acts for them, as a repetition of the timer
// does: it is kept as long as one of these can hear it.
func (t *tx) endUnheard(k KRef) {
	s := t.services.look(t, k)
	if t.salvaging || s == nil || s.ended || s.name != "" {
		return
	}
	for _, h := range s.holds {
		if t.exists(h) == nil && (h.IsPromise() || !t.objects.look(t, h).revoked) {
			return
		}
	}
	t.endServiceAs(k, true)
}

// endService makes a service object unreachable from this instant. Its rows go in slices.
func (t *tx) endService(k KRef) { t.endServiceAs(k, false) }

func (t *tx) endServiceAs(k KRef, released bool) {
	s := t.service(k)
	if s.ended {
		return
	}
	s.ended = true
	if t.services.isGuess(k) {
		t.services.keep(k)
	}
	if b, ok := t.get(keyServiceName(s.name)); s.name != "" && ok && KRef(b) == k {
		t.delete(keyServiceName(s.name))
	}
	t.hold(k)
	t.addWork(work{kind: workEndService, promise: k})
	t.effect(EndService{k, s.sub, s.name, s.kind, s.config, released})
}

// EndService removes a service object, such as a connection: pending calls reject, and so do later ones. Nothing
// happens if it is gone.
func (m *Machine) EndService(k KRef) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if s := t.services.look(t, k); s == nil || s.ended {
		return Commit{}, nil
	}
	t.endService(k)
	return m.done(t), nil
}

// The stages of removing a service object. The numbers are stored; endBegun is followed by endQueue, and endQueue by
// endUnits. An earlier version emptied the queue as stage 0, followed by endCalls.
const (
	endBegun uint8 = iota
	endCalls
	endUnits
	endRows
	endQueue
)

// removeService removes an ended service object, a slice at a time.
func (t *tx) removeService(w *work) (done bool) {
	k := w.promise
	if t.salvaging && t.services.look(t, k) == nil && t.ownerOf(k) == "" {
		t.release(k)
		return true // it was removed already
	}
	s := t.service(k)
	t.left.bytes = whole.bytes // its state, which may be large, does not end the slice: so each has progress
	why := kernelError(errcode.ServiceGone, s.goneText())
	for {
		next := w.stage + 1
		switch w.stage {
		case endQueue: // of calls that are not begun: they are younger than those that are
			next = endUnits
			for s.head != s.tail && !t.spent() {
				t.dropItem(s, why)
			}
			if s.head == s.tail { // items that the counters do not tell of, because the counters could not be read
				prefix := "i." + string(k) + "."
				for key, b := range t.scanByNumber(prefix, &w.after) {
					var it item
					if t.delete(key); t.decoded(key, func() { t.codec.decode(key, b, it.fields) }) {
						t.endItem(it, why)
					}
				}
			}
		case endBegun, endCalls:
			if w.stage == endBegun {
				next = endQueue
			}
			for key := range t.scanByNumber(prefixServiceCalls(k), &w.after) {
				n := numberIn(key[len(prefixServiceCalls(k)):])
				call := t.call(CallID{k, n})
				if t.salvaging && call == nil {
					t.delete(key)
					continue
				}
				t.finishCall(call, Completion{Rejected: true, Value: why})
			}
		case endUnits:
			for key, b := range t.scan(prefixUnits(k), &w.after) {
				var u unit
				if t.decoded(key, func() { t.codec.decode(key, b, u.fields) }) {
					t.releaseData(u.value)
				}
				t.delete(key)
				s.units--
			}
		case endRows:
			for _, h := range s.holds {
				t.release(h)
			}
			t.delete(keyServiceOf(s.sub, k))
			sub := s.sub
			t.services.remove(t, k)
			if s.calls > 0 {
				t.unreadable(prefixServiceCalls(k), nil) // there are fewer rows than begun calls
			}
			if t.object(k); t.objects.isGuess(k) {
				t.object(k).service = true
				t.objects.keep(k) // the object may have other holders
			}
			t.release(k) // the pin
			t.release(k) // of this work
			if sub != "" {
				t.lessServices(sub)
			}
			return true
		}
		if t.spent() {
			return false
		}
		w.stage, w.after = next, ""
	}
}

// dropItem ends the item at the head of a service object's queue.
func (t *tx) dropItem(s *service, why Data) {
	var it item
	if key := keyServiceItem(s.id, s.head); !t.decoded(key, func() { it = t.waiting(s) }) {
		t.delete(key)
		s.head++
		return
	}
	t.takeCall(s, it)
	t.endItem(it, why)
}

// endItem ends an item that was taken from a service object's queue.
func (t *tx) endItem(it item, why Data) {
	if it.kind == itemDrain {
		t.addWork(work{kind: workDrain, promise: it.promise}) // the item's count goes with it
		return
	}
	if it.msg.result != "" {
		t.untie(it.msg.result)
		t.settle(it.msg.result, true, why)
	}
	t.releaseMessage(it.msg)
}
