package ocapkernel

import (
	"context"
	"time"

	"ocapkernel.dev/control"
)

// Status describes a kernel at one moment. It may contain the effects of work that is not durable yet.
type Status struct {
	// State says whether the kernel accepts calls.
	State State
	// Subclusters are in the order of their launch.
	Subclusters []Subcluster
	// Vats counts the vats of all subclusters.
	Vats int
	// Cranks counts the cranks since the state was made, Commit is the number of the newest durable commit.
	Cranks, Commit uint64
	// Dropped counts the messages that this run has dropped, because a queue was full and no caller waited for an answer.
	Dropped uint64
	// Pauses are sentences for a person: each names something that the kernel lacks and waits for.
	Pauses []string
}

// State says whether a kernel accepts calls.
type State string

// The states of a kernel.
const (
	// Running: it accepts calls and runs vats.
	Running = State(control.Running)
	// DiskFull: the free space is below Options.DiskReserve. No delivery begins and no call is accepted until there is
	// space again. Terminate and Shutdown work.
	DiskFull = State(control.DiskFull)
	// Stopping: it accepts nothing more, and stops its workers.
	Stopping = State(control.Stopping)
)

// Vat describes a vat at one moment.
type Vat struct {
	// ID is the vat's id, such as v3, and Name its name in the configuration of Subcluster.
	ID, Name, Subcluster string
	// State says whether the vat runs. Why is the reason, for a person, of the states [VatFailed], [VatStopped] and [VatHeld].
	State VatState
	Why   string
	// PID is the process id of its worker, and RSSBytes that worker's resident memory; both are 0 if it has none.
	PID      int
	RSSBytes int64
	// Restarts counts the deaths of its workers, ever.
	Restarts int
	// Queue counts the messages that wait for it.
	Queue int
	// Transcript counts the deliveries since the vat was last at rest, Busy ago, which a fresh worker would be given again.
	// It is -1 if the transcript is full: a fresh worker would begin with the stored state of the vat.
	Transcript int
	Busy       time.Duration
}

// VatState says whether a vat runs, and if not, for which kind of reason.
type VatState string

// The states of a vat.
const (
	// VatIdle: it has no process and nothing to do. A message will start one.
	VatIdle = VatState(control.VatIdle)
	// VatStarting: it has work, and a process is being started for it, or will be after a wait.
	VatStarting = VatState(control.VatStarting)
	// VatRunning: its process is up.
	VatRunning = VatState(control.VatRunning)
	// VatFailed: its worker program cannot be started. That is tried again, with growing waits; nothing is lost.
	VatFailed = VatState(control.VatFailed)
	// VatStopped: it died too often without progress, or its configuration says to stop at a fault. Messages to it are
	// rejected. Its stored state is kept.
	VatStopped = VatState(control.VatStopped)
	// VatSuspended: its system subcluster is not declared in this run. It does nothing, and keeps its state and its queue.
	VatSuspended = VatState(control.VatSuspended)
	// VatHeld: a part of its stored state cannot be read, or the kernel died again and again while it worked for this vat.
	// The vat does nothing, and keeps its state and its queue; the other vats go on.
	VatHeld = VatState(control.VatHeld)
	// VatTerminating: it is being deleted.
	VatTerminating = VatState(control.VatTerminating)
)

// Status describes the kernel and its subclusters.
func (k *Kernel) Status(ctx context.Context) (Status, error) {
	s, err := k.b.Status(ctx)
	if err != nil {
		return Status{}, public(err)
	}
	out := Status{State: State(s.State), Vats: s.Vats, Cranks: s.Cranks, Commit: s.Commit, Dropped: s.Dropped, Pauses: s.Pauses}
	for _, sub := range s.Clusters {
		out.Subclusters = append(out.Subclusters, subclusterOf(sub))
	}
	return out, nil
}

// Vats describes the vats, in the order of their ids.
func (k *Kernel) Vats(ctx context.Context) ([]Vat, error) {
	list, err := k.b.PS(ctx)
	if err != nil {
		return nil, public(err)
	}
	out := make([]Vat, len(list))
	for i, v := range list {
		out[i] = Vat{
			ID: v.ID, Name: v.Name, Subcluster: v.Subcluster, State: VatState(v.State), Why: v.Why, PID: v.PID, RSSBytes: v.RSSBytes,
			Restarts: v.Restarts, Queue: v.Queue, Transcript: v.Transcript, Busy: time.Duration(v.SpanMillis) * time.Millisecond,
		}
	}
	return out, nil
}
