package kernel

import (
	"fmt"
	"strings"

	"ocapkernel.dev/errcode"
)

// Cause is the reason why a worker is over.
type Cause uint8

// The causes. Design section 5 says which cause is charged to which vat or delivery.
const (
	// CauseStopped: the kernel stopped it (shutdown, restart by the operator). It is charged to nothing.
	CauseStopped Cause = iota
	// CauseKernel: it died with an earlier kernel. It is charged to nothing.
	CauseKernel
	// CauseStart: it never said hello; the surroundings are to blame.
	CauseStart
	// CauseKilled: a signal from outside, sent neither by the kernel nor because of an act of the worker.
	CauseKilled
	// CauseCrash: it ended by itself.
	CauseCrash
	// CauseDeadline: the delivery did not end in time.
	CauseDeadline
	// CauseMalformed: it sent bytes that are no frame.
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

// fault reports whether the cause is something that the vat's code did.
func (c Cause) fault() bool { return c >= CauseMalformed }

// Died reports that the worker of an incarnation is over, why, and which delivery it was doing. The memory will be made
// again from the transcript. If the transcript lacks a part of it, the vat's next Begins reject the promises that the
// memory decided. The delivery is made again, or given up if it killed too often. A report on an incarnation that is
// already known to be dead gives a commit with Number 0, which changes nothing.
func (m *Machine) Died(d Death, now int64) (c Commit, err error) {
	defer caught(&err)
	v, inc, cause := d.Vat, d.Incarnation, d.Cause
	t := m.begin(now)
	u := t.runs.edit(t, v)
	if u == nil || u.phase == dead || inc != u.memory.inc || inc <= u.memory.deadInc {
		return Commit{}, nil
	}
	if u.span.lost {
		t.loseMemory(u, "the transcript was full")
	}
	t.effect(Wake{v})
	if cause == CauseStopped || cause == CauseKernel {
		t.event(Died{v, inc, cause, 0, d.Detail})
		return m.done(t), nil
	}
	u.restarts++
	if sub := t.vat(v).sub; !u.started && cause != CauseKilled && t.launching(sub) {
		t.event(Died{v, inc, cause, 0, d.Detail})
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) did not start: %s", v, t.vat(v).name, d.why()))
		return m.done(t), nil
	}
	t.charge(d, u)
	return m.done(t), nil
}

// Death is the end of an incarnation's worker.
type Death struct {
	Vat         VatID
	Incarnation uint64
	Cause       Cause
	// Detail is one line for the operator.
	Detail string
	// Crank is the delivery in flight; nil if there was none.
	Crank *Crank
	// Replaying says that the worker was replaying the transcript.
	Replaying bool
}

// why tells the death to the operator of the kernel.
func (d Death) why() string {
	if d.Detail == "" {
		return d.Cause.String()
	}
	return d.Cause.String() + ": " + d.Detail
}

// public tells the death to other vats. They may know how a process ended, but not the text that it happened to log
// meanwhile, which follows after a colon.
func (d Death) public() string {
	if d.Cause == CauseCrash || d.Cause == CauseStart {
		d.Detail, _, _ = strings.Cut(d.Detail, ": ")
	}
	return d.why()
}

// Diverged reports that the memory of a live incarnation cannot be made again: its replay differed from the record, or
// could not be done at all. The vat starts from its durable state. The caller stops the worker. why is for the log.
func (m *Machine) Diverged(v VatID, inc uint64, why string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.runs.edit(t, v)
	if u == nil || u.phase == dead || inc != u.memory.inc || inc <= u.memory.deadInc {
		return Commit{}, nil
	}
	u.restarts++
	t.loseMemory(u, why)
	return m.done(t), nil
}

// charge applies the table of deaths.
func (t *tx) charge(d Death, u *run) {
	why := d.public()
	v, cause, delivering := d.Vat, d.Cause, d.Crank != nil
	event := Died{v, u.memory.inc, cause, 0, d.Detail}
	code := errcode.Code("")
	switch {
	case cause == CauseKilled && d.Replaying:
		// The memory itself may be too large for the machine.
		if u.memory.replayKills++; u.memory.replayKills >= maxKills {
			t.loseMemory(u, fmt.Sprintf("%d workers were killed in its replay, the last: %s", maxKills, why))
		}
	case cause == CauseStart, !delivering && cause == CauseKilled:
	case cause == CauseKilled:
		u.charge(d.Crank.item.at)
		u.charged.kills++
		if u.charged.kills >= maxKills && !d.Crank.item.isSubstitute() { // a substitute is not given up because of signals from outside
			code = errcode.DeliveryPoisoned
		}
	default:
		u.deaths++
		if d.Replaying {
			if u.memory.replays++; u.memory.replays >= maxAttempts {
				t.loseMemory(u, fmt.Sprintf("its replay killed %d workers, the last: %s", maxAttempts, why))
				u.deaths = 0
			}
		}
		if !delivering {
			break
		}
		u.charge(d.Crank.item.at)
		u.charged.attempts++
		event.Attempts = u.charged.attempts
		switch {
		case cause == CauseDeadline && u.charged.attempts >= maxDeadlines:
			code = errcode.DeliveryTimeout
		case u.charged.attempts >= maxAttempts:
			code = errcode.DeliveryPoisoned
		}
	}
	t.event(event)
	if code != "" {
		t.poison(u, d, code)
		u.deaths = 0
	}
	switch {
	case cause == CauseStart, u.phase != live:
	case u.policy.never && cause != CauseKilled:
		t.stop(u, "its worker died ("+why+") and its restart policy is never")
	case u.policy.stopOnFault && cause.fault():
		t.stop(u, why)
	case u.deaths > u.policy.maxRestarts:
		t.stop(u, fmt.Sprintf("%d deaths in a row without progress, the last: %s", u.deaths, why))
	}
}
