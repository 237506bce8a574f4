// Package errcode has the codes of errors: those with which the kernel rejects calls, and those with which it refuses
// requests. Codes are stable, and a program may branch on them. docs/control.md has the [Table].
package errcode

import (
	"slices"
	"strings"
)

// Code says what kind of failure an error is.
type Code string

// The codes with which the kernel itself rejects promises, and so calls: a closed set.
const (
	// Revoked: the object was revoked.
	Revoked Code = "REVOKED"
	// VatTerminated: the vat that was to resolve the promise is gone for good, or stopped.
	VatTerminated Code = "VAT_TERMINATED"
	// VatRestarted: the vat that was to resolve the promise lost its memory, and the promise with it.
	VatRestarted Code = "VAT_RESTARTED"
	// ObjectDeleted: the object no longer exists.
	ObjectDeleted Code = "OBJECT_DELETED"
	// BadTarget: the target takes no messages.
	BadTarget Code = "BAD_TARGET"
	// DeliveryTimeout: the vat did not finish the message in time, at any of its attempts.
	DeliveryTimeout Code = "DELIVERY_TIMEOUT"
	// DeliveryPoisoned: the message killed the vat's worker at each of its attempts.
	DeliveryPoisoned Code = "DELIVERY_POISONED"
	// QueueFull: too many messages wait for the target.
	QueueFull Code = "QUEUE_FULL"
	// Limit: a limit was exceeded, which the message names.
	Limit Code = "LIMIT"
	// ServiceGone: the kernel service does not exist in this run.
	ServiceGone Code = "SERVICE_GONE"
	// Ambiguous: the kernel died while the call of a service was under way. The call may have happened or not.
	Ambiguous Code = "AMBIGUOUS"
	// ConnectionLost: the other end of an IO channel went away.
	ConnectionLost Code = "CONNECTION_LOST"
	// Unknown: as a rejection, any other reason; of a ticket, that the kernel knows no call of that ticket.
	Unknown Code = "UNKNOWN"
)

// The codes with which a request is refused, beside those above: a closed set.
const (
	// Invalid: the request itself is wrong, and would be wrong again.
	Invalid Code = "INVALID"
	// NotFound: the named vat, subcluster, object or poisoned message does not exist.
	NotFound Code = "NOT_FOUND"
	// Conflict: the request contradicts the present state; a ticket, say, that was used for another call.
	Conflict Code = "CONFLICT"
	// AlreadyRunning: a live kernel holds the state.
	AlreadyRunning Code = "ALREADY_RUNNING"
	// NotRunning: no kernel answers at the state, or it went away before it answered. Only clients make it.
	NotRunning Code = "NOT_RUNNING"
	// DiskFull: the kernel accepts no new work until there is space on its disk.
	DiskFull Code = "DISK_FULL"
	// Stopping: the kernel is on its way down.
	Stopping Code = "STOPPING"
	// Timeout: the kernel did not say in time whether it accepted the request.
	Timeout Code = "TIMEOUT"
	// Rejected: a vat rejected the call with an error of its own.
	Rejected Code = "REJECTED"
	// Unsupported: the server has no such method.
	Unsupported Code = "UNSUPPORTED"
	// Internal: the kernel failed; its log says more.
	Internal Code = "INTERNAL"
)

// Entry is what there is to know of a code.
type Entry struct {
	Code Code
	// Rejects is set if the kernel rejects promises with the code.
	Rejects bool
	// Means says what has happened, and Do what the program or the person that gets it can do.
	Means, Do string
}

// Table has an entry for each code, those that reject promises first.
func Table() []Entry {
	return []Entry{
		{Revoked, true, "the object was revoked, for good", "ask its owner for another reference"},
		{VatTerminated, true, "the vat that was to answer is gone for good, or stopped", "`kernel restart` gives a stopped vat its life back; else launch the cluster again"},
		{VatRestarted, true, "the vat that was to answer lost its memory, and the answer with it; what it has committed stays", "look whether it is done, and call again if not"},
		{ObjectDeleted, true, "the object does not exist, or not any more", "get a reference again where the first one came from"},
		{BadTarget, true, "the target takes no messages: a promise that was settled with something else than an object, say", "mend the caller"},
		{DeliveryTimeout, true, "the vat did not finish the message in time, at any of its attempts", "see `kernel poisoned ls`; raise `limits.delivery`, or mend the vat and `retry`"},
		{DeliveryPoisoned, true, "the message killed the vat's worker at each of its attempts", "see `kernel poisoned ls`; mend the vat and `retry`"},
		{QueueFull, true, "too many messages wait for the target; this one was not sent", "send it again later, or raise `limits.queue`"},
		{Limit, true, "a limit was reached, which the message names", "send or ask for less: [caveats.md](caveats.md#limits) has the limits"},
		{ServiceGone, true, "the service, or the object that a service has made, does not exist in this run", "start the program that registers it, or call the service again for another object"},
		{Ambiguous, true, "the kernel died in the middle of the call of a service, which may be done or not", "look whether it is done, and call again if not"},
		{ConnectionLost, true, "the other end of a channel went away, or the kernel that had the connection died", "read, accept or connect again"},
		{Unknown, true, "a rejection for any other reason; of a ticket: one of another epoch, or that was never used, or whose answer was acknowledged", "call again, under a new ticket"},

		{Invalid, false, "the request is wrong, and would be wrong again. `data.details` lists the mistakes of a configuration", "mend what the message names"},
		{NotFound, false, "what is named does not exist", "`kernel ps`, `status`, `io ls` list what does"},
		{Conflict, false, "the request contradicts what is there: a ticket that was used for another call, say", "the message names what is in the way"},
		{AlreadyRunning, false, "a live kernel holds the state. The programs that start kernels make it", "stop that kernel, or use another state"},
		{NotRunning, false, "no kernel answers at the state, or it went away before it answered. Clients make it", "start one; a call may be sent again under its ticket"},
		{DiskFull, false, "nothing new is accepted until there is space", "free space; the kernel goes on by itself"},
		{Stopping, false, "the kernel is on its way down", "send the request to the next kernel; a call under the same ticket"},
		{Timeout, false, "whether the request was accepted is not known", "send a call again, under its ticket"},
		{Rejected, false, "a vat rejected the call with an error of its own", "the message is the vat's"},
		{Unsupported, false, "there is no such method", "the client is newer than the kernel"},
		{Internal, false, "the kernel failed", "its log says more"},
	}
}

// Rejections returns the codes with which the kernel rejects promises.
func Rejections() []Code {
	var list []Code
	for _, e := range Table() {
		if e.Rejects {
			list = append(list, e.Code)
		}
	}
	return list
}

// IsRejection reports whether the kernel rejects promises with the code.
func (c Code) IsRejection() bool { return slices.Contains(Rejections(), c) }

// Markdown returns the table of the codes that reject promises, or of the others, as docs/control.md has it.
func Markdown(rejects bool) string {
	var b strings.Builder
	b.WriteString("| Code | Means | What to do |\n|---|---|---|\n")
	for _, e := range Table() {
		if e.Rejects == rejects {
			b.WriteString("| `" + string(e.Code) + "` | " + e.Means + " | " + e.Do + " |\n")
		}
	}
	return b.String()
}
