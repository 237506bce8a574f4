package control

import (
	"encoding/json"
	"time"

	"ocapkernel.dev/errcode"
)

// State is the present state of a kernel.
type State string

// The states of a kernel: a closed set.
const (
	// Running: it accepts calls and runs vats.
	Running State = "running"
	// DiskFull: the free space is below the reserve. No delivery begins and no call is accepted until
	// there is space again; terminate, restart --forget, acknowledge and shutdown work.
	DiskFull State = "disk-full"
	// Stopping: it accepts nothing more and stops its workers.
	Stopping State = "stopping"
)

// VatState is the present state of a vat.
type VatState string

// The states of a vat: a closed set.
const (
	// VatIdle: it has no process, and nothing to do. A message will start one.
	VatIdle VatState = "idle"
	// VatStarting: it has work, and a process is being started for it or will be after a wait.
	VatStarting VatState = "starting"
	// VatRunning: its process is up.
	VatRunning VatState = "running"
	// VatFailed: its program cannot be started. That is tried again, with growing waits; nothing is lost.
	VatFailed VatState = "failed"
	// VatStopped: it died too often without progress, or its configuration has it stop at a fault. Messages to
	// it are rejected. Its store is kept; restart revives it.
	VatStopped VatState = "stopped"
	// VatSuspended: its system subcluster is not declared in this run. It does nothing, and keeps its state.
	VatSuspended VatState = "suspended"
	// VatHeld: a row of it cannot be read, or the kernel died again and again while it worked for the vat. It
	// does nothing, and keeps its state; the other vats go on. Restart tries again.
	VatHeld VatState = "held"
	// VatTerminating: it is being deleted.
	VatTerminating VatState = "terminating"
)

// SubclusterState is the stage of a subcluster's life.
type SubclusterState string

// The states of a subcluster: a closed set.
const (
	// SubclusterLaunching: its bootstrap method has not answered yet.
	SubclusterLaunching SubclusterState = "launching"
	// SubclusterRunning: it was launched.
	SubclusterRunning SubclusterState = "running"
	// SubclusterSuspended: it is a system subcluster that is not declared in this run. Its vats do nothing.
	SubclusterSuspended SubclusterState = "suspended"
	// SubclusterDamaged: its rows cannot be read. Its vats are held back.
	SubclusterDamaged SubclusterState = "damaged"
	// SubclusterFailed: its launch failed, and the rest of it is being removed.
	SubclusterFailed SubclusterState = "failed"
	// SubclusterTerminating: it was terminated, or has ended, and the rest of it is being removed.
	SubclusterTerminating SubclusterState = "terminating"
)

// Settlement tells whether a call has its answer.
type Settlement string

// The settlements: a closed set.
const (
	// Pending: no answer yet. The call is accepted and durable.
	Pending Settlement = "pending"
	// Fulfilled: the answer is a value.
	Fulfilled Settlement = "fulfilled"
	// Rejected: the answer is an error.
	Rejected Settlement = "rejected"
)

// Status describes a kernel at one moment. It may show changes that are not durable yet.
type Status struct {
	PID   int   `json:"pid"`
	State State `json:"state"`
	// Durability is the loss that an accepted call survives: "power" (loss of power) or "process" (death of the
	// kernel).
	Durability string `json:"durability"`
	// Cranks counts the cranks since the state was made.
	Cranks uint64 `json:"cranks"`
	// Commit is the number of the newest durable commit.
	Commit uint64 `json:"commit"`
	// Epoch is the epoch of the tickets that this state knows.
	Epoch string `json:"epoch"`
	// Subclusters and Vats are counts.
	Subclusters int `json:"subclusters"`
	Vats        int `json:"vats"`
	// Clusters describes the subclusters, in the order of their launch.
	Clusters []Subcluster `json:"clusters"`
	// Version is the version of the kernel program.
	Version string `json:"version"`
	// Dropped counts the messages that were dropped, since the kernel was started, because a queue was full and
	// no answer was wanted.
	Dropped uint64 `json:"dropped,omitempty"`
	// Pauses are the resources that the kernel lacks and waits for, and the duties that it cannot perform: each
	// is a sentence for a person.
	Pauses []string `json:"pauses,omitempty"`
	// Held are the vats that are held back, with the reasons.
	Held map[string]string `json:"held,omitempty"`
	// Sandbox describes the confinement of workers; nil if it is off.
	Sandbox *Sandbox `json:"sandbox,omitempty"`
}

// Sandbox describes the confinement of workers.
type Sandbox struct {
	// Mode is "best-effort" or "required".
	Mode string `json:"mode"`
	// Layers are the names of the layers that every worker has.
	Layers []string `json:"layers"`
	// Missing has a sentence for each other layer: why the system does not offer it, and how to get it.
	Missing []string `json:"missing,omitempty"`
}

// Subcluster describes a subcluster.
type Subcluster struct {
	// ID is its id, such as s1.
	ID string `json:"subcluster"`
	// Root is the kernel's name of the bootstrap vat's root object.
	Root string `json:"root"`
	// Vats maps the names of its vats to their ids.
	Vats map[string]string `json:"vats"`
	// Source is the path of the configuration file that it was launched from, and Hash the SHA-256 of
	// the text, in hexadecimal.
	Source string `json:"source"`
	Hash   string `json:"hash"`
	// System is its name if it is a system subcluster.
	System string `json:"system,omitempty"`
	// State is the stage of its life. Only one that is [SubclusterRunning] can be called.
	State SubclusterState `json:"state"`
}

