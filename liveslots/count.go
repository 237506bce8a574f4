package liveslots

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// count is the row c.<ref>: a number, a letter for the flag, and, once the vat has begun to count anew, a dot and how often it
// had when the row was written: such as 2, 2x or 2x.1. The row of a reference without mentions and without a flag is absent.
// Of a row of an earlier count only the flag of a deleted object holds.
type count struct {
	// mentions may be below 0 while the journal has rows: changes are added in any order.
	mentions int
	flag     flag
}

// flag is what the kernel knows of a durable object of this vat.
type flag byte

const (
	// private objects have no name in the kernel.
	private flag = 0
	// exported objects can be reached from outside.
	exported flag = 'x'
	// recognizable objects have a name in the kernel, and cannot be reached from outside.
	recognizable flag = 'r'
	// deleted objects have been deleted by [Delete]: references to them may be left. The kernel has a name for a ghost,
	// since it was told of such a reference.
	deleted flag = 'd'
	ghost   flag = 'D'
)

func countKey(ref wire.Ref) string     { return "c." + string(ref) }
func candidateKey(ref wire.Ref) string { return "g." + string(ref) }
func keyedKey(number uint64) string    { return "k." + utoa(number) }

const candidatePrefix = "g."

func (v *Vat) readCount(ref wire.Ref) count {
	row, found := v.rows.get(countKey(ref))
	if !found {
		return count{}
	}
	c, again, err := parseCount(row)
	if err != nil {
		panic(fault("stored state: " + countKey(ref) + ": " + err.Error()))
	}
	if again != v.readLedger().Again {
		c = c.void()
	}
	return c
}

// parseCount reads a row c; again is the number of its count.
func parseCount(row []byte) (c count, again int, err error) {
	digits := string(row)
	if text, number, numbered := strings.Cut(digits, "."); numbered {
		digits = text
		if again, err = strconv.Atoi(number); err != nil {
			return c, again, err
		}
	}
	if n := len(digits); n > 0 && digits[n-1] > '9' {
		c.flag, digits = flag(digits[n-1]), digits[:n-1]
	}
	c.mentions, err = strconv.Atoi(digits)
	return c, again, err
}

// void is what is left of a row of an earlier count.
func (c count) void() count {
	c.mentions = 0
	if !c.flag.isGone() {
		c.flag = private
	}
	return c
}

func (v *Vat) writeCount(ref wire.Ref, c count) {
	if c == (count{}) {
		v.rows.delete(countKey(ref))
		return
	}
	row := strconv.AppendInt(nil, int64(c.mentions), 10)
	if c.flag != private {
		row = append(row, byte(c.flag))
	}
	if n := v.readLedger().Again; n > 0 {
		row = strconv.AppendInt(append(row, '.'), int64(n), 10)
	}
	v.rows.set(countKey(ref), row)
}

// isGarbage reports whether nothing but memory can hold a reference with this count. Mentions of a deleted object are
// counted until none is left, so that those which are left are known for what they are.
func (c count) isGarbage() bool {
	return c.mentions == 0 && c.flag != exported && c.flag != ghost
}

// isGone reports whether the object was deleted by [Delete].
func (f flag) isGone() bool { return f == deleted || f == ghost }

// isCounted reports whether a name is that of a reference that has a count: an import, or a durable object but for the
// root. The object to which the vat sends nudges is none.
func isCounted(name string) bool {
	return strings.HasPrefix(name, "o-") || isDurable(name)
}

func isDurable(name string) bool {
	return strings.HasPrefix(name, "o+d") && !strings.HasPrefix(name, "o+d0/")
}

// tally is the change of the counts in the crank at hand.
type tally struct {
	ledger ledger
	// starting is set in the vat's first delivery.
	starting bool
	// collecting is set during the work of a bring out your dead, which asks for the next one at its end.
	collecting bool
	// mentions are the changes of mentions, and made the objects that were saved for the first time.
	mentions map[wire.Ref]int
	made     map[wire.Ref]bool
	// written are the references that were written while a search for circles goes on; see trace.go.
	written map[wire.Ref]bool
	// deleted are the objects that the crank has deleted; see delete.go.
	deleted map[wire.Ref]*head
	// doomed is set if Maps of such objects are to be deleted.
	doomed bool
	// told are durable objects of this vat that the kernel was told of; a name may be there twice.
	told []wire.Ref
	// keyed are the new Maps whose keys are references.
	keyed []uint64
}

