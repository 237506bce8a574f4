package control

import (
	"errors"
	"fmt"
	"strings"

	"ocapkernel.dev/capdata"
)

// Code is the kind of failure of an [Error]. Codes are stable: a program may branch on them. The codes with
// which the kernel rejects promises are in package capdata; below are those of the protocol itself.
type Code = capdata.Code

const (
	// CodeInvalid: the request itself is wrong, and would be wrong again.
	CodeInvalid Code = "INVALID"
	// CodeNotFound: the named vat, subcluster, object or poisoned message does not exist.
	CodeNotFound Code = "NOT_FOUND"
	// CodeConflict: the request contradicts the state; a ticket, say, that was used for another call.
	CodeConflict Code = "CONFLICT"
	// CodeAlreadyRunning: a live kernel holds this state.
	CodeAlreadyRunning Code = "ALREADY_RUNNING"
	// CodeNotRunning: no kernel answers at this state, or it went away before it answered. Only clients make
	// it.
	CodeNotRunning Code = "NOT_RUNNING"
	// CodeDiskFull: the kernel accepts no new work until there is space on its disk.
	CodeDiskFull Code = "DISK_FULL"
	// CodeStopping: the kernel is on its way down.
	CodeStopping Code = "STOPPING"
	// CodeTimeout: the kernel did not say in time whether it accepted the request. A call may be sent
	// again under the same ticket.
	CodeTimeout Code = "TIMEOUT"
	// CodeRejected: a vat rejected the call with an error of its own.
	CodeRejected Code = "REJECTED"
	// CodeUnsupported: the server has no such method.
	CodeUnsupported Code = "UNSUPPORTED"
	// CodeInternal: the kernel failed; its log says more.
	CodeInternal Code = "INTERNAL"
)

// Error is a failure with a stable code. It crosses the protocol whole: errors.As at the client finds the Error
// that a [Backend] returned, wrapped or not.
type Error struct {
	Code Code `json:"code"`
	// Message is one line for people.
	Message string `json:"message"`
	// Details are further lines, one for each mistake in a configuration, as file:line:col: field: message.
	Details []string `json:"details,omitempty"`
}

// Error returns the message and the details, a line each.
func (e *Error) Error() string {
	if len(e.Details) == 0 {
		return e.Message
	}
	return e.Message + "\n" + strings.Join(e.Details, "\n")
}

// Is reports whether target is an Error with nothing but the code of e, for [errors.Is].
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Details == nil && t.Code == e.Code
}

// Errorf returns an Error. It wraps no error: only text crosses the protocol.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the Error in err's chain, "" for nil, and CodeInternal for other errors.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
