package liveslots

import "slices"

// What one promise wakes may be more than one crank can do: each of the turns and calls that wait for it sends,
// stores and answers something, and who makes a vat wait is anybody who can call it. So a crank stops at a part of its
// limits, and a message of the vat to itself has a later crank do the rest; see due.go. There are three kinds of rest:
//
//	turns, and calls in memory           Vat.later      in memory, the vat is not at rest
//	what the kernel is to be told of     Vat.untold     in memory; the promise keeps its name until then
//	calls in the store                   shelf.Due      in the store
//
// A call that is to be made later goes to the store with the others if it can, since there it outlives memory.
//
// A delivery that has failed before is careful: it leaves everything to later, and the message that follows, if it has
// failed before, goes on with one thing alone. So if that one fails it can be told from the others, and it alone is given
// up; see [Vat.giveUp].

// A task is something to do in the crank at hand.
type task struct {
	// run is short, and done at once.
	run func()
	// turn goes on, or call is tried. A later crank may do so as well.
	turn *turn
	call *call
	// stored is a stored call that is tried: the first above a number that mentions a promise.
	stored due
}

// run does the tasks of the crank, as many as it has room for.
func (v *Vat) run() {
	for n := 0; n < len(v.tasks) && v.broken == ""; n++ {
		t := v.tasks[n]
		switch {
		case t.run != nil:
			t.run()
		case t.call != nil && t.call.kind.cheap():
			if t.call.waits() {
				v.try(t.call)
			}
		case v.isFull() || t.call != nil && t.call.behind():
			v.putOff(t)
		default:
			v.goOnWith(t)
		}
	}
	clear(v.tasks)
	v.tasks = v.tasks[:0]
}

// cheap says that trying a call does no more than to settle its result.
func (k callKind) cheap() bool { return k == forward || k.latent() }

// behind says whether a call sends to a promise to which others send before.
func (c *call) behind() bool {
	return c.queue != nil && c.queue.sends[0] != c
}

// leaveQueue notes that a call does not wait to send any more.
func (c *call) leaveQueue() {
	if p := c.queue; p != nil {
		c.queue = nil
		p.sends = slices.DeleteFunc(p.sends, func(x *call) bool { return x == c })
	}
}

// isFull says whether the crank should leave what can be left. A turn may come to send or to return a value of half a
// frame, and objects that turns have changed are not saved yet.
func (v *Vat) isFull() bool {
	return v.goneOn >= v.mostGoneOn ||
		len(v.syscalls)+len(v.rows.written) >= v.start.MaxSyscalls/2 ||
		v.sent+v.rows.writtenBytes >= v.crankBytes()/4
}

// maxCrankBytes is about what the kernel commits for a crank, however large the vat's frames may be.
const maxCrankBytes = 4 << 20

// crankBytes is what a crank should send and store at most.
func (v *Vat) crankBytes() int { return min(v.start.MaxFrameBytes, maxCrankBytes) }

func (v *Vat) goOnWith(t task) {
	v.goneOn++
	switch {
	case t.turn != nil:
		v.resume(t.turn)
	case t.call != nil:
		if t.call.waits() {
			v.try(t.call)
		}
	default:
		if c := v.unshelve(t.stored.Above + 1); c != nil {
			v.try(c)
		}
	}
}

// putOff leaves a task to a later crank.
func (v *Vat) putOff(t task) {
	if t.stored.Source != "" {
		v.shelved().isDue(t.stored)
		return
	}
	if c := t.call; c != nil {
		c.left = true
		v.list(c)
	}
	v.later = append(v.later, t)
}

// findable returns a settled promise by which a call that is left is found in the store; nil if it has to wait in
// memory. Messages keep their order there.
func (c *call) findable() *promise {
	if !c.kind.callsMethod() {
		return nil
	}
	for _, s := range c.slots {
		if p, ok := s.(*promise); ok && p.settled {
			return p
		}
	}
	return nil
}

