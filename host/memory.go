package host

import (
	"fmt"
	"time"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/wire"
)

// remember gives a fresh worker the memory that its vat had, delivery by delivery, before it gets new ones.
func (k *Kernel) remember(v *vat) {
	r, err := k.machine.Replay(v.id)
	if err != nil {
		k.fail(err)
		return
	}
	v.replay, v.replayed = r, time.Now()
	if r == nil {
		v.up = true
		k.wake(v.id)
		return
	}
	k.log.Debug("replay begins", "vat", v.id, "deliveries", r.Records())
	k.replayNext(v)
}

func (k *Kernel) replayNext(v *vat) {
	for {
		d, ready, err := v.replay.Next()
		if err != nil {
			k.fail(err)
			return
		}
		if !ready {
			break
		}
		v.worker.Deliver(d)
	}
	if v.replay.Done() {
		k.log.Info("memory made again", "vat", v.id, "deliveries", v.replay.Records(), "took", time.Since(v.replayed))
		v.replay, v.up = nil, true
		k.wake(v.id)
	}
}

// replayed compares what came with what was recorded.
func (k *Kernel) replayed(v *vat, e supervisor.Done) {
	err := v.replay.Answer(e.Done, e.Frame)
	if err == nil {
		k.replayNext(v)
		return
	}
	k.log.Error("replay diverged, the vat starts from its durable state", "vat", v.id, "err", err)
	w := v.worker
	k.leaving[w] = v.sub
	v.worker, v.replay, v.up = nil, nil, false
	w.Kill()
	c, err := k.machine.Diverged(v.id, v.incarnation, err.Error())
	if err != nil {
		k.fail(err)
		return
	}
	k.apply(c)
}

// The kernel holds messages back from a vat whose transcript has grown by holdRecords, for holdTime or until
// the vat is at rest. Each vain attempt doubles the number of records until the next.
const (
	holdRecords = 1000
	holdTime    = 100 * time.Millisecond
)

// recorded notes how long a vat's transcript is now.
func (k *Kernel) recorded(v *vat, records uint64) {
	switch {
	case records == 0:
		v.holdEvery, v.holdAt = holdRecords, holdRecords
		if v.holding {
			v.holding = false
			k.wake(v.id)
		}
	case !v.holding && records >= v.holdAt:
		v.holding = true
		k.after(holdTime, func() {
			if k.vats[v.id] == v && v.holding {
				v.holding = false
				v.holdEvery *= 2
				v.holdAt += v.holdEvery
				k.log.Debug("vat does not come to rest", "vat", v.id, "records", records, "next", v.holdAt)
				k.wake(v.id)
			}
		})
	}
}

// readPast answers a worker that is given its past.
func readPast(r *kernel.Replay, f wire.UpFrame) (wire.Row, error) {
	switch f := f.(type) {
	case wire.Get:
		return r.Get(f.Key)
	case wire.Next:
		return r.After(f.Prefix, f.After)
	default:
		panic(fmt.Sprintf("host: a read by %T", f))
	}
}
