package host

import (
	"context"
	"slices"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// errCleared is the error of operations that a reset gives up.
var errCleared = &kernel.Refusal{Code: errcode.Conflict, Detail: "the state is being cleared"}

// Reset is [Shell.Reset].
func (ss *subclusters) Reset(ctx context.Context) error {
	_, err := ask(ctx, ss.core, func(done func(struct{}, error)) {
		c, err := ss.machine.Reset(newEpoch(ss.seed()))
		if err != nil {
			ss.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		ss.log.Warn("the state is cleared", "epoch", ss.machine.Epoch())
		ss.apply(c)
		ss.reset(false, func() { done(struct{}{}, nil) })
	})
	return err
}

// reset removes all subclusters of a state that is being cleared; done is called in the loop. With atOnce it ends all
// subclusters in this step, otherwise a few in each.
func (ss *subclusters) reset(atOnce bool, done func()) {
	ss.resets++
	for id, r := range ss.reloads { // in any order: each only hears that it is over
		if !r.launching {
			delete(ss.reloads, id)
			r.done(kernel.Subcluster{}, errCleared)
		}
	}
	ss.system.cancelTurns(errCleared)
	ids := ss.names.all()
	slices.Reverse(ids)
	left := 1
	one := func() {
		if left--; left > 0 {
			return
		}
		if ss.resets--; ss.resets == 0 {
			fault.Point(fault.ResetEnded)
			c, err := ss.machine.ResetDone()
			ss.input(c, err)
			ss.system.start()
			ss.tellChanged()
		}
		ss.whenDurable(done)
	}
	end := func(id kernel.SubID) {
		c, err := ss.terminate(id)
		switch {
		case codeOf(err) == errcode.NotFound: // nothing was left of it before its turn came
		case err != nil:
			ss.log.Error("subcluster is damaged and stays: kernel start --reset removes it, with all that there is", "subcluster", id, "err", err)
		default:
			left++
			ss.apply(c)
			ss.whenGone(id, one)
		}
	}
	if !atOnce {
		inSlices(ss.core, ids, end, one)
		return
	}
	for _, id := range ids {
		end(id)
	}
	one()
}

// resumeReset goes on with a reset that an earlier kernel has begun, before any vat of the old state runs.
func (ss *subclusters) resumeReset() {
	resetting, err := ss.machine.Resetting()
	if err != nil {
		ss.fail(err)
		return
	}
	if resetting {
		ss.log.Warn("the state was being cleared when the kernel ended: that goes on")
		ss.reset(true, func() {})
	}
}
