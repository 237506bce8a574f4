package vat

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"ocapkernel.dev/liveslots"
)

// The errors that the kernel raises, for errors.Is.
const (
	// ErrRevoked: the object was revoked.
	ErrRevoked = liveslots.ErrRevoked
	// ErrVatTerminated: the vat that would have answered is gone for good.
	ErrVatTerminated = liveslots.ErrVatTerminated
	// ErrVatRestarted: the vat that would have answered lost its memory. The call may have happened or not.
	ErrVatRestarted = liveslots.ErrVatRestarted
	// ErrObjectDeleted: the object no longer exists.
	ErrObjectDeleted = liveslots.ErrObjectDeleted
	// ErrBadTarget: the target is no object, and takes no messages.
	ErrBadTarget = liveslots.ErrBadTarget
	// ErrDeliveryTimeout: the vat did not handle the message in time, repeatedly. The call did not happen.
	ErrDeliveryTimeout = liveslots.ErrDeliveryTimeout
	// ErrDeliveryPoisoned: the message killed the vat's worker, repeatedly. The call did not happen.
	ErrDeliveryPoisoned = liveslots.ErrDeliveryPoisoned
	// ErrQueueFull: too many messages wait for the target. The call did not happen.
	ErrQueueFull = liveslots.ErrQueueFull
	// ErrLimit: a limit was exceeded.
	ErrLimit = liveslots.ErrLimit
	// ErrServiceGone: the kernel service no longer exists.
	ErrServiceGone = liveslots.ErrServiceGone
	// ErrAmbiguous: the call of the service may have happened or not.
	ErrAmbiguous = liveslots.ErrAmbiguous
	// ErrConnectionLost: the connection to the other side is lost.
	ErrConnectionLost = liveslots.ErrConnectionLost
	// ErrUnknown: the kernel does not know what became of the call.
	ErrUnknown = liveslots.ErrUnknown
)

// Delete deletes a durable object of this vat, with the entries of its Maps, whoever may hold it. From now on messages to
// it are answered with [ErrObjectDeleted], those of other vats and those that wait included. A pointer to it in durable
// state reads as nil, a [Ref] as a reference to a deleted object. It cannot be passed or saved any more.
//
// Delete returns an error for the root, for an ephemeral object, and for what is no object of this vat. To delete an object
// again changes nothing. An object that nothing leads to is deleted without a call of Delete.
func Delete(ctx context.Context, obj any) error { return liveslots.Delete(ctx, obj) }

// Send sends a message and returns a promise for its answer. target is a [Ref], a [Promise] (the message goes
// to the object that it resolves to, and is on its way before that is known), or a pointer to an object of this
// vat. Messages from one vat to one target arrive in the order sent. Messages to a promise arrive before those
// that the vat sends to the object once the promise is settled. Messages to this vat's own objects take the same
// way through the kernel as all others, and run in a later crank.
//
// If the message cannot be sent, the promise is rejected, with an error that says why.
func Send(ctx context.Context, target any, method string, args ...any) Promise {
	return Promise(liveslots.Send(ctx, plain(target), method, args...))
}

// Forward sends a message on, to a target as [Send] takes it, and returns a promise for its answer. The
// arguments arrive as they were sent: references to the same objects, and promises that have not been awaited.
// A method that returns the promise hands the answer on to the sender of the message, and no turn waits for it.
//
// If the message cannot be forwarded, the promise is rejected, with an error that says why.
func Forward(ctx context.Context, target any, m Message) Promise {
	return Promise(liveslots.Forward(ctx, plain(target), liveslots.Message(m)))
}

// Await waits for the promise and returns its value as a T, or the error with which it was rejected. While it
// waits, the vat handles other messages, so objects that were read before may have changed afterwards. It
// returns an error also if the value does not fit T. If the promise is settled already, Await returns at once.
func Await[T any](ctx context.Context, p Promise) (T, error) {
	return liveslots.Await[T](ctx, liveslots.Promise(p))
}

// When has a method of obj called once p is settled, and returns a promise for the method's result. Unlike a
// turn that awaits, the wait costs the vat no memory and survives everything that the vat does: use When for
// waits that may take long. obj is a durable object of this vat, given by its pointer. The method gets, after
// the context, the outcome of p, then args, which are values that durable state can hold:
//
//	vat.When(ctx, vat.Send(ctx, console, "readLine"), s, "OnLine", console)
//
//	func (s *Shell) OnLine(ctx context.Context, line vat.Outcome[string], console vat.Ref) error
//
// If the method's first parameter is an [Outcome], the method is called whether p is fulfilled or rejected, and
// by When alone: messages cannot call it. If it is any other type, the method is called with the value; if p is
// rejected, so is the result.
//
// If several promises settle together, their methods are called in the order of the calls of When. A call that
// cannot be made now rejects the result with an error that says why, and is logged. A call that cannot be made
// when p is settled, because the method panics or no longer exists, rejects the result with
// [ErrDeliveryPoisoned] after some attempts, and is kept: "kernel poisoned retry" makes it.
//
// A p that this vat's own memory settles, such as a promise of [NewPromise], keeps the vat from rest. The call
// survives that memory too: if the memory is lost, p is rejected with [ErrVatRestarted].
func When(ctx context.Context, p Promise, obj any, method string, args ...any) Promise {
	return Promise(liveslots.When(ctx, liveslots.Promise(p), obj, method, args...))
}

