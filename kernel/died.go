package kernel

import (
	"fmt"
	"slices"
	"strings"

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
	// CauseKilled: a signal that was neither ours nor of what the worker did itself.
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

// Died reports that the worker of an incarnation is over, why, and what it was doing.
// Its memory will be made again from the transcript; if that does not hold all of it, what the memory
// decided is rejected, by the vat's next Begins. What it was given is delivered again, or given up if it
// killed too often. A report on an incarnation that is already known
// to be dead gives a commit with Number 0, which changes nothing.
func (m *Machine) Died(d Death, now int64) (c Commit, err error) {
	defer caught(&err)
	v, inc, cause := d.Vat, d.Incarnation, d.Cause
	t := m.begin(now)
	u := t.runs.edit(t, KRef(v))
	if u == nil || u.phase == dead || inc != u.inc || inc <= u.deadInc {
		return Commit{}, nil
	}
	if u.lost {
		t.loseMemory(v, u, "the transcript was full")
	}
	t.effect(Wake{v})
	if cause == CauseStopped || cause == CauseKernel {
		t.event(Died{v, inc, cause, 0})
		return t.done(), nil
	}
	u.restarts++
	if sub := t.vat(v).sub; !u.started && cause != CauseKilled && t.launching(sub) {
		t.event(Died{v, inc, cause, 0})
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) did not start: %s", v, t.vat(v).name, d.why()))
		return t.done(), nil
	}
	t.charge(d, u)
	return t.done(), nil
}

// Death is the end of an incarnation's worker.
type Death struct {
	Vat         VatID
	Incarnation uint64
	Cause       Cause
	// Detail is one line for people.
	Detail string
	// Crank is what was in flight, if anything was.
	Crank *Crank
	// Replaying says that the worker was being given its past.
	Replaying bool
}

// why tells the death to those who run the kernel.
func (d Death) why() string {
	if d.Detail == "" {
		return d.Cause.String()
	}
	return d.Cause.String() + ": " + d.Detail
}

// public tells the death to other vats. How a process ended is theirs to know, but not what it happened to
// log while it did, which follows after a colon.
func (d Death) public() string {
	if d.Cause == CauseCrash || d.Cause == CauseStart {
		d.Detail, _, _ = strings.Cut(d.Detail, ": ")
	}
	return d.why()
}

// Diverged reports that the memory of a live incarnation cannot be made again, because its replay came out other than
// recorded or could not be done at all: the vat starts from its durable state. The caller stops the worker, and says
// why, in words for whoever reads the log.
func (m *Machine) Diverged(v VatID, inc uint64, why string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.runs.edit(t, KRef(v))
	if u == nil || u.phase == dead || inc != u.inc || inc <= u.deadInc {
		return Commit{}, nil
	}
	u.restarts++
	t.loseMemory(v, u, why)
	return t.done(), nil
}

// loseMemory gives an incarnation up though somebody may have relied on its memory.
func (t *tx) loseMemory(v VatID, u *run, why string) {
	t.event(MemoryLost{v, why})
	t.bury(v, u)
}

// bury marks the vat's incarnation as dead, to be put away before its next crank. The next one begins a
// span, from the durable state.
func (t *tx) bury(v VatID, u *run) {
	u.deadInc = u.inc
	u.reap, u.reapAfter = reapDecides, ""
	u.decides, u.ephemerals, u.replays, u.replayKills = 0, 0, 0, 0
	t.nextSpan(v, u)
	t.effect(Wake{v})
}

