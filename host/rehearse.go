package host

import (
	"context"
	"fmt"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// rehearsal is a replay to a worker that does not become the vat's. It shows the author of a vat the vat's past deliveries.
type rehearsal struct {
	v      *vat
	sub    kernel.SubID
	worker workers.Worker
	past   *kernel.Replay
	lines  []string
	done   func([]string, error)
	// unwatch ends the watch of the caller's context.
	unwatch func() bool
}

// Rehearse is [Shell.Rehearse].
func (vs *vats) Rehearse(ctx context.Context, id kernel.VatID) ([]string, error) {
	return ask(ctx, vs.core, func(done func([]string, error)) {
		vs.beginRehearsal(ctx, id, done)
	})
}

func (vs *vats) beginRehearsal(ctx context.Context, id kernel.VatID, done func([]string, error)) {
	switch {
	case vs.stopping:
		done(nil, ErrStopping)
		return
	case ctx.Err() != nil: // the caller has left
		done(nil, ctx.Err())
		return
	}
	spec, found, err := vs.spec(id)
	if err != nil {
		done(nil, err)
		return
	}
	if !found {
		done(nil, &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no vat %s", id)})
		return
	}
	v := vs.vat(id)
	if v.crank != nil || v.replay != nil || v.paused { // soon it is not; the transcript must hold still
		vs.after(5*time.Millisecond, func() { vs.beginRehearsal(ctx, id, done) })
		return
	}
	var start wire.Start
	var past *kernel.Replay
	err = vs.isolated(func() (err error) {
		start, past, err = vs.machine.Rehearse(id)
		return err
	})
	switch {
	case err != nil:
		done(nil, fmt.Errorf("the memory of %s cannot be made again: %w", id, err))
		return
	case past == nil:
		done([]string{"the vat is at rest: all of its state is in its store, and there is nothing to replay"}, nil)
		return
	}
	spec.begin(start)
	v.paused = true
	r := &rehearsal{v: v, sub: spec.sub, past: past, done: done}
	r.worker = vs.cfg.Workers.Start(spec.Spec, vs.events)
	vs.rehearsals[r.worker] = r
	r.unwatch = context.AfterFunc(ctx, func() { vs.post(func() { vs.endRehearsal(r, "nobody waits for it any more") }) })
}

// rehearse handles an event of a rehearsing worker. An error of the vat's past ends the rehearsal.
func (vs *vats) rehearse(r *rehearsal, e workers.Event) {
	_, exited := e.(workers.Exited)
	if r.done == nil && !exited {
		return // it is over
	}
	if err := vs.isolated(func() error { return vs.rehearseStep(r, e) }); err != nil {
		vs.endRehearsal(r, "the memory cannot be made again: "+oneLine(err))
	}
	if exited {
		delete(vs.rehearsals, r.worker)
		vs.subs.tellGone(r.sub)
	}
}

func (vs *vats) rehearseStep(r *rehearsal, e workers.Event) error {
	switch e := e.(type) {
	case workers.Ready:
		return vs.rehearseNext(r)
	case workers.Read:
		later := func(step func() error) {
			vs.later(func() {
				if r.done == nil {
					return // it is over
				}
				if err := vs.isolated(step); err != nil {
					vs.endRehearsal(r, "the memory cannot be made again: "+oneLine(err))
				}
			})
		}
		return vs.readPast(r.past, e.Frame, r.worker.Reply, later)
	case workers.Done:
		for _, s := range e.Done.Syscalls {
			r.lines = append(r.lines, "  "+kernel.DescribeSyscall(s))
		}
		if err := r.past.Answer(e.Done, e.Frame); err != nil {
			vs.endRehearsal(r, "it diverges: "+err.Error())
			return nil
		}
		return vs.rehearseNext(r)
	case workers.Exited:
		vs.endRehearsal(r, fmt.Sprintf("the worker ended: %s: %s", e.Cause, e.Detail))
	}
	return nil
}

func (vs *vats) rehearseNext(r *rehearsal) error {
	d, more, err := r.past.Next()
	switch {
	case err != nil:
		return err
	case !more:
		vs.endRehearsal(r, fmt.Sprintf("all %d deliveries came out as recorded", r.past.Records()))
		return nil
	}
	r.lines = append(r.lines, fmt.Sprintf("delivery %d: %s", d.Number, kernel.DescribeDelivery(d.Delivery)))
	return r.worker.Deliver(d)
}

// endRehearsals ends the rehearsals of a vat whose past is about to change.
func (vs *vats) endRehearsals(v *vat, why string) {
	if !v.paused {
		return
	}
	for _, r := range vs.rehearsals { // there is one
		if r.v == v {
			vs.endRehearsal(r, why)
		}
	}
}

// endRehearsal answers and lets the vat go on. Its worker ends; later calls for the same one do nothing.
func (vs *vats) endRehearsal(r *rehearsal, last string) {
	if r.done == nil {
		return
	}
	r.done(append(r.lines, last), nil)
	r.done = nil
	r.unwatch()
	r.v.paused = false
	r.worker.Kill()
	vs.wake(r.v.id)
}

// isRehearsed reports whether the past of some vat of a subcluster is being rehearsed.
func (vs *vats) isRehearsed(sub kernel.SubID) bool {
	for _, r := range vs.rehearsals { // is there one? The order does not matter
		if r.sub == sub {
			return true
		}
	}
	return false
}
