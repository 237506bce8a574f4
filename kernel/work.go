package kernel

import "fmt"

// addWork leaves an item of work to be done in slices.
func (t *tx) addWork(w work) {
	head, tail := t.workRange()
	t.create(keyWorkItem(tail), t.codec.encode(w.fields))
	t.setWorkRange(head, tail+1)
}

func (t *tx) workRange() (head, tail uint64) {
	b, ok := t.get(keyWork)
	if !ok {
		return 0, 0
	}
	var w workRange
	t.codec.decode(keyWork, b, w.fields)
	return w.head, w.tail
}

func (t *tx) setWorkRange(head, tail uint64) {
	w := workRange{head, tail}
	t.set(keyWork, t.codec.encode(w.fields))
}

// Work does one slice of the work that earlier commits left. more says that there is more; a commit with Number 0
// changes nothing. It is interleaved with cranks, and goes on after a restart.
func (m *Machine) Work(now int64) (c Commit, more bool, err error) {
	defer caught(&err)
	t := m.begin(now)
	head, tail := t.workRange()
	if !t.indexed() {
		t.index()
		return m.done(t), true, nil
	}
	if _, swept := t.get(keySwept); !swept {
		t.set(keySwept, []byte{})
		t.addWork(work{kind: workSweep})
		return m.done(t), true, nil
	}
	if head == tail {
		return Commit{}, false, nil
	}
	key := keyWorkItem(head)
	var w work
	if !t.decoded(key, func() { m.codec.decode(key, t.must(key), w.fields) }) {
		t.delete(key)
		t.setWorkRange(head+1, tail)
		t.circlesAgain()
		head, tail = t.workRange()
		return m.done(t), head != tail, nil
	}
	t.delete(key)
	t.setWorkRange(head+1, tail)
	var done bool
	switch w.kind {
	case workTell:
		if done = t.tell(t.promise(w.promise)); done {
			t.release(w.promise)
		}
	case workFree:
		t.release(w.promise)
		done = true
	case workDrain:
		done = t.rejectParked(w.promise)
	case workForget:
		done = t.sweepSpan(&w)
	case workRemoveVat:
		done = t.removeVat(&w)
	case workEndServices:
		done = t.endServices(&w)
	case workEndService:
		done = t.removeService(&w)
	case workLoose:
		done = t.sendLoose(&w)
	case workRetire:
		done = t.listForImporters(&w)
	case workSweep:
		done = t.sweepObjects(&w)
	case workCircles:
		done = t.breakCircles(&w)
	case workStranded:
		done = t.findStranded(&w)
	case workBegin:
		if s := t.services.edit(t, w.promise); s != nil {
			s.more, t.left.bytes = false, whole.bytes // its state, which may be large, does not end the slice: so each has progress
			t.beginMore(s)
		}
		t.release(w.promise)
		done = true
	default:
		m.codec.corrupt(fmt.Errorf("work of kind %d", w.kind))
	}
	switch {
	case done:
	case w.kind == workTell:
		// It stays first, so that promises are told of in the order in which they were settled, and rejections that
		// follow from this one come later. That holds up the others for a few slices: there are maxVats subscribers at
		// most.
		_, tail = t.workRange()
		t.set(key, t.codec.encode(w.fields))
		t.setWorkRange(head, tail)
	default: // at the end of the line, so that a long one does not hold up the others
		t.addWork(w)
	}
	c = m.done(t)
	head, tail = t.workRange()
	return c, head != tail, nil
}

// Postpone moves the item that Work takes next to the end of the line, as it is: for an item that cannot be done,
// because rows that it touches cannot be read. The others do not wait for it.
func (m *Machine) Postpone() (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	head, tail := t.workRange()
	if head == tail {
		return Commit{}, nil
	}
	b, ok := t.get(keyWorkItem(head))
	if !ok {
		t.setWorkRange(head+1, tail) // the row of the item is missing
		t.circlesAgain()
		return m.done(t), nil
	}
	t.delete(keyWorkItem(head))
	t.create(keyWorkItem(tail), b)
	t.setWorkRange(head+1, tail+1)
	return m.done(t), nil
}