// charge does what the table of deaths says.
func (t *tx) charge(d Death, u *run) {
	why := d.public()
	v, cause, delivering := d.Vat, d.Cause, d.Crank != nil
	event := Died{v, u.inc, cause, 0}
	code := capdata.Code("")
	switch {
	case cause == CauseKilled && d.Replaying:
		// It may be the memory itself for which there is no room.
		if u.replayKills++; u.replayKills >= maxKills {
			t.loseMemory(v, u, fmt.Sprintf("%d workers were killed in its replay, the last: %s", maxKills, why))
		}
	case cause == CauseStart, !delivering && cause == CauseKilled:
	case cause == CauseKilled:
		u.charge(d.Crank.item.at)
		u.kills++
		if u.kills >= maxKills && !d.Crank.item.isSubstitute() { // that is not given up because of signals from outside
			code = capdata.CodeDeliveryPoisoned
		}
	default:
		u.deaths++
		if d.Replaying {
			if u.replays++; u.replays >= maxAttempts {
				t.loseMemory(v, u, fmt.Sprintf("its replay killed %d workers, the last: %s", maxAttempts, why))
				u.deaths = 0
			}
		}
		if !delivering {
			break
		}
		u.charge(d.Crank.item.at)
		u.attempts++
		event.Attempts = u.attempts
		switch {
		case cause == CauseDeadline && u.attempts >= maxDeadlines:
			code = capdata.CodeDeliveryTimeout
		case u.attempts >= maxAttempts:
			code = capdata.CodeDeliveryPoisoned
		}
	}
	t.event(event)
	if code != "" {
		t.poison(v, u, d, code)
		u.deaths = 0
	}
	switch {
	case cause == CauseStart, u.phase != live:
	case u.never && cause != CauseKilled:
		t.stop(v, u, "its worker died ("+why+") and its restart policy is never")
	case u.stopOnFault && cause.fault():
		t.stop(v, u, why)
	case u.deaths > u.maxRestarts:
		t.stop(v, u, fmt.Sprintf("%d deaths in a row without progress, the last: %s", u.deaths, why))
	}
}

// poison gives up a delivery. A message is kept for inspection, its result
// rejected. A notification costs the vat its memory first; then it counts as delivered, unless the store of the vat waits for
// the promise, and would for ever: then the vat is told that the promise is rejected, though for others it is not. A vat
// whose code ends its workers even at that is stopped, which settles what it would have settled.
func (t *tx) poison(v VatID, u *run, d Death, code capdata.Code) {
	it, why := d.Crank.item, d.why()
	attempts := u.attempts + u.kills
	event := Poisoned{Vat: v, Code: string(code)}
	switch it.kind {
	case itemStart:
		// Other deaths have failed the launch at once; here the worker was killed from outside, again and
		// again. A launch is not over before all its vats have started, so that there is one to fail.
		if t.launching(t.vat(v).sub) {
			t.failLaunch(t.vat(v).sub, fmt.Sprintf("vat %s (%s) did not start: %s", v, t.vat(v).name, why))
			return
		}
		// The vat was added to a subcluster that runs: it alone is stopped, and starts when it is restarted.
		u.attempts, u.kills = 0, 0
		t.stop(v, u, "it did not start: "+why)
		return
	case itemNotify:
		if u.records > 0 && !u.forgotten {
			// Perhaps it is the memory that cannot bear it: the vat starts from its durable state alone.
			t.loseMemory(v, u, fmt.Sprintf("a notification killed %d workers, the last: %s", attempts, why))
			u.attempts, u.kills, u.forgotten = 0, 0, true
			return
		}
		event.What = "notification of " + string(it.promise)
		p := t.promise(it.promise)
		if it.isSubstitute() {
			t.stop(v, u, fmt.Sprintf("its store waits for a promise, and the notification that it is rejected killed %d workers, the last: %s", attempts, why))
			u.acquit()
			return
		}
		if slices.Contains(p.watched, v) {
			t.gotUnit(it.promise)
			it.msg.methArgs = kernelError(code, "the notification of a promise ended the worker each time: "+d.public())
			t.set(keyQueue(v, it.at), it.encode(t.m.enc))
			u.acquit()
			break
		}
		t.pop(v, u, it)
		t.forgetTold(v, it.promise)
		t.release(it.promise)
	default:
		c := &Crank{item: it}
		target, _ := t.target(c, v)
		msg := c.message
		event.What = "message to " + string(target)
		t.pop(v, u, it)
		if msg.result != "" {
			t.settle(msg.result, true, kernelError(code, d.public()))
			t.release(msg.result)
			msg.result = ""
		}
		if u.poisoned < maxPoisoned && u.poisonedBytes < t.m.queueBytes {
			n := t.allocate("x")
			p := &poisoned{msg: msg, attempts: attempts, at: t.now, code: string(code), why: why}
			t.create(keyPoisoned(v, n), p.encode(t.m.enc))
			u.poisoned++
			u.poisonedBytes += msg.size()
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
	t.rejectFrom(u, u.head)
	t.effect(StopWorker{v})
	t.event(VatStopped{v, why})
	if sub := t.vat(v).sub; t.launching(sub) {
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) was stopped: %s", v, t.vat(v).name, why))
	}
}

// Restart gives the vat a fresh worker, which gets the memory that the vat had, or, with forget, begins
// from the durable state alone. It revives a stopped vat. Nobody is charged.
func (m *Machine) Restart(v VatID, forget bool) (c Commit, err error) {
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
		switch {
		case forget:
			t.loseMemory(v, u, "a person said so")
		case u.lost:
			t.loseMemory(v, u, "the transcript was full")
		}
		t.effect(StopWorker{v})
	}
	u.phase = live // why stays: what was queued before is still to be rejected for it
	u.deaths, u.attempts, u.kills = 0, 0, 0
	t.effect(Wake{v})
	return t.done(), nil
}

