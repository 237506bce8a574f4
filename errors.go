package ocapkernel

import (
	"errors"
	"strings"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
)

// Error is a failure with a code, such as a call that was rejected. [errors.Is] finds one of the variables of this package,
// [errors.As] all of the Error.
type Error struct {
	// Code is stable: a program may branch on it. docs/json.md lists the codes of rejected calls.
	Code errcode.Code
	// Message is one line for people.
	Message string
	// Details are further lines, one for each mistake in a configuration, as file:line:col: field: message.
	Details []string

	cause error
}

// Error returns the message and the details, a line each.
func (e *Error) Error() string {
	switch {
	case e.cause != nil:
		return e.cause.Error()
	case len(e.Details) == 0:
		return e.Message
	}
	return e.Message + "\n" + strings.Join(e.Details, "\n")
}

// Is makes [errors.Is] find, for a target that is an Error with nothing but a code, all errors of that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Details == nil && t.Code == e.Code
}

// Unwrap returns the error from which this one was made, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Errors to branch on with [errors.Is].
var (
	// ErrAlreadyRunning: another kernel has the state directory.
	ErrAlreadyRunning = &Error{Code: errcode.AlreadyRunning}
	// ErrRolledBack: the state is older than the one that the kernel has acknowledged. Options.AcceptRollback runs on it.
	ErrRolledBack = storage.ErrRolledBack
	// ErrDamaged: the database cannot be read, or contradicts itself. The error says where.
	ErrDamaged = storage.ErrCorrupt
	// ErrInvalid: the options, the configuration or the call are wrong, and would be wrong again. The Details of the [Error]
	// have the mistakes of a configuration.
	ErrInvalid = &Error{Code: errcode.Invalid}
	// ErrNotFound: the named subcluster, object or service is not there.
	ErrNotFound = &Error{Code: errcode.NotFound}
	// ErrConflict: a configuration that changed since it was launched, changes that cannot be made to a running subcluster,
	// or an id of a call that was used for another call.
	ErrConflict = &Error{Code: errcode.Conflict}
	// ErrRejected: a vat rejected the call, or its own launch, with an error of its own.
	ErrRejected = &Error{Code: errcode.Rejected}
	// ErrStopping: the kernel stops, or has stopped.
	ErrStopping = &Error{Code: errcode.Stopping}
	// ErrDiskFull: nothing new is accepted until there is space.
	ErrDiskFull = &Error{Code: errcode.DiskFull}

	// The kernel itself rejects calls with the following errors.

	// ErrRevoked: the object was revoked.
	ErrRevoked = &Error{Code: errcode.Revoked}
	// ErrObjectDeleted: the object is gone, or its vat does not know it any more.
	ErrObjectDeleted = &Error{Code: errcode.ObjectDeleted}
	// ErrVatTerminated: the vat of the object is gone.
	ErrVatTerminated = &Error{Code: errcode.VatTerminated}
	// ErrVatRestarted: the vat that owed the answer has lost its memory.
	ErrVatRestarted = &Error{Code: errcode.VatRestarted}
	// ErrQueueFull: too many messages wait for the vat. The call was not made.
	ErrQueueFull = &Error{Code: errcode.QueueFull}
	// ErrLimit: the call, or its answer, is larger than a limit that the message names.
	ErrLimit = &Error{Code: errcode.Limit}
	// ErrServiceGone: the service is not there in this run.
	ErrServiceGone = &Error{Code: errcode.ServiceGone}
	// ErrAmbiguous: the kernel died in the middle of a call of a service. The service may have done the work, or not.
	ErrAmbiguous = &Error{Code: errcode.Ambiguous}
)

// public returns err in the form that this package promises: an error with a code is an [*Error].
func public(err error) error {
	coded, ok := errors.AsType[*control.Error](err)
	if !ok {
		return err
	}
	return &Error{Code: coded.Code, Message: coded.Message, Details: coded.Details, cause: err}
}
