package liveslots

import (
	"errors"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// When a promise settles, the stored calls that wait for it are tried: as many as one crank may do, and the rest
// is due. The vat goes on with what is due by messages to itself, one after the other:
//
//	vat: go on()                    try what is due
//	vat: when onLine(obj, args…)    make one stored call, which is also in the message
//	vat: call take(obj, args…)
//	vat: stored(n)                  make stored call n, which is too large for a message
//
// All but the first follow a delivery that has failed, since perhaps it was a stored call that failed. That call is
// then made in a message of its own: the message alone is given up if it fails again, and the call's result is
// rejected. The kernel keeps such a message as poisoned. Should a person have it delivered again, the message has
// no result any more, and the vat makes the call that is in it. A call that did not fit the message stays in the store
// for that, as one that waits for a person (held), and the message has its number.
//
// The messages go to an object that no other vat ever has a reference to. So nobody else can send them.

// due says that the stored calls that mention a promise are to be tried, those above a number.
type due struct {
	Source string `json:"source"`
	Above  uint64 `json:"above"`
}

// In the shelf, Due is what is due, and Nudge the result of the message that is on its way. One is the number of
// the call that this message is to make, or 0; Plain says that it is to make none, also if it has failed before. Most
// is how many calls the next crank tries, if not maxWoken.
//
// The same messages have the vat go on with what it has left in memory, before what is due: see later.go.

// maxWoken bounds the stored calls that are tried in one crank, so that it does not exceed what a crank may
// do, however many calls others have made to wait for one promise.
const maxWoken = 500

// goOnRef is the object to which the vat sends such messages, and goOn the method of the first kind. Before there
// was that object, the message went to the root.
const (
	goOnRef = wire.Ref("o+d0/1")
	goOn    = "vat: go on"
	// inStore is the method of a message that makes a call which only the store has.
	inStore = "vat: stored"
)

// maxHeld bounds the calls that the store holds for a person, since the vat does not hear when the message with the number
// of one is dropped. The oldest makes room.
const maxHeld = 10

// alone is the method of a message that makes one call.
func (c *call) alone() string { return "vat: " + c.kind.String() + " " + c.method }

// isDue notes that something is due.
func (s *shelf) isDue(d due) {
	s.changed = true
	for i, x := range s.Due {
		if x.Source == d.Source {
			s.Due[i].Above = min(x.Above, d.Above)
			return
		}
	}
	s.Due = append(s.Due, d)
}

// wake has stored calls tried.
func (v *Vat) wake(d due) {
	for n := range v.watchers(d) {
		if c := v.onShelf[n]; c != nil && !c.stored {
			continue // in memory already
		}
		if v.woken >= v.mostWoken {
			v.shelved().isDue(d)
			return
		}
		v.woken++
		v.tasks = append(v.tasks, task{stored: due{d.Source, n - 1}})
		d.Above = n
	}
}

// beCareful has a delivery that failed before leave all that it can to later ones.
func (v *Vat) beCareful() { v.mostWoken, v.mostGoneOn, v.ramp, v.careful = 0, 0, 1, true }

// isNudge says whether a message is the one by which the vat goes on.
func (v *Vat) isNudge(d wire.Call, method string) bool {
	own := d.Target == goOnRef || d.Target == wire.RootRef && method == goOn
	return own && d.Message.Result != "" && d.Message.Result == v.shelved().Nudge
}

// goesOn takes up what was left: one call, or what is left in memory, or what is due, as much as a crank may do.
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
	if s.Most > 0 { // some failed: more and more, from one
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

// refused notes that the message by which the vat goes on was rejected.
func (v *Vat) refused(why value) {
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
					v.hold(c)
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

// goOnLater sees to it that the vat goes on with what is left.
func (v *Vat) goOnLater() {
	s := v.shelved()
	if len(s.Due) == 0 && !v.isLeft() && !v.crowded || s.Nudge != "" {
		return
	}
	s.changed = true
	switch {
	case v.isLeft() || v.crowded:
		if v.careful {
			s.Most = 1 // for what is due, after that
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

// aloneMessage is the message that makes a stored call. There is none if it would be too large: then only the
// store has the call.
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

// callAgain makes the call that is in a message which was given up once.
func (v *Vat) callAgain(method string, args, slots []any, result *promise) {
	if method == inStore {
		v.callHeld(args, result)
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
		v.settle(result, undefined, false) // there was no room for the call
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

// hold has the store keep a call that was given up until the message with its number comes again.
func (v *Vat) hold(c *call) {
	s := v.shelved()
	s.Held, s.changed = append(s.Held, c.number), true
	c.held, c.result = true, &promise{call: c}
	v.try(c)
	if len(s.Held) > maxHeld {
		if c := v.unshelve(s.Held[0]); c != nil {
			v.log.Error("a call that was given up is dropped: the vat keeps no more", "method", c.method, "limit", maxHeld)
			c.held, c.on = false, nil
		}
		s.Held = slices.Delete(s.Held, 0, 1)
	}
}

// callHeld makes a call that the store holds.
func (v *Vat) callHeld(args []any, result *promise) {
	s := v.shelved()
	n := 0.0
	if len(args) > 0 {
		n, _ = args[0].(float64)
	}
	i := slices.Index(s.Held, uint64(n))
	if i < 0 {
		v.log.Error("a call that was given up is not in the store any more", "number", n)
		v.settle(result, undefined, false)
		return
	}
	s.Held, s.changed = slices.Delete(s.Held, i, i+1), true
	if c := v.unshelve(uint64(n)); c != nil {
		c.held, c.result = false, result
		result.call = c
		v.try(c)
	}
}
