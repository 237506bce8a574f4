package kernel

import (
	"slices"

	"ocapkernel.dev/errcode"
)

// A unit is one piece of input that a channel has read for a call, such as a line. Its class says which calls may get
// it. Its number orders the units of one service object: calls get the first unit of their class. The life of a unit:
//
//	state        rows                  event                                                 next state
//	read         a. (the call)         Complete; the call has a listener                     offered
//	                                   Complete; the call has no listener, or was cancelled  given back
//	offered      f. (tie), b. (value)  a crank with the notification is committed            consumed
//	                                   the vat's memory is lost, and was the only holder     given back
//	given back   j. (the unit)         Complete or TakeUnit of a call with a listener        offered
//	                                   the service object has ended and is being removed     removed
//
// If other units are given back when Complete answers a call with a listener, the new unit joins them, and the first
// unit of its class is offered: so no unit overtakes another of its class. A unit that settles the result of a host
// call or of a launch is consumed in that commit. If the result has no listener but messages are parked on it, they get
// the value, and the unit is given back all the same.
//
// A result that other holders share stays offered when the vat loses its memory; its unit is consumed when the vat is
// told after all, or is removed. giveBack gives nothing back to a service object that has ended.

func (t *tx) nextUnit(s *service) uint64 {
	s.nextUnit++
	return s.nextUnit
}

// keepUnit stores a unit as given back. Its number decides its place among the others.
func (t *tx) keepUnit(s *service, number uint64, class string, value Data) {
	u := unit{class, value}
	t.holdData(value)
	t.left.moved -= len(value.Body)
	t.set(keyUnit(s.id, class, number), t.codec.encode(u.fields))
	s.units++
	t.effect(UnitBack{s.id})
}

// takeUnit removes the first unit of a class and returns it. Its counts pass to the caller.
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
	// A unit that this commit has given back may be the first, and is not in the store yet.
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

// TakeUnit ends a call that reads with the first unit of a class that was given back. taken is false if there is no
// such unit or no such call: nothing is changed then.
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

// asUnit notes, before the promise is settled, that a promise will be fulfilled with a unit of input.
func (t *tx) asUnit(k KRef, number uint64, class string) {
	p := t.promise(k)
	if p.tie.vat == "" || p.ticket != "" || p.launch != "" {
		t.untie(k) // a host call, or a launch, has the unit with the commit
		return
	}
	p.tie.call.N, p.tie.unit = number, class
}

// untie removes the tie of a promise to a call: the promise is settled with a value that is no unit, or the unit
// is consumed.
func (t *tx) untie(k KRef) {
	p := t.promise(k)
	if p.tie.vat != "" {
		t.delete(keyTie(p.tie.vat, k))
	}
	p.tie = tie{}
}

// gotUnit notes that a vat was told of a promise. If the value is a unit of input, the unit is consumed.
func (t *tx) gotUnit(k KRef) {
	if p := t.promise(k); p.tie.unit != "" {
		t.untie(k)
	}
}

// giveBack does one slice, from the cursor on, and reports whether it was the last. It handles the results of the vat's
// calls of service objects that only its lost memory knew: an unfinished call is cancelled, a unit that the vat was not
// told of is given back. A result that the vat's store waits for, or that has another holder, is left as it is.
func (t *tx) giveBack(v VatID, why errcode.Code, cursor *string) (done bool) {
	for key := range t.scan(prefixTies(v), cursor) {
		k := KRef(key[len(prefixTies(v)):])
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
		s := t.services.edit(t, p.tie.call.Service)
		switch {
		case s == nil:
			t.untie(k) // with the service the unit is gone
		case p.state == unresolved && p.head == p.tail && t.begun(p):
			t.cancelCall(p, why)
		case p.state != unresolved && p.tie.unit != "":
			a := p.tie
			value := t.value(p)
			t.untie(k)
			if s.ended {
				break
			}
			t.keepUnit(s, a.call.N, a.unit, value)
			t.retire(v, k) // so that the notification, if one is queued, finds no name and is dropped
		}
	}
	return !t.spent()
}

// unheard reports whether no live holder would see the result of a call, so that a unit read by the call would be lost.
// That is so if the call has no result, or if only a lost memory holds the result: the vat may have lost it while the
// message was on its way.
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

// onlyFor reports whether the result of a call is held by the memory of the vat alone. Messages that are parked on the
// result do not count as holders.
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
		refs++ // the drain item, which stands for the parked messages
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
