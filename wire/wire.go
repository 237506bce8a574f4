// Package wire defines the boundary between the kernel and a vat: its words (references, messages, deliveries,
// syscalls, outcomes) and the frames that carry them.
//
// A crank is one frame down, [Deliver], and one frame up, [Done]. Between the two the worker may read its own
// store ([Get], [Next], each answered by a [Row] frame); nothing else is synchronous. The life of a worker is:
// Start down, Hello up, then cranks, then Bye down or the end of the stream.
//
// References in these types are the vat's own names, vrefs. The kernel's names never appear here.
package wire

import "ocapkernel.dev/capdata"

// Version is the version of this protocol, OldestVersion the oldest one whose workers a kernel still takes. go-plugin
// negotiates the version as the plugin protocol version. docs/protocol.md says how versions differ.
const (
	Version       = 2
	OldestVersion = 1
)

// CapData is a marshalled value whose slots are the vat's names.
type CapData = capdata.Data[Ref]

// Message is a method call: the marshalled [method, [arguments]] and the promise for its result.
type Message struct {
	MethArgs CapData
	// Result is empty if no answer is wanted.
	Result Ref
}

// Resolution settles one promise.
type Resolution struct {
	Promise  Ref
	Rejected bool
	Value    CapData
}

// A Delivery is the work that one crank hands to a vat. It is one of
// [StartVat], [Call], [Notify], [DropExports], [RetireExports], [RetireImports], [BringOutYourDead].
type Delivery interface{ isDelivery() }

// StartVat is the first delivery of a vat's life, never repeated once committed: the vat makes its root.
type StartVat struct{}

// Call delivers a message to an object of the vat.
type Call struct {
	Target  Ref
	Message Message
}

// Notify tells the vat that promises are settled, and retires all of their names: the kernel forgets these
// names, and so must the vat.
type Notify struct{ Resolutions []Resolution }

// DropExports says that these exports can no longer be reached from outside of the vat.
type DropExports struct{ Refs []Ref }

// RetireExports says that these exports can no longer even be recognised outside of the vat.
type RetireExports struct{ Refs []Ref }

// RetireImports says that these imports no longer exist.
type RetireImports struct{ Refs []Ref }

// BringOutYourDead asks the vat to name the references that it no longer holds. The vat is at rest: no turn is parked, and
// its memory holds nothing that its store does not hold.
type BringOutYourDead struct {
	// Known names, in one page, at most MaxKnown objects of the vat's c-list: imports, and durable exports. The vat drops
	// the imports among them that it does not hold. The first round of a vat's life names all of its c-list, each later
	// one the imports that it was given since. If a worker of version 1 of this protocol, which does not note what the store
	// holds, has run the vat meanwhile, the first round is held once more, and the first of its names is the root: what
	// the vat knows of the references in its store is to be found out anew.
	Known []Ref
	// More says that another page of the same round follows.
	More bool
	// Bare says that the delivery has no fields, as in version 1 of this protocol.
	Bare bool
}

func (StartVat) isDelivery()         {}
func (Call) isDelivery()             {}
func (Notify) isDelivery()           {}
func (DropExports) isDelivery()      {}
func (RetireExports) isDelivery()    {}
func (RetireImports) isDelivery()    {}
func (BringOutYourDead) isDelivery() {}

// A Syscall is a request that a vat made during a crank. It is one of [Send], [Subscribe], [Resolve],
// [Exit], [DropImports], [RetireImportsCall], [RetireExportsCall], [AbandonExports], [StoreSet], [StoreDelete], [Keep],
// [Watch], [Collect].
type Syscall interface{ isSyscall() }

// Send sends a message to an object or a promise.
type Send struct {
	Target  Ref
	Message Message
}

// Subscribe asks to be notified when a promise is settled. A vat may subscribe again, and gets one notification
// all the same. The promise may be a new one of the vat itself: if the vat loses the memory that was to settle
// the promise, it is notified of the rejection.
type Subscribe struct {
	Promise Ref
	// Stored says that the continuation which waits for the promise is in the vat's store, as of this crank: it
	// outlives the vat's memory. It is not taken back.
	Stored bool
}

// Resolve settles promises that the vat decides, and retires their names. Later syscalls of the same crank may
// still mention the names in slots, so that promises can lead to each other in a circle, and nowhere else.
type Resolve struct{ Resolutions []Resolution }

// Exit ends the vat. With Failure the crank is dropped, else it is committed.
type Exit struct {
	Failure bool
	Info    CapData
}

// DropImports says that the vat can no longer reach these imports.
type DropImports struct{ Refs []Ref }

// RetireImportsCall says that the vat can no longer recognise these imports.
type RetireImportsCall struct{ Refs []Ref }

// RetireExportsCall says that the vat has forgotten these exports. They must be unreachable.
type RetireExportsCall struct{ Refs []Ref }

// AbandonExports makes orphans of exports that other vats may still hold.
type AbandonExports struct{ Refs []Ref }

// StoreSet writes a row of the vat's own store.
type StoreSet struct {
	Key   string
	Value []byte
}

// StoreDelete deletes a row of the vat's own store. Deleting an absent row is allowed.
type StoreDelete struct{ Key string }

