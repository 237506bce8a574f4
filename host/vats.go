package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// vat is what the loop knows of a vat beyond its durable state: its worker.
type vat struct {
	id          kernel.VatID
	sub         kernel.SubID
	worker      workers.Worker // nil: none
	incarnation uint64
	up          bool           // the worker said hello
	crank       *kernel.Crank  // in flight
	replay      *kernel.Replay // its memory is being made again
	replayed    time.Time      // when that began
	queued      bool           // listed in Shell.ready
	used        time.Time      // when it last had something to do
	// held tells why the vat is held back; empty if it is not. See forVat.
	held string
	// paused says that its past is being rehearsed, which its next crank would change.
	paused bool
	// holding says that new messages are held back, so that the vat may come to rest; holdEvery is after how
	// many records that is tried again, holdAt at which number.
	holding           bool
	holdEvery, holdAt uint64
	// startFailures counts starts that failed in a row, deaths the deaths since the last progress.
	startFailures, deaths int
	// startFailure says what went wrong at the last start that failed.
	startFailure string
	// notBefore is when the next worker may be started.
	notBefore time.Time
}

// The waits before a worker is started again: none after the first death, then growing.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 15 * time.Second
)

// wait is the wait after n failures in a row, n > 0.
func wait(n int) time.Duration { return min(firstWait<<min(n-1, 10), lastWait) }

func (k *Shell) vat(id kernel.VatID) *vat {
	v := k.vats[id]
	if v == nil {
		v = &vat{id: id, holdEvery: holdRecords, holdAt: holdRecords}
		k.vats[id] = v
	}
	return v
}

// wake lists a vat for the pump, behind those that are waiting already.
func (k *Shell) wake(id kernel.VatID) {
	if v := k.vat(id); !v.queued {
		v.queued = true
		k.ready = append(k.ready, id)
	}
}

// pump begins what can be begun: for each listed vat at most one step, so that no vat starves another,
// and one slice of the machine's own work.
func (k *Shell) pump() {
	if k.canWork() {
		k.doWork()
	}
	if k.lacks() != "" || k.cfg.Paused {
		return
	}
	list := k.ready
	k.ready = nil
	for _, id := range list {
		v := k.vats[id]
		if v == nil {
			continue // removed meanwhile
		}
		v.queued = false
		k.forVat(v, "begin a crank", func() error { return k.step(v) })
	}
}

// step does the next thing that a vat has to do, if its worker is free for it.
func (k *Shell) step(v *vat) error {
	if v.crank != nil || v.paused {
		return nil // its end wakes the vat
	}
	if v.held != "" {
		return nil // a person says when it goes on
	}
	if len(k.suspended) > 0 && k.suspended[k.subOf(v)] {
		return nil // so does the end of that
	}
	s, err := k.machine.Begin(v.id, nowMillis(), rand.Uint64(), v.holding)
	switch {
	case err != nil:
		return err
	case s.Commit != nil:
		k.apply(*s.Commit)
		k.wake(v.id)
	case s.NeedsWorker:
		return k.start(v)
	case s.Crank != nil && v.worker == nil:
		return k.start(v)
	case s.Crank != nil && v.up:
		v.crank = s.Crank
		v.used = time.Now()
		if err := v.worker.Deliver(s.Crank.Deliver); err != nil {
			return k.unsendable(v, err)
		}
	}
	return nil
}

// subOf finds the subcluster of a vat.
func (k *Shell) subOf(v *vat) kernel.SubID {
	if v.sub == "" {
		row, found, err := k.machine.Vat(v.id)
		if err == nil && found { // a row that cannot be read is found by what needs it
			v.sub = row.Sub
		}
	}
	return v.sub
}

// start starts a worker for a vat that has something to do.
func (k *Shell) start(v *vat) error {
	if now := time.Now(); now.Before(v.notBefore) {
		return nil // the timer that was set then wakes the vat
	}
	spec, found, err := k.spec(v.id)
	if err != nil || !found {
		return err
	}
	if k.starts.isCareful() && spec.Start.Replays > 0 && k.remembering() {
		k.after(carefulWait, func() { k.wake(v.id) }) // one at a time, so that a death tells of which
		return nil
	}
	start, c, err := k.machine.StartWorker(v.id)
	if err != nil {
		return err
	}
	k.apply(c)
	k.makeRoom()
	spec.begin(start)
	v.sub, v.incarnation, v.up = spec.sub, start.Incarnation, false
	k.live++
	v.worker = k.cfg.Workers.Start(spec.Spec, k.events)
	return nil
}

// carefulWait is how long a vat waits before it is looked whether the memory of another one was made.
const carefulWait = 20 * time.Millisecond

// workerSpec is how a vat's worker is started.
type workerSpec struct {
	workers.Spec
	sub kernel.SubID
}

