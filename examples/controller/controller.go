// Package controller is a vat that launches other subclusters, watches them and ends them, by means of the
// kernel's own service, which docs/system.md describes.
//
// It waits for the kernel with [vat.When], so that nothing of it lives in memory while a launch goes on. Its
// worker, or the kernel, can be killed at any time: a launch happens once, and the controller gets its result.
package controller

import (
	"context"
	"errors"
	"fmt"

	"ocapkernel.dev/vat"
)

// Modules returns the modules of this package, for a worker program.
func Modules() vat.Modules { return vat.Modules{"controller": New} }

// Controller keeps the subclusters that it has launched, under names of its own.
type Controller struct {
	vat.Durable
	// Kernel is the kernel's facet, Timer its timer.
	Kernel, Timer vat.Ref
	Children      vat.Map[string, Child]
	// Watching is the repetition that has Tick called; zero if there is none.
	Watching vat.Ref
}

// Child is a subcluster that the controller has launched.
type Child struct {
	Subcluster string
	// Root is the root object of its bootstrap vat.
	Root vat.Ref
	// Vats are the ids of its vats, by their names.
	Vats map[string]string
	// State is launching, running, reloading, terminating, or gone: ended by another.
	State string
}

// launched is the kernel's answer to a launch.
type launched struct {
	Subcluster string
	Root       vat.Ref
	Vats       map[string]string
	// BootstrapResult is the answer of the bootstrap method.
	BootstrapResult any
}

// New makes a controller that controls nothing yet.
func New() *Controller { return &Controller{} }

// Bootstrap takes the services.
func (c *Controller) Bootstrap(_ map[string]vat.Ref, services struct{ KernelFacet, Timer vat.Ref }) error {
	if services.KernelFacet.IsZero() || services.Timer.IsZero() {
		return errors.New(`the cluster's configuration has not both "kernelFacet" and "timer" in its "services"`)
	}
	c.Kernel, c.Timer = services.KernelFacet, services.Timer
	return nil
}

// Launch launches a subcluster from a configuration, as in a cluster's file, and returns its root.
func (c *Controller) Launch(ctx context.Context, name string, config any) (vat.Promise, error) {
	if _, taken := c.Children.Get(ctx, name); taken {
		return vat.Promise{}, fmt.Errorf("there is a %q already", name)
	}
	if err := c.Children.Set(ctx, name, Child{State: "launching"}); err != nil {
		return vat.Promise{}, err
	}
	return vat.When(ctx, vat.Send(ctx, c.Kernel, "launchSubcluster", config), c, "Launched", name), nil
}

// Launched keeps the subcluster that a launch, or a reload, has made, and returns its root. A launch that
// failed has left nothing: the name is free again. After a reload that failed the old subcluster may still be
// there.
func (c *Controller) Launched(ctx context.Context, o vat.Outcome[launched], name string) (any, error) {
	l, err := o.Get()
	if err == nil {
		return l.Root, c.Children.Set(ctx, name, Child{l.Subcluster, l.Root, l.Vats, "running"})
	}
	if child, _ := c.Children.Get(ctx, name); child.Subcluster != "" {
		return c.inspect(ctx, child, name, err), nil
	}
	c.Children.Delete(ctx, name)
	return nil, err
}

// Reload replaces a subcluster by a new one of the same configuration, and returns the new root.
func (c *Controller) Reload(ctx context.Context, name string) (vat.Promise, error) {
	child, err := c.change(ctx, name, "reloading")
	if err != nil {
		return vat.Promise{}, err
	}
	return vat.When(ctx, vat.Send(ctx, c.Kernel, "reloadSubcluster", child.Subcluster), c, "Launched", name), nil
}

// Terminate ends a subcluster, and forgets it.
func (c *Controller) Terminate(ctx context.Context, name string) (vat.Promise, error) {
	child, err := c.change(ctx, name, "terminating")
	if err != nil {
		return vat.Promise{}, err
	}
	return vat.When(ctx, vat.Send(ctx, c.Kernel, "terminateSubcluster", child.Subcluster), c, "Terminated", name), nil
}

