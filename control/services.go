package control

// Channel describes an IO channel: a way to the world that a configuration opens, and that its vats read and
// write.
type Channel struct {
	// Name is its name in the configuration of Subcluster.
	Name       string `json:"name"`
	Subcluster string `json:"subcluster"`
	// KRef is the kernel's name of the channel's object; empty if no vat has it yet.
	KRef string `json:"ref,omitempty"`
	// Type, Direction and Unit are as in the configuration; docs/config.md lists them.
	Type      string `json:"type"`
	Direction string `json:"direction"`
	Unit      string `json:"unit"`
	// Where is the path or the address to which the other side connects, or that is opened.
	Where string `json:"where"`
	// Client is set if the other side is connected.
	Client bool `json:"client"`
	// Pending counts the calls that were begun and are not done: a read that waits for input, say. Queued
	// counts those that were not begun.
	Pending int `json:"pending"`
	Queued  int `json:"queued"`
}

// Service describes an object of the kernel, or of the program that embeds it, that vats may call.
type Service struct {
	// Name is its name in configurations.
	Name string `json:"name"`
	// KRef is the kernel's name of it; empty if no vat has it yet.
	KRef string `json:"ref,omitempty"`
	// SystemOnly is set if only the configurations of system subclusters may name it.
	SystemOnly bool `json:"systemOnly"`
	// Registered is set if it is offered in this run of the kernel. A service that is not was offered by an
	// earlier run, and vats hold it still.
	Registered bool `json:"registered"`
	// Subcluster is the id of the subcluster that it belongs to, empty if to none.
	Subcluster string `json:"subcluster,omitempty"`
	// Pending counts the calls that were begun and are not done, Queued those that were not begun.
	Pending int `json:"pending"`
	Queued  int `json:"queued"`
}

// SystemState is the present state of a system subcluster.
type SystemState string

// The states of a system subcluster: a closed set.
const (
	// SystemRunning: its vats are there.
	SystemRunning SystemState = "running"
	// SystemLaunching: its bootstrap method has not answered yet, or its turn to be launched has not come.
	SystemLaunching SystemState = "launching"
	// SystemSuspended: it is not declared in this run. Its vats do nothing; their state is kept.
	SystemSuspended SystemState = "suspended"
	// SystemFailed: it could not be launched; the log says why.
	SystemFailed SystemState = "failed"
)

// System describes a system subcluster: one that is declared to the kernel, not launched by a client.
type System struct {
	// Name is its name in the declaration.
	Name string `json:"name"`
	// Subcluster is its id, and Root the kernel's name of its bootstrap vat's root object; both are empty
	// while there is none.
	Subcluster string `json:"subcluster,omitempty"`
	Root       string `json:"root,omitempty"`
	// State is one of the states above.
	State SystemState `json:"state"`
	// Why is the reason why it is [SystemFailed], or why it was not changed to its declaration.
	Why string `json:"why,omitempty"`
	// Declared is set if the present run of the kernel declares it.
	Declared bool `json:"declared"`
	// Changed is set if it is declared with another configuration than it runs. Reload makes it run that.
	Changed bool `json:"changed"`
	// Deletes is set if it was not changed because that would delete stored state: a run with --upgrade-system
	// and --replace with its name launches it anew.
	Deletes bool `json:"deletes,omitempty"`
}
