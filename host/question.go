package host

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// question answers a question about the whole state, which may be large. know runs in a step and notes facts of the loop;
// nil notes nothing. answer runs beside the loop and reads the state of the moment of that step. So the answer is true of
// one moment, and the loop goes on meanwhile. When ctx ends, or the kernel, the answer is given up at its next read.
func question[T any](ctx context.Context, c *core, know func(), answer func(q *kernel.View) (T, error)) (T, error) {
	return ask(ctx, c, func(done func(T, error)) {
		if know != nil {
			know()
		}
		store := awaited{c.cfg.Store.Freeze(), ctx, c.ctx}
		view := kernel.NewView(c.layers.Freeze(store))
		c.aside(func() {
			defer store.Close()
			v, err := answered(view, answer)
			switch over := store.over(); {
			case err == nil:
				done(v, nil)
			case over != nil:
				done(v, over)
			default:
				c.later(func() { c.refuse(err, func(err error) { done(v, err) }) })
			}
		})
	})
}

// awaited is the state that an answer reads. Its reads fail when nobody waits for the answer any more.
type awaited struct {
	storage.Frozen
	caller, kernel context.Context
}

// over returns why nobody waits; nil while there is a caller.
func (a awaited) over() error {
	if a.kernel.Err() != nil {
		return ErrStopping
	}
	return a.caller.Err()
}

// Get is part of [storage.Reader].
func (a awaited) Get(key string) ([]byte, bool, error) {
	if err := a.over(); err != nil {
		return nil, false, err
	}
	return a.Frozen.Get(key)
}

// Next is part of [storage.Reader].
func (a awaited) Next(prefix, after string) (string, []byte, bool, error) {
	if err := a.over(); err != nil {
		return "", nil, false, err
	}
	return a.Frozen.Next(prefix, after)
}

// Step is part of [storage.Stepper]: an answer that passes over many removed rows is given up in their middle.
func (a awaited) Step(prefix, after string, most int) (string, []byte, bool, bool, error) {
	if err := a.over(); err != nil {
		return "", nil, false, false, err
	}
	return storage.Step(a.Frozen, prefix, after, most)
}

// answered turns a panic of an answer into an error: it has changed nothing.
func answered[T any](view *kernel.View, answer func(q *kernel.View) (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("invariant broken: %v\n%s", p, debug.Stack())
		}
	}()
	return answer(view)
}

// subclusters lists all subclusters, in the order of their launch. know is that of question.
func (op *operator) subclusters(ctx context.Context, know func()) ([]kernel.Subcluster, error) {
	subs, err := question(ctx, op.core, know, (*kernel.View).Subclusters)
	slices.SortFunc(subs, func(a, b kernel.Subcluster) int { return compare(string(a.ID), string(b.ID)) })
	return subs, err
}
