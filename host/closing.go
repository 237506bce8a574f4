package host

import (
	"context"
	"errors"
	"time"
)

// close ends the kernel in order, or after a failure as well as it goes.
func (k *Shell) close() error {
	k.stopping = true
	k.pipeline.Hurry(true)
	if k.fatal == nil {
		k.finishFlights()
	}
	if k.cfg.Owned != nil && !k.lost && k.cfg.Owned() != nil {
		k.watchOwned() // which notices it
	}
	if !k.lost {
		k.closeServices()
	}
	if k.fatal == nil {
		k.flushAll()
	}
	if k.lost {
		// The store, which would write what is in memory, is left to the end of the process.
		k.cfg.Workers.Abandon()
		k.pipeline.Stop()
		k.starts.leave() // it is not our state's any more
		return k.fatal
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := errors.Join(k.fatal, k.cfg.Workers.Close(ctx))
	k.pipeline.Stop()
	k.starts.end(k.fatal)
	if k.cfg.Witness != nil {
		if err := k.cfg.Witness.Close(); err != nil {
			k.log.Error("the witness is behind", "err", err) // which is allowed: all is committed
		}
	}
	return errors.Join(err, k.cfg.Store.Close())
}

// flightTime is how long a stop in order waits for what is under way.
const flightTime = time.Second

// finishFlights gives cranks in flight a moment to end, and calls of services that must not be done twice, so that
// a clean stop repeats nothing and leaves nothing in doubt.
func (k *Shell) finishFlights() {
	k.finishing = true
	defer func() { k.finishing = false }()
	deadline := time.After(flightTime)
	k.takeReplies()
	k.takeIntake()
	for k.fatal == nil && k.inFlight()+k.onlyOnce()+k.pipeline.Held() > 0 {
		k.flush()
		select {
		case f := <-k.inbox: // who asks now hears at once that the kernel is stopping
			k.guard(f)
		case <-k.services.replied:
			k.takeReplies()
		case e := <-k.events:
			k.guard(func() { k.event(e) })
		case err := <-k.pipeline.Answers():
			k.guard(func() { k.committed(err) })
		case <-k.pipeline.Looks():
			k.guard(k.look)
		case <-deadline:
			return
		}
	}
}

func (k *Shell) inFlight() (n int) {
	for _, v := range k.vats {
		if v.crank != nil {
			n++
		}
	}
	return n
}

// watchOwned ends the kernel when its state is not its own any more. Whatever it would still do there it would do to
// files of somebody else, another kernel most likely.
func (k *Shell) watchOwned() {
	if k.cfg.Owned == nil {
		return
	}
	if err := k.cfg.Owned(); err != nil {
		k.log.Error("the state is not this kernel's any more: it ends at once", "err", err)
		k.lost = true
		k.fail(err)
		return
	}
	k.after(time.Second, k.watchOwned)
}
