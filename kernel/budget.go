package kernel

import (
	"iter"
	"strconv"
	"strings"
)

// budget is what a transaction has done so far of what is bounded. Three things are bounded by it: a crank may ask for
// so much (ownRows, ownBytes) and is at fault beyond; what a commit does in passing for others it leaves to the
// kernel's own work beyond; and a slice of that work takes no further item once it is spent. An item is bounded by
// what one message or value may hold, so that no step reads or writes without bound.
type budget struct {
	// reads counts the rows that were read from the store, and readBytes their values, whether anything came of
	// them or not; wroteBytes counts the values written.
	reads, readBytes, wroteBytes int
	// ownRows and ownBytes are what the syscalls of the vat itself asked for.
	ownRows, ownBytes int
	// moved counts the bytes of messages and values that went from one row to another (see roomFor), repeated those
	// of reasons that were given to one promise after another.
	moved, repeated int
	// notified counts notifications made in passing, touched the promises of dead deciders rejected in passing,
	// walked the steps of waitsInCircle, and walkReads the rows read in these.
	notified, touched, walked, walkReads int
}

// spent says whether a slice takes no further item.
func (t *tx) spent() bool {
	return t.reads >= sliceReads || t.readBytes >= sliceBytes || t.moved >= maxRepeated || t.repeated >= maxRepeated ||
		len(t.changed)+len(t.objects.list)+len(t.promises.list) >= sliceRows
}

// scan yields the rows that begin with prefix and follow the cursor, which it moves, until there are no more or the
// budget is spent. The caller asks which of both it was with spent, and stores the cursor for the next slice: so a
// slice does not look again at what another has passed over.
func (t *tx) scan(prefix string, cursor *string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for !t.spent() {
			key, value, ready := t.step(prefix, *cursor)
			if key == "" {
				return
			}
			*cursor = key
			if ready && !yield(key, value) {
				return
			}
		}
	}
}

// deleteAll deletes the rows that begin with prefix, as far as the budget goes.
func (t *tx) deleteAll(prefix string, cursor *string) {
	for key := range t.scan(prefix, cursor) {
		t.delete(key)
	}
}

// scanByNumber is scan for rows whose names end in a number, in the order of the numbers: as keys, 10 comes before 9. It
// passes over the numbers of one length after those of another, and jumps where longer ones lie between them, so that it
// reads few rows twice. Its cursor is no key. A cursor that is one comes from an earlier version, which went by keys and
// had dealt with the rows that it had passed: then the scan begins anew, and finds those that are left.
func (t *tx) scanByNumber(prefix string, cursor *string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		at := parseNumberCursor(prefix, *cursor)
		for !t.spent() {
			key, value, ready := t.step(prefix, prefix+at.digits)
			if key == "" && !at.longer {
				return
			}
			if key == "" {
				at = numberCursor{length: at.length + 1}
				*cursor = at.String()
				continue
			}
			digits := key[len(prefix):]
			at.digits = digits
			if len(digits) > at.length {
				// Behind it lie those that begin with the same digits and are as long, or longer.
				at.longer, at.digits = true, digits[:at.length]+pastDigits
			}
			*cursor = at.String()
			if ready && len(digits) == at.length && !yield(key, value) {
				return
			}
		}
	}
}

// numberCursor is how far scanByNumber has come.
type numberCursor struct {
	// length is the length of the numbers that are passed over now, longer says that there are longer ones.
	length int
	longer bool
	// digits is what was passed last.
	digits string
}

// pastDigits follows every digit in the order of keys.
const pastDigits = ":"

func (c numberCursor) String() string {
	more := "="
	if c.longer {
		more = "+"
	}
	return strconv.Itoa(c.length) + more + c.digits
}

// parseNumberCursor reads what String has written; anything else is the beginning.
func parseNumberCursor(prefix, s string) numberCursor {
	if i := strings.IndexAny(s, "=+"); i > 0 && !strings.HasPrefix(s, prefix) {
		if length, err := strconv.Atoi(s[:i]); err == nil && length > 0 {
			return numberCursor{length, s[i] == '+', s[i+1:]}
		}
	}
	return numberCursor{length: 1}
}

// roomFor says whether n bytes may go from one row to another in this commit, beside what it does already.
// Alone they always may: they came in one message.
func (t *tx) roomFor(n int) bool {
	used := t.moved + t.ownBytes
	return used == 0 || used+n <= maxRepeated
}
