// Package liveslots is the vat's side of the kernel–vat boundary: it turns deliveries into method calls on Go
// objects, and the sends, settlements and changes of those objects into syscalls.
//
// A [Module] is a checked constructor with the types that it leads to. A [Vat] is one vat in memory: it takes a
// [wire.Deliver] and returns a [wire.Done]. Its only other contact with the world are reads of its own store.
// The package vat is the face of this one for authors of vats, and documents the rules for them.
//
// # Where things are
//
//	module.go, kind.go       registration: constructors, object types, their fields and methods
//	codec*.go                Go values to and from passables, by reflection, made once for each type
//	value.go, errors.go      values and rejections, with references in place of their names
//	deliver.go, vat.go       a crank from its delivery to its frame
//	turn.go, mutex.go        turns: coroutines of which one runs
//	promise.go, send.go      promises, messages, and the settlements that the kernel is told of
//	message.go               messages that are forwarded unread
//	call.go, when.go         calls of this vat's own methods, which may have to wait
//	shelf*.go, shelve.go     calls that wait in the store; shelf.go has an example of their rows
//	footprint.go             how much of the store a waiting call would take
//	later.go                 work that one crank leaves to the next
//	due.go                   stored calls that a later crank is to try
//	object.go                identity of the vat's own objects, and references to those of others
//	state.go, collection.go  stored state: objects and Maps
//	delete.go                objects that the program deletes
//	store.go                 the store during a crank
//	ledger.go                collection: its rows, and from when on a vat counts
//	count.go, journal.go     counts of the references in the store
//	collect.go, recount.go, trace.go
//	                         what is done when the kernel has the vat bring out its dead
//
// # Names
//
// A new o+N or p+N must be above all that were ever committed, so a new name has to reach the kernel in the
// crank that made it. Hence values hold the things themselves, and names are made when a value is put into a
// syscall, which cannot fail any more. A promise's name ends with its resolution, from either side: with the
// notification, or with the crank that resolves it. A settled promise that is mentioned later gets a new name
// and is resolved again under the new name, and so are all promises that its value leads to.
//
// # Order
//
// Messages leave the vat in the order in which turns send them. A message to a promise that is not settled goes to
// the promise, whose name is made for that if there is none: the kernel parks the message, and sends it on when
// the promise is settled. So messages to one target keep their order, and no message waits in the vat. See
// [Vat.address].
//
// # Durability
//
// The store is the vat's memory at rest. The vat is at rest when no turn waits, when memory has no promise to
// settle that the kernel knows, and when no ephemeral object can be reached from outside. Then the vat lets go
// of all memory, and the next crank loads the objects that it touches: so a vat that goes on and one that is
// started anew do the same. A call that waits in the store keeps no vat from rest; a call that depends on a
// promise which only memory will settle does. Frames follow from deliveries and the store alone: this package
// lets no frame depend on the order of a map, reads no clock, and rolls no dice of its own. Where a later version of this package answers
// otherwise than an earlier one, a span goes on by the rules with which it began; see state.go.
//
// # Concurrency
//
// A Vat belongs to the goroutine that calls Deliver. Turns are coroutines that run while Deliver does, one at a
// time, and none runs when it has returned.
package liveslots
