package vat

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/liveslots"
)

// Durable makes the struct that embeds it an object: passed by reference, kept in the vat's store, and
// the same after a restart. Its fields are saved at the end of the crank that changed them.
//
// Use such objects by pointer only, and do not copy them. Pointers to them that are kept outside of
// objects and turns, in a package variable say, go stale.
type Durable = liveslots.Durable

// Ephemeral makes the struct that embeds it an object that is passed by reference and lives in memory:
// when the vat's memory is lost, messages to it are answered with [ErrObjectDeleted]. Its fields may be
// of any type.
type Ephemeral = liveslots.Ephemeral

// Ref is a reference to an object, of this vat or another. References to the same object are equal.
// The zero Ref refers to nothing; it is passed as null.
type Ref = liveslots.Ref

// Promise is a value that is not there yet: the answer to a message, or one that this vat makes itself.
// It can be awaited ([Await]), sent messages before it is settled ([Send]), passed as an argument,
// and returned from a method. It lives in memory and cannot be part of durable state. The zero Promise is none, and
// cannot be passed.
type Promise = liveslots.Promise

// Outcome is how a promise settled, as a method that [When] calls gets it: a value, or an error.
type Outcome[T any] = liveslots.Outcome[T]

// Resolver settles a promise made by [NewPromise]. Only the first call counts. The zero Resolver logs an error.
//
//	func (r Resolver) Resolve(ctx context.Context, val any)
//	func (r Resolver) Reject(ctx context.Context, err error)
type Resolver = liveslots.Resolver

// Map is a durable table, for collections that may be larger than memory: each entry is a row of the
// vat's store, read when it is asked for. It is a field of a durable object; the zero Map is empty and
// ready for use. Do not copy one.
//
//	func (m *Map[K, V]) Get(ctx context.Context, key K) (V, bool)
//	func (m *Map[K, V]) Has(ctx context.Context, key K) bool
//	func (m *Map[K, V]) Set(ctx context.Context, key K, val V) error
//	func (m *Map[K, V]) Delete(ctx context.Context, key K)
//	func (m *Map[K, V]) Len(ctx context.Context) int
//	func (m *Map[K, V]) All(ctx context.Context) iter.Seq2[K, V]
//	func (m *Map[K, V]) After(ctx context.Context, key K) iter.Seq2[K, V]
//
// K is a string or integer type, a [Ref], or a pointer to a durable object. V is anything that durable state may
// hold. Get returns a copy of what is stored: to change an entry, Set it. Set fails for a key above 1000 bytes and
// for a value that cannot be saved. All and After iterate in the order of the keys, After behind one of them.
type Map[K comparable, V any] = liveslots.Map[K, V]

// Mutex excludes other turns of the same vat across an [Await]. The zero Mutex is unlocked.
type Mutex = liveslots.Mutex

// None is the result of a call that has none: Await[None] waits and ignores the value.
type None = liveslots.None

// Error is a rejection that came from outside the turn. Use errors.Is to find out whether it is one of
// the kernel's, such as [ErrRevoked]. Others may reject with a value that is no error; it is read with
//
//	func (e *Error) Value(ctx context.Context, into any) error
//
// into a variable, as in
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
	// ErrVatRestarted: the vat that would have answered lost its memory. Whether it did what it was
	// asked to is not known.
	ErrVatRestarted = liveslots.ErrVatRestarted
	// ErrObjectDeleted: the object is gone.
	ErrObjectDeleted = liveslots.ErrObjectDeleted
	// ErrBadTarget: the message was sent to something that is no object.
	ErrBadTarget = liveslots.ErrBadTarget
	// ErrDeliveryTimeout: the vat did not handle the message in time, repeatedly. It did not happen.
	ErrDeliveryTimeout = liveslots.ErrDeliveryTimeout
	// ErrDeliveryPoisoned: the message killed the vat's worker, repeatedly. It did not happen.
	ErrDeliveryPoisoned = liveslots.ErrDeliveryPoisoned
	// ErrQueueFull: too many messages wait for the target. It did not happen.
	ErrQueueFull = liveslots.ErrQueueFull
	// ErrLimit: a limit was exceeded.
	ErrLimit = liveslots.ErrLimit
	// ErrServiceGone: the kernel service is no longer there.
	ErrServiceGone = liveslots.ErrServiceGone
	// ErrAmbiguous: whether the service did it is not known.
	ErrAmbiguous = liveslots.ErrAmbiguous
	// ErrConnectionLost: the connection to the other side is lost.
	ErrConnectionLost = liveslots.ErrConnectionLost
	// ErrUnknown: the kernel knows nothing about it.
	ErrUnknown = liveslots.ErrUnknown
)

