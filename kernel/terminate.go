package kernel

import (
	"errors"
	"fmt"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// Terminate removes a subcluster with all that its vats own. The promises that its vats decide read as rejected at
// once. The rows go in slices; the effect Gone says that none is left.
func (m *Machine) Terminate(s SubID) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	sub := t.sub(s)
	if sub == nil && t.salvaging {
		sub = t.guessSub(s)
	}
	if sub == nil {
		return Commit{}, refuse(errcode.NotFound, "there is no subcluster %s", s)
	}
	if sub.state == SubLaunching {
		t.failLaunch(s, "the subcluster was terminated")
		return m.done(t), nil
	}
	switch {
	case sub.guessed:
		sub.state = SubRunning // its state is not known: it is removed like one that runs
	case sub.state.Leaving():
		t.freeNames(sub) // a damaged name may lead to it all the same
	case t.salvaging && sub.state == SubRunning:
		t.completeMembers(sub)
	case len(sub.members) == 0 && sub.state == SubRunning:
		t.codec.corruptAt(keySub(s), errors.New("it lists no vats"))
	}
	t.terminate(sub, "its subcluster was terminated")
	if len(sub.members) == 0 {
		t.endSub(sub)
	}
	return m.done(t), nil
}

func (t *tx) terminate(sub *subcluster, why string) {
	if sub.state != SubRunning {
		return // its vats are dead, and some of them removed
	}
	sub.state = SubTerminating
	t.setSub(sub)
	t.leave(sub)
	t.killMembers(sub, why)
}

// TerminateVat ends one vat, whose subcluster goes on without it.
func (m *Machine) TerminateVat(v VatID) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.lookRun(v)
	if _, there := t.get(keyVat(v)); there && u == nil && !t.salvaging {
		t.lacks(keyRun(v))
	} else if !there && u == nil || u != nil && u.phase == dead && !t.runs.isGuess(v) {
		return Commit{}, refuse(errcode.NotFound, "there is no vat %s", v)
	}
	t.kill(v, "a person said so")
	return m.done(t), nil
}

// killMembers kills the vats of a subcluster whose state the caller has set, the last one first.
func (t *tx) killMembers(sub *subcluster, why string) {
	for i := len(sub.members) - 1; i >= 0; i-- {
		v := sub.members[i].vat
		if t.killMember(v, why) && t.vat(v).sub != sub.id {
			t.codec.corruptAt(keyVat(v), fmt.Errorf("it is not in %s, of which it is a member", sub.id))
		}
	}
}

// kill makes a vat dead from this instant, and leaves the removal of its rows to the kernel's own work. A launch with
// that vat fails.
func (t *tx) kill(v VatID, why string) {
	if !t.killMember(v, why) {
		return
	}
	if sub := t.vat(v).sub; t.launching(sub) {
		t.failLaunch(sub, fmt.Sprintf("vat %s (%s) ended: %s", v, t.vat(v).name, why))
	}
}

// killMember is kill without a read of the subcluster, whose row is long. It returns whether the vat was alive.
func (t *tx) killMember(v VatID, why string) bool {
	u := t.run(v)
	if t.runs.isGuess(v) {
		t.guessDead(v, why)
		return true
	}
	if u.phase == dead {
		return false
	}
	u.phase, u.memory.deadInc = dead, u.memory.inc
	row := t.vat(v)
	if t.salvaging {
		t.set(keyVat(v), t.codec.encode(row.fields)) // it may be a guess
	}
	if row.root != "" {
		t.release(row.root)
	}
	t.addWork(work{kind: workRemoveVat, vat: v})
	t.effect(StopWorker{v})
	t.event(VatTerminated{v, why})
	return true
}

// The stages of removing a dead vat. The numbers are stored; removeUnits is followed by
// removeTies, removePoisoned by removeLooks and removeAgain.
const (
	removeUnits uint8 = iota
	removePromises
	removeQueue
	removeCList
	removeStore
	removeTranscript
	removeFormers
	removePoisoned
	removeRows
	removeTies
	removeLooks
	removeAgain
)

// removeVat removes the rows of a dead vat, a slice at a time.
func (t *tx) removeVat(w *work) (done bool) {
	v := w.vat
	for {
		next := w.stage + 1
		switch w.stage {
		case removeUnits:
			next = removeTies
			t.giveBack(v, errcode.VatTerminated, &w.after)
		case removeTies: // the ties to calls that have other holders as well
			next = removePromises
			prefix := prefixTies(v)
			for key := range t.scan(prefix, &w.after) {
				t.untie(KRef(key[len(prefix):]))
				t.delete(key)
			}
		case removePromises:
			t.touchDecided(v, &w.after)
		case removeQueue:
			for u := t.run(v); u.queue.head != u.queue.tail && !t.spent(); {
				if !t.isItem(v, u.queue.head) {
					t.passHoles(u, holdWindow)
					continue
				}
				t.dropHead(u)
			}
			if u := t.run(v); u.queue.head == u.queue.tail { // items that the counters do not tell of, because the counters could not be read
				prefix := "q." + string(v) + "."
				for key, b := range t.scanByNumber(prefix, &w.after) {
					t.dropLoose(key, b)
				}
			}
		case removeCList:
			prefix := prefixCList(v)
			for key, value := range t.scan(prefix, &w.after) {
				k := KRef(key[len(prefix):])
				if k[0] != 'k' { // the other row of an entry that could not be read
					t.delete(key)
					continue
				}
				if t.salvaging && !isEntry(value) {
					t.removeBadEntry(v, key, k)
					continue
				}
				if k.IsPromise() && t.promise(k).decider == v { // its row in the index of deciders is missing
					if t.touchOf(v, k); !t.has(key) {
						continue
					}
				}
				ref := wire.Ref(value[1:])
				if !k.IsPromise() && isExport(ref) {
					t.orphan(v, k, ref)
				} else {
					t.removeEntry(v, k, ref, value[0] == 'r')
				}
			}
		case removeStore:
			t.deleteAll(keyStore(v, ""), &w.after)
		case removeTranscript: // records and former values, of any span
			t.deleteAll(prefixTranscripts(v), &w.after)
		case removeFormers:
			t.deleteAll(prefixAllFormers(v), &w.after)
		case removeLooks:
			t.deleteAll(prefixLooks(v), &w.after)
		case removeAgain:
			next = removeRows
			t.deleteAll(prefixAgain(v), &w.after)
		case removePoisoned:
			next = removeLooks
			for key, value := range t.scan(prefixPoisoned(v), &w.after) {
				var p poisoned
				if t.decoded(key, func() { t.codec.decode(key, value, p.fields) }) {
					t.releaseMessage(p.msg)
				}
				t.delete(key)
			}
		default:
			s := t.vat(v).sub
			if t.run(v).decided > 0 { // the index of deciders lacks rows
				t.addWork(work{kind: workStranded})
			}
			t.forgetExit(v)
			t.delete(keyVat(v))
			t.runs.remove(t, v)
			t.lessVats()
			t.removeMember(s, v)
			return true
		}
		if t.spent() {
			return false
		}
		if w.stage, w.after = next, ""; next != removeTies && next != removePromises && next != removeLooks && next != removeAgain {
			return false
		}
	}
}
