package kernel

import (
	"iter"
	"strconv"
	"strings"

	"ocapkernel.dev/internal/limits"
)

// budget holds the amounts that one commit may still use of each bounded resource. Each commit starts with the whole of
// it, and each use is subtracted. The bounds are of two kinds. Acts that a commit does in passing for others are left
// to the kernel's own work once their part of the budget is used up. A slice of that work, or a page of a question,
// takes no further item once the budget is spent. One item may overdraw the budget by the size of one message or value.
// So no step reads or writes without bound.
type budget struct {
	// reads is the number of rows to be read from the store, bytes the number of bytes of their values; rows that turn
	// out useless count, too. rows is the number of rows to be changed: it stays as it is, see spent.
	reads, bytes, rows int
	// moved is the number of bytes of messages and values that may go from one row to another (see roomFor). repeated
	// is the number of bytes of reasons that may be given to one promise after another.
	moved, repeated int
	// notified is the number of notifications that may be made in passing. touched is the number of promises of dead
	// deciders that may be rejected in passing.
	notified, touched int
	// walked is the number of steps of waitsInCircle, walkReads the number of rows that they may read.
	walked, walkReads int
}

// whole is the budget of one commit.
var whole = budget{
	reads: 1000, bytes: 1 << 20, rows: 2000,
	moved: 1 << 20, repeated: limits.RepeatedBytes,
	notified: 1000, touched: 1000,
	walked: 1_000_000, walkReads: maxChain,
}

// demand is the number of rows and bytes that the syscalls of a crank would write. The vat is at fault beyond half of
// the limits of one commit.
type demand struct{ rows, bytes int }

// spent reports whether a slice takes no further item.
func (t *tx) spent() bool {
	return t.left.reads <= 0 || t.left.bytes <= 0 || t.left.moved <= 0 || t.left.repeated <= 0 ||
		len(t.changed)+len(t.objects.list)+len(t.promises.list) >= t.left.rows
}

// all yields the rows whose keys have the prefix and follow after, in the order of their keys: of each row the rest of
// its key behind the prefix, and its value. It reads all of them, without a bound.
func (t *tx) all(prefix, after string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for {
			key, value := t.next(prefix, after)
			if key == "" || !yield(key[len(prefix):], value) {
				return
			}
			after = key
		}
	}
}

// scan yields the rows whose keys have the prefix and follow the cursor, which it moves, until there are no more or the
// budget is spent. The caller finds out with spent which of both it was, and stores the cursor for the next slice: so a
// slice does not read again the rows that another has passed over.
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

// deleteAll deletes the rows with the prefix, as far as the budget goes.
func (t *tx) deleteAll(prefix string, cursor *string) {
	for key := range t.scan(prefix, cursor) {
		t.delete(key)
	}
}

// scanByNumber is scan for rows whose names end in a number, in the order of the numbers: as keys, 10 comes before 9.
// It passes over the numbers of one length after those of another, and jumps where longer ones lie between them, so
// that it reads few rows twice. Its cursor is no key. A cursor that is a key comes from an earlier version, which went
// by keys and had dealt with the rows that it had passed: then the scan starts again, and finds the rows that are left.
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
				// Behind it lie the keys with the same leading digits that are as long, or longer.
				at.longer, at.digits = true, digits[:at.length]+pastDigits
			}
			*cursor = at.String()
			if ready && len(digits) == at.length && !yield(key, value) {
				return
			}
		}
	}
}

// numberCursor is the position of a scanByNumber.
type numberCursor struct {
	// length is the length of the numbers that are passed over now, longer says that there are longer ones.
	length int
	longer bool
	// digits is the number that was passed last.
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

// parseNumberCursor parses a cursor that String has written. Any other text gives the cursor of the first number.
func parseNumberCursor(prefix, s string) numberCursor {
	if i := strings.IndexAny(s, "=+"); i > 0 && !strings.HasPrefix(s, prefix) {
		if length, err := strconv.Atoi(s[:i]); err == nil && length > 0 {
			return numberCursor{length, s[i] == '+', s[i+1:]}
		}
	}
	return numberCursor{length: 1}
}

// roomFor reports whether n bytes may go from one row to another in this commit, beside the bytes that it moves
// already. If it moves none, they may always: they came in one message.
func (t *tx) roomFor(n int) bool {
	used := whole.moved - t.left.moved + t.own.bytes
	return used == 0 || used+n <= whole.moved
}
