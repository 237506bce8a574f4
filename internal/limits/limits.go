// Package limits has the limits that a document names and that an error can mention, each once, whichever packages keep
// it. docs/caveats.md shows the [Table].
package limits

import "time"

// What the kernel keeps for vats and their clusters.
const (
	// Vats is how many vats one kernel has, ClusterVats how many a configuration may name.
	Vats, ClusterVats = 5000, 1000
	// Queue is how many messages wait for one vat, unless its limits.queue says otherwise.
	Queue = 10_000
	// Parked is how many messages are parked on one promise.
	Parked = 10_000
	// QueueBytes bounds the messages in one queue: of a vat, of a service object, parked on one promise, and the poisoned
	// ones kept for one vat. The last one may be large.
	QueueBytes = 256 << 20
	// Ends is how many ends of vats one vat waits for, EndBytes bounds the values that it was told so and still holds.
	Ends, EndBytes = 10_000, 16 << 20
	// Chain is how many parked messages wait for each other in a row.
	Chain = 10_000
	// RepeatedBytes bounds the reasons that one commit repeats to the results of messages.
	RepeatedBytes = 1 << 20
	// InterfaceBytes bounds the name of an interface, in a value that is one object and nothing else.
	InterfaceBytes = 4 << 10
	// Attempts is how many deaths one delivery may cause, Deadlines how many of those by not ending in time, and Kills how
	// many kills from outside it survives.
	Attempts, Deadlines, Kills = 3, 2, 20
	// Poisoned is how many poisoned messages are kept for one vat.
	Poisoned = 1000
	// Transcript is how many deliveries are recorded of a vat that does not come to rest, TranscriptBytes bounds their
	// records together with what the vat has written meanwhile.
	Transcript, TranscriptBytes = 100_000, 64 << 20
)

// What one value, one crank and one frame may hold.
const (
	// Slots is how many references one value has.
	Slots = 1000
	// KeyBytes bounds a key of a vat's store.
	KeyBytes = 1024
	// FrameBytes bounds a frame from a worker, and Syscalls the syscalls of a crank, unless limits.frameBytes and
	// limits.syscalls say otherwise.
	FrameBytes, Syscalls = 4 << 20, 10_000
	// FrameDepth is how deep the values of a frame are nested.
	FrameDepth = 16
	// ClosureBytes, ClosureSlots and ClosureDepth bound the promises that are told together with one notification.
	ClosureBytes, ClosureSlots, ClosureDepth = 256 << 10, 2000, 16
	// StateBytes bounds the stored state that travels with a delivery, StateReads what is read to find it.
	StateBytes, StateReads = 64 << 10, 4 * StateBytes
)

// What services and channels keep.
const (
	// Calls is how many calls of one service object are under way, CallBytes bounds their bodies.
	Calls, CallBytes = 1000, 8 << 20
	// ResultBytes bounds the result of a service's method, and ResultObjects is how many new objects it has.
	ResultBytes, ResultObjects = 1 << 20, 64
	// Reads is how many reads, or accepts, wait at a channel.
	Reads = 256
	// Writes is how many writes wait at a channel, WriteBytes bounds them together.
	Writes, WriteBytes = 4096, 1 << 20
	// UnitBytes bounds a unit of a channel, unless its maxUnit says otherwise.
	UnitBytes = 1 << 20
	// RequestBytes bounds a request to the control socket.
	RequestBytes = 8 << 20
)

// What a worker may log.
const (
	// LogLines is how many lines a second a worker may log, after the first LogLinesAtOnce. LogLineBytes of a line are
	// looked at, of which LogTextBytes of each text are kept.
	LogLines, LogLinesAtOnce   = 100, 1000
	LogLineBytes, LogTextBytes = 4 << 10, 1 << 10
)

// How long things may take.
const (
	// Delivery is the time for a delivery, unless limits.delivery says otherwise.
	Delivery = 10 * time.Second
	// Start is the time for the start of a worker.
	Start = 10 * time.Second
	// Bootstrap is the time for a launch, unless limits.bootstrap says otherwise.
	Bootstrap = time.Minute
	// Write is the time for a write to a channel, unless its writeTime says otherwise.
	Write = 10 * time.Second
)

// Starts is how many workers start at a time.
const Starts = 3
