// Package vat is the SDK for vats in Go: objects, messages, promises and durable state.
//
// A vat is an isolated unit of code. It holds references to objects of other vats and talks to them by messages
// only. Its own objects are Go structs; every holder of a reference can call their exported methods. A worker
// program is one call of [Main] with the [Modules] that it contains.
//
//	// Counter counts. It survives restarts.
//	type Counter struct {
//		vat.Durable
//		Count int
//	}
//
//	func (c *Counter) Increment(by int) (int, error) {
//		if by < 0 {
//			return 0, errors.New("cannot count backwards")
//		}
//		c.Count += by
//		return c.Count, nil
//	}
//
//	func main() { vat.Main(vat.Modules{"counter": func() *Counter { return &Counter{} }}) }
//
// docs/govats.md is the guide. This is the reference.
//
// # Objects
//
// A struct that embeds [Durable] is an object: it is passed by reference, has an identity, and is saved. One
// that embeds [Ephemeral] is passed by reference and lives in memory. Every other struct is passed by copy, as
// a record. The root of a vat, which its module's constructor returns, is always durable.
//
// The exported fields of a durable object are saved at the end of the crank that changed them. Fields that are
// not to be saved are tagged `vat:"-"`: they are zero again whenever the vat has come to rest, which is when no
// turn waits and no one waits for an answer of its memory. A field that would get lost silently (unexported, or
// of a type that cannot be saved) and has no such tag is a mistake that the program reports when it starts.
// Loading an object loads the objects that its fields point to; for many objects use a [Map], or hold a [Ref].
//
// An object is in the store as long as the root, another vat or a call that waits leads to it. After that it is
// deleted when the vat is at rest, with the entries of its Maps. A reference that is not in durable state then keeps
// nothing. [Delete] deletes an object at once, whoever may hold it.
//
// When a program changes, a new field is zero in the objects and records that were stored before, and the type
// of a number may become a type that holds all numbers of the former type. A field that was removed, or has
// another type, fails the vat by its name, where it holds a value other than zero. A stored object names its
// type by package and type name, such as bank.Purse. A type that was renamed declares the former name where it
// embeds Durable:
//
//	vat.Durable `vat:"formerly bank.Purse"`
//
// # Methods
//
// All exported methods of an object are callable; Deposit is called as deposit, ID as id. A method may take a
// [context.Context] first, then any number of passable values, and returns nothing, a value, an error, or both.
// (A method whose first parameter is an [Outcome] is called by [When] alone.) An error rejects the caller's
// promise. A returned [Promise] makes the caller's promise follow it. A wrong method, number of arguments or
// type is a rejection that names both sides.
//
// A method whose only parameter is a [Message] gets the messages for which the object has no method, with their
// arguments unread, and can [Forward] them. Package vat/attenuate is built on such a method.
//
// bootstrap is a method of the root of the bootstrap vat. The kernel calls it once, when the cluster is
// launched, with the roots of all vats and with services, both by name; no vat can call it on a root. A root
// may take fewer of the two, as map[string]vat.Ref or a struct, or not have the method at all.
//
// # Turns
//
// A method runs as a turn. Turns of one vat never run at the same time, and only give way to each other in
// [Await], [Mutex.Lock] and, before they start, for arguments that are promises: those are awaited unless the
// parameter is a [Promise], without holding up later messages. Everything that a vat does in one crank, from
// one delivery until all its turns have ended or wait, is committed whole or not at all.
//
// A turn that waits survives the death of its worker, and of the kernel: it goes on at the same line. The
// kernel replays the deliveries that the vat got since it was last at rest. A vat is at rest when no turn
// waits, its memory owes no answer, and no one holds an ephemeral object of it. For a wait that may take long
// there is [When], which has a method called later and leaves the vat at rest; so does a call of a durable
// object's method that waits for its arguments. Such calls wait in the store. See docs/govats.md for which to
// use.
//
// A panic in a turn is a fault: the crank is dropped, since objects may be half changed, and the worker is
// replaced. A delivery that panics again and again is given up.
//
// A vat's behaviour must follow from its deliveries alone: take the time from [Now] and random numbers from
// [Rand], never range over a Go map where the order shows, keep nothing in package variables. A goroutine that
// a turn starts must have ended when the turn returns or awaits; it may compute, but the functions of this
// package are not for it. A vat that behaves otherwise in a replay is started from its store, and the turns
// that waited are lost: docs/govats.md explains the log of such a replay, and package vattest finds such a vat
// in a test.
//
// # Values
//
// The form of a Go type for other vats, such as vats in JavaScript:
//
//	bool                             boolean
//	int…, uint…, time.Duration       number; beyond 2^53-1 bigint. Both are accepted, if they fit
//	float32, float64                 number
//	*big.Int                         bigint; a whole number is accepted. nil is null
//	string                           string
//	capdata.Symbol                   symbol
//	[]byte                           string, in base64. nil is null
//	time.Time                        string, in RFC 3339 with nanoseconds, UTC
//	slice, array                     array. A nil slice is an empty array; null is accepted as nil
//	map with string keys             record, in the order of the keys. nil is {}; null is accepted as nil
//	struct                           record; a field Foo is foo, or name if its tag is `vat:"name"`.
//	                                 Missing fields are accepted as zero, unknown ones are not
//	pointer to any of these          the same, or null
//	pointer to an object             reference; only to this vat's own objects of that type
//	Ref                              reference to any object. The zero Ref is null
//	Promise                          promise. What is none, null too, is accepted as one that is settled.
//	                                 The zero Promise cannot be passed
//	error                            error, with name and message. nil is null
//	None, no result                  undefined
//	any                              by what is in it. Accepted are: null and undefined as nil, bool,
//	                                 float64, *big.Int, string, capdata.Symbol, []any, map[string]any,
//	                                 Ref, Promise, *Error, *capdata.Tagged
//
// Channels, functions, interfaces but any and error, and maps with other keys cannot be passed. In durable
// state there are no promises, no ephemeral objects, and no references to those.
//
// # Errors
//
// A rejection becomes an [*Error] in Go, and an error that a method returns becomes a rejection with its text.
// A method that returns a rejection as it came passes it on unchanged; a method that wraps it passes on its
// text. [Reject] rejects with any value, and the method Value of an [Error] reads such a value. errors.Is tells
// the errors of the kernel apart:
//
//	if errors.Is(err, vat.ErrVatRestarted) { … } // the call may have happened or not
//
// An error that wraps one of these has the same code for the caller. So a vat can refuse as the kernel does,
// and an error that looks like the kernel's is no proof.
package vat
