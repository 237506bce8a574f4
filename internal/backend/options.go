package backend

import (
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/ioservice"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor/sandbox"
)

// ChannelFactory makes the object of an IO channel.
type ChannelFactory func(cluster.Channel, service.Opening) (service.Object, error)

// Options are the arguments of [New]. Only Dir must be given. A field without a comment is documented at the option of the
// same name of package ocapkernel.
type Options struct {
	Dir string
	// Lock is the lock of Dir, if the caller has opened it with [statedir.Open]. The caller closes it.
	Lock *statedir.Lock
	// Durability names the crashes that an accepted call survives; by default, all of them.
	Durability     badgerstore.Durability
	AcceptRollback bool
	// Crashed says that the last kernel on Dir has left the output of a crash of Go. The kernel then counts as having died by
	// itself, and a vat during whose work kernels die again and again is held back. Without Crashed, the last kernel counts
	// as having been killed.
	Crashed bool
	Reset   bool
	// Keep, which may be nil, returns true for the name of a file in Dir that outlives a reset, as the declaration does.
	Keep func(name string) bool
	// Paused makes a kernel that begins nothing by itself and does not change its state, for a person to inspect it. Its Lock
	// may be one for reading.
	Paused        bool
	DiskReserve   uint64
	Services      map[string]service.Registration
	Channels      map[cluster.ChannelType]ChannelFactory
	System        string
	UpgradeSystem bool
	Replace       []string
	// Worker is the path of the worker program of vats whose configuration names none; empty is vatworker, beside this
	// program.
	Worker       string
	Sandbox      sandbox.Mode
	AdoptOrphans bool
	MaxWorkers   int
	KeepAnswers  time.Duration
	Control      bool
	Stdin        io.Reader
	Stdout       io.Writer
	Logger       *slog.Logger
	Version      string
}

// check returns the first mistake in the options, or nil.
func (o *Options) check() error {
	switch {
	case o.Dir == "":
		return control.Errorf(errcode.Invalid, "the options name no state directory")
	case o.Paused && o.Reset:
		return control.Errorf(errcode.Invalid, "a paused kernel changes nothing: it cannot reset the state")
	}
	builtin := BuiltinServices(true)
	for _, name := range slices.Sorted(maps.Keys(o.Services)) {
		switch {
		case !cluster.ValidServiceName(name):
			return control.Errorf(errcode.Invalid, "service %q: a name is a letter, then up to 63 letters, digits, _, - and .", name)
		case slices.Contains(builtin, name) || name == host.KindIO || name == ioservice.ConnectionKind:
			return control.Errorf(errcode.Invalid, "service %q: there is a built-in one of this name", name)
		case o.Services[name].Object == nil:
			return control.Errorf(errcode.Invalid, "service %q has no object", name)
		}
	}
	return nil
}