// Keep says where the continuation lives that will settle a promise which the vat decides. With Stored true it
// is in the vat's store: the promise outlives the vat's memory, and does not keep the vat from quiescence. With
// Stored false it is in memory, as it is for every promise at first. A Keep of a promise that the vat decided
// once, and that is settled by now, is ignored.
type Keep struct {
	Promise Ref
	Stored  bool
}

// Watch asks for a promise of the end of the vat that owns an object. The promise is fulfilled with the value
// with which the vat exits, and rejected if the vat exits with a failure or is terminated. The kernel decides
// it. A vat that is restarted or stopped has not ended.
type Watch struct {
	// Target is an object, as that of a message.
	Target Ref
	// Result names the promise, as the result of a message does.
	Result Ref
}

// Collect asks for another [BringOutYourDead] when the vat is at rest and has no other work: the vat has found candidates,
// or has not finished with them. A vat that asks twice before it is asked gets one.
type Collect struct{}

func (Send) isSyscall()              {}
func (Subscribe) isSyscall()         {}
func (Resolve) isSyscall()           {}
func (Exit) isSyscall()              {}
func (DropImports) isSyscall()       {}
func (RetireImportsCall) isSyscall() {}
func (RetireExportsCall) isSyscall() {}
func (AbandonExports) isSyscall()    {}
func (StoreSet) isSyscall()          {}
func (StoreDelete) isSyscall()       {}
func (Keep) isSyscall()              {}
func (Watch) isSyscall()             {}
func (Collect) isSyscall()           {}

// Outcome is the end of a delivery in the vat.
type Outcome struct {
	// Parked is the number of turns that wait for a promise, in memory, after this crank.
	Parked int
	// Fault, if not empty, is the reason why the vat could not process the delivery at all (its stored state
	// does not fit its program, say). The crank is dropped. A method that returns an error is no fault.
	Fault string
}

// A DownFrame goes from the kernel to a worker: [Start], [Deliver], [Row], [Bye].
type DownFrame interface{ isDown() }

// An UpFrame goes from a worker to the kernel: [Hello], [Done], [Get], [Next].
type UpFrame interface{ isUp() }

// Start is the first frame: it tells the worker which vat it is. The worker answers with Hello.
type Start struct {
	// Vat is the kernel's id of the vat, such as v3; Name is the vat's name in its cluster's configuration.
	Vat, Name string
	// Module names the vat kind within the worker program.
	Module string
	// Parameters is the JSON text of the parameters in the configuration; empty if there are none.
	Parameters string
	// Incarnation numbers the lives of this vat's memory, from 1. A worker that is given the vat's past goes on
	// in the incarnation of the worker before it.
	Incarnation uint64
	// HighObject and HighPromise are the highest N of o+N and p+N that the vat ever committed. New
	// names must be above them. Before the first, both are 0.
	HighObject, HighPromise uint64
	// Replays is the number of deliveries that the worker will be given again to make its memory: its answers
	// to them are compared with the recorded ones and have no effect.
	Replays uint64
	// MaxFrameBytes and MaxSyscalls bound a Done frame.
	MaxFrameBytes, MaxSyscalls int
}

// Deliver starts a crank.
type Deliver struct {
	// Number numbers the deliveries of this vat, from 1. An aborted attempt gives its number back.
	Number uint64
	// Now is the time of this crank in milliseconds since 1970; it does not change within the crank.
	Now int64
	// Seed seeds the random numbers of this crank.
	Seed uint64
	// Attempt counts the workers that ended during this delivery, for any reason. A vat may be more careful
	// with the delivery than at first.
	Attempt uint64
	// State is stored state of the vat that the delivery is expected to touch; see [StateKey]. A key
	// that is missing here may still exist in the store.
	State    []Row
	Delivery Delivery
}

// Row is a row of the vat's store, and the answer to Get and Next. Found is false if there is none; then Value
// is nil, and after Next also Key is empty.
type Row struct {
	Key   string
	Value []byte
	Found bool
}

// Bye asks the worker to exit.
type Bye struct{}

// Hello answers Start. Error, if not empty, is the reason why the worker cannot be this vat.
type Hello struct{ Error string }

// Done ends a crank: every syscall in order, then the outcome. It is the only frame that changes anything.
type Done struct {
	// Number repeats the delivery's.
	Number   uint64
	Syscalls []Syscall
	Outcome  Outcome
}

// Get reads a row of the vat's own store, as it was at the start of the crank.
type Get struct{ Key string }

// Next reads the row with the smallest key that is greater than After and begins with Prefix.
type Next struct{ After, Prefix string }

func (Start) isDown()   {}
func (Deliver) isDown() {}
func (Row) isDown()     {}
func (Bye) isDown()     {}
func (Hello) isUp()     {}
func (Done) isUp()      {}
func (Get) isUp()       {}
func (Next) isUp()      {}

// StateKey returns the key in the vat's store under which the SDK keeps the state of a durable object, or of
// the root. The kernel sends that row along with a delivery that names the object, so that most cranks need not
// ask for it. The kernel does not interpret the value.
func StateKey(r Ref) string { return "o." + string(r) }
