// Package attenuate makes objects that give access to a part of another object. An attenuator stands for
// another object, its target, and forwards every message to it unless its rule forbids it:
//
//	Caretaker   until its [Gate] revokes it
//	ReadOnly    the named methods only
//	Until       until a time
//	Times       a number of messages
//
// The target is an object of any vat, and may itself be an attenuator: so attenuators combine.
//
//	f := attenuate.Times(ctx, attenuate.ReadOnly(ctx, purse, "balance"), 3) // reads the balance three times
//
// A vat that has a reference to the attenuator cannot get at the target through it. That holds for one object
// and not for the objects that it leads to: the target's answers are handed on as they are, and references in
// them are not attenuated.
//
// Messages are forwarded unread, in the order in which they come, and the sender gets the target's answer as it
// comes; messages to an answer that is not there yet travel on as usual. A forwarded message is not taken back,
// also if the attenuator is revoked meanwhile. To the vats that see both, an attenuator and its target are two
// objects: a mint that looks for its own purse in an argument does not find it in an attenuator.
//
// # Refusals
//
// A refusal names the method, the attenuator, its vat, and the reason. A refusal for good is also a
// [vat.ErrRevoked], as if the kernel had revoked the object: the attenuator will never forward again, and has
// let go of its target.
//
// # Durability
//
// Attenuators are durable objects of the vat that makes them, and live as long as the vat does. An attenuator
// never keeps its vat from rest, also while an answer is outstanding. A target has to be a reference that
// durable state can hold: not a promise, and no ephemeral object of this vat.
//
// The types of this package have to be among the types of the vat's module. They are if a method or a field has
// [*Forwarder] or [*Gate] as its type; else name one of them where the module is registered:
//
//	vat.Module(New, (*attenuate.Gate)(nil))
package attenuate

import (
	"context"
	"reflect"
	"slices"
	"time"

	"ocapkernel.dev/vat"
)

// Forwarder is an attenuator. It has no methods of its own that a message could call, and is made by the
// functions of this package only. Its fields are exported only so that they are saved.
type Forwarder struct {
	vat.Durable
	Rule string
	// Target is zero once no message will be forwarded any more.
	Target vat.Ref
	// Over is set once a Caretaker was revoked, or the time of an Until is over.
	Over bool
	// Methods are the methods that a ReadOnly forwards, End is the end of an Until. Limit is the number of
	// messages that a Times forwards, and Used the number that it has forwarded.
	Methods     []string
	End         time.Time
	Limit, Used int
}

// The rules, by the names of the functions that make them.
const (
	caretaker = "Caretaker"
	readOnly  = "ReadOnly"
	until     = "Until"
	times     = "Times"
)

// Gate is the power to revoke a Caretaker. It is an object of its own, to be kept, or passed to a vat that may
// revoke.
type Gate struct {
	vat.Durable
	// Forwarder is the caretaker that the gate revokes; nil once it has. The field is exported so that it is
	// saved.
	Forwarder *Forwarder
}

// Revoke makes the caretaker refuse all messages from now on, for good, and let go of its target. Messages that
// it has forwarded before go on. To revoke again changes nothing.
func (g *Gate) Revoke() {
	if g.Forwarder != nil {
		g.Forwarder.end()
		g.Forwarder = nil
	}
}

// Caretaker returns an attenuator that forwards all messages to target until the gate revokes it. target, here
// and below, is a [vat.Ref] or a pointer to an object of this vat. An attenuator of the zero Ref, or of nil,
// has no target and refuses all messages. Any other target is a mistake in the program, and panics.
func Caretaker(ctx context.Context, target any) (*Forwarder, *Gate) {
	f := &Forwarder{Rule: caretaker, Target: reference(ctx, target)}
	return f, &Gate{Forwarder: f}
}

// ReadOnly returns an attenuator that forwards only messages that call one of the methods. The methods are
// given as senders name them: "balance", not "Balance". The caller of ReadOnly vouches that they only read.
func ReadOnly(ctx context.Context, target any, methods ...string) *Forwarder {
	return &Forwarder{Rule: readOnly, Target: reference(ctx, target), Methods: slices.Clone(methods)}
}

// Until returns an attenuator that forwards the messages that come before end, by the time of the crank
// ([vat.Now]).
func Until(ctx context.Context, target any, end time.Time) *Forwarder {
	return &Forwarder{Rule: until, Target: reference(ctx, target), End: end.UTC()}
}

// Times returns an attenuator that forwards the first n messages, also if the target rejects them. With n below
// 1 it forwards none.
func Times(ctx context.Context, target any, n int) *Forwarder {
	return &Forwarder{Rule: times, Target: reference(ctx, target), Limit: max(n, 0)}
}

// reference returns a target as a reference. A nil pointer is the zero Ref.
func reference(ctx context.Context, target any) vat.Ref {
	if r, ok := target.(vat.Ref); ok || target == nil {
		return r
	}
	if p := reflect.ValueOf(target); p.Kind() == reflect.Pointer && p.IsNil() {
		return vat.Ref{}
	}
	return vat.RefOf(ctx, target)
}

// Forward takes every message to the attenuator. It forwards the message to the target, or refuses it.
func (f *Forwarder) Forward(ctx context.Context, m vat.Message) (vat.Promise, error) {
	if f.Rule == until && !vat.Now(ctx).Before(f.End) {
		f.end()
	}
	target := f.Target
	switch {
	case f.Over && f.Rule == until:
		return f.refuse(ctx, m, true, "its time ended at "+f.End.Format(time.RFC3339Nano))
	case f.Over:
		return f.refuse(ctx, m, true, "it was revoked")
	case f.Rule == times && f.Used >= f.Limit:
		return f.refuse(ctx, m, true, "it has forwarded all that it may")
	case target.IsZero():
		return f.refuse(ctx, m, true, "it was made without a target")
	case f.Rule == readOnly && !slices.Contains(f.Methods, m.Method()):
		return f.refuse(ctx, m, false, "it forwards "+list(f.Methods))
	case f.Rule == times:
		if f.Used++; f.Used == f.Limit {
			f.Target = vat.Ref{}
		}
	}
	return vat.Forward(ctx, target, m), nil
}

// end makes the attenuator refuse for good, also if the clock is set back later.
func (f *Forwarder) end() { f.Over, f.Target = true, vat.Ref{} }
