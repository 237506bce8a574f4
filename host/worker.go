package host

import (
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// The waits before a worker is started again: none after the first death, then growing.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 15 * time.Second
)

// wait is the wait after n failures in a row, n > 0.
func wait(n int) time.Duration { return min(firstWait<<min(n-1, 10), lastWait) }

// start starts a worker for a vat that has something to do.
func (vs *vats) start(v *vat) error {
	if vs.now().Before(v.notBefore) {
		return nil // the timer that was set then wakes the vat
	}
	spec, found, err := vs.spec(v.id)
	if err != nil || !found {
		return err
	}
	if vs.starts.isCareful() && spec.Start.Replays > 0 && vs.remembering() {
		vs.after(carefulWait, func() { vs.wakeAgain(v) }) // one at a time, so that a death tells of which
		return nil
	}
	fault.Point(fault.WorkerBeforeStart)
	start, c, err := vs.machine.StartWorker(v.id)
	if err != nil {
		return err
	}
	vs.apply(c)
	vs.makeRoom()
	spec.begin(start)
	v.sub, v.incarnation, v.up = spec.sub, start.Incarnation, false
	vs.live++
	v.worker = vs.cfg.Workers.Start(spec.Spec, vs.events)
	fault.Point(fault.WorkerStarted)
	return nil
}

// carefulWait is how long a vat waits before the next check whether the memory of another one was made.
const carefulWait = 20 * time.Millisecond

// workerSpec is the specification of a vat's worker, with the vat's subcluster.
type workerSpec struct {
	workers.Spec
	sub kernel.SubID
}

// begin completes the first frame with the machine's part of it.
func (s *workerSpec) begin(start wire.Start) {
	start.Module, start.Parameters, start.Replays = s.Start.Module, s.Start.Parameters, s.Start.Replays
	start.MaxFrameBytes, start.MaxSyscalls = s.Start.MaxFrameBytes, s.Start.MaxSyscalls
	s.Start = start
}

// spec reads how a vat's worker is started; found is false if there is no such vat.
func (vs *vats) spec(id kernel.VatID) (s workerSpec, found bool, err error) {
	row, found, err := vs.machine.Vat(id)
	if err != nil || !found {
		return workerSpec{}, false, err
	}
	cfg, err := cluster.UnmarshalStored(row.Config)
	if err != nil {
		return workerSpec{}, false, fmt.Errorf("configuration of %s: %w", id, err)
	}
	return workerSpec{workers.Spec{
		Program: cfg.Worker, SHA256: cfg.SHA256, DeliveryTime: cfg.Limits.Delivery, Sandbox: string(cfg.Sandbox),
		Start: wire.Start{
			Module: cfg.Module, Parameters: string(cfg.Parameters), Replays: row.Records,
			MaxFrameBytes: cfg.Limits.FrameBytes, MaxSyscalls: cfg.Limits.Syscalls,
		},
	}, row.Sub}, true, nil
}

// makeRoom stops the least recently used idle worker, if there are too many, and nothing of its vat lives
// in its memory; two, if there are more than MaxWorkers. That is a target: a vat that has work starts in any case.
func (vs *vats) makeRoom() {
	if vs.live < vs.cfg.MaxWorkers {
		return
	}
	stops := 1 + min(1, vs.live-vs.cfg.MaxWorkers)
	var idle []*vat
	for _, v := range vs.table {
		if v.up && v.crank == nil && !v.queued && v.passed != v.used {
			idle = append(idle, v)
		}
	}
	slices.SortFunc(idle, func(a, b *vat) int { return a.used.Compare(b.used) })
	for _, v := range idle[:min(len(idle), 8)] { // beyond, it is cheaper to have one worker more
		row, _, err := vs.machine.Vat(v.id)
		if err != nil {
			vs.hold(v, err)
			return
		}
		if row.Records > 0 || row.Lost { // not at rest: its memory would have to be made again. That lasts until its next crank
			v.passed = v.used
			continue
		}
		if v.dirty && (row.Asked || vs.collect(v)) {
			continue // it is stopped for the next one
		}
		vs.log.Debug("idle worker stopped", "vat", v.id)
		w := v.worker
		vs.subs.leaves(w, v.sub)
		vs.forVat(v, "page its worker out", func() error { return vs.over(v, kernel.CauseStopped, "paged out") })
		w.Stop()
		if stops--; stops == 0 {
			return
		}
	}
}