func newTally() tally {
	return tally{mentions: map[wire.Ref]int{}, made: map[wire.Ref]bool{}, written: map[wire.Ref]bool{}, deleted: map[wire.Ref]*head{}}
}

// counts reports whether changes of a row are to be counted now.
func (v *Vat) counts(key string) bool {
	if v.tally.starting {
		return true // it is known at the end of the crank
	}
	l := v.readLedger()
	return l.counting && l.covers(key)
}

// mentionsChanged counts the change of a row from one line of names to another.
func (v *Vat) mentionsChanged(key, was, now string) {
	if was == now || !v.counts(key) {
		return
	}
	v.addMentions(was, -1)
	v.addMentions(now, +1)
}

func (v *Vat) addMentions(line string, by int) {
	for name := range strings.SplitSeq(line, " ") {
		if isCounted(name) {
			v.tally.mentions[wire.Ref(name)] += by
			if by > 0 && v.tally.ledger.isTracing() {
				v.tally.written[wire.Ref(name)] = true
			}
		}
	}
}

// objectChanged counts the change of an object's row, of which was is empty if it is new.
func (v *Vat) objectChanged(ref wire.Ref, was, now string) {
	if was == "" && isDurable(string(ref)) {
		v.tally.made[ref] = true
	}
	if l := v.readLedger(); l.isTracing() {
		v.mapsToFollow(ref, now)
	}
	v.mentionsChanged(wire.StateKey(ref), secondLine(was), secondLine(now))
}

// entryChanged counts the change of an entry of a Map, whose key is a reference or empty. A row that is nil is absent.
func (v *Vat) entryChanged(key, keyRef string, was, now []byte) {
	v.mentionsChanged(key, entryNames(keyRef, was), entryNames(keyRef, now))
}

func entryNames(keyRef string, row []byte) string {
	if row == nil {
		return ""
	}
	slots, _, _ := strings.Cut(string(row), "\n")
	return slots + " " + keyRef
}

// shelfChanged counts the change of the row of a call that waits, or of a settled promise.
func (v *Vat) shelfChanged(key, was, now string) {
	v.mentionsChanged(key, shelfNames(key, was), shelfNames(key, now))
}

// shelfNames returns the objects in a row of the shelf, with promises among them.
func shelfNames(key, row string) string {
	if !strings.HasPrefix(key, "w.") {
		return secondLine(row)
	}
	head, _, _ := strings.Cut(row, "\n")
	_, target, _ := strings.Cut(head, " ")
	target, _, _ = strings.Cut(target, " ")
	return target + " " + secondLine(row)
}

