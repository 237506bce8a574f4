// Package cluster reads the configuration of a subcluster: its vats, the code that they run, and the limits
// that bound them. The file is JSON with comments and trailing commas; docs/config.md describes it.
//
// A configuration is hostile until it is parsed: [Parse] bounds it, reports every mistake at once, each with
// its place and the way to mend it, and returns a [Config] only if there was none.
package cluster

import (
	"encoding/json"
	"time"

	"ocapkernel.dev/internal/limits"
)

// Config is a configuration without mistakes, its defaults filled in.
type Config struct {
	// Bootstrap is the name of the vat whose root gets the roots of all others; it is one of Vats.
	Bootstrap string
	// Vats are in the order of the file. There is at least one.
	Vats []Vat
	// Limits are those of the cluster: Bootstrap, and the default of each vat's limits.
	Limits Limits
	// IO are the channels, in the order of the file.
	IO []Channel
	// Services are the kernel services that the bootstrap vat gets beside the channels, in the order of the
	// file. Their names are distinct from each other and from those of the channels.
	Services []Service
	// Source is the absolute path of the file. If the configuration stands in a declaration of system
	// subclusters, Source is the path of the declaration.
	Source string
	// Hash is the SHA-256 of the text of the configuration, in hex; of the whole file, if the configuration is
	// all of it.
	Hash string

	doc *document
}

// Vat is one vat of a subcluster: its code and its limits.
type Vat struct {
	// Name is unique in the configuration: a letter, then up to 63 letters, digits, '_' and '-'.
	Name string
	// Module is the Go module that the vat runs, under the name that its worker program knows.
	Module string
	// Worker is the absolute path of the worker program, or empty for the stock one.
	Worker string
	// SHA256 is the hash that the worker program must have, as 64 lower-case hex digits, or empty.
	SHA256 string
	// Parameters is a compact JSON object for the module, or nil.
	Parameters json.RawMessage
	// Restart decides whether the worker is replaced when it has died.
	Restart RestartPolicy
	// MaxRestarts is the number of deaths in a row, without progress between them, that stop the vat.
	MaxRestarts int
	// OnFault is the consequence of an illegal syscall.
	OnFault FaultPolicy
	// ReapInterval is the number of deliveries after which the vat is asked for references that it no longer holds, 0 for
	// never.
	ReapInterval int
	// Sandbox is the least confinement of the vat's worker; the kernel's own may be stricter.
	Sandbox SandboxMode
	// Limits bound the vat. Bootstrap is zero: it belongs to the cluster.
	Limits Limits
}

// SandboxMode says how a vat's worker must be confined, if its kernel demands less.
type SandboxMode string

const (
	// SandboxOff is the default: what the kernel demands, and no more. A file calls it "off".
	SandboxOff SandboxMode = ""
	// SandboxBestEffort demands the floor.
	SandboxBestEffort SandboxMode = "best-effort"
	// SandboxRequired demands every layer.
	SandboxRequired SandboxMode = "required"
)

// RestartPolicy decides whether a vat's worker is replaced when it has died.
type RestartPolicy string

const (
	// RestartAlways is the default.
	RestartAlways RestartPolicy = "always"
	// RestartNever stops the vat with its first death.
	RestartNever RestartPolicy = "never"
)

// FaultPolicy is the consequence, for a vat, of a fault that only broken or hostile code makes.
type FaultPolicy string

const (
	// FaultRestart, the default, treats it like a crash.
	FaultRestart FaultPolicy = "restart"
	// FaultStop stops the vat.
	FaultStop FaultPolicy = "stop"
)

// Limits bound the resources of a vat.
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

// DefaultLimits returns the limits of a configuration that names none.
func DefaultLimits() Limits {
	return Limits{
		Delivery:   limits.Delivery,
		Syscalls:   limits.Syscalls,
		FrameBytes: limits.FrameBytes,
		Queue:      limits.Queue,
		Transcript: limits.Transcript,
		Bootstrap:  limits.Bootstrap,
	}
}

const (
	defaultMaxRestarts = limits.Restarts
	maxMaxRestarts     = limits.MostRestarts
	maxReapInterval    = limits.MostReapInterval
	maxVats            = limits.ClusterVats
)