// Call sends a message, as [Send] does, and returns the answer, as [Await] does.
func Call[T any](ctx context.Context, target any, method string, args ...any) (T, error) {
	return Await[T](ctx, Send(ctx, target, method, args...))
}

// All returns a promise for the values of all promises, in their order, which can be awaited as a slice. It is
// rejected as soon as one of them is, for the same reason.
func All(ctx context.Context, ps ...Promise) Promise {
	return Promise(liveslots.All(ctx, promises(ps)...))
}

// Race returns a promise that settles as the first of the promises does. Without promises it never settles.
func Race(ctx context.Context, ps ...Promise) Promise {
	return Promise(liveslots.Race(ctx, promises(ps)...))
}

// Reject returns an error that rejects with a value instead of an error, such as a record. Return it from a
// method as it is, or give it to a [Resolver]. The receiver reads the value with the method Value of [Error].
func Reject(val any) error { return liveslots.Reject(val) }

// NewPromise returns a promise that this vat decides, and the resolver that settles it.
func NewPromise(ctx context.Context) (Promise, Resolver) {
	p, r := liveslots.NewPromise(ctx)
	return Promise(p), Resolver(r)
}

// RefOf returns a reference to an object of this vat, given its pointer. It panics if obj is not such a
// pointer.
func RefOf(ctx context.Context, obj any) Ref { return Ref(liveslots.RefOf(ctx, obj)) }

// Local returns the object that the reference refers to, if it is this vat's own and a T. T is the
// pointer type of an object.
func Local[T any](ctx context.Context, r Ref) (T, bool) {
	return liveslots.Local[T](ctx, liveslots.Ref(r))
}

// Now returns the time of the crank. It does not change while the turn runs, and may jump across an [Await].
// Use it instead of time.Now: a vat's behaviour must follow from its deliveries alone.
func Now(ctx context.Context) time.Time { return liveslots.Now(ctx) }

// Rand returns the source of random numbers for use in a vat. It comes with the delivery, so that a replay
// draws the same numbers. It is not for secrets.
func Rand(ctx context.Context) *rand.Rand { return liveslots.Rand(ctx) }

// Log returns the vat's logger. Its lines reach the kernel's log with the vat's id and name.
func Log(ctx context.Context) *slog.Logger { return liveslots.Log(ctx) }

// Name returns the name of the vat in its cluster's configuration.
func Name(ctx context.Context) string { return liveslots.Name(ctx) }

// Parameters returns the vat's parameters in the configuration, as encoding/json reads them into a T. A name
// that T does not have is an error. Without parameters it returns the zero T. A constructor can take the
// parameters as an argument instead.
func Parameters[T any](ctx context.Context) (T, error) { return liveslots.Parameters[T](ctx) }

// Exit ends the vat when the crank ends; the crank is committed. info is the value with which the vat's end is
// reported, as to [Done].
func Exit(ctx context.Context, info any) { liveslots.Exit(ctx, info) }

// Done returns a promise for the end of the vat that owns an object. It is fulfilled with the info that the vat
// gives to [Exit]. It is rejected with the error that the vat gives to [Fail]; an error whose value has
// references is replaced by [ErrVatTerminated]. It is also rejected with [ErrVatTerminated] if the vat is
// terminated by others, or with its subcluster, or gives Exit a promise or more than 64 KiB. A vat that is
// restarted, paged out or stopped has not ended.
//
// Use [When] to wait for the promise: vats live long. If the kernel does not even know the object's vat any
// more, the promise is rejected with [ErrObjectDeleted]; for a service object with [ErrBadTarget], for a
// revoked object with [ErrRevoked].
//
// A call of Done makes a watch that stays until the vat ends, even if no turn waits for it, unless the same
// reference is watched already since this vat was last at rest: call Done once for each vat, not in each
// message. A vat may wait for 10,000 ends; beyond that the promise is rejected with
// [ErrLimit]. If the infos of all ends that one notification brings come to more than 16 MiB, the rest are
// replaced by [ErrVatTerminated].
func Done(ctx context.Context, target Ref) Promise {
	return Promise(liveslots.Done(ctx, liveslots.Ref(target)))
}

// Fail ends the vat when the crank ends, and drops the whole crank. err is the error with which the vat's end
// is reported.
func Fail(ctx context.Context, err error) { liveslots.Fail(ctx, err) }
