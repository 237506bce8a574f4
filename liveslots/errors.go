package liveslots

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// Error is a rejection that came from outside the turn: from another vat, or from the kernel. A method that
// returns it rejects its answer with the same reason; a method that wraps it, with its text and its code.
type Error struct {
	// Name is the class of the error in JavaScript's terms, such as "Error" or "TypeError".
	Name string
	// Message is the text.
	Message string
	// val is the reason itself, which need not be an error.
	val value
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether the error has the code of the [KernelError] target, so that errors.Is(err, ErrRevoked)
// works. A vat can write such an error too: it proves nothing about the kernel unless the vat is trusted.
func (e *Error) Is(target error) bool {
	code, ok := target.(KernelError)
	if !ok {
		return false
	}
	ce, ok := e.val.tree.(*capdata.Error)
	if !ok {
		return false
	}
	got, _, ok := capdata.ParseKernelError(ce)
	return ok && got == errcode.Code(code)
}

// Value reads the reason of the rejection into a variable, given by its pointer: a vat may reject with a record
// or with any other value, which an error cannot show. It returns an error if the reason does not fit; an any
// takes everything.
func (e *Error) Value(ctx context.Context, into any) error {
	t := running(ctx)
	out := reflect.ValueOf(into)
	if out.Kind() != reflect.Pointer || out.IsNil() {
		return fmt.Errorf("the value of an error is read into a pointer, not into %T", into)
	}
	x := e.val
	if x.body == "" { // the program itself made the error
		x = errorValue(e)
	}
	c, err := t.v.codecs.passable(out.Type().Elem())
	if err != nil {
		return err
	}
	return t.decode(c, x, out.Elem())
}

// Reject returns an error that rejects with a value instead of an error. Return it from a method as it is, or
// give it to [Resolver.Reject]. val is any value that can be passed; the receiver reads it with [Error.Value].
func Reject(val any) error { return &rejection{val} }

type rejection struct{ val any }

func (r *rejection) Error() string { return fmt.Sprintf("rejected with %v", r.val) }

// reason returns the value with which err rejects a promise.
func (v *Vat) reason(err error) value {
	r, ok := err.(*rejection)
	if !ok {
		return errorValue(err)
	}
	x, err := v.encodeAny(r.val)
	if err != nil {
		return errorValue(fmt.Errorf("the value of a rejection cannot be passed: %w", err))
	}
	if p := x.lonePromise(); p != nil {
		return errorValue(errors.New("a promise cannot be the value of a rejection"))
	}
	return x
}

// KernelError is one of the closed set of errors that the kernel raises, for errors.Is.
type KernelError errcode.Code

// Error describes the error.
func (k KernelError) Error() string { return "kernel: " + string(k) }

// The errors that the kernel raises.
const (
	ErrRevoked          = KernelError(errcode.Revoked)
	ErrVatTerminated    = KernelError(errcode.VatTerminated)
	ErrVatRestarted     = KernelError(errcode.VatRestarted)
	ErrObjectDeleted    = KernelError(errcode.ObjectDeleted)
	ErrBadTarget        = KernelError(errcode.BadTarget)
	ErrDeliveryTimeout  = KernelError(errcode.DeliveryTimeout)
	ErrDeliveryPoisoned = KernelError(errcode.DeliveryPoisoned)
	ErrQueueFull        = KernelError(errcode.QueueFull)
	ErrLimit            = KernelError(errcode.Limit)
	ErrServiceGone      = KernelError(errcode.ServiceGone)
	ErrAmbiguous        = KernelError(errcode.Ambiguous)
	ErrConnectionLost   = KernelError(errcode.ConnectionLost)
	ErrUnknown          = KernelError(errcode.Unknown)
)

// errorValue returns the reason of a rejection with err.
func errorValue(err error) value {
	if e, ok := ownError(err); ok && e.val.body != "" {
		return e.val
	}
	var e encoder
	x, sealErr := e.seal(errorTree(err))
	if sealErr != nil {
		x, _ = e.seal(&capdata.Error{Name: "Error", Message: "an error whose text cannot be passed"})
	}
	return x
}

// errorTree returns err as a passable. An error that wraps a KernelError has its code for the receiver, too.
func errorTree(err error) *capdata.Error {
	if e, ok := ownError(err); ok {
		err = e
	}
	var e *Error
	name := "Error"
	if errors.As(err, &e) {
		if ce, ok := e.val.tree.(*capdata.Error); ok && error(e) == err {
			return ce
		}
		if e.Name != "" {
			name = e.Name
		}
	}
	var code KernelError
	if errors.As(err, &code) {
		if ce, ok := kernelError(errcode.Code(code), err.Error()).tree.(*capdata.Error); ok {
			return ce
		}
	}
	return &capdata.Error{Name: name, Message: strings.ToValidUTF8(err.Error(), "\uFFFD")}
}

// errorOf returns the Go error of a rejection.
func errorOf(x value) error {
	if ce, ok := x.tree.(*capdata.Error); ok {
		return &Error{Name: ce.Name, Message: ce.Message, val: x}
	}
	return &Error{Name: "Error", Message: "rejected with " + describe(x.tree, x.slots), val: x}
}

// badTarget returns the rejection of a message to a value that takes none. The vat answers in the kernel's
// stead here.
func badTarget(x value) value {
	return kernelError(errcode.BadTarget, "a "+describe(x.tree, x.slots)+" cannot be sent a message")
}

func kernelError(code errcode.Code, detail string) value {
	body := capdata.KernelError(code, detail)
	tree, err := capdata.Decode(body, 0)
	if err != nil {
		return errorValue(fmt.Errorf("%s: %s", code, detail))
	}
	return value{body: body, tree: tree}
}

// faultText is the panic by which code deep in a crank ends it: the delivery cannot be processed.
type faultText string

func fault(text string) faultText { return faultText(text) }
