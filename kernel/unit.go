package kernel

import (
	"slices"

	"ocapkernel.dev/capdata"
)

func (t *tx) nextUnit(s *service) uint64 {
	s.nextUnit++
	return s.nextUnit
}

// keepUnit puts a unit back, where it belongs by its number.
func (t *tx) keepUnit(s *service, number uint64, class string, value Data) {
	u := unit{class, value}
	t.holdData(value)
	t.left.moved -= len(value.Body)
	t.set(keyUnit(s.id, class, number), t.codec.encode(u.fields))
	s.units++
	t.effect(UnitBack{s.id})
}

// takeUnit takes the first unit of a class. Its counts pass to the caller.
func (t *tx) takeUnit(s *service, class string) (number uint64, value Data, found bool) {
	first := ""
	var got unit
	look := func(key string, b []byte) (found bool) {
		var u unit
		t.codec.decode(key, b, u.fields)
		if u.class != class || first != "" && unitNumber(first) < unitNumber(key) {
			return false
		}
		first, got = key, u
		return true
	}
	if key, b := t.next(prefixClass(s.id, class), ""); key != "" {
		look(key, b)
	}
	// The keys of an earlier version do not tell the class. They come before the others.
	for rest, b := range t.all(prefixUnits(s.id), "") {
		if rest >= "c" || look(prefixUnits(s.id)+rest, b) {
			break
		}
	}
	// The unit that this commit put back may be the first, which the store does not know yet.
	for n := s.nextUnit; n > 0 && n+2 > s.nextUnit; n-- {
		key := keyUnit(s.id, class, n)
		if r := t.rows[key]; r != nil && r.changed && r.value != nil {
			look(key, r.value)
		}
	}
	if first == "" {
		return 0, Data{}, false
	}
	t.delete(first)
	s.units--
	return unitNumber(first), got.value, true
}

// TakeUnit ends a call that reads with the first unit of a class that was given back. taken is false if there
// is none, or no such call: nothing is changed then.
func (m *Machine) TakeUnit(id CallID, class string, now int64) (c Commit, taken bool, err error) {
	defer caught(&err)
	t := m.begin(now)
	s := t.services.edit(t, id.Service)
	call := t.call(id)
	if s == nil || t.gone(s) != "" || call == nil || s.units == 0 || t.unheard(call.msg) {
		return Commit{}, false, nil
	}
	number, value, found := t.takeUnit(s, class)
	if !found {
		return Commit{}, false, nil
	}
	result := call.msg.result
	t.asUnit(result, number, class)
	t.settle(result, false, value)
	t.releaseData(value)
	t.endCall(s, call)
	t.releaseMessage(call.msg)
	t.beginMore(s)
	return m.done(t), true, nil
}

// asUnit notes, before it is settled, that a promise will be fulfilled with a unit of input.
func (t *tx) asUnit(k KRef, number uint64, class string) {
	p := t.promise(k)
	if p.asked.vat == "" || p.ticket != "" || p.launch != "" {
		t.forgetAsked(k) // a host, or a launch, has it with the commit
		return
	}
	p.asked.call.N, p.asked.unit = number, class
}

// forgetAsked ends what ties a promise to a call: it is settled with what is no unit, or somebody got that.
func (t *tx) forgetAsked(k KRef) {
	p := t.promise(k)
	if p.asked.vat != "" {
		t.delete(keyAsked(p.asked.vat, k))
	}
	p.asked = asked{}
}

// gotUnit notes that a vat was told of a promise: if that is a unit of input, it is consumed.
func (t *tx) gotUnit(k KRef) {
	if p := t.promise(k); p.asked.unit != "" {
		t.forgetAsked(k)
	}
}

// giveBack cancels the calls of service objects that a vat waits for, and gives back the input that it was
// not told of: its memory, which alone knew of them, is lost. What its store waits for, or somebody else
// has, is left alone. It does a slice, from where the cursor is, and says whether that was the last.
func (t *tx) giveBack(v VatID, why capdata.Code, cursor *string) (done bool) {
	for key := range t.scan(prefixAsked(v), cursor) {
		k := KRef(key[len(prefixAsked(v)):])
		p := t.promises.look(t, k)
		if p == nil && t.salvaging {
			t.unreadable(keyPromise(k), nil)
			t.delete(key)
			continue
		}
		if p == nil {
			t.lacks(key)
		}
		if !t.onlyFor(v, p) {
			continue
		}
		s := t.services.edit(t, p.asked.call.Service)
		switch {
		case s == nil:
			t.forgetAsked(k) // with the service the unit is gone
		case p.state == unresolved && p.head == p.tail && t.begun(p):
			t.cancelCall(p, why)
		case p.state != unresolved && p.asked.unit != "":
			a := p.asked
			value := t.value(p)
			t.forgetAsked(k)
			if s.ended {
				break
			}
			t.keepUnit(s, a.call.N, a.unit, value)
			t.retire(v, k) // so that the notification, if one is queued, finds no name and is dropped
		}
	}
	return !t.spent()
}

// unheard says that nobody would hear of the result of a call, and so get what it has read: it has none, or
// nobody holds that but a memory which is lost, the message having been on its way meanwhile.
func (t *tx) unheard(m message) bool {
	if m.result == "" {
		return true
	}
	p := t.promise(m.result)
	if p.refs == 1 || m.from == "" {
		return p.refs == 1
	}
	u := t.lookRun(m.from)
	return (u == nil || m.inc <= u.memory.deadInc) && t.onlyFor(m.from, p)
}

// onlyFor says that nobody but the memory of a vat knows of the result of its call, and perhaps messages that
// were sent to it.
func (t *tx) onlyFor(v VatID, p *promise) bool {
	if p.ticket != "" || p.launch != "" {
		return false
	}
	if slices.Contains(p.watched, v) && t.alive(v) { // the store of a dead vat waits for nothing
		return false
	}
	for _, s := range p.subscribers {
		if s != v {
			return false
		}
	}
	refs := p.tail - p.head
	if p.drained && p.head != p.tail {
		refs++ // what stands for them
	}
	if _, _, ok := t.vref(v, p.id); ok {
		refs++
	}
	if p.state == unresolved {
		refs++ // the call
	}
	for _, told := range p.told {
		if told == v {
			refs++ // a notification
		}
	}
	return p.refs == refs
}
