package kernel

// SubState is the state of a subcluster.
type SubState uint8

// The states of a subcluster, a closed set. The numbers are stored.
const (
	// SubLaunching: its vats are there, and bootstrap has not answered yet. A launch that is pending when the
	// kernel dies fails at the next start.
	SubLaunching SubState = iota
	// SubRunning: bootstrap has answered.
	SubRunning
	// SubFailed: its launch failed. Its vats are dead, and their rows are being removed.
	SubFailed
	// SubTerminating: it has ended. Its vats are dead, and their rows are being removed.
	SubTerminating
)

func (s SubState) String() string {
	if int(s) >= len(subStateNames) {
		return "unknown"
	}
	return subStateNames[s]
}

var subStateNames = [...]string{SubLaunching: "launching", SubRunning: "running", SubFailed: "failed", SubTerminating: "terminating"}

// Leaving reports whether the subcluster has ended for good: only its removal is left to do.
func (s SubState) Leaving() bool { return s == SubFailed || s == SubTerminating }

// sub returns a subcluster, nil if there is none. All calls within a commit return the same one. A caller that changes
// it calls setSub.
func (t *tx) sub(s SubID) *subcluster {
	sub := t.subs.look(t, s)
	if t.subs.isGuess(s) {
		return t.guessSub(s)
	}
	return sub
}

// setSub notes that a subcluster was made, or that a subcluster returned by sub was changed.
func (t *tx) setSub(sub *subcluster) {
	if sub.settled && !sub.apart {
		sub.apart, sub.known = true, true
		a := answer{sub.result}
		t.set(keyResult(sub.id), t.codec.encode(a.fields))
	}
	if t.subs.look(t, sub.id) == nil {
		t.subs.create(sub.id, sub)
		return
	}
	t.subs.edit(t, sub.id)
}

// resultOf returns the answer of a subcluster's bootstrap; the zero value if there is none yet.
func (t *tx) resultOf(sub *subcluster) Data {
	if !sub.known {
		sub.result, sub.known = t.dataAt(keyResult(sub.id)), true
	}
	return sub.result
}

func (t *tx) launching(s SubID) bool {
	sub := t.sub(s)
	return sub != nil && sub.state == SubLaunching
}

// leave starts the removal of a subcluster, whose state the caller sets: its name, if it is a system subcluster, is
// free, and its service objects go, in slices. From now on they read as gone.
func (t *tx) leave(sub *subcluster) {
	t.freeNames(sub)
	if n := len(sub.members); n > 0 {
		t.setUint(keyLeft(sub.id), uint64(n))
	}
	if sub.services > 0 {
		t.addWork(work{kind: workEndServices, sub: sub.id})
	}
}

// freeNames removes the name of a system subcluster. A damaged state may have other names that lead to it: they go, too,
// if they are among the first ones. A name that stays leads to no subcluster later, which [View.Damages] tells.
func (t *tx) freeNames(sub *subcluster) {
	if sub.system == "" {
		return
	}
	if b, ok := t.get(keySystem(sub.system)); ok && (SubID(b) == sub.id || !t.has(keySub(SubID(b)))) {
		t.delete(keySystem(sub.system))
	}
	left := maxNames
	for name, b := range t.all("g.", "") {
		if SubID(b) == sub.id {
			t.delete(keySystem(name))
		}
		if left--; left == 0 {
			return
		}
	}
}

// maxNames bounds the names of system subclusters that are read to find those of one.
const maxNames = 1000

// removeMember removes a vat from its subcluster, which is removed with its last vat. While a subcluster is leaving,
// its vats are counted: its row, which lists all of them, stays as it is until the last one is removed.
func (t *tx) removeMember(s SubID, v VatID) {
	if n, leaving := t.uintRow(keyLeft(s)); leaving && n > 1 {
		t.setUint(keyLeft(s), n-1)
		return
	} else if leaving {
		t.delete(keyLeft(s))
		sub := t.sub(s)
		if sub == nil && t.salvaging {
			return
		}
		sub.members = nil
		t.setSub(sub)
		t.endSub(sub)
		return
	}
	sub := t.sub(s)
	if sub == nil && t.salvaging {
		return
	}
	for i, m := range sub.members {
		if m.vat == v {
			sub.members = append(sub.members[:i:i], sub.members[i+1:]...)
			break
		}
	}
	if len(sub.members) == 0 && sub.state == SubRunning {
		sub.state = SubTerminating // its vats have ended by themselves, one by one
		t.leave(sub)
	}
	t.setSub(sub)
	t.endSub(sub)
}

func (t *tx) lessServices(s SubID) {
	sub := t.sub(s)
	if t.salvaging && (sub == nil || sub.services == 0) {
		return
	}
	sub.services--
	t.setSub(sub)
	t.endSub(sub)
}

// endSub removes the row of a subcluster whose other rows are all removed.
func (t *tx) endSub(sub *subcluster) {
	if len(sub.members) > 0 {
		return
	}
	if sub.services > 0 {
		if key, _ := t.next(prefixServicesOf(sub.id), ""); key != "" {
			return
		}
		t.unreadable(prefixServicesOf(sub.id), nil) // fewer of them are known than there were
	}
	t.releaseData(t.resultOf(sub))
	t.subs.remove(t, sub.id)
	if sub.apart {
		t.delete(keyResult(sub.id))
	}
	if _, ok := t.get(keyUnstarted(sub.id)); ok {
		t.delete(keyUnstarted(sub.id))
	}
	if c := t.config(sub.id); c != nil && !c.reload {
		t.deleteConfig(sub.id)
	}
	t.effect(Gone{sub.id})
}
