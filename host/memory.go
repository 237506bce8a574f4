package host

import (
	"fmt"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// remember gives a fresh worker the memory that its vat had, delivery by delivery, before it gets new ones.
func (vs *vats) remember(v *vat) error {
	vs.starts.open(v.id)
	var r *kernel.Replay
	err := vs.isolated(func() (err error) {
		r, err = vs.machine.Replay(v.id)
		return err
	})
	if err != nil {
		return vs.giveUpMemory(v, err)
	}
	v.replay, v.replayed = r, time.Now()
	if r == nil {
		vs.starts.shut(v.id)
		v.up = true
		vs.wake(v.id)
		return nil
	}
	fault.Point(fault.ReplayBegins)
	vs.log.Debug("replay begins", "vat", v.id, "deliveries", r.Records())
	return vs.replaying(v, func() error { return vs.replayNext(v) })
}

// replaying runs a step of a replay. Any failure of the step (a record that cannot be read, a frame that cannot be encoded,
// a mistake of ours) costs the vat its memory and nothing else.
func (vs *vats) replaying(v *vat, step func() error) error {
	if err := vs.isolated(step); err != nil {
		return vs.giveUpMemory(v, err)
	}
	return nil
}

func (vs *vats) replayNext(v *vat) error {
	for {
		d, ready, err := v.replay.Next()
		if err != nil {
			return err
		}
		if !ready {
			break
		}
		if err := v.worker.Deliver(d); err != nil {
			return err
		}
	}
	if v.replay.Done() {
		vs.log.Info("memory made again", "vat", v.id, "deliveries", v.replay.Records(), "took", time.Since(v.replayed))
		fault.Point(fault.ReplayDone)
		v.replay, v.up = nil, true
		vs.starts.cleared(v.id)
		vs.wake(v.id)
	}
	return nil
}

// replayed compares a worker's answer with the recorded one.
func (vs *vats) replayed(v *vat, e workers.Done) error {
	fault.Point(fault.BetweenReplayed)
	return vs.replaying(v, func() error {
		if err := v.replay.Answer(e.Done, e.Frame); err != nil {
			return err
		}
		return vs.replayNext(v)
	})
}

// The kernel holds messages back from a vat whose transcript has grown by holdRecords, for holdTime or until
// the vat is at rest. Each vain attempt doubles the number of records until the next.
const (
	holdRecords = 1000
	holdTime    = 100 * time.Millisecond
)

// recorded notes how long a vat's transcript is now.
func (vs *vats) recorded(v *vat, records uint64) {
	switch {
	case records == 0:
		v.holdEvery, v.holdAt = holdRecords, holdRecords
		if v.holding {
			v.holding = false
			vs.wake(v.id)
		}
	case !v.holding && records >= v.holdAt:
		v.holding = true
		vs.workAfter(holdTime, func() {
			if vs.table[v.id] == v && v.holding {
				v.holding = false
				v.holdEvery *= 2
				v.holdAt += v.holdEvery
				vs.log.Debug("vat does not come to rest", "vat", v.id, "records", records, "next", v.holdAt)
				vs.wake(v.id)
			}
		})
	}
}

// readPast answers a worker that is given its past, and calls answer with the row, maybe later: a question that takes
// the reading of many rows is answered in steps of the loop, between which others are served. later takes such a step.
func (vs *vats) readPast(r *kernel.Replay, f wire.UpFrame, answer func(wire.Row) error, later func(func() error)) error {
	switch f := f.(type) {
	case wire.Get:
		row, err := r.Get(f.Key)
		if err != nil {
			return err
		}
		return answer(row)
	case wire.Next:
		row, ready, err := r.After(f.Prefix, f.After)
		switch {
		case err != nil:
			return err
		case !ready:
			later(func() error { return vs.readPast(r, f, answer, later) })
			return nil
		}
		return answer(row)
	default:
		panic(fmt.Sprintf("host: a read by %T", f))
	}
}
