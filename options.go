package ocapkernel

import (
	"io"
	"log/slog"
	"time"

	"ocapkernel.dev/cluster"
)

// Durability names the crashes that an accepted call survives.
type Durability string

const (
	// Power: the loss of power, and so every other crash.
	Power Durability = "power"
	// Process: every crash but that of the machine. Answers come sooner, because the kernel does not wait for the disk.
	Process Durability = "process"
)

// Sandbox says how a kernel confines workers. docs/sandbox.md describes the layers.
type Sandbox string

const (
	// SandboxOff: workers have all rights of the kernel's user.
	SandboxOff Sandbox = "off"
	// SandboxBestEffort: workers have the layers of the floor, without which they do not start, and the others that the system
	// offers.
	SandboxBestEffort Sandbox = "best-effort"
	// SandboxRequired: workers have every layer, and [New] fails where the system does not offer one.
	SandboxRequired Sandbox = "required"
)

// Options are the arguments of [New]. Only Dir must be given.
type Options struct {
	// Dir is the state directory. New makes it if it is missing, fails if it belongs to another user, and closes it to all
	// other users.
	Dir string
	// Durability names the crashes that an accepted call survives; [Power] if empty.
	Durability Durability
	// AcceptRollback lets the kernel run on a state that is older than the one that it acknowledged, such as a copy that was
	// put back; without it [New] fails with [ErrRolledBack]. Calls made before under an id are forgotten.
	AcceptRollback bool
	// Reset wipes the state, after New has checked everything else: a mistake in the options or in the declaration deletes
	// nothing. A reset that was interrupted is finished by the next New, with Reset or without. The declaration outlives a
	// reset.
	Reset bool
	// DiskReserve is the free space, in bytes, below which nothing new is accepted; 256 MiB if zero.
	DiskReserve uint64
	// Services are registered under their names for this run. A service that an earlier run had and this one
	// has not rejects with SERVICE_GONE.
	Services map[string]Service
	// Channels make IO channels of a type in another way than the built-in one.
	Channels map[cluster.ChannelType]ChannelFactory
	// System is the path of the file that declares the system subclusters, empty if none are.
	System string
	// UpgradeSystem changes the system subclusters that run to the declaration, if it differs.
	UpgradeSystem bool
	// Replace names system subclusters whose stored state the upgrade may delete, because the declaration no longer names
	// them, or makes a change that is not possible in place. The upgrade deletes no state of a subcluster that is not named
	// here.
	Replace []string
	// Worker is the path of the worker program of vats whose configuration names none. If it is empty, the worker program is
	// this program, if this program has called [Worker], and otherwise the program vatworker beside it.
	Worker string
	// Sandbox says how the kernel confines workers; [SandboxOff] if empty. A vat's configuration can be stricter.
	Sandbox Sandbox
	// AdoptOrphans kills, at the end of each worker, every process that the worker has started, even a daemon in a session
	// of its own. Without AdoptOrphans, such a process ends with the worker only if it is in the worker's process group, or
	// below the worker when this kernel kills the worker.
	//
	// With AdoptOrphans, the program becomes the parent of all orphans below it, for good. The option is for a program whose
	// other children stay in the program's own session, as the children of os/exec do unless Setsid is set: a child of the
	// program that begins later, in a session of its own, is taken for an orphan of a worker, and killed. A child that its
	// parent has left is reaped. Children that are there at the first New are left alone, and so are the processes in their
	// sessions. The first process of a container (process id 1) is the parent of all orphans anyway: it reaps them, and
	// kills the processes that a worker has started as it does without AdoptOrphans.
	AdoptOrphans bool
	// MaxWorkers is the number of idle workers above which the least recently used are stopped; 200 if zero.
	MaxWorkers int
	// KeepAnswers is how long a call is remembered after its answer; 24 hours if zero.
	KeepAnswers time.Duration
	// Control has Run serve clients, such as the command kernel, on Dir.
	Control bool
	// IO channels of the type console read from Stdin and write to Stdout. The launch of a cluster fails if one of its
	// channels needs the one that is nil. A read under way at the end of the kernel is left behind, unless it is of an
	// *os.File.
	Stdin  io.Reader
	Stdout io.Writer
	Logger *slog.Logger
	// Version is the version of this program, for clients.
	Version string
}
