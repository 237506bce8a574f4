package kernel

import (
	"errors"
	"fmt"

	"ocapkernel.dev/errcode"
)

// Fault is a fault of a vat, found in its answer. The crank is aborted: nothing was changed. The caller replaces the
// worker and reports its death with [CauseIllegal] or [CauseLimit].
type Fault struct {
	Vat    VatID
	Cause  Cause
	Reason string
}

func (f *Fault) Error() string { return fmt.Sprintf("vat %s: %s: %s", f.Vat, f.Cause, f.Reason) }

// Refusal says that an input was not accepted and changed nothing.
type Refusal struct {
	Code   errcode.Code
	Detail string
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

func refuse(code errcode.Code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// ErrNewerSchema is returned by Open for a store that a newer kernel wrote.
var ErrNewerSchema = errors.New("the state was written by a newer version of the kernel")

// ErrOlderSchema is returned by Open for a store that an older kernel wrote, which this one cannot read.
var ErrOlderSchema = errors.New("the state was written by an older version of the kernel, in a form that is no longer read")

// failure carries an error of the store (a disk that fails, rows that are corrupt) out of the machine.
type failure struct{ err error }

// caught turns a failure into an error. Broken invariants, which are our mistakes, go on as panics.
func caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = p.err
	case *Refusal: // of a commit that would be too large, see seal
		*err = p
	default:
		panic(p)
	}
}

// readable calls f, which reads rows, and returns why one of them cannot be read.
func readable(f func()) (err error) {
	defer caught(&err)
	f()
	return nil
}

var (
	errMissing = errors.New("missing")
	errLength  = errors.New("wrong length")
)
