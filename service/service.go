// Package service defines kernel services, makes one of any Go value with methods, and has the built-in ones.
//
// A service is an object that lives in the kernel's process and not in a vat: it gives vats a part of the
// outside world, such as the files below one directory. Vats send it messages as to any other object. The
// kernel's shell hands each message to [Object.Begin]; the object's reply settles the promise of the result.
//
// [New] makes an object of a Go value:
//
//	type Clock struct{}
//
//	func (Clock) Now() time.Time { return time.Now() }
//
//	clock, err := service.New(Clock{}, service.Name("clock"), service.IdempotentMethods("now"))
//
// The built-in services are [Random], [Console], [OpenFiles] and [NewFetch]; docs/services.md describes them
// for the authors of vats.
//
// # Durability
//
// A service has none of its own: its memory dies with the kernel. A call that was begun and not known to be
// done when the kernel died is begun again if its method is idempotent (see [Idempotent]); otherwise its result
// is rejected AMBIGUOUS, because it may have happened or not.
//
// # Concurrency
//
// Everything may be called from any goroutine. Each call of a method runs in a goroutine of its own, which ends
// with the call of reply. A method that waits must stop when its context ends.
package service

import (
	"context"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/internal/limits"
)

// Data is a marshalled value. Its slots are the kernel's names of objects and promises, "ko4" and "kp7". In a
// [Reply] they are also "new0", "new1" and so on: the objects in Reply.Exports, by index.
type Data = capdata.Data[string]

// Object is a target of vats' messages in the kernel's process.
type Object interface {
	// Begin begins a call and returns soon, without blocking. Calls of one object begin in the order in which
	// they were sent. reply is called once, from any goroutine; it is ignored when ctx has ended.
	Begin(ctx context.Context, c Call, reply func(Reply))
}

// Call is one message to an [Object].
type Call struct {
	// MethArgs is the marshalled [method, [arguments…]]. Its body has not been read yet: it may be any text.
	MethArgs Data
	// At is the time at which the call was accepted. It is the same when the call is begun again.
	At time.Time
	// Again is set if an earlier kernel began this call and died before it was known to be done. Only
	// idempotent methods get such a call.
	Again bool
	// ID names the call among all calls of this state. It is the same when the call is begun again.
	ID string
	// Vat and Subcluster are the caller's ids. They are empty for a call from outside of all vats.
	Vat, Subcluster string
}

// Reply is the end of a call.
type Reply struct {
	// Rejected is set if Value is the reason of a rejection; otherwise Value is the result.
	Rejected bool
	Value    Data
	// Exports are new objects of this process to which Value refers.
	Exports []Export

	// Unit and State are for IO channels. Other objects leave them zero. Unit, if not empty, makes the value a
	// unit of input of that class: if it does not reach its reader, the next call of that method gets it.
	// State, if not nil, is stored by the commit that settles the call.
	Unit  string
	State []byte
}

// Export is an object that a reply gives to vats.
type Export struct {
	Object Object
	// Kind and Config let a later kernel make the object again. An object without a kind is gone when this
	// process ends.
	Kind   string
	Config []byte
	// Holds are references that the object keeps, for as long as it exists.
	Holds []string
}

// Bound is implemented by objects that end by themselves. Bind gives an exported object, before its first call,
// the function that removes it. Later calls are rejected SERVICE_GONE.
type Bound interface{ Bind(end func()) }

// Waiter is implemented by objects whose calls do work of their own, as those of [New] do. When the kernel stops it
// ends their contexts, and then gives them a moment: Wait returns when no call runs any more, or ctx has ended.
type Waiter interface {
	Wait(ctx context.Context) error
}

// Idempotent is implemented by objects of which some methods may be done twice without harm. Calls of those
// methods that were under way when the kernel died are begun again by the next kernel; all others are rejected
// AMBIGUOUS.
type Idempotent interface {
	// Idempotent reports whether a method may be done twice. The answer is a constant of the object.
	Idempotent(method string) bool
}

// Bounds of a reply that the helpers of this package make. Beyond them it is a rejection with LIMIT.
const (
	// MaxResultBytes bounds the body of a result.
	MaxResultBytes = limits.ResultBytes
	// MaxResultSlots bounds the references in a result.
	MaxResultSlots = limits.Slots
	// MaxExports bounds the objects that one call may export.
	MaxExports = limits.ResultObjects
)
