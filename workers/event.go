package workers

import (
	"fmt"
	"syscall"

	"ocapkernel.dev/wire"
)

// An Event is a message or the end of a worker: [Ready], [Read], [Done], [Exited].
type Event interface {
	// Source is the worker that the event is about.
	Source() Worker
	isEvent()
}

// Ready means that the worker is its vat and waits for deliveries.
type Ready struct {
	Worker Worker
	Pid    int
	// Version is the version of the protocol that the worker speaks, from wire.OldestVersion to wire.Version.
	Version int
}

// Read asks for a row of the vat's store; [Worker.Reply] answers it.
type Read struct {
	Worker Worker
	// Frame is a wire.Get or a wire.Next.
	Frame wire.UpFrame
}

// Done is the end of a delivery, with the delivery's number.
type Done struct {
	Worker Worker
	Done   wire.Done
	// Frame is the frame as it came, without its header; the receiver owns it. Equal values have equal frames.
	Frame []byte
}

// Exited is the last event of a worker. The process may still be about to die, by SIGKILL; its output is no
// longer read.
type Exited struct {
	Worker Worker
	Cause  Cause
	// Detail is one line for people; it may quote the worker's log, without control characters.
	Detail string
	// Pid is 0 if there never was a process.
	Pid int
	// ExitCode is the process's exit status, or -1 if Signal ended the process, or if the status is not known
	// (yet).
	ExitCode int
	// Signal is the signal that ended the process, if that is known.
	Signal syscall.Signal
}

// Source is part of being an [Event].
func (e Ready) Source() Worker { return e.Worker }

// Source is part of being an [Event].
func (e Read) Source() Worker { return e.Worker }

// Source is part of being an [Event].
func (e Done) Source() Worker { return e.Worker }

// Source is part of being an [Event].
func (e Exited) Source() Worker { return e.Worker }

func (Ready) isEvent()  {}
func (Read) isEvent()   {}
func (Done) isEvent()   {}
func (Exited) isEvent() {}

// Cause is the reason why a worker ended. The set is closed.
type Cause int

const (
	// CauseStart: it never sent its hello. The program is missing or has the wrong hash, the handshake failed,
	// it cannot be this vat, it took too long, or it died by itself.
	CauseStart Cause = iota + 1
	// CauseCrash: it died, or closed its stream, by itself.
	CauseCrash
	// CauseKilled: a signal ended it that neither its Starter sent nor its own fault caused, also before its
	// hello.
	CauseKilled
	// CauseDeadline: a delivery took longer than Spec.DeliveryTime.
	CauseDeadline
	// CauseMalformed: it sent bytes that are no frame, or a frame that had no place there.
	CauseMalformed
	// CauseLimit: it sent more than a limit allows.
	CauseLimit
	// CauseStopped: Stop, Kill or Close.
	CauseStopped
)

// String returns the word for logs.
func (c Cause) String() string {
	switch c {
	case CauseStart:
		return "start"
	case CauseCrash:
		return "crash"
	case CauseKilled:
		return "killed"
	case CauseDeadline:
		return "deadline"
	case CauseMalformed:
		return "malformed"
	case CauseLimit:
		return "limit"
	case CauseStopped:
		return "stopped"
	}
	return fmt.Sprintf("Cause(%d)", int(c))
}
