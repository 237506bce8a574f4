package ocapkernel

import (
	"io"
	"time"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/cluster"
)

// Durability is what an accepted call survives.
type Durability string

const (
	// Power: the loss of power, and so every other crash.
	Power Durability = "power"
	// Process: every crash but that of the machine. Answers come sooner, because nobody waits for the disk.
	Process Durability = "process"
)

// Options say what a kernel is made of. Only Dir must be given.
type Options struct {
	// Dir is the state directory. It is made if it is missing, closed to others, and must be ours alone.
	Dir string
	// Durability is what an accepted call survives; [Power] if empty.
	Durability Durability
	// AcceptRollback lets the kernel run on a state that is older than the one that it acknowledged, such as a copy that was
	// put back; without it [New] fails with [ErrRolledBack]. Calls made before under an id are forgotten.
	AcceptRollback bool
	// Reset wipes the state, once nothing else is left that New could refuse: a mistake in the options or in the declaration
	// deletes nothing. A reset that was interrupted is finished by the next New, whatever its options. The declaration
	// outlives a reset.
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
	// UpgradeSystem applies a declaration that differs from what runs.
	UpgradeSystem bool
	// Replace names system subclusters whose stored state the upgrade may delete, because the declaration no longer
	// names them, or changes what cannot be changed in place. Without a name here nothing of that is done.
	Replace []string
	// Worker is the path of the worker program of vats whose configuration names none. If it is empty, that is this program,
	// if it has called [Worker], and otherwise the program vatworker beside it.
	Worker string
	// AdoptOrphans has what worker processes leave behind end with its worker, whatever it did to leave it (a daemon, a
	// session of its own). For that this process becomes the parent of all orphans below it, for good and for all of the
	// program: it is for a program whose other children stay in its own session, as those of os/exec do unless Setsid is
	// set. A child of the program that begins later, in a session of its own, is taken for such an orphan, and killed; one
	// that its parent has left is reaped. Children that are there at the first New are left alone, with what is in their
	// sessions. The first process of a container (process id 1) has all orphans for children anyway: it reaps them, and
	// kills what a worker has started as it does without this option. Without it what a worker has started ends with it if it is in the worker's process group, or
	// below the worker when this kernel kills it.
	AdoptOrphans bool
	// MaxWorkers is the number of idle workers above which the least recently used are stopped; 200 if zero.
	MaxWorkers int
	// KeepAnswers is how long a call is remembered after its answer; 24 hours if zero.
	KeepAnswers time.Duration
	// Control has Run serve clients, such as the command kernel, on Dir.
	Control bool
	// Stdin and Stdout are what IO channels of the type console read and write. A channel that would need one
	// that is nil is not made, and its launch fails. A read under way at the end of the kernel is left behind,
	// unless it is of an *os.File.
	Stdin  io.Reader
	Stdout io.Writer
	Logger hclog.Logger
	// Version is the version of this program, for clients.
	Version string
}
