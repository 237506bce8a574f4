package host

import (
	"context"
	"slices"

	"ocapkernel.dev/kernel"
)

// errCleared is what is given up because the state is being cleared.
var errCleared = &kernel.Refusal{Code: kernel.CodeConflict, Detail: "the state is being cleared"}

// Reset removes all subclusters and begins another epoch, so that every ticket handed out before is unknown.
// When nothing is left of them it returns, and the declared system subclusters are launched again. Numbers are
// not used twice: no name that somebody has kept comes to mean something else. Whether the caller waits or not, and
// through the death of the kernel: once begun, it is finished.
func (k *Shell) Reset(ctx context.Context) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		c, err := k.machine.Reset(newEpoch())
		if err != nil {
			k.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		k.log.Warn("the state is cleared", "epoch", k.machine.Epoch())
		k.apply(c)
		k.reset(false, func() { done(struct{}{}, nil) })
	})
	return err
}

// reset removes all that there is, of a state that is being cleared; done is called in the loop. With atOnce it ends all
// subclusters in this step, otherwise a few in each.
func (k *Shell) reset(atOnce bool, done func()) {
	k.resets++
	for id, r := range k.reloads { // in any order: each only hears that it is over
		if !r.launching {
			delete(k.reloads, id)
			r.done(kernel.Subcluster{}, errCleared)
		}
	}
	k.cancelTurns(errCleared)
	ids := k.directory.all()
	slices.Reverse(ids)
	left := 1
	one := func() {
		if left--; left > 0 {
			return
		}
		if k.resets--; k.resets == 0 {
			c, err := k.machine.ResetDone()
			k.input(c, err)
			k.startSystem()
			k.tellChanged()
		}
		k.whenDurable(done)
	}
	end := func(id kernel.SubID) {
		var c kernel.Commit
		err := k.isolated(func() (err error) {
			c, err = k.machine.Terminate(id)
			return err
		})
		switch {
		case codeOf(err) == kernel.CodeNotFound: // nothing was left of it before its turn came
		case err != nil:
			k.log.Error("subcluster is damaged and stays: kernel start --reset removes it, with all that there is", "subcluster", id, "err", err)
		default:
			left++
			k.apply(c)
			k.whenGone(id, one)
		}
	}
	if !atOnce {
		inSlices(k, ids, end, one)
		return
	}
	for _, id := range ids {
		end(id)
	}
	one()
}

// resumeReset goes on with what an earlier kernel has begun, before anything of the old state comes to life.
func (k *Shell) resumeReset() {
	resetting, err := k.machine.Resetting()
	if err != nil {
		k.fail(err)
		return
	}
	if resetting {
		k.log.Warn("the state was being cleared when the kernel ended: that goes on")
		k.reset(true, func() {})
	}
}
