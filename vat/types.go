package vat

import (
	"context"
	"fmt"
	"iter"

	"ocapkernel.dev/liveslots"
)

// The types are declared here, where they are documented. Package liveslots has what they are made of, and knows them; see
// its face.go.

// Durable makes the struct that embeds it an object: passed by reference, kept in the vat's store, and
// the same after a restart. Its fields are saved at the end of the crank that changed them.
//
// Use such objects by pointer only, and do not copy them. Pointers to them that are kept outside of
// objects and turns, in a package variable say, go stale.
type Durable struct {
	durable //lint:ignore U1000 liveslots finds it by reflection
}

// Ephemeral makes the struct that embeds it an object that is passed by reference and lives in memory: after
// the vat's memory is lost, messages to the object are answered with [ErrObjectDeleted]. Its fields may be of
// any type.
type Ephemeral struct {
	ephemeral //lint:ignore U1000 liveslots finds it by reflection
}

type (
	durable                    = liveslots.Durable
	ephemeral                  = liveslots.Ephemeral
	table[K comparable, V any] = liveslots.Map[K, V]
)

// Ref is a reference to an object, of this vat or another. References to the same object are equal.
// The zero Ref refers to nothing; it is passed as null.
type Ref liveslots.Ref

// IsZero reports whether the reference refers to nothing.
func (r Ref) IsZero() bool { return liveslots.Ref(r).IsZero() }

// String returns the interface name of the reference, and the name by which the vat and the kernel know it. A
// replay prints the same.
func (r Ref) String() string { return liveslots.Ref(r).String() }

// Format prints the reference as String does, whatever the verb (but %p): an address would differ in a replay.
func (r Ref) Format(f fmt.State, verb rune) { liveslots.Ref(r).Format(f, verb) }

// Promise is a value that is not there yet: the answer to a message, or a promise that this vat makes itself.
// It can be awaited ([Await]), sent messages before it is settled ([Send]), passed as an argument, and returned
// from a method. It lives in memory and cannot be part of durable state. The zero Promise is no promise, and
// cannot be passed.
type Promise liveslots.Promise

// String returns the state of the promise, and the name by which the vat and the kernel know it. A replay
// prints the same.
func (p Promise) String() string { return liveslots.Promise(p).String() }

// Format prints the promise as String does, whatever the verb (but %p): an address would differ in a replay.
func (p Promise) Format(f fmt.State, verb rune) { liveslots.Promise(p).Format(f, verb) }

// Outcome is the settlement of a promise, for the method that [When] calls: it is the method's first parameter
// after the context.
//
// Only When calls a method that takes an Outcome. No message can call it, so that no other vat can pretend that
// a promise has settled.
type Outcome[T any] struct {
	// Value is the value with which the promise was fulfilled. It is zero if Err is not nil.
	Value T
	// Err is the error with which the promise was rejected, or an error which says that its value is no T.
	Err error
}

// Get returns Value and Err.
func (o Outcome[T]) Get() (T, error) { return o.Value, o.Err }

// Resolver settles a promise made by [NewPromise]. Only the first call of its methods counts. Those of the zero
// Resolver log an error and do nothing: a Resolver that was kept in a field is zero once the vat has been at
// rest.
type Resolver liveslots.Resolver

// Resolve fulfils the promise, or lets it follow val if that is a promise. A val that cannot be passed rejects
// the promise, with an error that says why.
func (r Resolver) Resolve(ctx context.Context, val any) { liveslots.Resolver(r).Resolve(ctx, val) }

// Reject rejects the promise with err.
func (r Resolver) Reject(ctx context.Context, err error) { liveslots.Resolver(r).Reject(ctx, err) }

// Format prints the promise that the resolver settles, whatever the verb (but %p).
func (r Resolver) Format(f fmt.State, verb rune) { liveslots.Resolver(r).Format(f, verb) }

// Map is a durable table, for collections that may be larger than memory: each entry is a row of the vat's
// store, and is read when it is needed. It is a field of a durable object; the zero Map is empty and ready for
// use. Do not copy one.
//
// K is a string or integer type, a [Ref], or a pointer to a durable object. V is any type that durable state
// may hold. Entries come in the order of their keys: strings bytewise, integers by value, objects in no
// meaningful, but always the same, order. An entry that is an object is a reference to it, as always.
type Map[K comparable, V any] struct {
	table[K, V]
}