// The stages of putting a dead incarnation away. Earlier versions did the last two as one.
const (
	reaped uint64 = iota
	reapDecides
	reapExports
	reapUnits
)

// reap puts the latest dead incarnation of a vat away, a slice at a time: what it decided is rejected,
// the objects that lived in its memory are orphaned, what it asked of services is cancelled.
func (t *tx) reap(v VatID) {
	u := t.run(v)
	defer t.wakeMore(v)
	if u.reap == reapDecides {
		if t.touchDecided(v, &u.reapAfter); t.spent() { // those that the store decides stay
			return
		}
		u.reap, u.reapAfter = reapExports, ""
	}
	if u.reap == reapExports {
		// Ephemeral exports are o+1 and up. In the order of keys they lie between the root, o+0, and the durable
		// ones, o+d…, which are not looked at.
		prefix := prefixCList(v)
		u.reapAfter = max(u.reapAfter, prefix+string(wire.RootRef))
		durable := false
		for key, value := range t.scan(prefix+"o+", &u.reapAfter) {
			if durable = key[len(prefix+"o+")] > '9'; durable {
				break
			}
			t.orphan(v, KRef(value), wire.Ref(key[len(prefix):]))
		}
		if t.spent() && !durable {
			return
		}
		u.reap, u.reapAfter = reapUnits, ""
	}
	if t.giveBack(v, capdata.CodeVatRestarted, &u.reapAfter) {
		u.reap, u.reapAfter = reaped, ""
	}
}

// rejectFrom has the messages from a position on looked for, to be rejected, up to the present tail.
func (t *tx) rejectFrom(u *run, n uint64) {
	if u.rejectAt >= u.rejectUntil {
		u.rejectAt = n
	}
	u.rejectUntil = u.tail
}

// rejectQueued rejects, a slice at a time, the messages that were queued for a vat when it was stopped.
// Notifications stay where they are, since what is durable in the vat may still wait for them.
func (t *tx) rejectQueued(v VatID) {
	u := t.run(v)
	for u.rejectAt < u.rejectUntil && !t.spent() {
		it, found := t.itemAt(v, u.rejectAt)
		if !found || it.kind == itemStart || it.kind == itemNotify {
			u.rejectAt++
			continue
		}
		c := &Crank{item: it}
		t.target(c, v)
		t.pop(v, u, it) // a drain item stays until the last of its messages
		if c.message.result != "" {
			t.settle(c.message.result, true, t.reason(capdata.CodeVatTerminated, "the vat is stopped: "+u.why))
		}
		t.event(Rejected{c.message.target, c.message.result, string(capdata.CodeVatTerminated)})
		t.releaseMessage(c.message)
	}
	t.wakeMore(v)
}