// Terminated forgets a subcluster that was ended. An error does not mean that the subcluster is gone.
func (c *Controller) Terminated(ctx context.Context, o vat.Outcome[vat.None], name string) (any, error) {
	child, found := c.Children.Get(ctx, name)
	if o.Err != nil && found {
		return c.inspect(ctx, child, name, o.Err), nil
	}
	c.Children.Delete(ctx, name)
	return nil, o.Err
}

// inspect asks the kernel about a subcluster that it failed to change. The promise is rejected, as the change
// was.
func (c *Controller) inspect(ctx context.Context, child Child, name string, failure error) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, c.Kernel, "getSubcluster", child.Subcluster), c, "Looked", name, failure.Error())
}

// Looked forgets a subcluster if, and only if, the kernel does not know it.
func (c *Controller) Looked(ctx context.Context, o vat.Outcome[any], name, failure string) error {
	found, err := o.Get()
	if err == nil && found == nil {
		c.Children.Delete(ctx, name)
		return errors.New(failure)
	}
	child, ok := c.Children.Get(ctx, name)
	if ok {
		child.State = "running" // or gone: Watch finds out, and a change can be tried again
		if err := c.Children.Set(ctx, name, child); err != nil {
			return err
		}
	}
	return errors.New(failure)
}

// change marks a child that runs with the state of a change.
func (c *Controller) change(ctx context.Context, name, state string) (Child, error) {
	child, err := c.child(ctx, name)
	if err == nil && child.State != "running" && child.State != "gone" {
		err = fmt.Errorf("%q is %s", name, child.State)
	}
	if err != nil {
		return child, err
	}
	next := child
	next.State = state
	return child, c.Children.Set(ctx, name, next)
}

func (c *Controller) child(ctx context.Context, name string) (Child, error) {
	child, ok := c.Children.Get(ctx, name)
	if !ok || child.Root.IsZero() {
		return Child{}, fmt.Errorf("there is no %q that runs", name)
	}
	return child, nil
}

// Root returns the root of a subcluster.
func (c *Controller) Root(ctx context.Context, name string) (vat.Ref, error) {
	child, err := c.child(ctx, name)
	return child.Root, err
}

// Call sends a message to the root of a subcluster, through the kernel, and returns the answer.
func (c *Controller) Call(ctx context.Context, name, method string, args []any) (vat.Promise, error) {
	child, err := c.child(ctx, name)
	if err != nil {
		return vat.Promise{}, err
	}
	return vat.Send(ctx, c.Kernel, "queueMessage", child.Root, method, args), nil
}

// Revoke makes the root of a subcluster refuse all messages, for good.
func (c *Controller) Revoke(ctx context.Context, name string) (vat.Promise, error) {
	child, err := c.child(ctx, name)
	if err != nil {
		return vat.Promise{}, err
	}
	return vat.Send(ctx, c.Kernel, "revoke", child.Root), nil
}

// Ping asks the worker of one vat of a subcluster for a sign of life.
func (c *Controller) Ping(ctx context.Context, name, member string) (vat.Promise, error) {
	child, err := c.child(ctx, name)
	if err != nil {
		return vat.Promise{}, err
	}
	id, ok := child.Vats[member]
	if !ok {
		return vat.Promise{}, fmt.Errorf("%q has no vat %q", name, member)
	}
	return vat.Send(ctx, c.Kernel, "pingVat", id), nil
}

// Status returns the kernel's status of itself.
func (c *Controller) Status(ctx context.Context) vat.Promise {
	return vat.Send(ctx, c.Kernel, "getStatus")
}

// List returns the launched subclusters, by name.
func (c *Controller) List(ctx context.Context) map[string]Child {
	list := map[string]Child{}
	for name, child := range c.Children.All(ctx) {
		list[name] = child
	}
	return list
}