func secondLine(row string) string {
	_, rest, _ := strings.Cut(row, "\n")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// tellName notes that a name is in a syscall.
func (v *Vat) tellName(ref wire.Ref) {
	if len(ref) > 3 && ref[1] == '+' && ref[2] == 'd' && isDurable(string(ref)) {
		v.tally.told = append(v.tally.told, ref)
	}
}

func (v *Vat) tellData(d wire.CapData) {
	for _, ref := range d.Slots {
		v.tellName(ref)
	}
}

// tellNames notes the names in a syscall: objects of the vat among them are exported from now on.
func (v *Vat) tellNames(s wire.Syscall) {
	switch s := s.(type) {
	case wire.Send:
		v.tellName(s.Target)
		v.tellData(s.Message.MethArgs)
	case wire.Watch:
		v.tellName(s.Target)
	case wire.Resolve:
		for _, r := range s.Resolutions {
			v.tellData(r.Value)
		}
	case wire.Exit, wire.Subscribe, wire.Keep, wire.DropImports, wire.RetireImportsCall, wire.RetireExportsCall, wire.AbandonExports,
		wire.StoreSet, wire.StoreDelete, wire.Collect:
		// none, or the vat ends
	}
}

// setFlags changes the flags of durable objects by what the kernel says of them.
func (v *Vat) setFlags(refs []wire.Ref, change func(flag) flag) {
	l := v.readLedger()
	if !l.counting {
		return
	}
	for _, ref := range refs {
		if !isDurable(string(ref)) {
			continue
		}
		if l.Unlearned {
			v.unlearn(ref)
		}
		c := v.readCount(ref)
		if c.flag == private && l.Exports && !l.Unlearned {
			continue // the object has no name in the kernel
		}
		now := count{c.mentions, change(c.flag)}
		if now == c {
			continue
		}
		v.writeCount(ref, now)
		if now.isGarbage() {
			v.addCandidate(ref)
		} else if now.flag == recognizable { // it may be in a circle
			l.Loose, l.changed = l.Loose+1, true
			if v.isTraceDue() {
				v.askCollect()
			}
		}
	}
}

func (f flag) droppedOutside() flag {
	if f.isGone() {
		return f
	}
	return recognizable
}

func (f flag) retiredOutside() flag {
	if f.isGone() {
		return deleted
	}
	return private
}

// flagOfTold returns the flag of an object that the kernel is told of. A reference in memory may be to a deleted object of
// which the store knows nothing any more.
func (v *Vat) flagOfTold(ref wire.Ref, f flag) flag {
	if f == private && !v.tally.made[ref] {
		if _, found := v.rows.get(wire.StateKey(ref)); !found {
			return ghost
		}
	}
	if f.isGone() {
		return ghost
	}
	return exported
}

func (v *Vat) addCandidate(ref wire.Ref) {
	v.rows.set(candidateKey(ref), []byte{})
	v.askCollect()
}

// countCrank ends the crank for the counts: it begins to count if the vat is at rest for the first time, and writes the
// counts that have changed.
func (v *Vat) countCrank() {
	t := &v.tally
	l := v.readLedger()
	rest := v.AtRest()
	if !l.counting && !(rest && t.starting) {
		v.noteDeleted()
	}
	if !l.counting && rest {
		l.begin(t.starting)
		if !t.starting {
			v.forgetTally()
			v.askCollect()
		}
	}
	if l.counting {
		v.writeCounts()
		if t.doomed {
			v.askCollect()
		}
	}
	v.forgetTally()
	l.save(v.rows)
}

func (v *Vat) forgetTally() {
	t := &v.tally
	t.mentions, t.made, t.written = emptied(t.mentions), emptied(t.made), emptied(t.written)
	t.deleted = emptied(t.deleted)
	t.told, t.keyed, t.starting, t.doomed = t.told[:0], t.keyed[:0], false, false
}

// writeCounts writes the counts that have changed in the crank, and the candidates.
func (v *Vat) writeCounts() {
	t := &v.tally
	for _, n := range t.keyed {
		v.rows.set(keyedKey(n), []byte{})
	}
	t.keyed = t.keyed[:0]
	if len(t.mentions)+len(t.made)+len(t.told)+len(t.deleted) == 0 {
		return
	}
	maps.DeleteFunc(t.mentions, func(ref wire.Ref, by int) bool { return by == 0 && !t.made[ref] && !t.written[ref] })
	for ref := range t.made {
		t.mentions[ref] += 0
	}
	if v.isLargeTally() {
		v.spill()
	}
	tracing := v.readLedger().isTracing()
	told := slices.Compact(slices.Sorted(slices.Values(t.told)))
	refs := slices.AppendSeq(slices.Collect(maps.Keys(t.mentions)), maps.Keys(t.deleted))
	refs = slices.Compact(slices.Sorted(slices.Values(append(refs, told...))))
	var abandoned []wire.Ref
	for _, ref := range refs {
		var c count
		if !t.made[ref] {
			c = v.readCount(ref)
		}
		now := count{c.mentions + t.mentions[ref], c.flag}
		_, tell := slices.BinarySearch(told, ref)
		if tell {
			now.flag = v.flagOfTold(ref, now.flag)
		}
		if t.deleted[ref] != nil {
			if tell || c.flag == exported || c.flag == recognizable {
				abandoned = append(abandoned, ref)
			}
			now.flag = deleted
		}
		if now != c {
			v.writeCount(ref, now)
		}
		if now.isGarbage() && (now != c || t.made[ref]) {
			v.addCandidate(ref)
		}
		if tracing && (tell || t.written[ref]) {
			v.toFollow(ref)
		}
	}
	v.abandonExports(abandoned)
	if len(t.made) > 0 && v.isTraceDue() {
		v.askCollect()
	}
	clear(t.mentions)
	clear(t.made)
	clear(t.written)
	clear(t.deleted)
	t.told = t.told[:0]
}
