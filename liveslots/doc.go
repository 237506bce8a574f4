// Package liveslots is the vat's side of the kernel–vat boundary: it turns deliveries into method calls
// on Go objects, and what those do into syscalls.
//
// A [Module] is a checked constructor with the types that it leads to. A [Vat] is one vat in memory: it
// takes a [wire.Deliver] and returns a [wire.Done], and has no other contact with the world but reads of
// its own store. The package vat is the face of this one for authors of vats, and documents the rules
// for them.
//
// # Where things are
//
//	module.go, kind.go       registration: constructors, object types, their fields and methods
//	codec*.go                Go values to and from passables, by reflection, made once for each type
//	value.go, errors.go      values and rejections, with references in place of their names
//	deliver.go, vat.go       a crank from its delivery to its frame
//	turn.go, mutex.go        turns: coroutines of which one runs
//	promise.go, send.go      promises, messages, and what the kernel is told of them
//	message.go               messages that are forwarded unread
//	call.go, when.go         calls of this vat's own methods, which may have to wait
//	shelf*.go, shelve.go     those that wait in the store
//	due.go                   and are to be tried by later cranks
//	object.go                identity of the vat's own objects, and references to those of others
//	state.go, collection.go  what is stored: objects and Maps
//	store.go                 the store during a crank
//
// # Names
//
// A new o+N or p+N must be above all that were ever committed, so a name that is made has to reach the
// kernel in the same crank. Hence values hold things, and names are made when a value is put into a
// syscall, which cannot fail any more. A promise's name ends with its resolution, from either side: with the
// notification, or with the crank that resolves it. A settled promise that is mentioned later gets a new name and
// is resolved under that, and so is all that its value leads to.
//
// # Durability
//
// The store is the vat's memory at rest. When no turn waits, memory has no promise to settle that others
// know, and nobody holds an ephemeral object, all memory is let go of, and the next crank loads what it
// touches: so a vat that goes on and one that is started anew do the same. What waits in the store keeps no
// vat from rest; what depends on a promise that only memory will settle does. Frames follow from deliveries
// and the store alone; nothing here ranges over a map, reads a clock, or rolls dice of its own.
//
// # Concurrency
//
// A Vat belongs to the goroutine that calls Deliver. Turns are coroutines that run while Deliver does,
// one at a time, and none runs when it has returned.
package liveslots
