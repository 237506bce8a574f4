package service

import "ocapkernel.dev/errcode"

// Registration is a service of the kernel in this run, known to all subclusters by its name.
type Registration struct {
	Object Object
	// SystemOnly services are given to system subclusters alone. A vat that is given one may pass it on.
	SystemOnly bool
}

// Kind makes the service objects of one kind, such as IO channels. Each object belongs to one subcluster.
type Kind struct {
	// Open makes an object, at the launch of its subcluster and again in each later run. It is called on a goroutine of its
	// own, and may block. If the object is an [io.Closer], the kernel closes it when the kernel or the subcluster ends. A
	// kind without Open has objects that only replies make, which end with the process.
	Open func(Opening) (Object, error)
	// Traits, which may be nil, returns the traits of a method of any object of this kind. See [Kind.TraitsOf].
	Traits func(method string) Traits
	// Service says that a configuration can name it among its services.
	Service bool
	// Configure, which may be nil, returns the function that has an object work by another configuration from its next
	// operation on; that function does not block. An object for which Configure returns nil goes on as it is until the
	// kernel is started the next time.
	Configure func(o Object, config []byte) (take func())
	// Remove, which may be nil, removes the traces, such as a socket, that an object of an earlier run has left and that is
	// not made again.
	Remove func(name string, config []byte)
	// Lost, if not empty, is the code with which the kernel rejects calls of an object that was made by a call and cannot be
	// made again in a later run; Why is the text of the rejection.
	Lost errcode.Code
	Why  string
	// Most, if not zero, bounds the objects of a subcluster that calls have made; beyond it a call is rejected with
	// LIMIT and TooMany.
	Most    int
	TooMany string
}

// Traits are the properties of a method of an object that is not there: the object cannot be opened now, or was lost with an
// earlier kernel. The kernel decides by them whether calls of the method wait or are rejected, and with which error.
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

// Opening has the values from which an object is made, and the functions by which the object may ask the kernel for something.
type Opening struct {
	// Name is the object's full name, KIND:SUBCLUSTER:NAME; empty for an object that a call has made. Subcluster is the id
	// of the subcluster that the object belongs to.
	Name, Subcluster string
	Config           []byte
	// State is the last state that the object has stored; nil for a fresh object.
	State []byte
	// Holds are the references that the kernel keeps for the object.
	Holds []string
	// Commit stores a state, and calls then, if that is not nil, when the state is durable. Commit does not block. It refuses
	// a state that is longer than a quarter of the largest commit of the store (2.1 MB for Badger). It refuses any state
	// while 1000 states and messages of this object, or 16 MiB of them, wait for the kernel. If it refuses, the error is a
	// *kernel.Refusal with [errcode.Limit], nothing changes, and then is not called.
	Commit func(state []byte, then func()) error
	// Send stores a state and sends a message, in one commit. Send does not block. It refuses a state as Commit does, and a
	// message that has more than kernel.MaxSlots references or is longer than half of the largest commit (4.2 MB): then
	// nothing is stored, and nothing is sent. A message that names an object that is gone, or whose target has a full queue,
	// is not sent; the state is stored all the same. While the disk is full nothing is stored or sent.
	Send func(state []byte, target string, methArgs Data) error
	// End removes the object: later calls are rejected.
	End func()
}