// Send sends a message and returns a promise for its answer. target is a [Ref], a [Promise] (the
// message goes to what it resolves to, and is on its way before that is known), or a pointer to an
// object of this vat. Messages from one vat to one target arrive in the order sent; messages to this
// vat's own objects take the same way through the kernel as all others, and run in a later crank.
//
// What cannot be sent is not: the promise is then rejected, with an error that says why.
func Send(ctx context.Context, target any, method string, args ...any) Promise {
	return liveslots.Send(ctx, target, method, args...)
}

// Message is a message to an object that has no method for it, as it came: [Message.Method] is what was
// called, the arguments are not read. A method whose only parameter, after the context, is a Message gets
// all of them, whatever its own name is, and cannot be called by that:
//
//	func (p *Proxy) Forward(ctx context.Context, m vat.Message) vat.Promise {
//		return vat.Forward(ctx, p.Target, m)
//	}
//
// A type has at most one such method. The root's bootstrap is not among what it gets. A Message belongs to
// the turn that got it, and cannot be kept, or passed but by [Forward].
type Message = liveslots.Message

// Forward sends a message on, to a target as [Send] takes it, and returns a promise for its answer. The
// arguments arrive as they were sent: references to the same objects, and promises that nobody has
// waited for. If the promise is returned, whoever sent the message gets the answer as it comes, and no turn
// waits for it.
//
// What cannot be forwarded is not: the promise is then rejected, with an error that says why.
func Forward(ctx context.Context, target any, m Message) Promise {
	return liveslots.Forward(ctx, target, m)
}

// Await waits for the promise and returns its value as a T, or the error with which it was rejected.
// While it waits, the vat handles other messages: what was read from the vat's objects before may have
// changed after. It returns an error also if the value does not fit T. If the promise is settled
// already, Await returns at once.
func Await[T any](ctx context.Context, p Promise) (T, error) { return liveslots.Await[T](ctx, p) }

// When has a method of obj called once p is settled, and returns a promise for the method's result. Unlike
// a turn that awaits, this costs the vat no memory and survives everything that the vat does: use it for
// waits that may take long. obj is a durable object of this vat, given by its pointer. The method gets,
// after the context, the outcome of p, then args, which are values that durable state can hold:
//
//	vat.When(ctx, vat.Send(ctx, console, "readLine"), s, "OnLine", console)
//
//	func (s *Shell) OnLine(ctx context.Context, line vat.Outcome[string], console vat.Ref) error
//
// If the method's first parameter is an [Outcome], it is called whether p is fulfilled or rejected, and by
// When alone: messages cannot call it. If it is any other type, it is called with the value; if p is
// rejected, so is the result.
//
// Of promises that settle at once, the one that was watched first has its method called first. A call that cannot
// be made now rejects the result, which says why, and is logged if nobody waits for it. One that cannot be made
// when p is settled, because the method panics, or is not there any more, rejects the result with
// [ErrDeliveryPoisoned] after some attempts, and is kept: "kernel poisoned retry" makes it.
//
// If p is settled by this vat's own memory, as one of [NewPromise] is, that keeps the vat from rest. The call
// survives that memory too: should it get lost, p is rejected with [ErrVatRestarted].
func When(ctx context.Context, p Promise, obj any, method string, args ...any) Promise {
	return liveslots.When(ctx, p, obj, method, args...)
}

