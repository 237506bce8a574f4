// Package workers declares the shell's view of workers: processes of the operating system, by package
// supervisor, or vats in this process's memory, by package inproc.
//
// A worker hosts one vat for one life. It is given deliveries, reads the vat's store while it does one, answers
// each delivery, and ends once. All frames of a worker have been checked against the protocol and against the
// limits of its [Spec]; the requests of the vat in them have not.
package workers

import (
	"context"
	"time"

	"ocapkernel.dev/wire"
)

// A Starter starts workers until it is closed.
type Starter interface {
	// Start starts a worker and returns at once. The worker's events arrive on events, in order: Ready, if it
	// gets so far, its messages, and at last, exactly once, Exited. The channel may be shared by all workers.
	// No event is sent after a call of Close or Abandon.
	Start(spec Spec, events chan<- Event) Worker
	// AfterRunning calls f, on a goroutine of its own, when this process has run for d: time in which the
	// process was stopped does not count, as it does not for a worker's deadlines. A caller that no longer
	// needs f calls stop, which does not wait for f; f is called also after Close.
	AfterRunning(d time.Duration, f func()) (stop func())
	// Abandon kills all workers and returns. It changes nothing outside of this process's memory but the
	// workers.
	Abandon()
	// Close stops all workers and returns when they are gone. If ctx ends before, it returns an error that
	// names the rest.
	Close(ctx context.Context) error
}

// Worker is one life of one vat. Its methods may be called from any goroutine. None but Ping waits for the worker.
type Worker interface {
	// Vat is the id in Spec.Start.
	Vat() string
	// Pid is the id of the worker's process, or 0 if there is none (yet).
	Pid() int
	// RSSBytes is the resident memory of the worker's process, in bytes, or 0 if it is not known.
	RSSBytes() int64
	// Deliver hands a delivery to the worker. Its time begins when the deliveries before it are done. Each
	// delivery is answered by a Done, in order, or all by Exited. If the worker is about to end, Deliver does
	// nothing: Exited follows.
	//
	// More than one delivery at a time is for a replay, where the next one does not depend on the answer to
	// this one: neither side waits for the other then. The caller bounds their number.
	//
	// An error means that no frame can hold d. Nothing was sent then, and the caller ends the worker.
	//
	// Preconditions: the worker is ready. Else Deliver panics.
	Deliver(d wire.Deliver) error
	// Reply answers the last Read. An error means that no frame can hold r. Nothing was sent then, and the
	// caller ends the worker.
	//
	// Preconditions: there is a Read that was not answered. Else Reply panics.
	Reply(r wire.Row) error
	// Ping asks the worker's process whether it is well, and waits for the answer until ctx ends, or a second.
	// The answer is the process's and not the vat's: a vat that loops is well. An error is no reason to kill a
	// worker, only its deadlines are.
	Ping(ctx context.Context) error
	// Stop asks the worker to leave, and kills it if it has not left after a time that its Starter knows. The
	// worker's messages are no longer read. Exited follows.
	Stop()
	// Kill ends the worker at once. Exited follows.
	Kill()
}

// Spec describes a worker.
type Spec struct {
	// Program is the path of the worker program; empty for the stock one.
	Program string
	// SHA256 is the hash that the program must have, in hex; empty for any program.
	SHA256 string
	// Start is the first frame. Its MaxFrameBytes and MaxSyscalls, if not 0, are enforced by the Starter.
	Start wire.Start
	// Sandbox is the confinement that the vat demands, by the name of a mode of package sandbox; empty is off. The Starter may be
	// stricter.
	Sandbox string
	// DeliveryTime bounds a delivery; 10 s if zero.
	DeliveryTime time.Duration
}
