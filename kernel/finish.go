package kernel

import (
	"errors"
	"fmt"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// Finish applies a crank: the names that Begin gave, the removal of the item, the vat's syscalls in order, as one
// commit over the state as it is now. A *Fault means that nothing was changed and that the worker must be replaced.
// frame is the answer as it came, without its header; it is nil if the answer did not come as a frame.
func (m *Machine) Finish(c *Crank, done wire.Done, frame []byte, now int64) (commit Commit, err error) {
	defer func() {
		if r, ok := errors.AsType[*Refusal](err); ok {
			err = &Fault{c.Vat, CauseLimit, "the crank has consequences that are too large: " + r.Detail}
		}
	}()
	defer caught(&err)
	t := m.begin(now)
	t.actor = c.Vat
	u := t.run(c.Vat)
	if u.phase != live || u.memory.inc != c.Incarnation || u.memory.inc <= u.memory.deadInc {
		panic(fmt.Sprintf("kernel: crank of %s is finished after its incarnation ended", c.Vat))
	}
	if done.Outcome.Fault != "" {
		return Commit{}, &Fault{c.Vat, CauseFault, done.Outcome.Fault}
	}
	t.consume(c, u)
	call := vatCall{t: t, v: c.Vat, u: u, objects: u.names.objects, promises: u.names.promises, round: c.item.kind == itemRound}
	for i, s := range done.Syscalls {
		if err := call.apply(s); err != nil {
			return Commit{}, &Fault{c.Vat, CauseIllegal, fmt.Sprintf("syscall %d: %v", i, err)}
		}
		if t.own.rows > m.limits.Rows/2 || t.own.bytes > m.limits.Bytes/2 {
			return Commit{}, &Fault{c.Vat, CauseLimit, fmt.Sprintf(
				"syscall %d: the crank writes more than %d rows or %d bytes", i, m.limits.Rows/2, m.limits.Bytes/2)}
		}
		if call.exit == exitFailure {
			return m.exitWithFailure(c, call.why, call.info, now)
		}
	}
	for _, k := range t.retiring {
		t.retire(c.Vat, k)
	}
	u.deliveries++
	t.delivered = true
	u.deaths, u.memory.replays, u.memory.replayKills = 0, 0, 0
	if call.exit == exitSuccess {
		t.keepExit(c.Vat, false, call.info)
		t.releaseData(call.info)
		t.kill(c.Vat, "the vat exited: "+call.why)
	} else {
		t.endCrank(c, u, done, frame, call.written)
		t.wakeMore(c.Vat)
	}
	t.event(Delivered{c.Vat, u.deliveries, c.What, u.span.records, u.wantsRound()})
	return m.done(t), nil
}

// consume applies the part of a crank that its delivery alone decides: the names that Begin gave, the end of the item
// and of its counts.
func (t *tx) consume(c *Crank, u *run) {
	t.applyNames(c.Vat, c.names)
	u.names.importObjects, u.names.importPromises = c.imports[0], c.imports[1]
	if c.item.at == notQueued {
		t.collected(c, u)
		return
	}
	if !u.looks.isEmpty() {
		u.looks.others++
	}
	t.pop(u, c.item)
	switch c.item.kind {
	case itemStart:
		u.started = true
		t.memberStarted(t.vat(c.Vat).sub)
	case itemNotify:
		// The closure is retired: the vat forgets these names, and so does its c-list.
		for _, k := range c.members {
			t.forgetTold(c.Vat, k)
		}
		t.release(c.item.promise)
	default:
		if r := c.message.result; r != "" {
			if p := t.promise(r); p.state != unresolved || p.decider != "" {
				panic(fmt.Sprintf("kernel: result %s of a delivered message is %s, decided by %q", r, p.state, p.decider))
			}
			t.setDecider(r, c.Vat, u.memory.inc)
		}
		t.releaseMessage(c.message)
	}
}

// collected applies the effect of a delivery that is in no queue.
func (t *tx) collected(c *Crank, u *run) {
	if u.charged.at == notQueued {
		u.acquit()
	}
	if c.item.kind == itemRound {
		t.rounded(c, u)
		return
	}
	if _, ok := c.Deliver.Delivery.(wire.DropExports); ok {
		u.rounds.drops += uint64(len(c.members))
	}
	t.tellLooks(c, u)
}

// forgetTold retires a vat's name for a promise that the vat was told of, or will never be told of. The vat keeps the
// name if its store holds a continuation that settles the promise by it.
func (t *tx) forgetTold(v VatID, k KRef) {
	if t.promise(k).isInSteadOf(v) {
		return
	}
	t.gotUnit(k)
	t.retire(v, k)
}

// exitWithFailure ends a vat and drops its last crank: the message that made it exit is rejected.
func (m *Machine) exitWithFailure(c *Crank, why string, info Data, now int64) (Commit, error) {
	t := m.begin(now)
	if len(info.Slots) == 0 { // they may have come into being in the crank that is dropped
		t.keepExit(c.Vat, true, info)
	}
	t.kill(c.Vat, "the vat exited with a failure: "+why)
	u := t.run(c.Vat)
	if c.message.target != "" {
		t.pop(u, c.item)
		t.splat(c.message, errcode.VatTerminated, fmt.Sprintf("vat %s exited with a failure: %s", c.Vat, why))
		t.releaseMessage(c.message)
	}
	return m.done(t), nil
}
