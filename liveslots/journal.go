package liveslots

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// A crank may change the counts of more references than it has room for, since each count is a row. Such a crank writes
// the changes to a journal instead, hundreds in a row: j.<n> is a list of names and of numbers that are to be added. A
// later bring out your dead makes the changes. Until then the counts lag behind, and nothing is deleted.

// maxCounts bounds the counts that one crank changes, and spillRefs the changes in one row of the journal.
const (
	maxCounts = 1000
	spillRefs = 500
)

const journalPrefix = "j."

// isLargeTally reports whether the crank should leave the changes of counts to the journal.
func (v *Vat) isLargeTally() bool {
	n := len(v.tally.mentions)
	return n > maxCounts || len(v.syscalls)+len(v.rows.written)+2*n > v.start.MaxSyscalls/4*3
}

// spill writes the changes of mentions to the journal.
func (v *Vat) spill() {
	t, l := &v.tally, v.readLedger()
	refs := slices.Sorted(maps.Keys(t.mentions))
	for part := range slices.Chunk(refs, spillRefs) {
		var b strings.Builder
		for _, ref := range part {
			b.WriteString(string(ref) + " " + strconv.Itoa(t.mentions[ref]) + " ")
		}
		l.Spills++
		l.Pending++
		l.changed = true
		v.rows.set(journalPrefix+utoa(l.Spills), []byte(strings.TrimSpace(b.String())))
	}
	clear(t.mentions)
	clear(t.made)
	clear(t.written)
	v.askCollect()
}

// drain makes the changes of the first row of the journal. It returns false if there is none.
func (v *Vat) drain() bool {
	l := v.readLedger()
	if l.Pending == 0 {
		return false
	}
	key, row, found := v.rows.next(journalPrefix, journalPrefix)
	if !found {
		l.Pending, l.changed = 0, true
		return false
	}
	l.Pending--
	l.changed = true
	words := strings.Fields(string(row))
	for i := 0; i+1 < len(words); i += 2 {
		by, err := strconv.Atoi(words[i+1])
		if err != nil {
			panic(fault("stored state: " + key + ": " + err.Error()))
		}
		ref := wire.Ref(words[i])
		c := v.readCount(ref)
		now := count{c.mentions + by, c.flag}
		if now != c {
			v.writeCount(ref, now)
		}
		if now.isGarbage() {
			v.rows.set(candidateKey(ref), []byte{})
		}
		if l.isTracing() {
			v.toFollow(ref)
		}
	}
	v.rows.delete(key)
	return true
}
