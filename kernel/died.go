package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// Cause is why an incarnation is over.
type Cause uint8

// The causes. Which of them is charged to what follows from design section 5.
const (
	// CauseStopped: we asked it to end (shutdown, restart by a person). Nobody is charged.
	CauseStopped Cause = iota
	// CauseKernel: it died with an earlier kernel. Nobody is charged.
	CauseKernel
	// CauseStart: it never said hello: the world is to blame.
	CauseStart
	// CauseKilled: a SIGKILL that was not ours.
	CauseKilled
	// CauseCrash: it ended by itself.
	CauseCrash
	// CauseDeadline: the delivery did not end in time.
	CauseDeadline
	// CauseMalformed: it sent what is no frame.
	CauseMalformed
	// CauseLimit: it exceeded a limit.
	CauseLimit
	// CauseIllegal: an illegal syscall.
	CauseIllegal
	// CauseFault: it said itself that it cannot process the delivery.
	CauseFault
)

func (c Cause) String() string {
	return [...]string{
		"stopped", "kernel ended", "did not start", "killed", "crashed", "deadline passed",
		"malformed frame", "limit exceeded", "illegal syscall", "fault",
	}[c]
}

// fault says whether the cause is something that the vat's code did.
func (c Cause) fault() bool { return c >= CauseMalformed }

// Died reports that an incarnation is over, and why. delivering says that a crank was in flight.
// What the incarnation's memory decided is rejected, by the vat's next Begins; what it was given is
// delivered again, or given up if it killed too often. A report on an incarnation that is already known
// to be dead gives a commit with Number 0, which changes nothing.
func (m *Machine) Died(v VatID, inc uint64, cause Cause, detail string, delivering bool, now int64) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(now)
	u := t.runs.edit(t, KRef(v))
	if u == nil || u.phase == dead || inc != u.inc || inc <= u.deadInc {
		return Commit{}, nil
	}
	t.bury(v, u)
	if cause == CauseStopped || cause == CauseKernel {
		t.event(Died{v, inc, cause, 0})
		return t.done(), nil
	}
	u.restarts++
	why := cause.String()
	if detail != "" {
		why += ": " + detail
	}
	if sub := t.vat(v).sub; !u.started && cause != CauseKilled && t.launching(sub) {
		t.event(Died{v, inc, cause, 0})
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) did not start: %s", v, t.vat(v).name, why))
		return t.done(), nil
	}
	t.charge(v, u, cause, why, delivering)
	return t.done(), nil
}

// bury marks the vat's incarnation as dead, to be put away before its next crank.
func (t *tx) bury(v VatID, u *run) {
	u.deadInc = u.inc
	u.reap = 1
	t.effect(Wake{v})
}

// charge does what the table of deaths says.
func (t *tx) charge(v VatID, u *run, cause Cause, why string, delivering bool) {
	event := Died{v, u.inc, cause, 0}
	code := capdata.Code("")
	switch {
	case cause == CauseStart, !delivering && cause == CauseKilled:
	case delivering && cause == CauseKilled:
		u.kills++
		if u.kills >= maxKills {
			code = capdata.DELIVERY_POISONED
		}
	default:
		u.deaths++
		if !delivering {
			break
		}
		u.attempts++
		event.Attempts = u.attempts
		switch {
		case cause == CauseDeadline && u.attempts >= maxDeadlines:
			code = capdata.DELIVERY_TIMEOUT
		case u.attempts >= maxAttempts:
			code = capdata.DELIVERY_POISONED
		}
	}
	t.event(event)
	if code != "" {
		t.poison(v, u, code, why)
		u.deaths = 0
	}
	switch {
	case cause == CauseStart:
	case u.never && cause != CauseKilled:
		t.stop(v, u, "its worker died ("+why+") and its restart policy is never")
	case u.stopOnFault && cause.fault():
		t.stop(v, u, why)
	case u.deaths > u.maxRestarts:
		t.stop(v, u, fmt.Sprintf("%d deaths in a row without progress, the last: %s", u.deaths, why))
	}
}

