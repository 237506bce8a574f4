package ocapkernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// Ref is the kernel's name of an object or a promise, such as ko4 or kp7, where it is an argument or the result
// of a call, or a part of either. In JSON it is {"$ref":"ko4"}; the empty Ref is null.
type Ref string

// MarshalJSON writes the form that docs/json.md describes.
func (r Ref) MarshalJSON() ([]byte, error) {
	if r == "" {
		return []byte("null"), nil
	}
	return json.Marshal(map[string]string{"$ref": string(r)})
}

// UnmarshalJSON reads the form that docs/json.md describes.
func (r *Ref) UnmarshalJSON(text []byte) error {
	var form struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	if form.Ref == "" && string(text) != "null" {
		return errors.New("want a reference")
	}
	*r = Ref(form.Ref)
	return nil
}

// Call calls a method of an object such as ko4, or of the root of a subcluster such as s1, and waits for the answer.
// Arguments and answer are JSON, as docs/json.md says; a [Ref] passes a reference. A method that returns nothing is
// answered {"$undefined":true}. The objects that an answer refers to exist at least for Options.KeepAnswers from then on, or
// until [Kernel.Release].
//
// A rejection is an [*Error]; one by the vat itself is [ErrRejected]. If ctx ends first, Call returns the error of ctx, and
// the call goes on: it survives this program, and its answer is lost. A program that wants that answer, too, uses
// [Kernel.CallOnce].
func (k *Kernel) Call(ctx context.Context, target, method string, args ...any) (json.RawMessage, error) {
	a, err := k.call(ctx, control.NewID(), target, method, args)
	if err != nil {
		return nil, public(err)
	}
	if len(a.Value.Slots) == 0 {
		k.b.Release(a.Ticket)
	} else { // the kept answer keeps the objects that it refers to
		k.held.note(a)
	}
	text, err := a.JSON()
	return text, public(err)
}

// CallOnce is Call under an id, of at most 64 letters, digits, _ and -: however often a call is made under its id, also by
// later runs of the program, it has one effect, and each time the same answer. An id is remembered for
// Options.KeepAnswers after the answer. Another call under the same id fails with [ErrConflict].
func (k *Kernel) CallOnce(ctx context.Context, id, target, method string, args ...any) (json.RawMessage, error) {
	a, err := k.call(ctx, id, target, method, args)
	if err != nil {
		return nil, public(err)
	}
	text, err := a.JSON()
	return text, public(err)
}

// call makes a call and waits until it is settled.
func (k *Kernel) call(ctx context.Context, id, target, method string, args []any) (control.Answer, error) {
	ticket, err := control.ParseTicket(id)
	if err != nil || ticket.Epoch != "" {
		return control.Answer{}, control.Errorf(errcode.Invalid, "%q is no id of a call", id)
	}
	list := make([]json.RawMessage, len(args))
	for i, a := range args {
		if list[i], err = json.Marshal(a); err != nil {
			return control.Answer{}, control.Errorf(errcode.Invalid, "argument %d: %v", i+1, err)
		}
	}
	call, err := control.NewCall(target, method, list)
	if err != nil {
		return control.Answer{}, err
	}
	call.Ticket, call.Wait = ticket, true
	a, err := k.b.Send(ctx, call)
	if err == nil && a.Status == control.Pending {
		err = ctx.Err()
	}
	return a, err
}

// Root returns the kernel's name of the root object of a system subcluster, a target of calls. It waits until the
// declared system subclusters were launched. The error is [ErrRejected] if this one could not be, and [ErrNotFound] if
// there is none of that name.
func (k *Kernel) Root(ctx context.Context, name string) (string, error) {
	if err := k.b.SystemReady(ctx); err != nil && control.CodeOf(err) != errcode.Rejected {
		return "", public(err)
	}
	list, err := k.b.System(ctx)
	if err != nil {
		return "", public(err)
	}
	for _, s := range list {
		switch {
		case s.Name != name:
		case s.Root != "":
			return s.Root, nil
		case s.Why != "":
			return "", public(control.Errorf(errcode.Rejected, "system subcluster %s: %s", name, s.Why))
		}
	}
	return "", public(control.Errorf(errcode.NotFound, "there is no system subcluster %s", name))
}

// Revoke makes the kernel reject every call of an object, such as ko4, with [ErrRevoked], from every vat and every client,
// from now on and for good. A second Revoke has no further effect. The error is [ErrObjectDeleted] if there is no such
// object.
func (k *Kernel) Revoke(ctx context.Context, object string) error {
	return public(k.b.Revoke(ctx, object))
}

// Call is [Kernel.Call] with the answer as a T, as encoding/json reads it. The answer of a method that returns nothing is
// the zero T.
func Call[T any](ctx context.Context, k *Kernel, target, method string, args ...any) (T, error) {
	var v T
	text, err := k.Call(ctx, target, method, args...)
	if err != nil || bytes.Equal(text, []byte(`{"$undefined":true}`)) {
		return v, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("answer of %s: %w", method, err)
	}
	return v, nil
}