// Vat describes one vat.
type Vat struct {
	// ID is its id, such as v3; Name its name in the configuration of Subcluster.
	ID         string `json:"vat"`
	Name       string `json:"name"`
	Subcluster string `json:"subcluster"`
	// PID is the process id of its worker, 0 if it has none.
	PID   int      `json:"pid"`
	State VatState `json:"state"`
	// Why is the reason why it is [VatFailed], [VatStopped] or [VatHeld].
	Why string `json:"why,omitempty"`
	// Restarts counts the deaths of its workers, ever.
	Restarts int `json:"restarts"`
	// Queue is the number of messages that wait for it.
	Queue int `json:"queue"`
	// RSSBytes is the resident memory of its worker.
	RSSBytes int64 `json:"rssBytes"`
	// Transcript is the number of deliveries that a fresh worker would be given again, -1 if the vat would
	// start from its durable state, because its transcript was full. SpanMillis is the time since its last
	// rest.
	Transcript int   `json:"transcript"`
	SpanMillis int64 `json:"spanMillis"`
}

// Tally counts what a state keeps.
type Tally struct {
	// Objects and Promises are those that the kernel knows.
	Objects  int `json:"objects"`
	Promises int `json:"promises"`
	// Vats are in the order of their ids. A vat that keeps nothing at all is left out.
	Vats []VatTally `json:"vats"`
}

// VatTally counts what one vat keeps.
type VatTally struct {
	ID string `json:"vat"`
	// Held are the objects of others that the vat has a name for, Exported its own that others may have, Promises the promises
	// that it has a name for.
	Held     int `json:"held"`
	Exported int `json:"exported"`
	Promises int `json:"promises"`
	// Rows and Bytes are the vat's store, keys included.
	Rows  int   `json:"rows"`
	Bytes int64 `json:"bytes"`
}

// Collected tells what a collection has done.
type Collected struct {
	// Asked are the ids of the vats that were asked for what they no longer need.
	Asked []string `json:"asked"`
	// Busy are the ids of vats that may still have such references: they hold state in memory, or have something to do
	// all the time, or do not run, or their worker program is of an earlier version.
	Busy []string `json:"busy"`
}

// LaunchRequest asks for a new subcluster.
type LaunchRequest struct {
	// Path is the absolute path of the configuration file; paths in it are relative to its directory.
	Path string
	// Config is the text of the configuration: the kernel does not read the file.
	Config []byte
}

// Launched is a new subcluster.
type Launched struct {
	Subcluster
	// Result is the answer of the bootstrap method; null if that cannot be shown, for which ResultProblem is
	// the reason.
	Result        json.RawMessage `json:"result"`
	ResultProblem string          `json:"resultProblem,omitempty"`
}

// NewLaunched describes a launch whose bootstrap method has answered result. The subcluster runs with any
// answer: an answer that is no value is a problem of the result, never of the launch.
func NewLaunched(s Subcluster, result Data) Launched {
	l := Launched{Subcluster: s}
	var err error
	if l.Result, err = ToJSON(result); err != nil {
		l.Result, l.ResultProblem = nil, err.Error()
	}
	return l
}

// SendRequest asks for a call of a method.
type SendRequest struct {
	// Ticket names the call. If its epoch is empty, the present one is meant; if its id is empty, the
	// client makes one.
	Ticket Ticket
	// Target is an object, such as ko4, a promise, such as kp7, or a subcluster, such as s1, which
	// stands for the root of its bootstrap vat.
	Target string
	// Method is the name of the method.
	Method string
	// Args are the arguments in JSON; a capability is {"$ref":"ko4"}.
	Args []json.RawMessage
	// Wait asks for the answer. Without it the outcome is usually [Pending].
	Wait bool
	// Timeout bounds the waiting; zero means [MaxWait]. It does not take the call back.
	Timeout time.Duration
	// Raw asks for Outcome.CapData instead of value and error.
	Raw bool
}

// Outcome is the present answer of a call.
type Outcome struct {
	Ticket Ticket     `json:"ticket"`
	Status Settlement `json:"status"`
	// Value is the answer of a fulfilled call.
	Value json.RawMessage `json:"value,omitempty"`
	// Error describes the answer of a rejected call. It is the kernel's if its code is, the vat's if its code
	// is errcode.Rejected.
	Error *Error `json:"error,omitempty"`
	// CapData is the answer as the vat marshalled it. It comes alone, and only if the client wants it.
	CapData *CapData `json:"capdata,omitempty"`
}

// CapData is a marshalled value: a smallcaps body, and the kernel's names of the references in it.
type CapData struct {
	Body  string   `json:"body"`
	Slots []string `json:"slots"`
}

// Poisoned is a message that was taken out of its queue because each attempt to deliver it killed the vat.
type Poisoned struct {
	// ID names it in [Client.PoisonedRetry] and [Client.PoisonedDrop].
	ID string `json:"id"`
	// Vat is the id of the vat that it killed, Name the vat's name.
	Vat  string `json:"vat"`
	Name string `json:"name"`
	// Target and Method are the object and the method of the call; empty if it was no call.
	Target string `json:"target"`
	Method string `json:"method"`
	// Attempts is how often it was delivered.
	Attempts int `json:"attempts"`
	// Code and Message are the rejection of its result.
	Code    errcode.Code `json:"code"`
	Message string       `json:"message"`
}

// Version describes the server.
type Version struct {
	// Version is the version of the kernel program.
	Version string `json:"version"`
	// Protocol is the [ProtocolVersion] that it speaks.
	Protocol int `json:"protocol"`
}
