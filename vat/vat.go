package vat

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"ocapkernel.dev/liveslots"
)

// Durable makes the struct that embeds it an object: passed by reference, kept in the vat's store, and
// the same after a restart. Its fields are saved at the end of the crank that changed them.
//
// Use such objects by pointer only, and do not copy them. Pointers to them that are kept outside of
// objects and turns, in a package variable say, go stale.
type Durable = liveslots.Durable

// Ephemeral makes the struct that embeds it an object that is passed by reference and lives in memory: after
// the vat's memory is lost, messages to the object are answered with [ErrObjectDeleted]. Its fields may be of
// any type.
type Ephemeral = liveslots.Ephemeral

// Ref is a reference to an object, of this vat or another. References to the same object are equal.
// The zero Ref refers to nothing; it is passed as null.
type Ref = liveslots.Ref

// Promise is a value that is not there yet: the answer to a message, or a promise that this vat makes itself.
// It can be awaited ([Await]), sent messages before it is settled ([Send]), passed as an argument, and returned
// from a method. It lives in memory and cannot be part of durable state. The zero Promise is no promise, and
// cannot be passed.
type Promise = liveslots.Promise

// Outcome is the settlement of a promise, for a method that [When] calls: a value, or an error.
type Outcome[T any] = liveslots.Outcome[T]

// Resolver settles a promise made by [NewPromise]. Only the first call of its methods counts. The zero Resolver
// logs an error.
//
//	func (r Resolver) Resolve(ctx context.Context, val any)
//	func (r Resolver) Reject(ctx context.Context, err error)
type Resolver = liveslots.Resolver

// Map is a durable table, for collections that may be larger than memory: each entry is a row of the vat's
// store, and is read when it is needed. It is a field of a durable object; the zero Map is empty and ready for
// use. Do not copy one.
//
//	func (m *Map[K, V]) Get(ctx context.Context, key K) (V, bool)
//	func (m *Map[K, V]) Has(ctx context.Context, key K) bool
//	func (m *Map[K, V]) Set(ctx context.Context, key K, val V) error
//	func (m *Map[K, V]) Delete(ctx context.Context, key K)
//	func (m *Map[K, V]) Len(ctx context.Context) int
//	func (m *Map[K, V]) All(ctx context.Context) iter.Seq2[K, V]
//	func (m *Map[K, V]) After(ctx context.Context, key K) iter.Seq2[K, V]
//
// K is a string or integer type, a [Ref], or a pointer to a durable object. V is any type that durable state
// may hold. Get returns a copy of the stored entry: to change the entry, Set it. Set fails for a key above 1000
// bytes and for a value that cannot be saved. All and After iterate in the order of the keys, After behind one
// of them.
type Map[K comparable, V any] = liveslots.Map[K, V]

// Mutex excludes other turns of the same vat across an [Await]. The zero Mutex is unlocked.
type Mutex = liveslots.Mutex

// None is the result type of a call that has no result: Await[None] waits and ignores the value.
type None = liveslots.None

// Error is a rejection that came from outside the turn. errors.Is tells whether it is an error of the kernel,
// such as [ErrRevoked]. A vat may reject with a value that is no error; the method
//
//	func (e *Error) Value(ctx context.Context, into any) error
//
// reads the value into a variable, as in
//
//	var e *vat.Error
//	var refusal struct{ Code int }
//	if errors.As(err, &e) && e.Value(ctx, &refusal) == nil { … }
type Error = liveslots.Error

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

// Send sends a message and returns a promise for its answer. target is a [Ref], a [Promise] (the message goes
// to the object that it resolves to, and is on its way before that is known), or a pointer to an object of this
// vat. Messages from one vat to one target arrive in the order sent. Messages to a promise arrive before those
// that the vat sends to the object once the promise is settled. Messages to this vat's own objects take the same
// way through the kernel as all others, and run in a later crank.
//
// If the message cannot be sent, the promise is rejected, with an error that says why.
func Send(ctx context.Context, target any, method string, args ...any) Promise {
	return liveslots.Send(ctx, target, method, args...)
}

// Message is a message to an object that has no method for it, unread: [Message.Method] returns the name of the
// method that the sender called. A method whose only parameter, after the context, is a Message gets all such
// messages, and no message can call it by its own name:
//
//	func (p *Proxy) Forward(ctx context.Context, m vat.Message) vat.Promise {
//		return vat.Forward(ctx, p.Target, m)
//	}
//
// A type has at most one such method. The root's bootstrap is not among its messages. A Message belongs to the
// turn that got it, and cannot be kept, or passed but by [Forward].
type Message = liveslots.Message

// Forward sends a message on, to a target as [Send] takes it, and returns a promise for its answer. The
// arguments arrive as they were sent: references to the same objects, and promises that have not been awaited.
// A method that returns the promise hands the answer on to the sender of the message, and no turn waits for it.
//
// If the message cannot be forwarded, the promise is rejected, with an error that says why.
func Forward(ctx context.Context, target any, m Message) Promise {
	return liveslots.Forward(ctx, target, m)
}

// Await waits for the promise and returns its value as a T, or the error with which it was rejected. While it
// waits, the vat handles other messages, so objects that were read before may have changed afterwards. It
// returns an error also if the value does not fit T. If the promise is settled already, Await returns at once.
func Await[T any](ctx context.Context, p Promise) (T, error) { return liveslots.Await[T](ctx, p) }

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
	return liveslots.When(ctx, p, obj, method, args...)
}

// Call sends a message, as [Send] does, and returns the answer, as [Await] does.
func Call[T any](ctx context.Context, target any, method string, args ...any) (T, error) {
	return liveslots.Await[T](ctx, liveslots.Send(ctx, target, method, args...))
}

// All returns a promise for the values of all promises, in their order, which can be awaited as a slice. It is
// rejected as soon as one of them is, for the same reason.
func All(ctx context.Context, ps ...Promise) Promise { return liveslots.All(ctx, ps...) }

// Race returns a promise that settles as the first of the promises does. Without promises it never settles.
func Race(ctx context.Context, ps ...Promise) Promise { return liveslots.Race(ctx, ps...) }

// Reject returns an error that rejects with a value instead of an error, such as a record. Return it from a
// method as it is, or give it to a [Resolver]. The receiver reads the value with the method Value of [Error].
func Reject(val any) error { return liveslots.Reject(val) }

// NewPromise returns a promise that this vat decides, and the resolver that settles it.
func NewPromise(ctx context.Context) (Promise, Resolver) { return liveslots.NewPromise(ctx) }

// RefOf returns a reference to an object of this vat, given its pointer. It panics if obj is not such a
// pointer.
func RefOf(ctx context.Context, obj any) Ref { return liveslots.RefOf(ctx, obj) }

// Local returns the object that the reference refers to, if it is this vat's own and a T. T is the
// pointer type of an object.
func Local[T any](ctx context.Context, r Ref) (T, bool) { return liveslots.Local[T](ctx, r) }

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
func Done(ctx context.Context, target Ref) Promise { return liveslots.Done(ctx, target) }

// Fail ends the vat when the crank ends, and drops the whole crank. err is the error with which the vat's end
// is reported.
func Fail(ctx context.Context, err error) { liveslots.Fail(ctx, err) }