// leaveStored has the store find a call that was left, and is stored now.
func (v *Vat) leaveStored(c *call, source string) {
	c.left = false
	v.shelved().isDue(due{source, c.number - 1})
	v.later = slices.DeleteFunc(v.later, func(t task) bool { return t.call == c })
}

// isLeft says whether the vat has left something in memory to a later crank that does not have to wait for what is due.
func (v *Vat) isLeft() bool {
	return len(v.untold) > 0 || slices.ContainsFunc(v.later, func(t task) bool { return t.call == nil || !t.call.behind() })
}

// takeUp does what earlier cranks have left in memory.
func (v *Vat) takeUp() {
	later := v.later
	v.later = nil
	if v.careful {
		// One thing alone.
		if len(v.untold) > 0 {
			v.tellOne()
			v.tellFull = true
			v.later = later
			return
		}
		v.mostGoneOn = 1
	} else if v.ramp > 0 { // some failed: more and more, from one
		v.mostGoneOn = v.ramp
		if v.ramp *= 2; v.ramp >= maxWoken {
			v.ramp = 0
		}
	}
	v.tellUntold()
	for _, t := range later {
		if t.call != nil {
			t.call.left = false
		}
	}
	v.tasks = append(v.tasks, later...)
}

// giveUp gives up the one thing of those that are left which the vat went on with alone, and which has killed it.
func (v *Vat) giveUp(why value) {
	switch {
	case len(v.untold) > 0:
		v.untold[0].rejected, v.untold[0].val = true, why
	case v.isLeft():
		i := slices.IndexFunc(v.later, func(t task) bool { return t.call == nil || !t.call.behind() })
		t := v.later[i]
		v.later = slices.Delete(v.later, i, i+1)
		if t.turn != nil {
			v.abandon(t.turn, why)
			return
		}
		t.call.on, t.call.left = nil, false
		t.call.leaveQueue()
		v.settle(t.call.result, why, true)
	}
}

// abandon ends a parked turn. Its deferred functions run, and the answer is a rejection.
func (v *Vat) abandon(t *turn, why value) {
	v.log.Error("a turn that cannot go on is given up", "turn", t.what, "err", errorOf(why))
	delete(v.parked, t)
	if t.call != nil {
		v.settle(t.call.result, why, true)
	}
	v.current.Store(t)
	t.on.stop()
	v.current.Store(nil)
	if t.handed != nil {
		t.handed.handOn(v)
	}
}

// littleBytes is what the answer to the message by which the vat goes on is below.
const littleBytes = 64

// tellUntold tells the kernel how promises settled, in their order, as far as the crank has room.
func (v *Vat) tellUntold() {
	for len(v.untold) > 0 && !v.tellFull {
		if v.tellFull = !v.hasRoom(v.untold[0]); !v.tellFull {
			v.tellOne()
		}
	}
}

// tellAll tells the kernel of all: there is no later crank.
func (v *Vat) tellAll() {
	for len(v.untold) > 0 {
		v.tellOne()
	}
}

// hasRoom says whether the kernel can be told in this crank how a promise settled. The first can always, beside little.
// What the kernel writes for a value may be twice the value, and must not be more than a frame either.
func (v *Vat) hasRoom(p *promise) bool {
	if v.sent+v.rows.writtenBytes < littleBytes {
		return true
	}
	_, bytes, ok := v.nested(p.val, v.toldPromises, v.toldBytes)
	return ok && v.sent+v.rows.writtenBytes+p.val.size()+bytes <= v.crankBytes()/8*3 &&
		len(v.syscalls)+len(v.rows.written) < v.start.MaxSyscalls-v.start.MaxSyscalls/4
}

// tellOne tells the kernel of the first promise of which it was not told yet.
func (v *Vat) tellOne() {
	p := v.untold[0]
	v.untold = v.untold[1:]
	if p.ref == "" || !p.ours {
		return // the kernel has settled it meanwhile, in this vat's stead
	}
	p.told, p.toldIn = p.ref, v.delivered
	p.ref = "" // the syscall retires the name
	delete(v.promises, p.told)
	v.decided(p)
	v.announcing = append(v.announcing, p)
	v.announce()
}
