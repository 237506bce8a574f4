package host

import (
	"errors"
	"fmt"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// vat is the loop's entry of a vat, beyond the vat's durable state: its worker.
type vat struct {
	id          kernel.VatID
	sub         kernel.SubID
	worker      workers.Worker // nil: none
	incarnation uint64
	up          bool           // the worker said hello
	crank       *kernel.Crank  // in flight
	replay      *kernel.Replay // its memory is being made again
	replayed    time.Time      // when that began
	queued      bool           // listed in vats.ready
	used        time.Time      // when its last crank began
	passed      time.Time      // used, when makeRoom has found that it is not at rest
	// held is the reason why the vat is held back; empty if it is not. See forVat.
	held string
	// paused says that its past is being rehearsed, which its next crank would change.
	paused bool
	// holding says that new messages are held back, so that the vat may come to rest; holdEvery is after how
	// many records that is tried again, holdAt at which number.
	holding           bool
	holdEvery, holdAt uint64
	// startFailures counts starts that failed in a row, deaths the deaths since the last progress.
	startFailures, deaths int
	// startFailure is the reason why the last failed start failed.
	startFailure string
	// notBefore is when the next worker may be started.
	notBefore time.Time
	// dirty says that the vat may no longer hold references that it was given, idling that a timer waits for it to be idle.
	dirty, idling bool
}

// vats is the table of the vats with their workers. It begins the cranks of vats, makes their memory again, starts their
// workers, delays a start after a death, and holds back damaged vats.
type vats struct {
	*core
	subs   *subclusters
	names  *directory
	events chan workers.Event // of all workers

	table      map[kernel.VatID]*vat
	ready      []kernel.VatID // vats that may have an item for Begin, least recently served first
	live       int            // workers that are live or starting
	rehearsals map[workers.Worker]*rehearsal
	starts     *starts
	// earlierDeaths does not change after Open.
	earlierDeaths int
}

func newVats(c *core) *vats {
	return &vats{
		core: c, events: make(chan workers.Event, 256),
		table: map[kernel.VatID]*vat{}, rehearsals: map[workers.Worker]*rehearsal{},
	}
}

// vat returns the entry of a vat, and makes one if there is none.
func (vs *vats) vat(id kernel.VatID) *vat {
	v := vs.table[id]
	if v == nil {
		v = &vat{id: id, holdEvery: holdRecords, holdAt: holdRecords}
		vs.table[id] = v
	}
	return v
}

// recover brings a stored vat to life: the worker of the last kernel is gone.
func (vs *vats) recover(row kernel.Vat) {
	v := vs.vat(row.ID)
	if v.sub = row.Sub; v.held != "" {
		return // its recovery may kill the kernel; Machine.Restart recovers it
	}
	vs.forVat(v, "recover", func() error { return vs.recoverVat(row) })
}

func (vs *vats) recoverVat(v kernel.Vat) error {
	if v.Corrupt != nil {
		return v.Corrupt
	}
	if v.Live && !v.Terminated {
		c, err := vs.machine.Died(kernel.Death{Vat: v.ID, Incarnation: v.Incarnation, Cause: kernel.CauseKernel}, vs.nowMillis())
		if err != nil {
			return err
		}
		vs.apply(c)
	}
	if v.HasWork {
		vs.wake(v.ID)
	}
	return nil
}

// wake lists a vat for the pump, behind those that are waiting already.
func (vs *vats) wake(id kernel.VatID) {
	if v := vs.vat(id); !v.queued {
		v.queued = true
		vs.ready = append(vs.ready, id)
	}
}

// wakeAgain wakes a vat after a wait, unless it has gone meanwhile: wake would make another entry, which nothing would remove.
func (vs *vats) wakeAgain(v *vat) {
	if vs.table[v.id] == v {
		vs.wake(v.id)
	}
}

// canBegin reports whether the pump may make a step for a vat.
func (vs *vats) canBegin() bool { return len(vs.ready) > 0 && vs.lacks() == "" && !vs.cfg.Paused }

// pump makes at most one step for each listed vat, so that no vat starves another.
func (vs *vats) pump() {
	if !vs.canBegin() {
		return
	}
	list := vs.ready
	vs.ready = nil
	for _, id := range list {
		v := vs.table[id]
		if v == nil {
			continue // removed meanwhile
		}
		v.queued = false
		vs.forVat(v, "begin a crank", func() error { return vs.step(v) })
	}
}

// beginFirst makes a step for the vat that is listed first, and returns the vat if that began a crank. more is false if no vat is
// listed.
func (vs *vats) beginFirst() (begun kernel.VatID, more bool) {
	if !vs.canBegin() {
		return "", false
	}
	id := vs.ready[0]
	vs.ready = vs.ready[1:]
	v := vs.table[id]
	if v == nil {
		return "", true // removed meanwhile
	}
	v.queued = false
	vs.forVat(v, "begin a crank", func() error { return vs.step(v) })
	if v.crank == nil {
		return "", true
	}
	return id, true
}

// areQuiet reports whether each worker waits for a delivery: none starts, ends, or does a delivery.
func (vs *vats) areQuiet() bool {
	n := 0
	for _, v := range vs.table { // in any order
		if v.worker != nil {
			if !v.up || v.crank != nil {
				return false
			}
			n++
		}
	}
	return n == vs.live && len(vs.rehearsals) == 0 && len(vs.events) == 0
}

// step does the next thing that a vat has to do, if its worker is free for it.
func (vs *vats) step(v *vat) error {
	if v.crank != nil || v.paused {
		return nil // its end wakes the vat
	}
	if v.held != "" {
		return nil // a person says when it goes on
	}
	if vs.subs.someSuspended() && vs.subs.isSuspended(vs.subOf(v)) {
		return nil // so does the end of that
	}
	s, err := vs.machine.Begin(v.id, vs.nowMillis(), vs.seed(), v.holding)
	switch {
	case err != nil:
		return err
	case s.Commit != nil:
		vs.apply(*s.Commit)
		vs.wake(v.id)
	case s.NeedsWorker:
		return vs.start(v)
	case s.Crank != nil && v.worker == nil:
		return vs.start(v)
	case s.Crank != nil && v.up:
		v.crank = s.Crank
		v.used = time.Now()
		fault.Point(fault.CrankBegun)
		if err := v.worker.Deliver(s.Crank.Deliver); err != nil {
			return vs.unsendable(v, err)
		}
	}
	return nil
}

// subOf finds the subcluster of a vat.
func (vs *vats) subOf(v *vat) kernel.SubID {
	if v.sub == "" {
		row, found, err := vs.machine.Vat(v.id)
		if err == nil && found { // the step that needs the row finds one that cannot be read
			v.sub = row.Sub
		}
	}
	return v.sub
}

// event handles an event of a worker.
func (vs *vats) event(e workers.Event) {
	if r := vs.rehearsals[e.Source()]; r != nil {
		vs.rehearse(r, e)
		return
	}
	id, _ := kernel.ParseVatID(e.Source().Vat())
	v := vs.vat(id)
	current := v.worker == e.Source() // a worker that was given up may still send events
	switch e := e.(type) {
	case workers.Ready:
		if current {
			v.startFailures, v.startFailure = 0, ""
			vs.forVat(v, "make its memory again", func() error {
				c, err := vs.machine.Greeted(v.id, e.Version)
				if err != nil {
					return err
				}
				vs.apply(c)
				return vs.remember(v)
			})
		}
	case workers.Read:
		if current {
			vs.forVat(v, "read its store", func() error { return vs.read(v, e.Frame) })
		}
	case workers.Done:
		if current && v.replay != nil {
			vs.forVat(v, "make its memory again", func() error { return vs.replayed(v, e) })
		} else if current {
			vs.forVat(v, "finish a crank", func() error { return vs.finish(v, e) })
		}
	case workers.Exited:
		vs.forVat(v, "end its worker", func() error { return vs.exited(v, e) })
	}
}

// read answers a worker that reads its own store during a crank.
func (vs *vats) read(v *vat, f wire.UpFrame) error {
	if v.replay != nil {
		w, r := v.worker, v.replay
		later := func(step func() error) {
			vs.later(func() {
				if v.worker == w && v.replay == r { // else the replay is over
					vs.forVat(v, "make its memory again", func() error { return vs.replaying(v, step) })
				}
			})
		}
		return vs.replaying(v, func() error { return vs.readPast(r, f, w.Reply, later) })
	}
	var row wire.Row
	var err error
	switch f := f.(type) {
	case wire.Get:
		row, err = vs.machine.StoreGet(v.id, f.Key)
	case wire.Next:
		var ready bool
		var reached string
		if row, reached, ready, err = vs.machine.StoreStep(v.id, f.Prefix, f.After); !ready && err == nil {
			vs.readLater(v, wire.Next{Prefix: f.Prefix, After: reached})
			return nil
		}
	default:
		panic(fmt.Sprintf("host: a read by %T", f))
	}
	if err != nil {
		return err
	}
	if err := v.worker.Reply(row); err != nil {
		return vs.unsendable(v, err)
	}
	return nil
}

// readLater goes on with a read in a later step of the loop: the store has passed over many removed rows and not found the
// next one yet. Others are served in between.
func (vs *vats) readLater(v *vat, f wire.Next) {
	w, c := v.worker, v.crank
	vs.later(func() {
		if v.worker == w && v.crank == c { // else the crank is over
			vs.forVat(v, "read its store", func() error { return vs.read(v, f) })
		}
	})
}

// finish commits a crank, or finds that the vat is at fault.
func (vs *vats) finish(v *vat, e workers.Done) error {
	fault.Point(fault.CrankDone)
	c, err := vs.machine.Finish(v.crank, e.Done, e.Frame, vs.nowMillis())
	var fault *kernel.Fault
	if errors.As(err, &fault) {
		vs.log.Warn("crank aborted", "vat", v.id, "cause", fault.Cause.String(), "reason", fault.Reason)
		w := v.worker
		vs.subs.leaves(w, v.sub)
		w.Kill() // its memory holds the aborted crank
		return vs.over(v, fault.Cause, fault.Reason)
	}
	if err != nil {
		return err
	}
	v.crank, v.deaths = nil, 0
	vs.apply(c)
	return nil
}

// crank returns the crank of a vat that is in flight; nil if there is none.
func (vs *vats) crank(id kernel.VatID) *kernel.Crank {
	if v := vs.table[id]; v != nil {
		return v.crank
	}
	return nil
}

// worker returns a vat's worker, if the vat has one that takes deliveries; nil otherwise.
func (vs *vats) worker(id kernel.VatID) workers.Worker {
	if v := vs.table[id]; v != nil && v.up {
		return v.worker
	}
	return nil
}

// all returns a copy of each vat's entry.
func (vs *vats) all() map[kernel.VatID]vat {
	out := make(map[kernel.VatID]vat, len(vs.table))
	for id, v := range vs.table { // into another map: order does not matter
		out[id] = *v
	}
	return out
}

// describe adds the facts of the entry to the status of a vat, which has the stored ones.
func (v *vat) describe(st *VatStatus) {
	if st.Failed = v.startFailures > 0; st.Failed {
		st.Why = v.startFailure
	}
	if v.held != "" {
		st.Held, st.Why = true, v.held
	}
	st.Starting = !v.up && (v.worker != nil || st.HasWork)
	if v.worker != nil {
		st.Pid, st.worker = v.worker.Pid(), v.worker
	}
}

// forget drops the entries of the vats of a subcluster of which nothing is left.
func (vs *vats) forget(sub kernel.SubID) {
	for _, v := range vs.table { // removed in any order: nothing is said about it
		if v.sub == sub {
			delete(vs.table, v.id)
		}
	}
}