// Get returns the value of a key, and whether the Map has the key. The value is a copy of the stored entry: to
// change the entry, Set it.
func (m *Map[K, V]) Get(ctx context.Context, key K) (V, bool) { return m.table.Get(ctx, key) }

// Has reports whether the Map has the key.
func (m *Map[K, V]) Has(ctx context.Context, key K) bool { return m.table.Has(ctx, key) }

// Set stores a value under a key, in place of the stored one. It returns an error, and changes nothing, for a
// key above 1000 bytes, and for a value that cannot be saved, such as an any that holds a promise.
func (m *Map[K, V]) Set(ctx context.Context, key K, val V) error { return m.table.Set(ctx, key, val) }

// Delete removes a key. To remove a key that the Map does not have changes nothing.
func (m *Map[K, V]) Delete(ctx context.Context, key K) { m.table.Delete(ctx, key) }

// Len returns the number of entries. The number is stored; a Map that was made by an early version of this
// package has none, and is counted once.
func (m *Map[K, V]) Len(ctx context.Context) int { return m.table.Len(ctx) }

// All iterates over the entries, in the order of their keys. The Map may change meanwhile: a change ahead of
// the iteration is seen.
func (m *Map[K, V]) All(ctx context.Context) iter.Seq2[K, V] { return m.table.All(ctx) }

// After iterates over the entries whose keys come after key.
func (m *Map[K, V]) After(ctx context.Context, key K) iter.Seq2[K, V] { return m.table.After(ctx, key) }

// Mutex excludes other turns of the same vat across an [Await]. (Between two awaits a turn has the vat to
// itself and needs no lock.) It parks the turn, where a sync.Mutex would block the vat for ever.
//
// The zero Mutex is unlocked. It may be a field of any object. It is not saved: the turns that hold or await it
// live in memory, and so does the Mutex.
type Mutex struct {
	m liveslots.Mutex
}

// Lock waits until no other turn holds the mutex. Turns get the mutex in the order of their calls of Lock.
func (m *Mutex) Lock(ctx context.Context) { m.m.Lock(ctx) }

// Unlock hands the mutex to the turn that waited longest. It panics if the mutex is not locked.
func (m *Mutex) Unlock(ctx context.Context) { m.m.Unlock(ctx) }

// None is the result type of a call that has no result: Await[None] waits and ignores the value.
type None struct{}

// Error is a rejection that came from outside the turn: from another vat, or from the kernel. A method that
// returns it rejects its answer with the same reason; a method that wraps it, with its text and its code.
// errors.As finds it, as in
//
//	var e *vat.Error
//	var refusal struct{ Code int }
//	if errors.As(err, &e) && e.Value(ctx, &refusal) == nil { … }
//
// Its fields are Name, the class of the error in JavaScript's terms, such as "Error" or "TypeError", and
// Message, the text.
type Error liveslots.Error

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether the error has the code of target, one of the errors that the kernel raises, so that
// errors.Is(err, ErrRevoked) works. A vat can write such an error too: it proves nothing about the kernel unless
// the vat is trusted.
func (e *Error) Is(target error) bool { return (*liveslots.Error)(e).Is(target) }

// As makes errors.As find the error also as that of package liveslots.
func (e *Error) As(target any) bool {
	into, ok := target.(**liveslots.Error)
	if ok {
		*into = (*liveslots.Error)(e)
	}
	return ok
}

// Value reads the reason of the rejection into a variable, given by its pointer: a vat may reject with a record
// or with any other value, which an error cannot show. It returns an error if the reason does not fit; an any
// takes everything.
func (e *Error) Value(ctx context.Context, into any) error {
	return (*liveslots.Error)(e).Value(ctx, into)
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
type Message liveslots.Message

// Method returns the name of the method that the sender called. It may be any string.
func (m Message) Method() string { return liveslots.Message(m).Method() }

// face makes the references and promises that are in an any.
func face() *liveslots.Face {
	return &liveslots.Face{
		Ref:     func(r liveslots.Ref) any { return Ref(r) },
		Promise: func(p liveslots.Promise) any { return Promise(p) },
	}
}

// plain returns the target of a message as package liveslots takes it.
func plain(target any) any {
	switch t := target.(type) {
	case Ref:
		return liveslots.Ref(t)
	case Promise:
		return liveslots.Promise(t)
	}
	return target
}

func promises(ps []Promise) []liveslots.Promise {
	list := make([]liveslots.Promise, len(ps))
	for i, p := range ps {
		list[i] = liveslots.Promise(p)
	}
	return list
}
