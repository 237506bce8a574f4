package liveslots

import (
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// Objects that hold each other in a circle keep their mentions when nothing else leads to them. Now and then the vat looks
// for such circles: it follows all references, and deletes what it has not met. That takes many cranks in a large store,
// so the search has rows:
//
//	t.<ref>, t.m<n>   empty: the object, or the Map with number n, is alive
//	u.<ref>, u.m<n>   the object or Map is alive, and its references are to be followed; the value of u.m<n> is the last
//	                  entry of the Map that was followed
//
// Its phases, in the ledger:
//
//	traceExports      exported objects are alive
//	traceCalls        so are the objects in calls that wait
//	traceValues       and in the values of promises
//	traceFollow       what living objects lead to is alive
//	sweepObjects      other objects are deleted
//	sweepMaps         and Maps that no object has
//	traceForget       the rows t are deleted
//	traceAbandon      and the rows u, of which there are some only if counting has begun anew meanwhile
//
// The vat goes on meanwhile. Until traceFollow ends, each reference that a crank writes to a row or tells the kernel is
// to be followed, also if the same crank takes it from elsewhere. Objects and Maps that are made after the search began are
// not deleted by it. A crank can get at no object that is not alive once traceFollow has ended.

const (
	traceExports = iota
	traceCalls
	traceValues
	traceFollow
	sweepObjects
	sweepMaps
	traceForget
	traceAbandon
)

const (
	alivePrefix  = "t."
	followPrefix = "u."
)

// minTrace is the least number of objects that are made between two searches.
const minTrace = 20

// trace is the state of a search for circles.
type trace struct {
	Phase int    `json:"phase"`
	After string `json:"after,omitempty"`
	// Kinds are the last numbers of objects of each kind, and Map the last number of a Map, when the search began.
	Kinds []uint64 `json:"kinds"`
	Map   uint64   `json:"map,omitempty"`
	// Live counts the objects that were found alive. Unread is set if the row of one of them could not be read: then it is
	// not known which Maps are alive, and none is deleted.
	Live   uint64 `json:"live,omitempty"`
	Unread bool   `json:"unread,omitempty"`
}

// isTracing reports whether a reference that a crank writes is to be followed.
func (l *ledger) isTracing() bool { return l.Trace != nil && l.Trace.Phase <= traceFollow }

// isNew reports whether an object was made after the search began.
func (t *trace) isNew(ref wire.Ref) bool {
	parts, err := wire.ParseRef(string(ref))
	return err != nil || parts.Number > uint64(len(t.Kinds)) || parts.Instance > t.Kinds[parts.Number-1]
}

// isTraceDue reports whether as many objects were made, or dropped by others, since the last search as it found alive, or as
// are half of those that there are: most of the living ones may be gone by now. Under the rules before rulesOfChains only the
// former counts.
func (v *Vat) isTraceDue() bool {
	l := v.readLedger()
	if l.Trace != nil {
		return false
	}
	made := v.ids.made() - l.Traced
	enough := l.Live
	if v.ids.rules() >= rulesOfChains {
		there := l.Live + made - min(l.Live+made, l.Deleted)
		enough = min(enough, there/2)
	}
	return made+l.Loose >= max(minTrace, enough)
}

// made returns how many objects the vat has ever made.
func (i *ids) made() (n uint64) {
	i.load()
	for _, k := range i.Kinds {
		n += k.Last
	}
	return n
}

// toFollow notes that a reference was written or told while a search goes on.
func (v *Vat) toFollow(ref wire.Ref) {
	t := v.readLedger().Trace
	if !isDurable(string(ref)) || t.isNew(ref) {
		return
	}
	if _, alive := v.rows.get(alivePrefix + string(ref)); !alive {
		v.rows.set(followPrefix+string(ref), []byte{})
	}
}

// mapsToFollow notes that the row of an object, as it is written now, has Maps.
func (v *Vat) mapsToFollow(ref wire.Ref, row string) {
	t := v.readLedger().Trace
	maps, _ := v.ids.mapsOf(ref, row)
	for _, m := range maps {
		if m.number > t.Map {
			continue
		}
		if _, alive := v.rows.get(alivePrefix + mapName(m.number)); !alive {
			v.rows.set(followPrefix+mapName(m.number), []byte{})
		}
	}
}

func mapName(number uint64) string { return "m" + utoa(number) }

// grey is an object or Map whose references are to be followed, by its name in the rows t and u.
type grey struct{ name, after string }

// trace goes on with the search for circles, or begins one if it is due. It returns false if there is nothing to do.
func (c *collector) trace() bool {
	v := c.v
	l := v.readLedger()
	if l.Trace == nil {
		if !c.ordered && !v.isTraceDue() {
			return false
		}
		c.ordered = false
		made := v.ids.made() // which reads the kinds
		t := &trace{Map: v.ids.LastMap}
		for _, k := range v.ids.Kinds {
			t.Kinds = append(t.Kinds, k.Last)
		}
		l.Trace, l.Traced, l.Loose, l.Deleted = t, made, 0, 0
		c.greys = append(c.greys, grey{name: string(wire.RootRef)})
	}
	l.changed = true
	for t := l.Trace; c.hasRoom() && len(v.tally.mentions) <= maxCounts/4; {
		switch t.Phase {
		case traceExports:
			c.traceRows("c.", func(key string, _ []byte) {
				if ref := wire.Ref(key[len("c."):]); v.readCount(ref).flag == exported {
					c.meet(string(ref))
				}
			})
		case traceCalls:
			c.traceRows("w.", func(key string, row []byte) { c.meetAll(shelfNames(key, string(row))) })
		case traceValues:
			c.traceRows("s.", func(key string, row []byte) { c.meetAll(shelfNames(key, string(row))) })
		case traceFollow:
			if !c.follow() {
				t.Phase++
			}
		case sweepObjects:
			c.traceRows("o.", c.sweepObject)
		case sweepMaps:
			c.traceRows("n.", func(key string, _ []byte) {
				n, err := strconv.ParseUint(key[len("n."):], 10, 64)
				if err == nil && n <= t.Map && !t.Unread && !c.isAlive(mapName(n)) {
					v.rows.set(doomedKey(n), []byte{})
				}
			})
		case traceForget:
			c.traceRows(alivePrefix, func(key string, _ []byte) { v.rows.delete(key) })
		case traceAbandon:
			c.traceRows(followPrefix, func(key string, _ []byte) { v.rows.delete(key) })
		default:
			l.Trace, l.Live = nil, t.Live
			return true
		}
	}
	return true
}

// traceRows gives the next row of a phase to do, and ends the phase after the last one.
func (c *collector) traceRows(prefix string, do func(key string, row []byte)) {
	t := c.v.readLedger().Trace
	key, row, found := c.v.rows.next(prefix, max(prefix, t.After))
	if !found {
		t.Phase, t.After = t.Phase+1, ""
		return
	}
	do(key, row)
	t.After = key
}

func (c *collector) isAlive(name string) bool {
	_, alive := c.v.rows.get(alivePrefix + name)
	return alive
}

// meet notes that an object or Map is alive, and that its references are to be followed.
func (c *collector) meet(name string) {
	t := c.v.readLedger().Trace
	if isDurable(name) && t.isNew(wire.Ref(name)) || c.isAlive(name) {
		return
	}
	if isDurable(name) {
		t.Live++
	}
	c.v.rows.set(alivePrefix+name, []byte{})
	c.greys = append(c.greys, grey{name: name})
}

// meetAll meets the objects among names. One row may have more of them than there is room for in a crank: the rest is written
// to the journal, from which a later crank has the objects followed.
func (c *collector) meetAll(names string) {
	for name := range strings.SplitSeq(names, " ") {
		switch {
		case !isDurable(name):
		case c.full || !c.hasRoom():
			c.v.tally.mentions[wire.Ref(name)] += 0
		default:
			c.meet(name)
		}
	}
	if c.full {
		c.v.spill()
	}
}

// follow follows the references of one object or Map. It returns false if there is none left.
func (c *collector) follow() bool {
	v := c.v
	if len(c.greys) == 0 {
		key, after, found := v.rows.next(followPrefix, followPrefix)
		if !found {
			return false
		}
		v.rows.delete(key)
		name := key[len(followPrefix):]
		if c.meet(name); len(c.greys) == 0 {
			c.greys = append(c.greys, grey{name: name}) // it was met before
		}
		c.greys[0].after = string(after)
	}
	g := c.greys[len(c.greys)-1]
	c.greys = c.greys[:len(c.greys)-1]
	if !strings.HasPrefix(g.name, "m") {
		ref := wire.Ref(g.name)
		if row, found := v.rows.get(wire.StateKey(ref)); found {
			c.meetAll(secondLine(string(row)))
			t := v.readLedger().Trace
			maps, ok := v.ids.mapsOf(ref, string(row))
			t.Unread = t.Unread || !ok
			for _, m := range maps {
				if m.number <= t.Map {
					c.meet(mapName(m.number))
				}
			}
		}
		return true
	}
	prefix := "m." + g.name[1:] + "."
	if g.after == "" {
		if row, found := v.rows.get(prefix); found { // the entry with an empty key
			c.meetAll(v.namesOfEntry(prefix, row))
		}
	}
	for after := max(prefix, g.after); ; {
		if !c.hasRoom() {
			c.greys = append(c.greys, grey{g.name, after})
			return true
		}
		key, row, found := v.rows.next(prefix, after)
		if !found {
			return true
		}
		c.meetAll(v.namesOfEntry(key, row))
		after = key
	}
}

// sweepObject deletes an object that was not found alive. Its count goes when the objects that mention it are gone.
func (c *collector) sweepObject(key string, row []byte) {
	v := c.v
	ref := wire.Ref(key[len("o."):])
	if !isDurable(string(ref)) || v.readLedger().Trace.isNew(ref) || c.isAlive(string(ref)) {
		return
	}
	now := v.readCount(ref)
	if now.flag == exported {
		return
	}
	if now.flag == recognizable {
		c.retires = append(c.retires, ref)
		v.writeCount(ref, count{now.mentions, private})
	}
	v.deleteState(ref, string(row))
}

// putGreys stores the objects and Maps that the crank has met, and whose references a later crank has to follow.
func (c *collector) putGreys() {
	for _, g := range slices.Backward(c.greys) {
		c.v.rows.set(followPrefix+g.name, []byte(g.after))
	}
	c.greys = nil
}
