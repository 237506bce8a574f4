package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// Terminate removes a subcluster and all that its vats own. What its vats decide reads as rejected at
// once; the rows go in slices, and Gone says when nothing is left.
func (m *Machine) Terminate(s SubID) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	sub := t.sub(s)
	if sub == nil {
		return Commit{}, refuse(CodeNotFound, "there is no subcluster %s", s)
	}
	if sub.state == SubLaunching {
		t.failLaunch(s, "the subcluster was terminated")
		return t.done(), nil
	}
	t.terminate(s, sub, "its subcluster was terminated")
	return t.done(), nil
}

func (t *tx) terminate(s SubID, sub *subcluster, why string) {
	if sub.state != SubRunning {
		return // its vats are dead, and some of them removed
	}
	sub.state = SubTerminating
	t.setSub(s, sub)
	t.leave(s, sub)
	t.killMembers(sub, why)
}

// killMembers kills the vats of a subcluster whose state the caller has set, the last one first.
func (t *tx) killMembers(sub *subcluster, why string) {
	for i := len(sub.members) - 1; i >= 0; i-- {
		t.killMember(sub.members[i].vat, why)
	}
}

// kill makes a vat dead from this instant, and leaves the rest to the kernel's own work. A launch that it takes part in
// fails.
func (t *tx) kill(v VatID, why string) {
	if !t.killMember(v, why) {
		return
	}
	if sub := t.vat(v).sub; t.launching(sub) {
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) ended: %s", v, t.vat(v).name, why))
	}
}

// killMember is kill without a look at the subcluster, whose row is long. It returns whether the vat was alive.
func (t *tx) killMember(v VatID, why string) bool {
	u := t.run(v)
	if u.phase == dead {
		return false
	}
	u.phase, u.deadInc = dead, u.inc
	t.release(t.vat(v).root)
	t.addWork(work{kind: workBury, vat: v})
	t.effect(StopWorker{v})
	t.event(VatTerminated{v, why})
	return true
}

// addWork leaves something to be done in slices.
func (t *tx) addWork(w work) {
	head, tail := t.workRange()
	t.create(keyWorkItem(tail), w.encode(t.m.enc))
	t.setWorkRange(head, tail+1)
}

func (t *tx) workRange() (head, tail uint64) {
	b, ok := t.get(keyWork)
	if !ok {
		return 0, 0
	}
	t.m.dec.open(keyWork, b, 2)
	return t.m.dec.uint(), t.m.dec.uint()
}

func (t *tx) setWorkRange(head, tail uint64) {
	t.set(keyWork, t.m.enc.row(2, func() { t.m.enc.uint(head); t.m.enc.uint(tail) }))
}

// Work does one slice of what earlier commits left to be done. more says that there is more; a commit
// with Number 0 changes nothing. It is interleaved with cranks, and goes on after a restart.
func (m *Machine) Work(now int64) (c Commit, more bool, err error) {
	defer caught(&err)
	t := m.begin(now)
	head, tail := t.workRange()
	if !t.indexed() {
		t.index()
		return t.done(), head != tail, nil
	}
	if head == tail {
		return Commit{}, false, nil
	}
	key := keyWorkItem(head)
	var w work
	w.decode(m.dec, key, t.must(key))
	t.delete(key)
	t.setWorkRange(head+1, tail)
	var done bool
	switch w.kind {
	case workTell:
		if done = t.tell(w.promise, t.promise(w.promise)); done {
			t.release(w.promise)
		}
	case workFree:
		t.release(w.promise)
		done = true
	case workDrain:
		done = t.rejectParked(w.promise)
	case workForget:
		done = t.sweepSpan(&w)
	case workBury:
		done = t.buryVat(&w)
	case workEndServices:
		done = t.endServices(&w)
	case workEndService:
		done = t.removeService(&w)
	case workBegin:
		if s := t.services.edit(t, w.promise); s != nil {
			s.more, t.readBytes = false, 0 // its state, which may be large, does not end the slice: so each has progress
			t.beginMore(w.promise, s)
		}
		t.release(w.promise)
		done = true
	default:
		m.dec.corrupt(fmt.Errorf("work of kind %d", w.kind))
	}
	switch {
	case done:
	case w.kind == workTell:
		// It stays first, so that promises are told of in the order in which they were settled, and what is rejected
		// because of this one comes later. That holds up the others for a few slices: there are MaxVats subscribers at most.
		_, tail = t.workRange()
		t.set(key, w.encode(t.m.enc))
		t.setWorkRange(head, tail)
	default: // at the end of the line, so that a long one does not hold up the others
		t.addWork(w)
	}
	c = t.done()
	head, tail = t.workRange()
	return c, head != tail, nil
}

// Postpone puts the item that Work takes next at the end of the line, as it is: for one that cannot be done, because
// rows that it touches cannot be read. The others do not wait for it.
func (m *Machine) Postpone() (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	head, tail := t.workRange()
	if head == tail {
		return Commit{}, nil
	}
	b, ok := t.get(keyWorkItem(head))
	if !ok {
		t.setWorkRange(head+1, tail) // there is nothing left of it that could be done
		return t.done(), nil
	}
	t.delete(keyWorkItem(head))
	t.create(keyWorkItem(tail), b)
	t.setWorkRange(head+1, tail+1)
	return t.done(), nil
}

