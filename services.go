package ocapkernel

import (
	"context"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/service"
)

// Service is a service of this run, which a cluster gets if its configuration names it.
type Service struct {
	// Object gets the calls. [service.New] makes an Object of any Go value with methods. The program owns the Object: if it
	// has to be closed, the program closes it, after Run has returned.
	Object service.Object
	// SystemOnly services are given to system subclusters alone. A vat that is given one may pass it on.
	SystemOnly bool
}

// ChannelFactory makes the object of an IO channel, at the launch of its subcluster and again in each later run.
// An object that is an [io.Closer] is closed with its subcluster or the kernel. An error fails the launch.
//
// The object's methods are the methods of the channel, and docs/io.md describes read, write and accept, as vats expect
// them. Declare a method read idempotent if the kernel may call it a second time after a death of the kernel.
type ChannelFactory func(cluster.Channel, service.Opening) (service.Object, error)

// Register adds a service to this run, beside those of Options.Services: clusters that are launched from now on may name
// it. Vats that hold a service of that name from an earlier run hold this one. The error is [ErrInvalid] if there is a
// service of that name already, or the name or the object is none.
func (k *Kernel) Register(ctx context.Context, name string, s Service) error {
	return public(k.b.Register(ctx, name, service.Registration(s)))
}

// Unregister takes a service away from this run, for good: pending calls are rejected with [ErrServiceGone], their
// contexts end, and later calls are rejected, too. A service that a later run registers under the name is another one.
// The error is [ErrNotFound] if there is none of that name, and [ErrInvalid] if it is a built-in one.
func (k *Kernel) Unregister(ctx context.Context, name string) error {
	return public(k.b.Unregister(ctx, name))
}

func services(list map[string]Service) map[string]service.Registration {
	out := map[string]service.Registration{}
	for name, s := range list {
		out[name] = service.Registration(s)
	}
	return out
}

func channels(list map[cluster.ChannelType]ChannelFactory) map[cluster.ChannelType]backend.ChannelFactory {
	out := map[cluster.ChannelType]backend.ChannelFactory{}
	for kind, open := range list {
		out[kind] = backend.ChannelFactory(open)
	}
	return out
}
