// Package limits has the limits that a document names and that an error can mention, each once, whichever packages keep
// it. The documents show its tables. A bound that tunes the code, and that nobody meets, stands where it is used.
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
	// ReapInterval is how many deliveries a vat is given between two rounds in which it is asked for references that it no
	// longer holds, unless its reapInterval says otherwise.
	ReapInterval, MostReapInterval = 1000, 1_000_000
	// Known is how many objects one page of a round names, Told how many objects one delivery tells a vat of.
	Known, Told = 1000, 1000
	// Transcript is how many deliveries are recorded of a vat that does not come to rest, TranscriptBytes bounds their
	// records together with what the vat has written meanwhile.
	Transcript, TranscriptBytes = 100_000, 64 << 20
)

// What a configuration may say.
const (
	// ConfigBytes bounds the text of a configuration, ConfigDepth is how deep its values are nested, ConfigValues how many
	// there are.
	ConfigBytes, ConfigDepth, ConfigValues = 1 << 20, 64, 100_000
	// Channels and Services are how many of each a cluster may name, Systems how many system subclusters are declared.
	Channels, Services, Systems = 64, 64, 64
	// Hosts is how many hosts one fetch service may name.
	Hosts = 256
	// Restarts is how many deaths in a row stop a vat, unless its maxRestarts says otherwise, up to MostRestarts.
	Restarts, MostRestarts = 5, 1000
	// LeastUnitBytes and MostUnitBytes bound the maxUnit of a channel.
	LeastUnitBytes, MostUnitBytes = 1 << 10, 2 << 20
	// SocketPathBytes bounds the path of a socket: the system's address for it has one more, a zero byte.
	SocketPathBytes = 107
	// RunDirBytes bounds the path of the directory for a kernel's workers: 41 bytes of a socket's path are left to gRPC.
	RunDirBytes = 66
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
	// Calls is how many calls of one service object are under way, CallBytes bounds their bodies. QueuedCalls is how many
	// wait to be begun.
	Calls, CallBytes, QueuedCalls = 1000, 8 << 20, 10_000
	// ResultBytes bounds the result of a service's method, and ResultObjects is how many new objects it has.
	ResultBytes, ResultObjects = 1 << 20, 64
	// ServiceObjects is how many service objects the vats of one subcluster have made by calls.
	ServiceObjects = 10_000
	// Reads is how many reads, or accepts, wait at a channel.
	Reads = 256
	// Writes is how many writes wait at a channel, WriteBytes bounds them together.
	Writes, WriteBytes = 4096, 1 << 20
	// UnitBytes bounds a unit of a channel, unless its maxUnit says otherwise.
	UnitBytes = 1 << 20
	// ChunkBytes bounds what a channel reads ahead, and one unit that has no length of its own.
	ChunkBytes = 64 << 10
	// Connections is how many connections of one channel are accepted and not closed.
	Connections = 1000
)

// What the built-in services do.
const (
	// FileText and FileBytes bound what one call reads of a file, as text and as bytes: in base64 and quotes both fit a
	// result. The body of an answer to a fetch has the same bounds.
	FileText, FileBytes = 1_000_000, 750_000
	// FileWrite bounds what one call writes, FileSize the length of a file that is appended to.
	FileWrite, FileSize = 1 << 20, 64 << 20
	// DirectoryEntries bounds a directory that is listed, PathBytes a path.
	DirectoryEntries, PathBytes = 1000, 1000
	// Fetches is how many requests of one fetch service are under way, Redirects how often one is sent on.
	Fetches, Redirects = 32, 5
	// FetchBytes bounds the body of a request, FetchHeaders is how many headers it has, of FetchHeaderBytes together.
	FetchBytes, FetchHeaders, FetchHeaderBytes = 1 << 20, 64, 16 << 10
	// Repetitions is how many repetitions of the timer a subcluster has, Repetition the shortest time between two ticks.
	Repetitions, Repetition = 1000, 100 * time.Millisecond
	// RandomBytes is how many random bytes one call returns.
	RandomBytes = 4096
	// ConsoleEntries is how many entries a second a vat writes to the console, after the first ConsoleEntriesAtOnce, of
	// ConsoleBytes each.
	ConsoleEntries, ConsoleEntriesAtOnce, ConsoleBytes = 100, 1000, 4 << 10
)

// What the control socket takes.
const (
	// RequestBytes bounds a request.
	RequestBytes = 8 << 20
	// Clients is how many connections are served, Requests how many requests of one connection are worked on.
	Clients, Requests = 128, 64
	// Arguments is how many arguments a call has, MethodBytes bounds the name of its method.
	Arguments, MethodBytes = 1000, 1000
	// Page is how many entries a page of a list has.
	Page = 1000
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
	// Fetch is the time for a request of the fetch service, redirections included.
	Fetch = 30 * time.Second
	// Ping is the time for a sign of life of a vat, unless the request says otherwise.
	Ping = 10 * time.Second
	// Modules is the time in which a worker program says which modules it has.
	Modules = 30 * time.Second
	// Wait is the longest time that one request to the control socket waits for an answer, Take the time for its client to
	// take the answer.
	Wait, Take = 24 * time.Hour, 10 * time.Second
	// KeepAnswers is how long the answer of a settled call is kept, unless the program that embeds the kernel says otherwise.
	KeepAnswers = 24 * time.Hour
)

// Starts is how many workers start at a time. IdleWorkers is how many idle workers are kept, unless the program that embeds the
// kernel says otherwise.
const Starts, IdleWorkers = 3, 200