// begin completes the first frame with what the machine knows.
func (s *workerSpec) begin(start wire.Start) {
	start.Module, start.Parameters, start.Replays = s.Start.Module, s.Start.Parameters, s.Start.Replays
	start.MaxFrameBytes, start.MaxSyscalls = s.Start.MaxFrameBytes, s.Start.MaxSyscalls
	s.Start = start
}

// spec reads how a vat's worker is started; found is false if there is no such vat.
func (k *Shell) spec(id kernel.VatID) (s workerSpec, found bool, err error) {
	row, found, err := k.machine.Vat(id)
	if err != nil || !found {
		return workerSpec{}, false, err
	}
	cfg, err := cluster.UnmarshalStored(row.Config)
	if err != nil {
		return workerSpec{}, false, fmt.Errorf("configuration of %s: %w", id, err)
	}
	return workerSpec{workers.Spec{
		Program: cfg.Worker, SHA256: cfg.SHA256, DeliveryTime: cfg.Limits.Delivery,
		Start: wire.Start{
			Module: cfg.Module, Parameters: string(cfg.Parameters), Replays: row.Records,
			MaxFrameBytes: cfg.Limits.FrameBytes, MaxSyscalls: cfg.Limits.Syscalls,
		},
	}, row.Sub}, true, nil
}

// makeRoom stops the least recently used idle worker, if there are too many, and nothing of its vat lives
// in its memory. MaxWorkers is a target: a vat that has work starts in any case.
func (k *Shell) makeRoom() {
	if k.live < k.cfg.MaxWorkers {
		return
	}
	var idle []*vat
	for _, v := range k.vats {
		if v.up && v.crank == nil && !v.queued {
			idle = append(idle, v)
		}
	}
	slices.SortFunc(idle, func(a, b *vat) int { return a.used.Compare(b.used) })
	for _, v := range idle[:min(len(idle), 8)] { // beyond, it is cheaper to have one worker more
		row, _, err := k.machine.Vat(v.id)
		if err != nil {
			k.hold(v, err)
			return
		}
		if row.Records == 0 && !row.Lost { // quiescent: nothing is to be made again
			k.log.Debug("idle worker stopped", "vat", v.id)
			w := v.worker
			k.leaving[w] = v.sub
			k.forVat(v, "page its worker out", func() error { return k.over(v, kernel.CauseStopped, "paged out") })
			w.Stop()
			return
		}
	}
}

// event handles what a worker said or what became of it.
func (k *Shell) event(e workers.Event) {
	if r := k.rehearsals[e.Source()]; r != nil {
		k.rehearse(r, e)
		return
	}
	id, _ := kernel.ParseVatID(e.Source().Vat())
	v := k.vat(id)
	current := v.worker == e.Source() // a worker that was given up has something to say still
	switch e := e.(type) {
	case workers.Ready:
		if current {
			v.startFailures, v.startFailure = 0, ""
			k.forVat(v, "make its memory again", func() error { return k.remember(v) })
		}
	case workers.Read:
		if current {
			k.forVat(v, "read its store", func() error { return k.read(v, e.Frame) })
		}
	case workers.Done:
		if current && v.replay != nil {
			k.forVat(v, "make its memory again", func() error { return k.replayed(v, e) })
		} else if current {
			k.forVat(v, "finish a crank", func() error { return k.finish(v, e) })
		}
	case workers.Exited:
		k.forVat(v, "end its worker", func() error { return k.exited(v, e) })
	}
}

// read answers a worker that reads its own store during a crank.
func (k *Shell) read(v *vat, f wire.UpFrame) error {
	if v.replay != nil {
		w, r := v.worker, v.replay
		later := func(step func() error) {
			k.services.later(func() {
				if v.worker == w && v.replay == r { // else nobody waits for the answer
					k.forVat(v, "make its memory again", func() error { return k.replaying(v, step) })
				}
			})
		}
		return k.replaying(v, func() error { return k.readPast(r, f, w.Reply, later) })
	}
	var row wire.Row
	var err error
	switch f := f.(type) {
	case wire.Get:
		row, err = k.machine.StoreGet(v.id, f.Key)
	case wire.Next:
		var ready bool
		var reached string
		if row, reached, ready, err = k.machine.StoreStep(v.id, f.Prefix, f.After); !ready && err == nil {
			k.readLater(v, wire.Next{Prefix: f.Prefix, After: reached})
			return nil
		}
	default:
		panic(fmt.Sprintf("host: a read by %T", f))
	}
	if err != nil {
		return err
	}
	if err := v.worker.Reply(row); err != nil {
		return k.unsendable(v, err)
	}
	return nil
}

