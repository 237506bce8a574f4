// Package vat is what the author of a vat in Go imports.
//
// A vat is an isolated unit of code. It holds references to objects of other vats and talks to them by
// messages only. Its own objects are Go structs; their exported methods can be called by whoever has a
// reference. A worker program is one call of [Main] with the [Modules] that it contains.
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
// A struct that embeds [Durable] is an object: it is passed by reference, has an identity, and is saved.
// One that embeds [Ephemeral] is passed by reference and lives in memory. Every other struct is passed by
// copy, as a record. The root of a vat, which its module's constructor returns, is always durable.
//
// The exported fields of a durable object are saved at the end of the crank that changed them. Fields
// that are not to be saved are tagged `vat:"-"`: they are zero again whenever the vat has come to rest,
// which is when no turn waits and nobody waits for it. A field that would get lost silently (unexported,
// or of a type that cannot be saved) and has no such tag is refused when the program starts. Loading an
// object loads the objects that its fields point to; for many objects use a [Map], or hold a [Ref].
//
// When a program changes, a new field is zero in the objects and records that were stored before, and a number
// is taken by a type that holds all numbers of the former. A field that was removed, or has another type, fails the
// vat by its name, where it holds a value other than zero. An object type is found by its package's name and its
// own, such as bank.Purse. One that was renamed says so where it embeds Durable:
//
//	vat.Durable `vat:"formerly bank.Purse"`
//
// # Methods
//
// All exported methods of an object are callable; Deposit is called as deposit, ID as id. A method may
// take a [context.Context] first, then any number of passable values, and returns nothing, a value, an
// error, or both. (One whose first parameter is an [Outcome] is called by [When] alone.) An error rejects the
// caller's promise. A returned [Promise] makes the caller's promise follow it. A wrong method, number of
// arguments or type is a rejection that names both sides.
//
// A method whose only parameter is a [Message] gets the messages for which the object has no method, with
// their arguments as they came, and can [Forward] them. Package vat/attenuate is made of it.
//
// bootstrap is a method of the root of the bootstrap vat. The kernel calls it once, when the cluster is launched,
// with the roots of all vats and with services, both by name; nobody else can call it on a root. A root may take
// fewer of the two, as map[string]vat.Ref or a struct, or not have the method at all.
//
// # Turns
//
// A method runs as a turn. Turns of one vat never run at the same time, and only give way to each other
// in [Await], [Mutex.Lock] and, before they start, for arguments that are promises: those are awaited
// unless the parameter is a [Promise], without holding up later messages. Everything that a vat does in
// one crank, from one delivery until all its turns have ended or wait, is committed whole or not at all.
//
// A turn that waits survives the death of its worker, and of the kernel: it goes on at the same line. The
// kernel replays what the vat was given since it was last at rest, which is when no turn waits, its
// memory owes nobody an answer, and nobody holds an ephemeral object. For what may take long there is
// [When], which has a method called later and leaves the vat at rest; so does a call of a durable object's
// method that waits for its arguments. Whatever waits so is in the store. See docs/govats.md for which to
// use.
//
// A panic in a turn is a fault: the crank is dropped, since objects may be half changed, and the worker
// is replaced. A delivery that does so again and again is given up.
//
// What a vat does must follow from what was delivered to it: take the time from [Now] and random numbers
// from [Rand], never range over a Go map where the order shows, keep nothing in package variables. A
// goroutine that a turn starts must have ended when the turn returns or awaits; it may compute, but the
// functions of this package are not for it. A vat that does something else when it is replayed is started
// from its store, and turns that waited are lost: docs/govats.md tells how to read what the log says then,
// and package vattest finds such a vat in a test.
//
// # Values
//
// What a Go type is to other vats, such as those in JavaScript:
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
//	struct                           record; a field Foo is foo, or what its tag `vat:"name"` says.
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
// Channels, functions, interfaces but any and error, and maps with other keys cannot be passed. In
// durable state there are no promises, no ephemeral objects, and no references to those.
//
// # Errors
//
// A rejection becomes an [*Error] in Go, and an error that a method returns becomes a rejection with its
// text. Returned as it came, a rejection is passed on unchanged; wrapped, its text is. [Reject] rejects with any
// value, and the method Value of an [Error] reads one. With errors.Is
// one asks for what the kernel says:
//
//	if errors.Is(err, vat.ErrVatRestarted) { … } // whether it happened is not known
//
// An error that wraps one of these is one to the caller, too. So a vat can refuse as the kernel does; and
// that an error looks like the kernel's is no proof.
package vat
