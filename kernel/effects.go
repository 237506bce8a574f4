package kernel

import "fmt"

// An Effect is an act outside of the machine, to be performed once a commit is durable. It is one of [Wake],
// [StopWorker], [Answer], [LaunchSettled], [Gone], [Invoke], [CancelCall], [EndService], [UnitBack].
type Effect interface{ isEffect() }

// Wake says that Begin may have a step for the vat. It may be performed before the commit is durable.
type Wake struct{ Vat VatID }

// StopWorker says that the vat's worker, if there is one, is to be stopped.
type StopWorker struct{ Vat VatID }

// Answer says that a host call is settled; read it with [View.Ticket].
type Answer struct{ Ticket string }

// LaunchSettled says that a launch has succeeded (Failure is empty) or failed.
type LaunchSettled struct {
	Sub     SubID
	Failure string
}

// Gone says that all rows of a subcluster are removed.
type Gone struct{ Sub SubID }

// Invoke says that a call of a service object is begun: the caller performs it, and reports with [Machine.Complete].
type Invoke struct{ Call CallID }

// CancelCall says that no vat waits for a call any more. The call may be performed, or not, or in part.
type CancelCall struct{ Call CallID }

// EndService says that a service object is gone: the resource behind it, a connection say, is to be closed.
type EndService struct {
	Service    KRef
	Sub        SubID
	Name, Kind string
	Config     []byte
	// Released says that it is gone because nothing held it any more.
	Released bool
}

// UnitBack says that a unit was given back to a channel's input: the shell offers it with [Machine.TakeUnit] to a call
// that reads one.
type UnitBack struct{ Service KRef }

func (Invoke) isEffect()        {}
func (CancelCall) isEffect()    {}
func (EndService) isEffect()    {}
func (UnitBack) isEffect()      {}
func (Wake) isEffect()          {}
func (StopWorker) isEffect()    {}
func (Answer) isEffect()        {}
func (LaunchSettled) isEffect() {}
func (Gone) isEffect()          {}

// An Event is a line of a commit's story, for the reader of the logs. It is one of [Delivered], [Rejected], [Dropped],
// [Died], [Poisoned], [VatStopped], [VatTerminated], [Settled], [TranscriptFull], [MemoryLost], [ServiceFailed],
// [Unreadable].
type Event interface {
	fmt.Stringer
	isEvent()
}

// Delivered says that a crank was committed.
type Delivered struct {
	Vat    VatID
	Number uint64
	What   string
	// Records is the length of the vat's transcript now; 0 if it is at rest.
	Records uint64
	// Dirty says that there is something to expect from a round of bring out your dead, see [Machine.Collect].
	Dirty bool
}

// Rejected says that a message was not delivered. Its result, if any, was rejected with Code, or, if Code is empty,
// with the reason of a rejected promise.
type Rejected struct {
	Target, Result KRef
	Code           string
}

// Dropped says that a message without result was dropped because a queue was full.
type Dropped struct{ Target KRef }

// Died says that the worker of an incarnation is over.
type Died struct {
	Vat         VatID
	Incarnation uint64
	Cause       Cause
	Attempts    uint64
	// Detail is that of the [Death]. String leaves it out: it may quote the worker's log.
	Detail string
}

// Poisoned says that a delivery was given up.
type Poisoned struct {
	Vat  VatID
	N    uint64 // number under which it is kept; 0 if it is not
	What string
	Code string
}

// VatStopped says that a vat was stopped, until the operator restarts it.
type VatStopped struct {
	Vat VatID
	Why string
}

// VatTerminated says that a vat is dead.
type VatTerminated struct {
	Vat VatID
	Why string
}

// TranscriptFull says that recording has stopped until the vat is at rest. If its worker dies before that, the vat
// starts from its durable state.
type TranscriptFull struct {
	Vat            VatID
	Records, Bytes uint64
}

// MemoryLost says that a vat starts from its durable state alone, and that the state in its memory is lost.
type MemoryLost struct {
	Vat VatID
	Why string
}

// ServiceFailed says that a call of a service object failed that has no result to reject.
type ServiceFailed struct {
	Call CallID
	Why  string
}

// Unreadable says that a row is missing or cannot be read, and that something was removed all the same. The references
// that the row held were not released: their targets may be left over.
type Unreadable struct {
	Key string
	Why string
}

// Settled says that a promise was settled.
type Settled struct {
	Promise  KRef
	Rejected bool
}

func (Delivered) isEvent()      {}
func (Rejected) isEvent()       {}
func (Dropped) isEvent()        {}
func (Died) isEvent()           {}
func (Poisoned) isEvent()       {}
func (VatStopped) isEvent()     {}
func (VatTerminated) isEvent()  {}
func (Settled) isEvent()        {}
func (TranscriptFull) isEvent() {}
func (MemoryLost) isEvent()     {}
func (ServiceFailed) isEvent()  {}
func (Unreadable) isEvent()     {}

func (e Delivered) String() string {
	return fmt.Sprintf("%s: delivery %d: %s", e.Vat, e.Number, e.What)
}

func (e Rejected) String() string {
	s := "rejected: message to " + string(e.Target)
	if e.Result != "" {
		s += ", result " + string(e.Result)
	}
	if e.Code != "" {
		s += ": " + e.Code
	}
	return s
}
func (e Dropped) String() string { return "dropped: message without result to " + string(e.Target) }

func (e Died) String() string {
	s := fmt.Sprintf("%s: incarnation %d died: %s", e.Vat, e.Incarnation, e.Cause)
	if e.Attempts > 0 {
		s += fmt.Sprintf(", attempt %d", e.Attempts)
	}
	return s
}

func (e Poisoned) String() string { return fmt.Sprintf("%s: poisoned %s: %s", e.Vat, e.What, e.Code) }

func (e TranscriptFull) String() string {
	return fmt.Sprintf("%s: transcript full: %d records, %d bytes", e.Vat, e.Records, e.Bytes)
}
func (e MemoryLost) String() string { return fmt.Sprintf("%s: memory lost: %s", e.Vat, e.Why) }

func (e ServiceFailed) String() string {
	return fmt.Sprintf("%s: call %d failed: %s", e.Call.Service, e.Call.N, e.Why)
}

func (e Unreadable) String() string    { return fmt.Sprintf("row %s was not read: %s", e.Key, e.Why) }
func (e VatStopped) String() string    { return fmt.Sprintf("%s: stopped: %s", e.Vat, e.Why) }
func (e VatTerminated) String() string { return fmt.Sprintf("%s: terminated: %s", e.Vat, e.Why) }

func (e Settled) String() string {
	if e.Rejected {
		return string(e.Promise) + " rejected"
	}
	return string(e.Promise) + " fulfilled"
}

func (t *tx) effect(e Effect) { t.effects = append(t.effects, e) }
func (t *tx) event(e Event)   { t.trace = append(t.trace, e) }