// rejectParked sends the messages parked on a settled promise on their way, a slice at a time. While the promise has
// subscribers to be told, which is so only if telling them had to be put off, the messages wait.
func (t *tx) rejectParked(k KRef) (done bool) {
	p := t.promise(k)
	if p.isTelling() {
		return false
	}
	for p.head != p.tail {
		if t.spent() {
			return false
		}
		m := t.takeParked(k, p)
		t.route(m, false)
		t.releaseMessage(m)
	}
	t.release(k)
	return true
}

// The stages of removing a dead vat. The numbers are stored; buryAsked is followed by buryTies.
const (
	buryAsked uint8 = iota
	buryPromises
	buryQueue
	buryCList
	buryStore
	buryTranscript
	buryFormers
	buryPoisoned
	buryRows
	buryTies
)

// buryVat removes a dead vat, a slice at a time.
func (t *tx) buryVat(w *work) (done bool) {
	v := w.vat
	for {
		next := w.stage + 1
		switch w.stage {
		case buryAsked:
			next = buryTies
			t.giveBack(v, capdata.CodeVatTerminated, &w.after)
		case buryTies: // to calls that others wait for as well
			next = buryPromises
			prefix := prefixAsked(v)
			for key := range t.scan(prefix, &w.after) {
				t.forgetAsked(KRef(key[len(prefix):]))
			}
		case buryPromises:
			t.touchDecided(v, &w.after)
		case buryQueue:
			for u := t.run(v); u.head != u.tail && !t.spent(); {
				if !t.isItem(v, u.head) {
					t.passHoles(v, u, holdWindow)
					continue
				}
				t.dropHead(v, u)
			}
		case buryCList:
			prefix := prefixCList(v)
			for key, value := range t.scan(prefix+"k", &w.after) {
				k, ref := KRef(key[len(prefix):]), wire.Ref(value[1:])
				if !k.IsPromise() && isExport(ref) {
					t.orphan(v, k, ref)
				} else {
					t.removeEntry(v, k, ref, value[0] == 'r')
				}
			}
		case buryStore:
			t.deleteAll(keyStore(v, ""), &w.after)
		case buryTranscript: // whatever span they are of, records and former values
			t.deleteAll(prefixTranscripts(v), &w.after)
		case buryFormers:
			t.deleteAll(prefixAllFormers(v), &w.after)
		case buryPoisoned:
			for key, value := range t.scan(prefixPoisoned(v), &w.after) {
				var p poisoned
				p.decode(t.m.dec, key, value)
				t.releaseMessage(p.msg)
				t.delete(key)
			}
		default:
			s := t.vat(v).sub
			t.forgetExit(v)
			t.delete(keyVat(v))
			t.runs.remove(t, KRef(v))
			t.lessVats()
			t.removeMember(s, v)
			return true
		}
		if t.spent() {
			return false
		}
		if w.stage, w.after = next, ""; next != buryTies && next != buryPromises {
			return false
		}
	}
}

// deleteAll deletes the rows that begin with prefix, as far as the budget goes.
func (t *tx) deleteAll(prefix string, cursor *string) {
	for key := range t.scan(prefix, cursor) {
		t.delete(key)
	}
}

// dropHead ends the item at the head of a dead vat's queue.
func (t *tx) dropHead(v VatID, u *run) {
	it := t.headItem(v, u)
	switch it.kind {
	case itemDrain:
		// The messages go the way of those whose target is gone; the item's count goes with them.
		t.addWork(work{kind: workDrain, promise: it.promise})
		t.removeItem(v, u, it.at)
	case itemMessage:
		t.pop(v, u, it)
		t.route(it.msg, false)
		t.releaseMessage(it.msg)
	default:
		t.pop(v, u, it)
		if it.kind == itemNotify {
			t.release(it.promise)
		}
	}
}

// removeMember takes a vat out of its subcluster, which goes with the last one. While a subcluster leaves, its vats are
// counted, and its row, in which all of them stand, stays as it is until the last one is removed.
func (t *tx) removeMember(s SubID, v VatID) {
	if n, leaving := t.uintRow(keyLeft(s)); leaving && n > 1 {
		t.setUint(keyLeft(s), n-1)
		return
	} else if leaving {
		t.delete(keyLeft(s))
		sub := t.sub(s)
		sub.members = nil
		t.setSub(s, sub)
		t.endSub(s, sub)
		return
	}
	sub := t.sub(s)
	for i, m := range sub.members {
		if m.vat == v {
			sub.members = append(sub.members[:i:i], sub.members[i+1:]...)
			break
		}
	}
	if len(sub.members) == 0 && sub.state == SubRunning {
		sub.state = SubTerminating // its vats have ended by themselves, one by one
		t.leave(s, sub)
	}
	t.setSub(s, sub)
	t.endSub(s, sub)
}