// exited handles the end of a worker.
func (vs *vats) exited(v *vat, e workers.Exited) error {
	vs.live--
	fault.Point(fault.WorkerExited)
	if v.worker != e.Worker {
		vs.subs.left(e.Worker)
		return nil
	}
	cause := map[workers.Cause]kernel.Cause{
		workers.CauseStart: kernel.CauseStart, workers.CauseCrash: kernel.CauseCrash,
		workers.CauseKilled: kernel.CauseKilled, workers.CauseDeadline: kernel.CauseDeadline,
		workers.CauseMalformed: kernel.CauseMalformed, workers.CauseLimit: kernel.CauseLimit,
		workers.CauseStopped: kernel.CauseStopped,
	}[e.Cause]
	vs.log.Info("worker ended", "vat", v.id, "pid", e.Pid, "cause", e.Cause.String(), "detail", e.Detail)
	return vs.over(v, cause, e.Detail)
}

// startKills is how many starts in a row a signal from outside may end before they count as failed. The sender of such a
// series of signals is most likely the system, from which the program asks too much memory.
const startKills = 3

// over tells the machine that the life of the vat's worker is over, and decides when the next worker may start. While the
// kernel stops, no vat is charged: the sender of the kernel's signal may send it to the workers, too, and a death that
// repeats at the next start is charged then.
func (vs *vats) over(v *vat, cause kernel.Cause, detail string) error {
	if vs.stops() {
		cause = kernel.CauseStopped
	}
	starting := !v.up && v.replay == nil // it had not said hello
	if starting && cause == kernel.CauseKilled && v.startFailures+1 >= startKills {
		cause = kernel.CauseStart
	}
	vs.endRehearsals(v, "the vat's worker ended meanwhile")
	death := kernel.Death{
		Vat: v.id, Incarnation: v.incarnation, Cause: cause, Detail: detail, Crank: v.crank, Replaying: v.replay != nil,
	}
	vs.loseWorker(v)
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
		until := vs.now().Add(delay)
		v.notBefore = until
		vs.workAfter(delay, func() {
			if v.notBefore.Equal(until) { // else another death has begun another wait
				v.notBefore = time.Time{}
			}
			vs.wakeAgain(v)
		})
	}
	c, err := vs.machine.Died(death, vs.nowMillis())
	if err != nil {
		return err
	}
	vs.apply(c)
	if slices.ContainsFunc(c.Trace, func(e kernel.Event) bool { _, ok := e.(kernel.Poisoned); return ok }) {
		v.deaths, v.notBefore = 0, time.Time{} // giving a delivery up is progress: the next one does not wait for it
	}
	return nil
}

// loseWorker forgets a vat's worker, with its crank or replay.
func (vs *vats) loseWorker(v *vat) {
	v.worker, v.crank, v.replay, v.up = nil, nil, nil, false
	vs.starts.shut(v.id)
}

// detach separates a vat from its worker, whose later events are ignored. The process ends when the commit that caused this
// is durable.
func (vs *vats) detach(id kernel.VatID) {
	v := vs.vat(id)
	vs.endRehearsals(v, "the vat was stopped meanwhile")
	if v.sub == "" { // no worker of it was started in this run; the entry has to go with its subcluster all the same
		if row, found, err := vs.machine.Vat(id); found && err == nil {
			v.sub = row.Sub
		}
	}
	w := v.worker
	if w == nil {
		return
	}
	vs.loseWorker(v)
	vs.subs.leaves(w, v.sub)
	fault.Point(fault.WorkerDetached)
	vs.whenDurable(w.Kill)
}
