// Package attenuate gives out less than a whole object. An attenuator stands for another object, its
// target, and forwards every message to it unless its rule says no:
//
//	Caretaker   until its [Gate] revokes it
//	ReadOnly    the named methods only
//	Until       until a time
//	Times       so many messages
//
// The target is an object of any vat, and may be an attenuator: so they combine.
//
//	f := attenuate.Times(ctx, attenuate.ReadOnly(ctx, purse, "balance"), 3) // three looks at the balance
//
// Whoever has a reference to the attenuator cannot get at the target through it. That holds for one
// object and not for what it leads to: what the target answers is handed on as it is, and a reference in
// it is not attenuated.
//
// Messages are forwarded unread, in the order in which they come, and the sender gets the target's answer
// as it comes; messages to an answer that is not there yet travel on as ever. What is forwarded is not
// taken back, whatever becomes of the attenuator. To the vats that see both, an attenuator and its target
// are two objects: a mint that looks for its own purse in an argument does not find it in an attenuator.
//
// # Refusals
//
// A refusal names the method, the attenuator, its vat, and the reason. One that is for good is also a
// [vat.ErrRevoked], as that of an object which the kernel revoked: the reference will never be of use
// again. Then the attenuator has let go of its target, too.
//
// # Durability
//
// Attenuators are durable objects of the vat that makes them, and survive what that survives. None of
// them keeps its vat from rest, whatever it has forwarded and however long the answer takes. A target has
// to be something that durable state can hold: not a promise, and no ephemeral object of this vat.
//
// Their types have to be among those of the vat's module. They are if a method or a field has them, as
// [*Forwarder] or [*Gate]; else name one where the module is registered:
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
// functions of this package only. Its fields are exported to be saved, and for nothing else.
type Forwarder struct {
	vat.Durable
	Rule string
	// Target is zero as soon as nothing will be forwarded any more.
	Target vat.Ref
	// Over says that a Caretaker was revoked, or that the time of an Until is over.
	Over bool
	// Methods are those that a ReadOnly forwards, End is when an Until ends, and Limit how many messages a
	// Times forwards, of which it has forwarded Used.
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

// Gate is the power to revoke a Caretaker. It is an object apart, to be kept, or passed to whoever may
// do so.
type Gate struct {
	vat.Durable
	// Forwarder is what the gate revokes; nil when it has done so. It is exported to be saved.
	Forwarder *Forwarder
}

// Revoke makes the caretaker refuse all messages from now on, for good, and let go of its target. Those
// that it has forwarded before go on. To revoke again changes nothing.
func (g *Gate) Revoke() {
	if g.Forwarder != nil {
		g.Forwarder.end()
		g.Forwarder = nil
	}
}

// Caretaker forwards all messages to target until the gate revokes it. target, here and below, is a
// [vat.Ref] or a pointer to an object of this vat. An attenuator of the zero Ref, or of nil, has nothing to
// forward to and refuses all messages. Anything else is a mistake in the program, and panics.
func Caretaker(ctx context.Context, target any) (*Forwarder, *Gate) {
	f := &Forwarder{Rule: caretaker, Target: reference(ctx, target)}
	return f, &Gate{Forwarder: f}
}

// ReadOnly forwards only messages that call one of the methods, which are given as they are called from
// outside: "balance", not "Balance". That they only read is the caller's word.
func ReadOnly(ctx context.Context, target any, methods ...string) *Forwarder {
	return &Forwarder{Rule: readOnly, Target: reference(ctx, target), Methods: slices.Clone(methods)}
}

// Until forwards messages that come to it before end, by the time of the crank ([vat.Now]).
func Until(ctx context.Context, target any, end time.Time) *Forwarder {
	return &Forwarder{Rule: until, Target: reference(ctx, target), End: end.UTC()}
}

// Times forwards the first n messages that come to it, whatever becomes of them. With n below 1 it
// forwards none.
func Times(ctx context.Context, target any, n int) *Forwarder {
	return &Forwarder{Rule: times, Target: reference(ctx, target), Limit: max(n, 0)}
}

// reference is a target as a reference. A pointer may have come from elsewhere, and be nil.
func reference(ctx context.Context, target any) vat.Ref {
	if r, ok := target.(vat.Ref); ok || target == nil {
		return r
	}
	if p := reflect.ValueOf(target); p.Kind() == reflect.Pointer && p.IsNil() {
		return vat.Ref{}
	}
	return vat.RefOf(ctx, target)
}

// Forward gets every message to the attenuator. It forwards the message to the target, or refuses it.
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

// end makes the attenuator refuse for good. It does not matter then which way the clock goes.
func (f *Forwarder) end() { f.Over, f.Target = true, vat.Ref{} }
