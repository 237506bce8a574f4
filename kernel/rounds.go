package kernel

import (
	"fmt"
	"math"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/wire"
)

// A vat says which references it no longer holds when it is told to bring out its dead. It is told so at rest only: then
// the vat's store alone says what the vat holds, the answer is a function of the store and the delivery, and there is
// nothing to replay. A round is as many deliveries as it takes to name the objects that the vat is asked for, a page at a
// time. The first round of a vat's life names all objects in the vat's c-list, but for those in its memory. Each later
// round names the imports that the vat was given since: the number in their name is above the mark of the rounds so far. It
// also names the imports below the mark that the vat had dropped and was given again: each of these has a row again. from
// then on until a round names the import, or the vat drops it. An import that the vat was asked for and kept is in the vat's
// store, which knows when it lets go of the import.
//
// A round is due if there is something to find, see dirt, and enough deliveries were made since the last one, or the vat
// has become idle, or its worker is to make room for another. A vat whose reapInterval is 0 has no such rounds: for it, a
// round is due only if the operator orders one. Pages are delivered when the vat's queue is empty; to a vat that is never
// without messages, after looksEvery other deliveries at the latest. While the vat's answer to a page asks for another page,
// that is due, too.
//
// A round that is ordered where there is nothing to name is a bare delivery: the vat looks for what holds itself in a circle,
// though it may have made too little since it last looked to do so by itself.

// rounds is the state of a vat's rounds.
type rounds struct {
	// first says that the first round is over. cursor is how far a round that is not over has come: the first in the
	// vat's c-list, any other in the rows again.
	first  bool
	cursor string
	// mark is the highest number of an import that a round has named, or passed.
	mark uint64
	// again counts the rows again. of the vat.
	again uint64
	// drops counts the exports that the vat was told to drop since the last page, and the vat's own requests.
	drops uint64
	// at is the number of deliveries up to the last page.
	at uint64
	// due says that a page is to be delivered as soon as the vat is at rest.
	due bool
	// anew says that the first round is held anew, since a worker of version 1 has changed the vat's store: such a worker does
	// not note which references the store holds.
	anew bool
}

// manyDead is the dirt at which a round is due at once, and reapInterval the deliveries between rounds, unless the vat's
// configuration says otherwise, if there is any.
const manyDead, reapInterval = 100, limits.ReapInterval

// dirt counts the reasons to expect something from a round: imports that the vat was not asked for yet, or not since it was
// given them again, exports that it was told to drop, and its own requests.
func (u *run) dirt() uint64 {
	return u.names.importObjects - u.rounds.mark + u.rounds.again + u.rounds.drops
}

// mayFind reports whether there is something to expect from a round, and the vat has rounds that nobody has ordered.
func (u *run) mayFind() bool { return u.dirt() > 0 && !u.policy.noRounds }

// wantsRound reports whether a round that nobody has ordered may find something before the vat's interval is over. The
// worker of an old version is asked once in an interval: its answers do not make the dirt less.
func (u *run) wantsRound() bool { return u.mayFind() && !u.isOldWorker() }

// isAtRest reports whether the vat's store holds all of its state.
func (u *run) isAtRest() bool { return u.started && u.span.records == 0 && !u.span.lost }

// isRoundDue reports whether a page is to be delivered to a vat as its next delivery.
func (u *run) isRoundDue() bool {
	if !u.isAtRest() {
		return false
	}
	r, since := &u.rounds, u.deliveries-u.rounds.at
	due := r.due || u.mayFind() && since >= u.policy.interval()
	if u.queue.head != u.queue.tail {
		return due && since >= looksEvery
	}
	return due || u.wantsRound() && u.dirt() >= manyDead
}

// interval returns the number of deliveries after which a round is due.
func (p *policy) interval() uint64 {
	if p.reapInterval == 0 {
		return reapInterval
	}
	return p.reapInterval
}

// isOldWorker reports whether the vat's worker cannot be asked for references by name: it speaks version 1 of the protocol.
func (u *run) isOldWorker() bool { return u.version == 1 }

// round is a page in flight: the state of the rounds once it is delivered.
type round struct {
	wire.BringOutYourDead
	first, anew bool
	cursor      string
	mark        uint64
}

// page returns the next page of a vat's round. A worker that cannot be asked by name is asked in general, and the marks
// stay: the vat's next worker may know more.
func (t *tx) page(u *run) round {
	r := round{first: u.rounds.first, anew: u.rounds.anew, cursor: u.rounds.cursor, mark: u.rounds.mark}
	switch {
	case u.isOldWorker():
		r.Bare = true
	case r.first && r.cursor == "" && u.dirt() == 0: // the operator wants it all the same
		r.Bare = true
	case r.first:
		r.More = t.pageAfterMark(u, &r) || t.pageAgain(u, &r)
	default:
		if r.cursor == "" { // later imports are left to the next round
			r.mark = u.names.importObjects
			if r.anew { // the root has the vat begin anew
				r.Known = append(r.Known, wire.RootRef)
			}
		}
		r.More = t.pageOfAll(u, &r)
		r.first, r.anew = !r.More, r.anew && r.More
	}
	return r
}

