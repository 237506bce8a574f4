package liveslots

import (
	"fmt"
	"slices"

	"ocapkernel.dev/capdata"
)

// What a call that waits takes of the store is its row, and a row for each settled promise that its slots lead to. Others
// have made those: they may be many, and one alone may be as large as the vat's frame. So it is found beforehand:
//
//	the call would never fit a crank     it is rejected, or its continuation told so (refuse)
//	the crank has no room for it         it waits in memory, and the next crank stores it (crowd)
//	so for a value for which calls       those calls are tried from memory (keepDue)
//	in the store are due

// maxStoredPromises bounds the settled promises that one stored call leads to.
const maxStoredPromises = 2000

// rowBytes is about what a row takes beside its value, with its links.
const rowBytes = 100

// A load is what slots lead to that has to be stored with them.
type load struct {
	promises, bytes int
	// ephemeral says that something among it lives in memory only.
	ephemeral bool
}

func (v *Vat) loadOf(slots []any) (l load) {
	v.reach(slots, func(p *promise) {
		if p.settled {
			l.promises++
			l.bytes += v.valueBytes(p)
		}
	}, func(any) { l.ephemeral = true })
	return l
}

// valueBytes is what storing the value of a settled promise takes; 0 if it is stored.
func (v *Vat) valueBytes(p *promise) int {
	if p.source != "" {
		if _, found := v.rows.get(settledKey(p.source)); found {
			return 0
		}
	}
	return p.val.size() + rowBytes
}

// fits says whether a load can be stored by a crank that does little else, with a body.
func (l load) fits(v *Vat, body int) bool {
	return l.promises <= maxStoredPromises && l.bytes+body <= v.crankBytes()/8*5
}

// room is how many bytes the crank at hand can store for calls.
func (v *Vat) room() int {
	part := 6
	if v.careful {
		part = 1
	}
	return v.crankBytes()/8*part - v.sent - v.rows.writtenBytes
}

// refuse rejects the calls of methods that wait, and could never be stored. It says whether there were any: others may
// go on now.
func (v *Vat) refuse() (refused bool) {
	for _, c := range slices.Clone(v.calls) {
		if !c.waits() || c.left || !c.kind.callsMethod() {
			continue
		}
		l := v.loadOf(c.slots)
		if l.ephemeral || l.fits(v, len(c.body)) {
			continue
		}
		refused = true
		if c.held {
			c.on, c.held = nil, false
			v.log.Error("a call that was given up is dropped: what it is called with is too much to keep", "method", c.method)
			continue
		}
		err := errorOf(kernelError(capdata.CodeLimit, fmt.Sprintf(
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

// crowd finds the calls for which the crank has no room, and says whether there are any.
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

// keepDue has the calls in the store that are due tried from memory, where the value of the promise for which they have
// waited cannot be stored with them now.
func (v *Vat) keepDue() {
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
		l := v.loadOf([]any{p})
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
