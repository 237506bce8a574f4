package service

import "ocapkernel.dev/capdata"

// Registration is a service of the kernel in this run, known to all subclusters by its name.
type Registration struct {
	Object Object
	// SystemOnly services are given to system subclusters alone. Who is given one may pass it on.
	SystemOnly bool
}

// Kind makes the service objects of one kind: those that belong to one subcluster, such as its IO channels.
type Kind struct {
	// Open makes the object, at the launch of its subcluster and again in each later run. It is called beside
	// the kernel's loop, and may take its time. If the object is an [io.Closer] it is closed when the kernel or the
	// subcluster ends. A kind without Open has objects that only replies make, which end with the process.
	Open func(Opening) (Object, error)
	// Traits, which may be nil, returns the traits of a method of any object of this kind. See [Kind.TraitsOf].
	Traits func(method string) Traits
	// Service says that a configuration can name it among its services.
	Service bool
	// Configure, which may be nil, returns the function that has an object work by another configuration from its next
	// operation on; that function does not block. An object for which Configure returns nil goes on as it is until the
	// kernel is started the next time.
	Configure func(o Object, config []byte) (take func())
	// Remove, which may be nil, removes what an earlier run has left of an object that is not made again.
	Remove func(name string, config []byte)
	// Lost, if not empty, is what calls of an object are rejected with that was made by a call and cannot be
	// made again in a later run: its code, and Why.
	Lost capdata.Code
	Why  string
	// Most, if not zero, bounds the objects of a subcluster that calls have made; beyond it a call is rejected with
	// LIMIT and TooMany.
	Most    int
	TooMany string
}

// Traits are the properties of a method by which the kernel decides what becomes of its calls while no object is there that
// could be asked: it cannot be opened now, or it was lost with an earlier kernel.
type Traits struct {
	// Idempotent says that the method may be done twice without harm, as [Idempotent] says it of an object that is there. A
	// call of such a method that an earlier kernel has begun is never AMBIGUOUS: it is rejected with the reason for which
	// there is no object.
	Idempotent bool
	// WaitsForInput says that a call waits for something from outside, such as a line or a connection, and takes nothing
	// before that comes. It waits for an object that cannot be opened now, too, and is never AMBIGUOUS.
	WaitsForInput bool
	// EndsObject says that a call does nothing but end the object. If the object was lost, the call ends the service object,
	// and is fulfilled.
	EndsObject bool
}

// TraitsOf returns the traits of a method; without [Kind.Traits] it has none.
func (k Kind) TraitsOf(method string) Traits {
	if k.Traits == nil {
		return Traits{}
	}
	return k.Traits(method)
}

// Opening is what an object is made from, and what it may ask of the kernel by itself.
type Opening struct {
	// Name is the full name, KIND:SUBCLUSTER:NAME; empty for an object that a call has made. Subcluster is the
	// one that it belongs to.
	Name, Subcluster string
	Config           []byte
	// State is what was stored of it last; nil for a fresh one.
	State []byte
	// Holds are the references that the kernel keeps for it.
	Holds []string
	// Commit stores a state, and calls then, if that is not nil, when it is durable. A state that is longer than a quarter
	// of what one commit of the store takes (2.1 MB for Badger) is not stored, nor is one that finds 1000 states and
	// messages of this object, or 16 MiB of them, which the kernel has not taken yet: the error is a *kernel.Refusal
	// with [capdata.CodeLimit], nothing changes, and then is not called. Commit does not block.
	Commit func(state []byte, then func()) error
	// Send stores a state and sends a message, in one commit. It refuses a state as Commit does, and a message that has more
	// than kernel.MaxSlots references or is longer than half of what one commit takes (4.2 MB): then nothing is stored,
	// and nothing is sent. A message that names what is gone, or finds the queue of its target full, is not sent; the state
	// is stored all the same. While the disk is full nothing is stored or sent. Send does not block.
	Send func(state []byte, target string, methArgs Data) error
	// End removes the object: later calls are rejected.
	End func()
}
