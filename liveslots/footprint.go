package liveslots

import (
	"fmt"
	"slices"

	"ocapkernel.dev/errcode"
)

// A call that waits takes room in the store: its row, and a row for each settled promise that its slots lead
// to. Other vats made those promises: there may be many, and one alone may be as large as the vat's frame. So
// each crank checks beforehand:
//
//	the call would never fit a crank          the call is rejected, or its continuation gets the error (refuse)
//	the crank has no room for the call        the call waits in memory, and the next crank stores it (crowd)
//	the crank has no room for the value for   those calls are tried from memory (unshelveDue)
//	which calls in the store are due

// maxStoredPromises bounds the settled promises that one stored call leads to.
const maxStoredPromises = 2000

// rowBytes is about the size of a row without its value, with its links.
const rowBytes = 100

// A footprint is the part of a call that has to be stored beside its row: the settled promises that its slots
// lead to.
type footprint struct {
	promises, bytes int
	// ephemeral is set if the slots lead to an object that lives in memory only.
	ephemeral bool
}

func (v *Vat) footprintOf(slots []any) (f footprint) {
	v.reach(slots, func(p *promise) {
		if p.settled {
			f.promises++
			f.bytes += v.valueBytes(p)
		}
	}, func(any) { f.ephemeral = true })
	return f
}

// valueBytes returns the bytes that it takes to store the value of a settled promise: 0 if the value is stored.
func (v *Vat) valueBytes(p *promise) int {
	if p.source != "" {
		if _, found := v.rows.get(settledKey(p.source)); found {
			return 0
		}
	}
	return p.val.size() + rowBytes
}

// fits reports whether a crank that does little else can store a footprint and a body of that many bytes.
func (f footprint) fits(v *Vat, body int) bool {
	return f.promises <= maxStoredPromises && f.bytes+body <= v.crankBytes()/8*5
}

// room returns how many bytes the crank at hand can still store for calls.
func (v *Vat) room() int {
	part := 6
	if v.careful {
		part = 1
	}
	return v.crankBytes()/8*part - v.sent - v.rows.writtenBytes
}

// refuse rejects the waiting calls of methods that could never be stored. It reports whether there were any:
// then other calls may be able to go on.
func (v *Vat) refuse() (refused bool) {
	for _, c := range slices.Clone(v.calls) {
		if !c.waits() || c.left || !c.kind.callsMethod() {
			continue
		}
		l := v.footprintOf(c.slots)
		if l.ephemeral || l.fits(v, len(c.body)) {
			continue
		}
		refused = true
		if c.aside {
			c.on, c.aside = nil, false
			v.log.Error("a call that was given up is dropped: what it is called with is too much to keep", "method", c.method)
			continue
		}
		err := errorOf(kernelError(errcode.Limit, fmt.Sprintf(
			"an argument is not there yet, and the others are too much to keep until then: %d settled promises, of %d bytes", l.promises, l.bytes)))
		c.on = nil
		if c.kind == byMessage {
			v.settle(c.result, errorValue(err), true)
			continue
		}
		c.slots = append([]any{rejectedPromise(err)}, c.slots[1:]...)
		v.try(c)
	}
	return refused
}

// crowd marks the calls for which the crank has no room, and reports whether there are any.
func (v *Vat) crowd() bool {
	v.crowded = false
	room := v.room()
	seen := map[*promise]bool{}
	for _, c := range v.calls {
		if !c.waits() || c.verdict != yes {
			continue
		}
		bytes := rowBytes
		if c.number == 0 {
			bytes += len(c.body)
		}
		v.reach(c.slots, func(p *promise) {
			if p.settled && !seen[p] {
				bytes += v.valueBytes(p)
			}
		}, func(any) {})
		if bytes > room {
			c.crowded, v.crowded = true, true
			continue
		}
		room -= bytes
		v.reach(c.slots, func(p *promise) { seen[p] = true }, func(any) {})
	}
	return v.crowded
}

// unshelveDue reads back the due calls of the store that wait for a promise whose value cannot be stored now.
// They are tried from memory.
func (v *Vat) unshelveDue() {
	v.crowded = false
	for _, c := range v.calls {
		c.crowded = false
	}
	s := v.shelved()
	s.Due = slices.DeleteFunc(s.Due, func(d due) bool {
		p := v.settledIn[d.Source]
		if p == nil {
			return false
		}
		l := v.footprintOf([]any{p})
		if !l.ephemeral && l.fits(v, 0) && l.bytes <= v.room() {
			return false
		}
		s.changed = true
		calls, _ := v.unshelveWatchers(d, -1)
		for _, c := range calls {
			c.on = p
			v.putOff(task{call: c})
		}
		return true
	})
}
