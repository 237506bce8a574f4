package ocapkernel

import (
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/control"
)

// Error is a failure with a code, such as a call that was rejected. Its codes are those of packages capdata and
// control; [errors.Is] finds one of the variables below, [errors.As] all of it.
type Error = control.Error

// Errors to branch on with [errors.Is].
var (
	// ErrAlreadyRunning: another kernel has the state directory.
	ErrAlreadyRunning = code(control.CodeAlreadyRunning)
	// ErrInvalid: options, a configuration or a call that are wrong, and would be wrong again. The Details of
	// the [Error] have the mistakes of a configuration.
	ErrInvalid = code(control.CodeInvalid)
	// ErrNotFound: what is named is not there.
	ErrNotFound = code(control.CodeNotFound)
	// ErrConflict: a configuration that changed since it was launched, or an id of a call that was used for
	// another one.
	ErrConflict = code(control.CodeConflict)
	// ErrRejected: a vat rejected the call, or its own launch, with an error of its own.
	ErrRejected = code(control.CodeRejected)
	// ErrStopping: the kernel stops, or has stopped.
	ErrStopping = code(control.CodeStopping)
	// ErrDiskFull: nothing new is accepted until there is space.
	ErrDiskFull = code(control.CodeDiskFull)

	// What the kernel itself rejects calls with.
	ErrRevoked       = code(capdata.CodeRevoked)
	ErrObjectDeleted = code(capdata.CodeObjectDeleted)
	ErrVatTerminated = code(capdata.CodeVatTerminated)
	ErrVatRestarted  = code(capdata.CodeVatRestarted)
	ErrQueueFull     = code(capdata.CodeQueueFull)
	ErrLimit         = code(capdata.CodeLimit)
	ErrServiceGone   = code(capdata.CodeServiceGone)
	ErrAmbiguous     = code(capdata.CodeAmbiguous)
)

func code(c control.Code) error { return &Error{Code: c} }
