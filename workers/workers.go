// Package workers is what the shell needs of workers, whatever they are: processes of the operating system, by
// package supervisor, or vats in this one's memory, by package inproc.
//
// A worker hosts one vat for one life. It is given deliveries, reads the vat's store while it does one, answers each
// delivery, and ends once. All that a worker says has been checked against the protocol and against the limits of its
// [Spec]; what a vat asks for in it has not.
package workers

import (
	"context"
	"time"

	"ocapkernel.dev/wire"
)

// A Starter starts workers until it is closed.
type Starter interface {
	// Start starts a worker and returns at once. What becomes of the worker arrives on events, in order: Ready, if
	// it gets so far, what it says, and at last, exactly once, Exited. The channel may be shared by all workers.
	// After Close or Abandon has been called nothing more is sent.
	Start(spec Spec, events chan<- Event) Worker
	// AfterRunning calls f, on a goroutine of its own, when this process has run for d: time in which it was stopped
	// does not count, as it does not for a worker's deadlines. Who does not need it any more calls stop, which does not wait
	// for f; also after Close f is called.
	AfterRunning(d time.Duration, f func()) (stop func())
	// Abandon kills all workers and returns. It touches nothing outside of this process's memory but the workers.
	Abandon()
	// Close stops all workers and returns when they are gone, or an error that says what is left when ctx ends.
	Close(ctx context.Context) error
}

// Worker is one life of one vat. Its methods may be called from any goroutine. None but Ping waits for the worker.
type Worker interface {
	// Vat is the id in Spec.Start.
	Vat() string
	// Pid is the id of the worker's process, or 0 if there is none (yet).
	Pid() int
	// RSSBytes is the resident memory of the worker's process, in bytes, or 0 if nobody knows.
	RSSBytes() int64
	// Deliver hands a delivery to the worker, whose time begins when those before it are done. Each delivery is
	// answered by a Done, in order, or all by Exited. If the worker is on its way out already, nothing happens:
	// Exited follows.
	//
	// More than one delivery at a time is for a replay, where the next one does not depend on the answer to this one:
	// neither side waits for the other then. How many is for the caller to bound.
	//
	// An error says that no frame can hold d. Nothing was sent then, and the caller ends the worker.
	//
	// Preconditions: the worker is ready. Else Deliver panics.
	Deliver(d wire.Deliver) error
	// Reply answers the last Read. An error says that no frame can hold r. Nothing was sent then, and the caller
	// ends the worker.
	//
	// Preconditions: there is a Read that was not answered. Else Reply panics.
	Reply(r wire.Row) error
	// Ping asks the worker's process whether it is well, and waits for the answer until ctx ends, or a second. It
	// says nothing about the vat: a vat that loops is well. An error is no reason to kill a worker, only its
	// deadlines are.
	Ping(ctx context.Context) error
	// Stop asks the worker to leave, and kills it if it has not after a time that its Starter knows. What the worker
	// says meanwhile is not heard. Exited follows.
	Stop()
	// Kill ends the worker at once. Exited follows.
	Kill()
}

// Spec says what a worker is.
type Spec struct {
	// Program is the path of the worker program; empty for the stock one.
	Program string
	// SHA256 is the hash that the program must have, in hex; empty if any will do.
	SHA256 string
	// Start is the first frame. Its MaxFrameBytes and MaxSyscalls, if not 0, are enforced by the Starter.
	Start wire.Start
	// DeliveryTime is how long a delivery may take; 10 s if zero.
	DeliveryTime time.Duration
}
