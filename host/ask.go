package host

import (
	"context"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
)

// ask runs f in the loop and waits for f to call done with the answer; f may keep done for later. If ctx ends first, ask
// returns, and the operation that f has begun goes on.
func ask[T any](ctx context.Context, c *core, f func(done func(T, error))) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var zero T
	answers := make(chan answer, 1)
	done := func(v T, err error) {
		select {
		case answers <- answer{v, err}:
		default: // answered before
		}
	}
	if !c.post(func() {
		if c.stopping {
			done(zero, ErrStopping)
			return
		}
		f(done)
	}) {
		return zero, ErrStopping
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-c.done:
		select {
		case a := <-answers:
			return a.value, a.err
		default:
			return zero, ErrStopping
		}
	}
}

// change runs an input of the machine and answers when its commit is durable.
func change(ctx context.Context, c *core, input func() (kernel.Commit, error)) error {
	_, err := ask(ctx, c, func(done func(struct{}, error)) {
		var commit kernel.Commit
		err := c.isolated(func() (err error) {
			commit, err = input()
			return err
		})
		if err != nil {
			c.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		c.apply(commit)
		c.whenDurable(func() { done(struct{}{}, nil) })
	})
	return err
}

// refuse answers with an error. One that is neither a refusal nor a failed launch (rows that cannot be read, an
// invariant that is broken) has changed nothing either, and is the caller's to hear and the log's to keep.
func (c *core) refuse(err error, done func(error)) {
	switch err.(type) {
	case *kernel.Refusal, *LaunchError:
	default:
		c.log.Error("a request failed, and changed nothing", "err", err)
		c.checkStore()
	}
	done(err)
}

// look runs a question to the machine in a step of the loop, and returns its answer.
func look[T any](ctx context.Context, c *core, f func() (T, error)) (T, error) {
	return ask(ctx, c, func(done func(T, error)) {
		var v T
		err := c.isolated(func() (err error) {
			v, err = f()
			return err
		})
		if err != nil {
			c.refuse(err, func(err error) { done(v, err) })
			return
		}
		done(v, nil)
	})
}

// codeOf returns the code of a refusal, empty for any other error.
func codeOf(err error) errcode.Code {
	if r, ok := err.(*kernel.Refusal); ok {
		return r.Code
	}
	return ""
}
