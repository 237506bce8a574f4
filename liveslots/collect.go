package liveslots

import (
	"slices"
	"strconv"

	"ocapkernel.dev/wire"
)

// At a bring out your dead the vat is at rest: only its store holds references. Then imports that the store does not hold
// are dropped, and objects that nothing holds are deleted, with the entries of their Maps. That takes mentions from other
// objects, which may become garbage in turn. Each crank does a bounded part, and asks for another one if some is left.

const doomedPrefix = "x."

func doomedKey(number uint64) string { return doomedPrefix + utoa(number) }

// The bounds of one crank of collection.
const (
	maxCollectRows  = 2000
	maxCollectReads = 4000
	maxCollectBytes = 1 << 20
)

// A collector does the work of one bring out your dead.
type collector struct {
	v *Vat
	// full is set once the crank has no room for more.
	full bool
	// direct says that imports which the kernel names and the store does not hold are dropped in this crank. It is set only if
	// there are no candidates, since an import that is one would be dropped twice, and if the counts are complete.
	direct bool
	// drops are imports to drop and retire, retires and abandons are objects of which the kernel has to forget the names.
	drops, retires, abandons []wire.Ref
	// ordered says that circles are searched for, however few objects were made since the last search.
	ordered bool
	// greys are the objects and Maps whose references are to be followed; see trace.go.
	greys []grey
}

// bringOutYourDead answers a bring out your dead.
func (v *Vat) bringOutYourDead(d wire.BringOutYourDead) {
	l := v.readLedger()
	rest := v.AtRest()
	if d.Bare && !(rest && l.isComplete()) {
		return // the kernel, or the version of the protocol, knows no pages
	}
	known := d.Known
	relisted := len(known) > 0 && known[0] == wire.RootRef
	switch {
	case !l.counting && !rest:
		return // the span goes on as it has begun; the kernel asks at rest only
	case !l.counting:
		l.begin(false)
	case relisted:
		l.beginAgain()
	}
	if relisted {
		known = known[1:]
	}
	l.Asked, l.changed = false, l.changed || l.Asked
	v.tally.collecting = true
	c := collector{v: v, ordered: d.Bare}
	if rest && l.isComplete() {
		_, _, candidates := v.rows.next(candidatePrefix, candidatePrefix)
		c.direct = !candidates
	}
	for i, ref := range known {
		if !c.hasRoom() {
			v.learnLater(known[i:])
			break
		}
		c.learn(ref)
	}
	if !d.More && !l.Exports {
		l.Exports, l.changed = true, true
	}
	if rest {
		c.work()
	}
	c.tell()
	v.tally.collecting = false
	if c.full || !rest {
		v.askCollect()
	}
}

// learn takes the name of an object that the kernel knows.
func (c *collector) learn(ref wire.Ref) {
	v := c.v
	switch now := v.readCount(ref); {
	case !isCounted(string(ref)):
	case isDurable(string(ref)):
		switch now.flag {
		case deleted, ghost:
			// It was deleted when the vat did not know whether it was exported.
			c.abandons = append(c.abandons, ref)
			v.writeCount(ref, count{now.mentions, deleted})
			if now.mentions == 0 {
				v.rows.set(candidateKey(ref), []byte{})
			}
		case private:
			v.writeCount(ref, count{now.mentions, exported})
			if v.readLedger().isTracing() {
				v.toFollow(ref)
			}
		}
	case now.mentions != 0:
	case c.direct:
		c.drops = append(c.drops, ref)
	default:
		v.rows.set(candidateKey(ref), []byte{})
	}
}

// work does the work that is there, as far as the crank has room.
func (c *collector) work() {
	v := c.v
	for c.hasRoom() && c.drain() {
	}
	if c.recount(); len(v.tally.mentions) > 0 {
		v.writeCounts()
	}
	for !c.full && v.readLedger().isComplete() {
		if c.takeCandidate() || c.takeEntry() {
			if len(v.tally.mentions) > maxCounts/4 {
				v.writeCounts()
			}
			continue
		}
		if len(v.tally.mentions) == 0 && !c.trace() {
			return
		}
		v.writeCounts() // there may be new candidates
	}
	c.putGreys()
	v.writeCounts()
	l := v.readLedger()
	c.full = c.full || l.Pending > 0 || l.Stage < stageUnheld || l.Stage == stageUnheld && l.Exports
}

