package control

// ApplyRequest asks for a running subcluster to be changed to another configuration.
type ApplyRequest struct {
	// Subcluster names it; empty stands for the one that was launched from Path.
	Subcluster string
	// Path is the absolute path of the configuration file; paths in it are relative to its directory.
	Path string
	// Config is the text of the configuration.
	Config []byte
	// DryRun asks for the changes without making them.
	DryRun bool
	// Replace is the id of the subcluster if it may be deleted, with its stored state, and launched anew, where
	// changes cannot be made to the running one. Otherwise such changes are refused.
	Replace string
}

// Applied are the changes that were made, or would be.
type Applied struct {
	// Subcluster runs the configuration.
	Subcluster string `json:"subcluster"`
	DryRun     bool   `json:"dryRun,omitempty"`
	// Replaced, if it is not empty, was deleted, with the stored state of its vats, and Subcluster launched in
	// its place; Deleted are its vats. After a dry run that is the effect that it would have.
	Replaced string       `json:"replaced,omitempty"`
	Deleted  []DeletedVat `json:"deleted,omitempty"`
	Changes  []Change     `json:"changes"`
	// Vats and Services, which include channels, were added. No vat of the subcluster has a reference to them
	// yet.
	Vats     []AddedVat     `json:"vats"`
	Services []AddedService `json:"services"`
}

// Change is one difference between the running configuration and the applied one.
type Change struct {
	// Field is the path of the field that differs, such as vats.mint.limits.queue.
	Field string `json:"field"`
	// Kind is added or changed, or removed where the subcluster is replaced.
	Kind string `json:"kind"`
	// Applies is one of the values below.
	Applies string `json:"applies"`
	// Old and New are the values, for people.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// The times at which a change has its effect: a closed set.
const (
	// AppliesLive: at once.
	AppliesLive = "live"
	// AppliesStart: when the vat's process is started the next time; of a channel or service, the kernel.
	AppliesStart = "start"
	// AppliesNew: for vats that are made later; existing vats go on.
	AppliesNew = "new"
	// AppliesReplace: only in a subcluster that is launched anew.
	AppliesReplace = "replace"
)

// DeletedVat is a vat of a subcluster that was replaced.
type DeletedVat struct {
	Name string `json:"name"`
	ID   string `json:"vat"`
}

// AddedVat is a vat that was added to a running subcluster.
type AddedVat struct {
	Name string `json:"name"`
	ID   string `json:"vat"`
	// Root is the kernel's name of its root object.
	Root string `json:"root"`
}

// AddedService is a channel or a service that was added to a running subcluster.
type AddedService struct {
	Name string `json:"name"`
	KRef string `json:"ref"`
	// Problem is the reason why it could not be opened yet. It is tried again when it is called, and at the
	// next start.
	Problem string `json:"problem,omitempty"`
}
