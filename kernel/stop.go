package kernel

import (
	"fmt"

	"ocapkernel.dev/errcode"
)

// stop takes a vat out of service. The promises that it decides and the messages in its queue are rejected. Its store
// is kept, and an operator may restart it.
func (t *tx) stop(u *run, why string) {
	u.phase, u.why = stopped, why
	t.endIncarnation(u)
	t.rejectFrom(u, u.queue.head)
	t.effect(StopWorker{u.id})
	t.event(VatStopped{u.id, why})
	if sub := t.vat(u.id).sub; t.launching(sub) {
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) was stopped: %s", u.id, t.vat(u.id).name, why))
	}
}

// Restart gives the vat a fresh worker. The worker gets the memory that the vat had; with forget it starts from the
// durable state alone. Restart revives a stopped vat. It is charged to nothing.
func (m *Machine) Restart(v VatID, forget bool) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.runs.edit(t, v)
	if u == nil || u.phase == dead {
		return Commit{}, refuse(errcode.NotFound, "there is no vat %s", v)
	}
	if t.launching(t.vat(v).sub) {
		return Commit{}, refuse(errcode.Invalid, "vat %s is being launched", v)
	}
	if u.memory.inc != u.memory.deadInc {
		t.event(Died{v, u.memory.inc, CauseStopped, 0, ""})
		switch {
		case forget:
			t.loseMemory(u, "a person said so")
		case u.span.lost:
			t.loseMemory(u, "the transcript was full")
		}
		t.effect(StopWorker{v})
	}
	u.phase = live // why stays: the messages queued before are still to be rejected for it
	u.deaths, u.charged.attempts, u.charged.kills = 0, 0, 0
	t.effect(Wake{v})
	return m.done(t), nil
}

// rejectFrom marks the messages from a position on, up to the present tail, to be rejected.
func (t *tx) rejectFrom(u *run, n uint64) {
	if u.queue.rejectAt >= u.queue.rejectUntil {
		u.queue.rejectAt = n
	}
	u.queue.rejectUntil = u.queue.tail
}

// rejectQueued rejects, a slice at a time, the messages that were queued for a vat when it was stopped. Notifications
// stay where they are, since continuations in the vat's store may still wait for them.
func (t *tx) rejectQueued(v VatID) {
	u := t.run(v)
	for u.queue.rejectAt < u.queue.rejectUntil && !t.spent() {
		it, found := t.itemAt(v, u.queue.rejectAt)
		if !found || it.kind == itemStart || it.kind == itemNotify {
			u.queue.rejectAt++
			continue
		}
		c := &Crank{item: it}
		t.target(c, v)
		t.pop(u, it) // a drain item stays until the last of its messages
		if c.message.result != "" {
			t.settle(c.message.result, true, t.reason(errcode.VatTerminated, "the vat is stopped: "+u.why))
		}
		t.event(Rejected{c.message.target, c.message.result, string(errcode.VatTerminated)})
		t.releaseMessage(c.message)
	}
	t.wakeMore(v)
}