// hasRoom reports whether the crank has room for more work, and notes if it has not.
func (c *collector) hasRoom() bool {
	v := c.v
	rows := max(8, min(maxCollectRows, v.start.MaxSyscalls/5))
	refs := max(len(c.drops), len(c.retires), len(c.abandons))
	if len(v.rows.written)+len(c.greys)+2*len(v.tally.mentions) >= rows || refs >= wire.MaxKnown ||
		v.rows.reads >= maxCollectReads || v.rows.readBytes >= maxCollectBytes {
		c.full = true
	}
	return !c.full
}

// takeCandidate looks at the first candidate. It returns false if there is none, or no room.
func (c *collector) takeCandidate() bool {
	v := c.v
	key, _, found := v.rows.next(candidatePrefix, candidatePrefix)
	if !found || !c.hasRoom() {
		return false
	}
	ref := wire.Ref(key[len(candidatePrefix):])
	now := v.readCount(ref)
	switch {
	case !now.isGarbage():
	case isDurable(string(ref)):
		c.deleteObject(ref, now)
		l := v.readLedger()
		l.Deleted, l.changed = l.Deleted+1, true
	default:
		c.drops = append(c.drops, ref)
	}
	v.rows.delete(key)
	return true
}

func (c *collector) deleteObject(ref wire.Ref, now count) {
	v := c.v
	if now.flag == recognizable {
		c.retires = append(c.retires, ref)
	}
	if now != (count{}) {
		v.writeCount(ref, count{})
	}
	if row, found := v.rows.get(wire.StateKey(ref)); found {
		v.deleteState(ref, string(row))
	}
}

// deleteState deletes the row of an object, and has its Maps deleted.
func (v *Vat) deleteState(ref wire.Ref, row string) {
	v.rows.delete(wire.StateKey(ref))
	v.mentionsChanged(wire.StateKey(ref), secondLine(row), "")
	maps, _ := v.ids.mapsOf(ref, row)
	for _, m := range maps {
		v.rows.set(doomedKey(m.number), []byte{})
	}
}

// takeEntry deletes an entry of a Map whose object is gone. It returns false if there is none, or no room.
func (c *collector) takeEntry() bool {
	v := c.v
	doomed, _, found := v.rows.next(doomedPrefix, doomedPrefix)
	if !found || !c.hasRoom() {
		return false
	}
	number, err := strconv.ParseUint(doomed[len(doomedPrefix):], 10, 64)
	if err != nil {
		panic(fault("stored state: " + doomed))
	}
	prefix := entryPrefix(number)
	key := prefix // of the entry with an empty key
	row, found := v.rows.get(key)
	if !found {
		key, row, found = v.rows.next(prefix, prefix)
	}
	if found {
		v.mentionsChanged(key, v.namesOfEntry(key, row), "")
		v.rows.delete(key)
		return true
	}
	for _, key := range []string{lengthKey(number), keyedKey(number)} {
		if _, found := v.rows.get(key); found {
			v.rows.delete(key)
		}
	}
	v.rows.delete(doomed)
	return true
}

// tell tells the kernel what was found.
func (c *collector) tell() {
	v := c.v
	slices.Sort(c.drops)
	slices.Sort(c.retires)
	slices.Sort(c.abandons)
	if len(c.drops) > 0 {
		v.syscall(wire.DropImports{Refs: c.drops})
		v.syscall(wire.RetireImportsCall{Refs: c.drops})
	}
	if len(c.retires) > 0 {
		v.syscall(wire.RetireExportsCall{Refs: c.retires})
	}
	if len(c.abandons) > 0 {
		v.syscall(wire.AbandonExports{Refs: c.abandons})
	}
}
