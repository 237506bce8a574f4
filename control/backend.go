package control

import (
	"context"

	"ocapkernel.dev/capdata"
)

// Data is a marshalled value whose references are the kernel's names.
type Data = capdata.Data[string]

// Backend is the kernel, as the server sees it.
//
// A vat and a subcluster are named in the forms that [CheckVat] and [CheckSubcluster] accept; an unknown name
// is errcode.NotFound, and a name that several vats have is errcode.Conflict.
//
// Methods may be called by many goroutines at a time, with the arguments of a client: only the properties that
// the comments below promise have been checked. An error that is an [*Error], or wraps one, goes to the client
// as it is; any other reaches the client as errcode.Internal with its text.
//
// A context ends waiting, nothing else: the work that a method has begun goes on. Every method returns soon
// after its context ends.
type Backend interface {
	// Status describes the kernel. It works in every state.
	Status(ctx context.Context) (Status, error)
	// PS describes the vats, in the order of their ids.
	PS(ctx context.Context) ([]Vat, error)
	// Launch makes a subcluster, and returns it when its bootstrap method has answered, with that
	// answer. A configuration with mistakes is errcode.Invalid, the mistakes in Details.
	Launch(ctx context.Context, r LaunchRequest) (Subcluster, Data, error)
	// Apply changes a running subcluster to another configuration, and keeps its stored state: all of the
	// changes are made, or none. A configuration with mistakes is errcode.Invalid, one that cannot be applied
	// errcode.Conflict, both with Details. With r.Replace the subcluster of that id is deleted and launched anew
	// where the changes demand it.
	Apply(ctx context.Context, r ApplyRequest) (Applied, error)
	// CheckConfig checks a configuration as Launch does, and launches nothing.
	CheckConfig(ctx context.Context, r LaunchRequest) error
	// CheckSystem checks a declaration of system subclusters as a start with it would, and launches nothing.
	CheckSystem(ctx context.Context, r LaunchRequest) error
	// Terminate deletes a subcluster and its vats. It returns when they can no longer be reached.
	Terminate(ctx context.Context, subcluster string) error
	// FindVat returns the vat of a name.
	FindVat(ctx context.Context, vat string) (FoundVat, error)
	// Stored returns a page of a vat's store.
	Stored(ctx context.Context, q StoredRows) (StoredPage, error)
	// Backup returns the next piece of a backup, and begins one if the query names none. The id of the query may be any
	// text. A backup that is not known (any more) is errcode.NotFound.
	Backup(ctx context.Context, q BackupQuery) (BackupPiece, error)
	// RestartVat gives a vat a fresh worker, and a stopped one its life back. With forget the vat
	// starts from its durable state alone.
	RestartVat(ctx context.Context, vat string, forget bool) error
	// ReplayVat gives the past of a vat to a worker that is not to become the vat's, and returns a line for
	// each delivery and syscall of that worker. It changes nothing.
	ReplayVat(ctx context.Context, vat string) ([]string, error)
	// Send accepts a call. It returns when the call is durable, or c.Wait is set and it is settled; a
	// call that is not settled is answered Pending. If the context ends while a call that was accepted
	// is waited for, the answer is Pending too, without an error.
	//
	// The same call under the same ticket is accepted once and answered each time; another call under
	// it is errcode.Conflict. A ticket of another epoch is UNKNOWN.
	Send(ctx context.Context, c Call) (Answer, error)
	// Await waits for the answer of an earlier call. If the context ends first, the answer is Pending.
	// A ticket that is not known is UNKNOWN.
	Await(ctx context.Context, t Ticket) (Answer, error)
	// Acknowledge lets an answer go. The ticket stays used. A second call has no further effect; a call that is
	// not settled is errcode.Conflict.
	Acknowledge(ctx context.Context, t Ticket) error
	// PoisonedList returns the oldest poisoned messages behind the one with the id after, at most limit of
	// them, oldest first; more reports whether there are younger ones. With an empty after it begins with the
	// oldest.
	PoisonedList(ctx context.Context, after string, limit int) (list []Poisoned, more bool, err error)
	// PoisonedRetry delivers a poisoned message again, without a result.
	PoisonedRetry(ctx context.Context, id string) error
	// PoisonedDrop forgets a poisoned message.
	PoisonedDrop(ctx context.Context, id string) error
	// IO lists the IO channels, in the order of their subclusters' ids and their names.
	IO(ctx context.Context) ([]Channel, error)
	// Services lists the services, in the order of their names.
	Services(ctx context.Context) ([]Service, error)
	// System lists the system subclusters, in the order of their declaration, those that are not declared last.
	System(ctx context.Context) ([]System, error)
	// Reload replaces a subcluster by a new one of the same configuration, or of the declared one if it is a
	// system subcluster, and returns the new subcluster when its bootstrap method has answered. The argument is
	// an id, or a system subcluster's name.
	Reload(ctx context.Context, subcluster string) ([]Subcluster, error)
	// ReloadAll reloads all running subclusters.
	ReloadAll(ctx context.Context) ([]Subcluster, error)
	// PingVat asks a vat for a sign of life, and returns "pong": its process is well, if it has one, and it is not in
	// the middle of one delivery until ctx ends. Otherwise the error is errcode.Timeout.
	PingVat(ctx context.Context, vat string) (string, error)
	// TerminateVat deletes one vat, and returns when it can no longer be reached. Its subcluster stays, without
	// it, and ends with its last vat. TerminateAllVats terminates every subcluster, with all of its vats, and
	// returns when no row of them is left.
	TerminateVat(ctx context.Context, vat string) error
	TerminateAllVats(ctx context.Context) error
	// Revoke makes every call of an object be rejected with REVOKED, for good. Done twice it has no further
	// effect. The kref is an object's.
	Revoke(ctx context.Context, kref string) error
	// IsRevoked reports whether an object was revoked. An object that does not exist is errcode.NotFound.
	IsRevoked(ctx context.Context, kref string) (bool, error)
	// Inspect describes an object or a promise. One that does not exist is errcode.NotFound.
	Inspect(ctx context.Context, kref string) (Inspection, error)
	// Holds says why the kernel keeps an object or a promise, in at most [MaxHolds] reasons. One that does not exist is
	// errcode.NotFound.
	Holds(ctx context.Context, kref string) (HoldPage, error)
	// CollectGarbage removes the rows that are left of deleted things, and asks vats for what they no longer need: those from
	// which there is something to expect, or the given one alone, if vat is not empty. It returns when nothing is left to do.
	CollectGarbage(ctx context.Context, vat string) (Collected, error)
	// Tally counts what the state keeps.
	Tally(ctx context.Context) (Tally, error)
	// ClearState deletes all subclusters, and begins a new epoch: tickets of earlier calls are UNKNOWN.
	ClearState(ctx context.Context) error
	// Shutdown begins to stop the kernel, and returns at once.
	Shutdown(ctx context.Context) error
}

// Call is one call of a method, checked and marshalled.
type Call struct {
	// Ticket has an id of valid form. Its epoch is empty if the present one is meant.
	Ticket Ticket
	// Target has a form that [CheckTarget] accepts: ko4, kp7, s1, s1/mint.
	Target string
	// MethArgs is the marshalled [method, [arguments]]. The slots have the form of krefs, each occurs
	// once. Equal calls have equal MethArgs, however their JSON was written.
	MethArgs Data
	// Wait is set if the caller wants the answer.
	Wait bool
}

// Answer is the present state of a call.
type Answer struct {
	// Ticket is the call's, with its epoch.
	Ticket Ticket
	Status Settlement
	// Value is the value of a fulfilled call and the reason of a rejected one.
	Value Data
}
