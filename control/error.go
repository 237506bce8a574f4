package control

import (
	"errors"
	"fmt"
	"strings"

	"ocapkernel.dev/errcode"
)

// Error is a failure with a stable code. It crosses the protocol whole: errors.As at the client finds the Error
// that a [Backend] returned, wrapped or not.
type Error struct {
	Code errcode.Code `json:"code"`
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
func Errorf(code errcode.Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the Error in err's chain, "" for nil, and errcode.Internal for other errors.
func CodeOf(err error) errcode.Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return errcode.Internal
}
