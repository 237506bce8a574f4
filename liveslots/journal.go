package liveslots

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// A crank may change the counts of more references than it has room for, since each count is a row. Such a crank writes
// the changes to a journal instead, hundreds in a row: j.<n> is a list of names, each with the number that is to be added,
// or with the word known for an object that the kernel has named in a page. A later bring out your dead makes the changes,
// as many as it has room for. Until then the counts lag behind, and nothing is deleted.

// maxCounts bounds the counts that one crank changes, and spillRefs the changes in one row of the journal.
const (
	maxCounts = 1000
	spillRefs = 500
)

const journalPrefix = "j."

// known stands in the journal beside the name of an object that is to be learned; see [collector.learn].
const known = "known"

// isLargeTally reports whether the crank should leave the changes of counts to the journal. The flags of objects that the
// kernel is told of are not left to it: later drops rely on them. They are one row for each object that is told for the
// first time, which mostly has a row of its own in the same crank.
func (v *Vat) isLargeTally() bool {
	n := len(v.tally.mentions)
	return n > maxCounts || len(v.syscalls)+len(v.rows.written)+2*n > v.start.MaxSyscalls/4*3
}

// spill writes the changes of mentions to the journal.
func (v *Vat) spill() {
	t := &v.tally
	v.journal(slices.Sorted(maps.Keys(t.mentions)), func(ref wire.Ref) string { return strconv.Itoa(t.mentions[ref]) })
	clear(t.mentions)
	clear(t.made)
	clear(t.written)
	v.askCollect()
}

// journal writes names to the journal, with a word for each.
func (v *Vat) journal(refs []wire.Ref, word func(wire.Ref) string) {
	l := v.readLedger()
	size := spillRefs
	if v.ids.rules() >= rulesOfNames { // a crank of few syscalls writes few rows
		size = max(size, len(refs)/max(1, v.start.MaxSyscalls/8)+1)
	}
	for part := range slices.Chunk(refs, size) {
		var b strings.Builder
		for _, ref := range part {
			b.WriteString(string(ref) + " " + word(ref) + " ")
		}
		l.Spills++
		l.Pending++
		l.changed = true
		v.rows.set(journalPrefix+utoa(l.Spills), []byte(strings.TrimSpace(b.String())))
	}
}

// learnLater has a later crank learn names.
func (v *Vat) learnLater(refs []wire.Ref) {
	v.readLedger().Unlearned = true
	v.journal(refs, func(wire.Ref) string { return known })
}

// unlearn takes the name of an object from the journal, since the kernel has forgotten the name.
func (v *Vat) unlearn(ref wire.Ref) {
	for key, row, found := v.rows.next(journalPrefix, journalPrefix); found; key, row, found = v.rows.next(journalPrefix, key) {
		words := strings.Fields(string(row))
		n := len(words)
		for i := len(words) - 2; i >= 0; i -= 2 {
			if words[i] == string(ref) && words[i+1] == known {
				words = slices.Delete(words, i, i+2)
			}
		}
		if len(words) < n {
			v.rows.set(key, []byte(strings.Join(words, " ")))
		}
	}
}

// drain makes changes of the first row of the journal, as many as there is room for. It returns false if there is no row.
func (c *collector) drain() bool {
	v := c.v
	l := v.readLedger()
	if l.Pending == 0 {
		return false
	}
	key, row, found := v.rows.next(journalPrefix, journalPrefix)
	l.changed = true
	if !found {
		l.Pending, l.Unlearned = 0, false
		return false
	}
	words := strings.Fields(string(row))
	if n, err := strconv.ParseUint(key[len(journalPrefix):], 10, 64); err == nil && n <= l.Void {
		words = nil
	}
	for ; len(words) > 1 && c.hasRoom(); words = words[2:] {
		ref := wire.Ref(words[0])
		if words[1] == known {
			c.learn(ref)
			continue
		}
		by, err := strconv.Atoi(words[1])
		if err != nil {
			panic(fault("stored state: " + key + ": " + err.Error()))
		}
		was := v.readCount(ref)
		now := count{was.mentions + by, was.flag}
		if now != was {
			v.writeCount(ref, now)
		}
		if now.isGarbage() {
			v.rows.set(candidateKey(ref), []byte{})
		}
		if l.isTracing() {
			v.toFollow(ref)
		}
	}
	if len(words) > 1 {
		v.rows.set(key, []byte(strings.Join(words, " ")))
		return true
	}
	v.rows.delete(key)
	if l.Pending--; l.Pending == 0 {
		l.Unlearned = false
	}
	return true
}