// Call sends a message and awaits the answer.
func Call[T any](ctx context.Context, target any, method string, args ...any) (T, error) {
	return liveslots.Await[T](ctx, liveslots.Send(ctx, target, method, args...))
}

// All returns a promise for the values of all promises, in their order, which can be awaited as a slice.
// It is rejected as soon as one of them is, in the same way.
func All(ctx context.Context, ps ...Promise) Promise { return liveslots.All(ctx, ps...) }

// Race returns a promise that settles as the first of the promises does. Of none, it never settles.
func Race(ctx context.Context, ps ...Promise) Promise { return liveslots.Race(ctx, ps...) }

// Reject returns an error that, returned from a method as it is, or given to a [Resolver], rejects with a value
// instead of an error: a record, say, as others do. Whoever gets it reads it with the method Value of [Error].
func Reject(val any) error { return liveslots.Reject(val) }

// NewPromise makes a promise that this vat decides through the resolver.
func NewPromise(ctx context.Context) (Promise, Resolver) { return liveslots.NewPromise(ctx) }

// RefOf returns a reference to an object of this vat, given its pointer. It panics if obj is none.
func RefOf(ctx context.Context, obj any) Ref { return liveslots.RefOf(ctx, obj) }

// Local returns the object that the reference refers to, if it is this vat's own and a T. T is the
// pointer type of an object.
func Local[T any](ctx context.Context, r Ref) (T, bool) { return liveslots.Local[T](ctx, r) }

// Now is the time of the crank. It does not change while the turn runs, and may jump across an [Await].
// Use it instead of time.Now: what a vat does must follow from what was delivered to it.
func Now(ctx context.Context) time.Time { return liveslots.Now(ctx) }

// Rand is the source of random numbers to use in a vat: it comes with the delivery, so that what the
// vat does can be repeated. It is not for secrets.
func Rand(ctx context.Context) *rand.Rand { return liveslots.Rand(ctx) }

// Log is the vat's logger. What a vat logs reaches the kernel's log with the vat's id and name.
func Log(ctx context.Context) hclog.Logger { return liveslots.Log(ctx) }

// Name is the name of the vat in its cluster's configuration.
func Name(ctx context.Context) string { return liveslots.Name(ctx) }

// Parameters are the vat's parameters in the configuration, as encoding/json reads them into a T. A name
// that T does not have is an error. Without parameters it is the zero T. A constructor can take them as
// an argument instead.
func Parameters[T any](ctx context.Context) (T, error) { return liveslots.Parameters[T](ctx) }

// Exit ends the vat when the crank ends; what the crank did is kept. Info tells why.
func Exit(ctx context.Context, info any) { liveslots.Exit(ctx, info) }

// Done returns a promise of how the vat ends that owns an object. It is fulfilled with the info that the vat gives to
// [Exit]. It is rejected with the error that the vat gives to [Fail] (of an error whose value has references only
// that it failed is told, as [ErrVatTerminated]), and with [ErrVatTerminated] if the vat is terminated by others, or
// with its subcluster, or gives Exit a promise or more than 64 KiB. A vat that is restarted, paged out or stopped has not ended.
//
// Use [When] to wait for it: vats live long. Of an object of which not even the vat is known any more the promise is
// rejected with [ErrObjectDeleted]; of a service object with [ErrBadTarget], of a revoked object with [ErrRevoked].
//
// Each call asks anew, and what it has asked for stays until the vat ends, whether anybody waits for it or not: call Done
// once for each vat, not in each message. A vat may wait for 10,000 ends; beyond that the promise is rejected with
// [ErrLimit]. If the infos of all ends that a vat was just told of come to more than 16 MiB, the rest are told as
// [ErrVatTerminated].
func Done(ctx context.Context, target Ref) Promise { return liveslots.Done(ctx, target) }

// Fail ends the vat when the crank ends, and drops all that the crank did.
func Fail(ctx context.Context, err error) { liveslots.Fail(ctx, err) }
