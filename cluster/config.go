// Package cluster reads the configuration of a subcluster: which vats it has, what code they run, and
// how they are kept. The file is JSON with comments and trailing commas; docs/config.md describes it.
//
// A configuration is hostile until it was parsed: [Parse] bounds it, reports every mistake at once, each
// with its place and the way to mend it, and returns a [Config] only if there was none.
package cluster

import (
	"encoding/json"
	"time"
)

// Config is a configuration without mistakes, its defaults filled in.
type Config struct {
	// Bootstrap is the name of the vat whose root gets the roots of all others; it is one of Vats.
	Bootstrap string
	// Vats are in the order of the file. There is at least one.
	Vats []Vat
	// Limits are those of the cluster: what a vat has that says nothing else, and Bootstrap.
	Limits Limits
	// IO are the channels, in the order of the file.
	IO []Channel
	// Services are those of the kernel that Bootstrap's vat is given beside the channels, in the order of the
	// file. Their names are distinct, and no channel's.
	Services []Service
	// Source is the absolute path of the file; of a configuration that stands in a declaration of system
	// subclusters, the path of that.
	Source string
	// Hash is the SHA-256 of the text of the configuration, in hex: of all the file, if it is a file's own.
	Hash string

	doc *document
}

// Vat says what one vat runs, and how it is kept.
type Vat struct {
	// Name is unique in the configuration: a letter, then up to 63 letters, digits, '_' and '-'.
	Name string
	// Module is the Go module that the vat runs, under the name that its worker program knows.
	Module string
	// Worker is the absolute path of the worker program, or empty for the stock one.
	Worker string
	// SHA256 is what the worker program must hash to, as 64 lower-case hex digits, or empty.
	SHA256 string
	// Parameters is a compact JSON object for the module, or nil.
	Parameters json.RawMessage
	// Restart says what happens after the worker's death.
	Restart RestartPolicy
	// MaxRestarts is how many deaths in a row, without progress between them, stop the vat.
	MaxRestarts int
	// OnFault says what an illegal syscall means for the vat.
	OnFault FaultPolicy
	// Limits bound the vat. Bootstrap is zero: it belongs to the cluster.
	Limits Limits
}

// RestartPolicy says whether a vat's worker is replaced when it has died.
type RestartPolicy string

const (
	// RestartAlways is the default.
	RestartAlways RestartPolicy = "always"
	// RestartNever stops the vat with its first death.
	RestartNever RestartPolicy = "never"
)

// FaultPolicy says what a fault that only broken or hostile code makes means for its vat.
type FaultPolicy string

const (
	// FaultRestart, the default, treats it like a crash.
	FaultRestart FaultPolicy = "restart"
	// FaultStop stops the vat.
	FaultStop FaultPolicy = "stop"
)

// Limits bound what a vat may use.
type Limits struct {
	// Delivery is how long a worker may take for one delivery.
	Delivery time.Duration
	// Syscalls is how many syscalls one crank may make.
	Syscalls int
	// FrameBytes bounds a frame from the worker.
	FrameBytes int
	// Queue is how many items may wait for the vat.
	Queue int
	// Transcript is how many deliveries may be recorded for a vat that does not come to rest. Beyond, it
	// would start from its durable state alone.
	Transcript int
	// Bootstrap is how long the launch may take until the bootstrap method has answered.
	Bootstrap time.Duration
}

// DefaultLimits returns what a configuration has that says nothing.
func DefaultLimits() Limits {
	return Limits{
		Delivery:   10 * time.Second,
		Syscalls:   10_000,
		FrameBytes: 4 << 20,
		Queue:      10_000,
		Transcript: 100_000,
		Bootstrap:  time.Minute,
	}
}

const (
	defaultMaxRestarts = 5
	maxMaxRestarts     = 1000
	maxVats            = 1000
)
