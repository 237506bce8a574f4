package controller

import (
	"context"
	"errors"

	"ocapkernel.dev/vat"
)

// Watch checks every ms milliseconds whether the launched subclusters are still there, until Unwatch.
func (c *Controller) Watch(ctx context.Context, ms int) (vat.Promise, error) {
	if !c.Watching.IsZero() {
		return vat.Promise{}, errors.New("it watches already")
	}
	return vat.When(ctx, vat.Send(ctx, c.Timer, "repeat", ms, vat.RefOf(ctx, c)), c, "Watched"), nil
}

// Watched keeps the repetition.
func (c *Controller) Watched(repetition vat.Ref) { c.Watching = repetition }

// Unwatch ends Watch.
func (c *Controller) Unwatch(ctx context.Context) {
	if !c.Watching.IsZero() {
		vat.Send(ctx, c.Watching, "cancel")
		c.Watching = vat.Ref{}
	}
}

// Tick is called by the timer.
func (c *Controller) Tick(ctx context.Context, _ int64) {
	vat.When(ctx, vat.Send(ctx, c.Kernel, "getSubclusters"), c, "Seen")
}

// subcluster is the kernel's description of a subcluster.
type subcluster struct {
	Subcluster, Root, State, System string
	Vats                            map[string]string
}

// Seen compares the existing subclusters with the launched ones.
func (c *Controller) Seen(ctx context.Context, o vat.Outcome[[]subcluster]) error {
	list, err := o.Get()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, s := range list {
		there[s.Subcluster] = s.State == "running"
	}
	var gone []string
	for name, child := range c.Children.All(ctx) {
		if child.State == "running" && !there[child.Subcluster] {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		child, _ := c.Children.Get(ctx, name) // it exists: see above
		child.State = "gone"
		vat.Log(ctx).Warn("a subcluster is gone", "name", name, "subcluster", child.Subcluster)
		if err := c.Children.Set(ctx, name, child); err != nil {
			return err
		}
	}
	return nil
}
