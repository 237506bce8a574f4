package host

import (
	"context"
	"slices"

	"ocapkernel.dev/kernel"
)

// paged asks the machine about all that there is, a page in a step of its own, and others' steps between: what it
// returns is true of one moment for each page.
func paged[T any, ID ~string](ctx context.Context, c *core, page func(after ID) ([]T, ID, error)) (all []T, err error) {
	type answer struct {
		list []T
		next ID
	}
	for after, first := ID(""), true; first || after != ""; first = false {
		a, err := look(ctx, c, func() (a answer, err error) {
			a.list, a.next, err = page(after)
			return a, err
		})
		if err != nil {
			return nil, err
		}
		all, after = append(all, a.list...), a.next
	}
	return all, nil
}

// subclusters lists all subclusters, in the order of their launch.
func (op *operator) subclusters(ctx context.Context) ([]kernel.Subcluster, error) {
	subs, err := paged(ctx, op.core, op.machine.SubclustersAfter)
	slices.SortFunc(subs, func(a, b kernel.Subcluster) int { return compare(string(a.ID), string(b.ID)) })
	return subs, err
}

// sliceItems is how many elements one step of inSlices takes.
const sliceItems = 10

// inSlices calls each for the elements of a list, a few in a step, with others' steps between, and then done. A kernel that
// stops begins no further step.
func inSlices[T any](c *core, list []T, each func(T), done func()) {
	n := min(len(list), sliceItems)
	for _, x := range list[:n] {
		each(x)
	}
	if n == len(list) {
		done()
		return
	}
	c.later(func() {
		if !c.stopping {
			inSlices(c, list[n:], each, done)
		}
	})
}