// poison gives up the delivery at the head of the queue. A message is kept for inspection, its result
// rejected; anything else counts as delivered.
func (t *tx) poison(v VatID, u *run, code capdata.Code, why string) {
	it := t.headItem(v, u)
	attempts := u.attempts + u.kills
	event := Poisoned{Vat: v, Code: string(code)}
	switch it.kind {
	case itemStart:
		// Other deaths have failed the launch at once; here the worker was killed from outside, again and
		// again. A launch is not over before all its vats have started, so that there is one to fail.
		t.failLaunch(t.vat(v).sub, fmt.Sprintf("vat %s (%s) did not start: %s", v, t.vat(v).name, why))
		return
	case itemNotify:
		event.What = "notification of " + string(it.promise)
		t.popHead(v, u, it)
		t.retire(v, it.promise)
		t.release(it.promise)
	default:
		c := &Crank{item: it}
		target, _ := t.target(c, v)
		msg := c.message
		event.What = "message to " + string(target)
		t.popHead(v, u, it)
		if msg.result != "" {
			t.settle(msg.result, true, kernelError(code, why))
			t.release(msg.result)
			msg.result = ""
		}
		if u.poisoned < maxPoisoned {
			n := t.allocate("x")
			p := &poisoned{msg: msg, attempts: attempts, at: t.now, code: string(code), why: why}
			t.create(keyPoisoned(v, n), p.encode(t.m.enc))
			u.poisoned++
			event.N = n
		} else {
			t.releaseMessage(msg)
		}
	}
	t.event(event)
}

// stop takes a vat out of service: what it decides and what is queued for it is rejected, its store is
// kept, a person may restart it.
func (t *tx) stop(v VatID, u *run, why string) {
	u.phase, u.why = stopped, why
	t.bury(v, u)
	u.rejectUntil = u.tail
	t.effect(StopWorker{v})
	t.event(VatStopped{v, why})
	if sub := t.vat(v).sub; t.launching(sub) {
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) was stopped: %s", v, t.vat(v).name, why))
	}
}

// Restart ends the vat's incarnation, if it has one, and lets it begin another from its durable state.
// It revives a stopped vat. Nobody is charged.
func (m *Machine) Restart(v VatID) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.runs.edit(t, KRef(v))
	if u == nil || u.phase == dead {
		return Commit{}, refuse(CodeNotFound, "there is no vat %s", v)
	}
	if t.launching(t.vat(v).sub) {
		return Commit{}, refuse(CodeInvalid, "vat %s is being launched", v)
	}
	if u.inc != u.deadInc {
		t.event(Died{v, u.inc, CauseStopped, 0})
		t.bury(v, u)
		t.effect(StopWorker{v})
	}
	u.phase = live // why stays: what was queued before is still to be rejected for it
	u.deaths, u.attempts, u.kills = 0, 0, 0
	t.effect(Wake{v})
	return t.done(), nil
}

// reap puts the latest dead incarnation of a vat away, a slice at a time: what it decided is rejected,
// the objects that lived in its memory are orphaned.
func (t *tx) reap(v VatID) {
	u := t.run(v)
	units := 0
	for u.reap == 1 {
		key, _ := t.next(prefixDecides(v), "")
		if key == "" {
			u.reap = 2
			break
		}
		k := KRef(key[len(prefixDecides(v)):])
		t.touch(k)
		if units++; units >= sliceUnits || t.sliceFull() {
			t.effect(Wake{v})
			return
		}
	}
	// Ephemeral exports are o+1 and up. Digit by digit, so that the durable ones, o+d…, are not looked at.
	for digit := byte('1'); digit <= '9'; digit++ {
		prefix := prefixCList(v) + "o+" + string(digit)
		for after := ""; ; {
			key, value := t.next(prefix, after)
			if key == "" {
				break
			}
			after = key
			t.orphan(v, KRef(value), wire.Ref(key[len(prefixCList(v)):]))
			if units++; units >= sliceUnits || t.sliceFull() {
				t.effect(Wake{v})
				return
			}
		}
	}
	u.reap = 0
	t.wakeMore(v)
}

// rejectQueued rejects, a slice at a time, the messages that were queued for a vat when it was stopped.
// Notifications go to the end of the queue, since what is durable in the vat may still wait for them.
func (t *tx) rejectQueued(v VatID) {
	u := t.run(v)
	for units := 0; u.head < u.rejectUntil && units < sliceUnits && !t.sliceFull(); units++ {
		it := t.headItem(v, u)
		switch it.kind {
		case itemStart, itemNotify:
			t.popHead(v, u, it)
			t.push(v, u, it)
			continue
		}
		c := &Crank{item: it}
		t.target(c, v)
		t.popHead(v, u, it)
		if c.message.result != "" {
			t.settle(c.message.result, true, kernelError(capdata.VAT_TERMINATED, "the vat is stopped: "+u.why))
		}
		t.event(Rejected{c.message.target, c.message.result, string(capdata.VAT_TERMINATED)})
		t.releaseMessage(c.message)
	}
	t.wakeMore(v)
}
