package liveslots

import "slices"

// One promise may wake more work than one crank can do: each turn and call that waits for the promise may send,
// store and answer, and any caller of the vat can make it wait. So a crank stops at a part of its limits, and a
// message of the vat to itself has a later crank do the rest; see due.go. Three kinds of work can be left:
//
//	turns, and calls in memory           Vat.later      in memory; the vat is not at rest
//	settlements to tell the kernel       Vat.untold     in memory; the promise keeps its name until then
//	calls in the store                   shelf.Due      in the store
//
// A call that is left goes to the store like other waiting calls if it can, since there it outlives memory.
//
// A delivery that has failed before is careful: it leaves all that it can to later cranks. The message that
// follows, if it has failed before, goes on with one thing alone. So the one that fails can be told from the
// others, and it alone is given up; see [Vat.giveUp].

// A task is work for the crank at hand. Exactly one of its fields is set.
type task struct {
	// run is short, and is done at once.
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
		case t.call != nil && t.call.kind.isCheap():
			if t.call.waits() {
				v.try(t.call)
			}
		case v.isFull() || t.call != nil && t.call.isBehind():
			v.putOff(t)
		default:
			v.goOnWith(t)
		}
	}
	clear(v.tasks)
	v.tasks = v.tasks[:0]
}

// isCheap reports whether trying a call of this kind does no more than settle its result.
func (k callKind) isCheap() bool { return k == forward || k.isLatent() }

// isBehind reports whether other calls have to send to the promise before this call does.
func (c *call) isBehind() bool {
	return c.queue != nil && c.queue.sends[0] != c
}

// leaveQueue takes a call out of the queue of calls that send to a promise.
func (c *call) leaveQueue() {
	if p := c.queue; p != nil {
		c.queue = nil
		p.sends = slices.DeleteFunc(p.sends, func(x *call) bool { return x == c })
	}
}

// isFull reports whether the crank should leave the work that can be left. Its bounds leave room for a turn
// that sends or returns a value of half a frame, and for changed objects, which are saved last.
func (v *Vat) isFull() bool {
	return v.goneOn >= v.mostGoneOn ||
		len(v.syscalls)+len(v.rows.written) >= v.start.MaxSyscalls/2 ||
		v.sent+v.rows.writtenBytes >= v.crankBytes()/4
}

// maxCrankBytes is about the most that the kernel commits for a crank, however large the vat's frames may be.
const maxCrankBytes = 4 << 20

// crankBytes returns the most that a crank should send and store.
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
		v.shelved().addDue(t.stored)
		return
	}
	if c := t.call; c != nil {
		c.left = true
		v.list(c)
	}
	v.later = append(v.later, t)
}

// findable returns a settled promise by which the store can find a call that is left, or nil if the call has to
// wait in memory. Sends, which only spans of earlier versions leave, wait in memory; see [rulesOfOrder].
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

// leaveStored makes a call that is left, and is stored now, due: the store finds it by the source of a promise.
func (v *Vat) leaveStored(c *call, source string) {
	c.left = false
	v.shelved().addDue(due{source, c.number - 1})
	v.later = slices.DeleteFunc(v.later, func(t task) bool { return t.call == c })
}

// isLeft reports whether work in memory is left to a later crank, other than calls that wait for work that is
// due.
func (v *Vat) isLeft() bool {
	return len(v.untold) > 0 || slices.ContainsFunc(v.later, func(t task) bool { return t.call == nil || !t.call.isBehind() })
}

// takeUp does the work that earlier cranks have left in memory.
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
	} else if v.ramp > 0 { // some work failed: begin with one task, then double the number
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

// giveUp gives up one thing: the one with which the vat went on alone, and which has killed it.
func (v *Vat) giveUp(why value) {
	switch {
	case len(v.untold) > 0:
		v.untold[0].rejected, v.untold[0].val = true, why
	case v.isLeft():
		i := slices.IndexFunc(v.later, func(t task) bool { return t.call == nil || !t.call.isBehind() })
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

// abandon ends a parked turn and rejects its answer with why. The turn's deferred functions run.
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

// littleBytes is above the size of the answer to the message by which the vat goes on.
const littleBytes = 64

// tellUntold tells the kernel of the untold settlements, in their order, as far as the crank has room.
func (v *Vat) tellUntold() {
	for len(v.untold) > 0 && !v.tellFull {
		if v.tellFull = !v.hasRoom(v.untold[0]); !v.tellFull {
			v.tellOne()
		}
	}
}

// tellAll tells the kernel of all untold settlements: the vat ends, and there is no later crank.
func (v *Vat) tellAll() {
	for len(v.untold) > 0 {
		v.tellOne()
	}
}

// hasRoom reports whether the kernel can be told in this crank how p settled. In a crank that has sent and
// written next to nothing it always can. The row that the kernel writes for a value may be twice as large as
// the value, and must fit the limit of a crank too.
func (v *Vat) hasRoom(p *promise) bool {
	if v.sent+v.rows.writtenBytes < littleBytes {
		return true
	}
	_, bytes, ok := v.nested(p.val, v.toldPromises, v.toldBytes)
	return ok && v.sent+v.rows.writtenBytes+p.val.size()+bytes <= v.crankBytes()/8*3 &&
		len(v.syscalls)+len(v.rows.written) < v.start.MaxSyscalls-v.start.MaxSyscalls/4
}

// tellOne tells the kernel of the first untold settlement.
func (v *Vat) tellOne() {
	p := v.untold[0]
	v.untold = v.untold[1:]
	if p.ref == "" || !p.ours {
		return // the kernel has settled the promise meanwhile, in this vat's stead
	}
	p.told, p.toldIn = p.ref, v.delivered
	p.ref = "" // the syscall retires the name
	delete(v.promises, p.told)
	v.endsDecider(p)
	v.announcing = append(v.announcing, p)
	v.announce()
}
