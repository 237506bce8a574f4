package liveslots

import (
	"errors"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// When a promise settles, the stored calls that wait for it are tried: as many as one crank may do. The rest is
// due. The vat goes on with the due calls by messages to itself, called nudges, one after the other:
//
//	vat: go on()                    try the calls that are due
//	vat: when onLine(obj, args…)    make one stored call, a copy of which is in the message
//	vat: call take(obj, args…)
//	vat: stored(n)                  make stored call n, which is too large for a message
//
// The first is a plain nudge. The others follow a delivery that has failed, since a stored call may be the
// reason. One call is then made in a message of its own. If that message fails again, it alone is given up, and
// the call's result is rejected. The kernel keeps the message as poisoned. If an operator has it delivered
// again, the message has no result any more, and the vat makes the call that is in it. A call that did not fit
// the message is set aside: its row stays in the store until then, and the message has its number.
//
// Nudges go to goOnRef, an object to which no other vat ever has a reference. So no other vat can send them.

// A due is a set of stored calls that are to be tried: the calls that mention the promise Source and have a
// number above Above.
type due struct {
	Source string `json:"source"`
	Above  uint64 `json:"above"`
}

// In the shelf, Due are the calls that are due, and Nudge is the result of the nudge that is on its way. One is
// the number of the call that this nudge is to make, or 0. Plain is set if the nudge makes no call of its own,
// even if it has failed before. Most is the number of calls that the next crank tries, or 0 for maxWoken.
//
// The same nudges have the vat go on with work that is left in memory. That work comes before the due calls;
// see later.go.

// maxWoken bounds the stored calls that are tried in one crank, so that the crank stays within its limits,
// however many calls wait for one promise.
const maxWoken = 500

// goOnRef is the object to which the vat sends nudges, and goOn the method of a plain one. Earlier versions of
// this package sent it to the root.
const (
	goOnRef = wire.Ref("o+d0/1")
	goOn    = "vat: go on"
	// inStore is the method of a nudge for a call that only the store has.
	inStore = "vat: stored"
)

// maxAside bounds the calls that are set aside, since the vat does not hear when the poisoned message of one is
// dropped. The oldest makes room.
const maxAside = 10

// alone returns the method of a nudge that makes one call.
func (c *call) alone() string { return "vat: " + c.kind.String() + " " + c.method }

// addDue adds calls to those that are due.
func (s *shelf) addDue(d due) {
	s.changed = true
	for i, x := range s.Due {
		if x.Source == d.Source {
			s.Due[i].Above = min(x.Above, d.Above)
			return
		}
	}
	s.Due = append(s.Due, d)
}

// wake has the stored calls of d tried, as many as the crank may try. The rest becomes due.
func (v *Vat) wake(d due) {
	for n := range v.watchers(d) {
		if c := v.onShelf[n]; c != nil && !c.stored {
			continue // the call is in memory already
		}
		if v.woken >= v.mostWoken {
			v.shelved().addDue(d)
			return
		}
		v.woken++
		v.tasks = append(v.tasks, task{stored: due{d.Source, n - 1}})
		d.Above = n
	}
}

// beCareful has a delivery that failed before leave all that it can to later ones.
func (v *Vat) beCareful() { v.mostWoken, v.mostGoneOn, v.ramp, v.careful = 0, 0, 1, true }

// isNudge reports whether a message is the nudge that is on its way.
func (v *Vat) isNudge(d wire.Call, method string) bool {
	own := d.Target == goOnRef || d.Target == wire.RootRef && method == goOn
	return own && d.Message.Result != "" && d.Message.Result == v.shelved().Nudge
}

// goesOn takes up the work that was left: one call alone, or the work in memory, or the due calls, as much as a
// crank may do.
func (v *Vat) goesOn() {
	s := v.shelved()
	s.Nudge, s.Plain, s.InStore, s.changed = "", false, false, true
	if n := s.One; n != 0 {
		s.One, s.Most = 0, 2
		if c := v.unshelve(n); c != nil {
			v.try(c)
		}
		return
	}
	if v.isLeft() {
		v.takeUp()
		return
	}
	if s.Most > 0 { // some calls failed: begin with one, then double the number
		v.mostWoken = min(v.mostWoken, v.woken+s.Most)
		if s.Most *= 2; s.Most >= maxWoken {
			s.Most = 0
		}
	}
	list := s.Due
	s.Due = nil
	for _, d := range list {
		v.wake(d)
	}
}

// nudgeRefused notes that the nudge was rejected, and gives up the call that the nudge was to make.
func (v *Vat) nudgeRefused(why value) {
	s := v.shelved()
	err := errorOf(why)
	if errors.Is(err, ErrDeliveryPoisoned) || errors.Is(err, ErrDeliveryTimeout) {
		if s.Plain {
			v.giveUp(why)
		} else {
			if s.One == 0 {
				s.One = v.firstDue() // an earlier version of this package has sent the message
			}
			if c := v.unshelve(s.One); c != nil {
				v.settle(c.result, why, true)
				if s.InStore {
					v.setAside(c)
				}
			}
		}
	}
	s.Nudge, s.Plain, s.InStore, s.One, s.Most, s.changed = "", false, false, 0, 1, true
}

// firstDue returns the number of the first call that is due, or 0.
func (v *Vat) firstDue() uint64 {
	for _, d := range v.shelved().Due {
		for n := range v.watchers(d) {
			return n
		}
	}
	return 0
}

// goOnLater sends a nudge if work is left and none is on its way.
func (v *Vat) goOnLater() {
	s := v.shelved()
	if len(s.Due) == 0 && !v.isLeft() && !v.crowded || s.Nudge != "" {
		if s.Nudge == "" && s.Most != 0 && v.ids.rules() >= rulesOfChains { // all is done, so that nothing has to be tried carefully
			s.Most, s.changed = 0, true
		}
		return
	}
	s.changed = true
	switch {
	case v.isLeft() || v.crowded:
		if v.careful {
			s.Most = 1 // for the due calls, once the work in memory is done
		}
	case v.careful || s.Most == 1:
		s.Most = 0
		if s.One = v.firstDue(); s.One == 0 {
			s.Due = nil
			return
		}
		c := &call{number: s.One}
		if msg, ok := v.aloneMessage(c); ok {
			if p := v.send(v.presence(goOnRef), msg); p.ref != "" {
				s.Nudge = p.ref
				return
			}
		}
		if c.kind.callsMethod() {
			body, err := capdata.EncodeCall(inStore, []any{float64(s.One)})
			if err != nil {
				panic(fault(err.Error()))
			}
			s.Nudge, s.InStore = v.send(v.presence(goOnRef), value{body: body}).ref, true
			return
		}
	}
	body, err := capdata.EncodeCall(goOn, nil)
	if err != nil {
		panic(fault(err.Error()))
	}
	s.Nudge, s.Plain = v.send(v.presence(goOnRef), value{body: body}).ref, s.One == 0
}

// aloneMessage returns the nudge that makes a stored call. ok is false if it would be too large: then the row
// of the call is its only copy.
func (v *Vat) aloneMessage(c *call) (msg value, ok bool) {
	if _, found := v.readCall(c); !found || !c.kind.callsMethod() {
		return value{}, false
	}
	e := encoder{v: v}
	list := []any{capdata.Remotable{Slot: e.slot(v.presence(c.ref))}}
	for _, a := range c.args {
		list = append(list, e.include(a, c.slots))
	}
	body, err := capdata.EncodeCall(c.alone(), list)
	if err != nil || len(e.slots) > maxSlots || len(body) > v.maxValueBytes {
		return value{}, false
	}
	return value{body: body, slots: e.slots}, true
}

// callAgain makes the call that is in a nudge which was given up once.
func (v *Vat) callAgain(method string, args, slots []any, result *promise) {
	if method == inStore {
		v.callAside(args, result)
		return
	}
	word, name, _ := strings.Cut(strings.TrimPrefix(method, "vat: "), " ")
	kind := slices.Index(callKinds, word)
	var target *presence
	if len(args) > 0 {
		if obj, ok := args[0].(capdata.Remotable); ok {
			target, _ = slots[obj.Slot].(*presence)
		}
	}
	if kind < 0 || !callKind(kind).callsMethod() || target == nil {
		v.settle(result, undefined, false) // the message held no call, for lack of room
		return
	}
	e := encoder{v: v}
	list := make([]any, 0, len(args))
	for _, a := range args[1:] {
		list = append(list, e.include(a, slots))
	}
	body, err := capdata.EncodeCall(name, list)
	if err != nil {
		v.settle(result, errorValue(err), true)
		return
	}
	c := &call{kind: callKind(kind), ref: target.ref, method: name, body: body, args: list, slots: e.slots, result: result, waited: true}
	result.call = c
	v.try(c)
}

// setAside keeps a call that was given up in the store until the nudge with its number is delivered again.
func (v *Vat) setAside(c *call) {
	s := v.shelved()
	s.Aside, s.changed = append(s.Aside, c.number), true
	c.aside, c.result = true, &promise{call: c}
	v.try(c)
	if len(s.Aside) > maxAside {
		if c := v.unshelve(s.Aside[0]); c != nil {
			v.log.Error("a call that was given up is dropped: the vat keeps no more", "method", c.method, "limit", maxAside)
			c.aside, c.on = false, nil
		}
		s.Aside = slices.Delete(s.Aside, 0, 1)
	}
}

// callAside makes a call that was set aside.
func (v *Vat) callAside(args []any, result *promise) {
	s := v.shelved()
	n := 0.0
	if len(args) > 0 {
		n, _ = args[0].(float64)
	}
	i := slices.Index(s.Aside, uint64(n))
	if i < 0 {
		v.log.Error("a call that was given up is not in the store any more", "number", n)
		v.settle(result, undefined, false)
		return
	}
	s.Aside, s.changed = slices.Delete(s.Aside, i, i+1), true
	if c := v.unshelve(uint64(n)); c != nil {
		c.aside, c.result = false, result
		result.call = c
		v.try(c)
	}
}