// pageOfAll adds the durable exports and the imports of a vat that follow the cursor, in the order of keys. It returns
// whether there may be more.
func (t *tx) pageOfAll(u *run, r *round) (more bool) {
	own := prefixCList(u.id)
	for _, prefix := range []string{own + "o+d", own + "o-"} {
		for key, value := range t.scan(prefix, &r.cursor) {
			t.addKnown(u, r, wire.Ref(key[len(own):]), KRef(value))
			if len(r.Known) == wire.MaxKnown {
				return true
			}
		}
		if t.spent() {
			return true
		}
	}
	r.cursor = ""
	return false
}

// pageAfterMark adds the imports above the mark. It returns whether there are more.
func (t *tx) pageAfterMark(u *run, r *round) (more bool) {
	for r.mark < u.names.importObjects && len(r.Known) < wire.MaxKnown && !t.spent() {
		r.mark++
		ref := importRef(r.mark)
		if k, ok := t.kref(u.id, ref); ok {
			t.addKnown(u, r, ref, k)
		}
	}
	return r.mark < u.names.importObjects
}

// pageAgain adds the imports that have rows again., behind the cursor. It returns whether there may be more. A row that is
// written behind the cursor while the round goes on is left to the next round.
func (t *tx) pageAgain(u *run, r *round) (more bool) {
	if u.rounds.again == 0 {
		r.cursor = ""
		return false
	}
	if len(r.Known) == wire.MaxKnown {
		return true
	}
	prefix := prefixAgain(u.id)
	for key := range t.scan(prefix, &r.cursor) {
		ref := wire.Ref(key[len(prefix):])
		if k, ok := t.kref(u.id, ref); ok {
			t.addKnown(u, r, ref, k)
		}
		if len(r.Known) == wire.MaxKnown {
			return true
		}
	}
	if t.spent() {
		return true
	}
	r.cursor = ""
	return false
}

// addKnown adds a name to a page, unless it is that of an import which the vat has dropped.
func (t *tx) addKnown(u *run, r *round, ref wire.Ref, k KRef) {
	if _, reachable, _ := t.vref(u.id, k); reachable || isExport(ref) {
		r.Known = append(r.Known, ref)
	}
}

// rounded notes that a page was delivered. The vat's answer is applied after it.
func (t *tx) rounded(c *Crank, u *run) {
	r := &u.rounds
	r.first, r.anew, r.cursor, r.mark = c.round.first, c.round.anew, c.round.cursor, c.round.mark
	r.drops, r.due, r.at = 0, c.round.More, u.deliveries+1
	for _, ref := range c.round.Known {
		t.forgetAgain(u, ref)
	}
}

// mentionedAgain has the next round name an import again that the vat had dropped, and was given again. A round names an
// import above the mark anyway.
func (t *tx) mentionedAgain(v VatID, ref wire.Ref) {
	if n := numberIn(string(ref[len("o-"):])); n > t.lookRun(v).rounds.mark {
		return
	}
	t.set(keyAgain(v, ref), []byte{}) // there is none: the import was not reachable
	t.run(v).rounds.again++
}

// forgetAgain removes the row again. of an import, if there is one: the vat was asked for the import, or has dropped it.
func (t *tx) forgetAgain(u *run, ref wire.Ref) {
	if key := keyAgain(u.id, ref); u.rounds.again > 0 && t.has(key) {
		t.delete(key)
		u.rounds.again--
	}
}

// Collect asks a vat for its dead as soon as it is at rest. Without always it does so only if there is something to
// expect, and if the vat's configuration allows rounds that nobody has ordered. Number is 0 if that changes nothing: the vat
// will not be asked, or it was to be asked before, which [Vat].Asked tells.
func (m *Machine) Collect(v VatID, always bool) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.lookRun(v)
	if u == nil || u.phase == dead {
		return Commit{}, refuse(errcode.NotFound, "there is no vat %s", v)
	}
	if u.rounds.due || !always && !u.wantsRound() {
		return Commit{}, nil
	}
	t.run(v).rounds.due = true
	t.wakeMore(v)
	return m.done(t), nil
}

// Greeted notes which version of the protocol the vat's worker speaks. Number is 0 if that is no news. A vat that was asked
// for references by name before a worker of version 1 ran it is asked for all of them once more.
func (m *Machine) Greeted(v VatID, version int) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.lookRun(v)
	stored := uint64(version)
	if version >= wire.Version {
		stored = 0
	}
	if u == nil || u.phase == dead || u.version == stored {
		return Commit{}, nil
	}
	w := t.run(v)
	if r := &w.rounds; w.isOldWorker() && stored == 0 && (r.first || r.cursor != "") {
		r.first, r.cursor, r.anew = false, "", true
		r.drops++
	}
	w.version = stored
	return m.done(t), nil
}

// notQueued is the position of deliveries that are in no queue.
const notQueued = math.MaxUint64

// beginRound returns the step for the next page.
func (m *Machine) beginRound(t *tx, u *run, seed uint64) Step {
	c := &Crank{Vat: u.id, Incarnation: u.memory.inc, item: item{kind: itemRound, at: notQueued}, round: t.page(u)}
	c.Deliver = t.numbered(u, c.item, seed)
	c.Deliver.Delivery = c.round.BringOutYourDead
	c.What = fmt.Sprintf("bring out your dead, asked for %d", len(c.round.Known))
	return t.unqueued(u, c)
}
