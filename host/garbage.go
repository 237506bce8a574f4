package host

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// Collected tells what [Shell.Collect] has done.
type Collected struct {
	// Asked are the vats that were asked for references that they no longer hold, in the order in which they were asked first.
	Asked []kernel.VatID
	// Busy are the vats that may still hold such references, in the order of their keys: they have state in memory, or they had
	// something else to do all the time, or do not run.
	Busy []kernel.VatID
}

// collectPatience is how long a vat that has something to do is waited for.
const collectPatience = 5 * time.Second

// maxRounds bounds how often one vat is asked: a vat can ask for more without end.
const maxRounds = 100

// Collect is [Shell.Collect]. What a vat drops may make another vat drop something, so all vats are looked at again until
// none has anything to do.
func (op *operator) Collect(ctx context.Context, only kernel.VatID) (out Collected, err error) {
	since := map[kernel.VatID]time.Time{} // a vat is waited for since then
	rounds := map[kernel.VatID]int{}
	searched := map[kernel.VatID]bool{} // it was asked when there was nothing to name: to look for circles
	for wait := busyPoll / 4; ; wait = min(2*wait, 10*busyPoll) {
		if err := op.finishWork(ctx); err != nil || op.cfg.Paused { // no vat is asked in a paused kernel
			return out, err
		}
		list, of, err := op.collectable(ctx, only)
		if err != nil {
			return out, err
		}
		over := true
		out.Busy = out.Busy[:0]
		for _, v := range list {
			search := !searched[v.ID] && (only != "" || of.running[v.ID] && v.AtRest || rounds[v.ID] > 0) && !(v.OldWorker && rounds[v.ID] > 0)
			wanted := v.Dirt > 0 || search
			switch {
			case of.idle[v.ID] && (wanted || v.HasWork):
				out.Busy = append(out.Busy, v.ID)
			case v.HasWork:
				if since[v.ID].IsZero() {
					since[v.ID] = time.Now()
				}
				if time.Since(since[v.ID]) < collectPatience {
					over = false
				} else {
					out.Busy = append(out.Busy, v.ID)
				}
			case !wanted:
			case !v.AtRest || v.OldWorker && rounds[v.ID] > 0 || rounds[v.ID] == maxRounds:
				out.Busy = append(out.Busy, v.ID)
			default:
				over = false
				delete(since, v.ID)
				rounds[v.ID]++
				searched[v.ID] = searched[v.ID] || v.Dirt == 0
				wait = busyPoll / 8 // for one that answers at once
				if err := change(ctx, op.core, func() (kernel.Commit, error) { return op.machine.Collect(v.ID, true) }); err != nil && codeOf(err) != errcode.NotFound {
					return out, err
				}
				fault.Point(fault.ReferencesAsked)
				if !slices.Contains(out.Asked, v.ID) {
					out.Asked = append(out.Asked, v.ID)
				}
			}
		}
		if over {
			return out, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}

// states are sets of vats: running have a worker, idle do nothing now, whatever they have to do, since they are held back or their
// subcluster is suspended.
type states struct{ running, idle map[kernel.VatID]bool }

// collectable returns the vats that may be asked, or that may have to be told something.
func (op *operator) collectable(ctx context.Context, only kernel.VatID) (list []kernel.Vat, of states, err error) {
	of.idle = map[kernel.VatID]bool{}
	var held map[kernel.VatID]string
	var suspended map[kernel.SubID]bool
	know := func() { of.running, held, suspended = op.vats.running(), op.vats.heldBack(), op.subs.allSuspended() }
	list, err = question(ctx, op.core, know, func(q *kernel.View) ([]kernel.Vat, error) {
		list, err := q.Vats()
		found := only == ""
		list = slices.DeleteFunc(list, func(v kernel.Vat) bool {
			found = found || v.ID == only
			of.idle[v.ID] = held[v.ID] != "" || suspended[v.Sub]
			return v.Corrupt != nil || v.Terminated || v.Stopped != "" || only != "" && v.ID != only
		})
		if err == nil && !found {
			err = &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no vat %s", only)}
		}
		return list, err
	})
	return list, of, err
}

// finishWork does the work that earlier commits have left.
func (op *operator) finishWork(ctx context.Context) error {
	_, err := ask(ctx, op.core, func(done func(struct{}, error)) {
		var step func()
		step = func() {
			if op.work.can() && !op.stopping {
				op.later(step)
				return
			}
			op.whenDurable(func() { done(struct{}{}, nil) })
		}
		step()
	})
	return err
}

// Tally is [Shell.Tally].
func (op *operator) Tally(ctx context.Context) (kernel.Tally, error) {
	return question(ctx, op.core, nil, func(q *kernel.View) (t kernel.Tally, err error) {
		for after, first := "", true; err == nil && (first || after != ""); first = false {
			after, err = q.TallyAfter(&t, after)
		}
		return t, err
	})
}