// readLater goes on with a read in a later step of the loop: the store has passed over many removed rows and not found the
// next one yet. Others are served in between.
func (k *Shell) readLater(v *vat, f wire.Next) {
	w, c := v.worker, v.crank
	k.services.later(func() {
		if v.worker == w && v.crank == c { // else nobody waits for the answer
			k.forVat(v, "read its store", func() error { return k.read(v, f) })
		}
	})
}

// finish commits a crank, or finds that the vat is at fault.
func (k *Shell) finish(v *vat, e workers.Done) error {
	c, err := k.machine.Finish(v.crank, e.Done, e.Frame, nowMillis())
	var fault *kernel.Fault
	if errors.As(err, &fault) {
		k.log.Warn("crank aborted", "vat", v.id, "cause", fault.Cause.String(), "reason", fault.Reason)
		w := v.worker
		k.leaving[w] = v.sub
		w.Kill() // its memory holds what did not happen
		return k.over(v, fault.Cause, fault.Reason)
	}
	if err != nil {
		return err
	}
	v.crank, v.deaths = nil, 0
	k.apply(c)
	return nil
}

// exited handles the end of a worker.
func (k *Shell) exited(v *vat, e workers.Exited) error {
	k.live--
	if v.worker != e.Worker {
		if sub, ok := k.leaving[e.Worker]; ok {
			delete(k.leaving, e.Worker)
			k.tellGone(sub)
		}
		return nil
	}
	cause := map[workers.Cause]kernel.Cause{
		workers.CauseStart: kernel.CauseStart, workers.CauseCrash: kernel.CauseCrash,
		workers.CauseKilled: kernel.CauseKilled, workers.CauseDeadline: kernel.CauseDeadline,
		workers.CauseMalformed: kernel.CauseMalformed, workers.CauseLimit: kernel.CauseLimit,
		workers.CauseStopped: kernel.CauseStopped,
	}[e.Cause]
	k.log.Info("worker ended", "vat", v.id, "pid", e.Pid, "cause", e.Cause.String(), "detail", e.Detail)
	return k.over(v, cause, e.Detail)
}

// startKills is how many starts in a row a signal from outside may end before they count as failed: who sends it again
// and again is most likely the system, which the program asks for too much.
const startKills = 3

// over tells the machine that the vat's incarnation is over, and decides when the next may start. While the kernel stops,
// nobody is charged: who stops it may send the same signal to its workers, and what is repeated at the next start is
// charged then.
func (k *Shell) over(v *vat, cause kernel.Cause, detail string) error {
	if k.stops() {
		cause = kernel.CauseStopped
	}
	starting := !v.up && v.replay == nil // it had not said hello
	if starting && cause == kernel.CauseKilled && v.startFailures+1 >= startKills {
		cause = kernel.CauseStart
	}
	k.endRehearsals(v, "the vat's worker ended meanwhile")
	death := kernel.Death{
		Vat: v.id, Incarnation: v.incarnation, Cause: cause, Detail: detail, Crank: v.crank, Replaying: v.replay != nil,
	}
	k.loseWorker(v)
	delay := time.Duration(0)
	switch {
	case cause == kernel.CauseStopped:
	case cause == kernel.CauseStart, starting && cause == kernel.CauseKilled:
		v.startFailures++
		v.startFailure = detail
		delay = wait(v.startFailures)
	default:
		if v.deaths > 0 {
			delay = wait(v.deaths)
		}
		v.deaths++
	}
	if delay > 0 {
		v.notBefore = time.Now().Add(delay)
		k.after(delay, func() { k.wake(v.id) })
	}
	c, err := k.machine.Died(death, nowMillis())
	if err != nil {
		return err
	}
	k.apply(c)
	if slices.ContainsFunc(c.Trace, func(e kernel.Event) bool { _, ok := e.(kernel.Poisoned); return ok }) {
		v.deaths, v.notBefore = 0, time.Time{} // giving a delivery up is progress: the next one does not wait for it
	}
	return nil
}

// loseWorker forgets a vat's worker, and what that was doing.
func (k *Shell) loseWorker(v *vat) {
	v.worker, v.crank, v.replay, v.up = nil, nil, nil, false
	k.starts.shut(v.id)
}

// detach gives a vat's worker up: what it says is not heard any more. The process ends when the reason is
// durable.
func (k *Shell) detach(id kernel.VatID) {
	v := k.vat(id)
	k.endRehearsals(v, "the vat was stopped meanwhile")
	if v.sub == "" { // no worker of it was started in this run; the entry has to go with its subcluster all the same
		if row, found, err := k.machine.Vat(id); found && err == nil {
			v.sub = row.Sub
		}
	}
	w := v.worker
	if w == nil {
		return
	}
	k.loseWorker(v)
	k.leaving[w] = v.sub
	k.whenDurable(w.Kill)
}
