package capdata

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// writer is the part that both textual forms share: a growing text, and the limits by which writing ends even
// for a value that contains itself.
type writer struct {
	buf []byte
	// base is the index in buf at which the text begins: the bytes before it are the caller's.
	base  int
	depth int
	// terminal makes the strings safe to show: control characters and marks that change the direction of text
	// are escaped, which JSON.stringify would let pass.
	terminal bool
}

// valueError names the part of a value that cannot be written, and the reason.
type valueError struct{ path, what string }

func (e *valueError) Error() string {
	if e.path == "" {
		return "cannot marshal the value: " + e.what
	}
	return "cannot marshal " + clip(e.path) + " of the value: " + e.what
}

func unmarshalable(format string, args ...any) error {
	return &valueError{what: fmt.Sprintf(format, args...)}
}

// inside puts one step of the path to the fault before the path that err holds. Each caller on the way out adds
// its own step.
func inside(err error, step string) error {
	var e *valueError
	if errors.As(err, &e) {
		e.path = step + e.path
	}
	return err
}

func inElement(err error, i int) error     { return inside(err, "["+strconv.Itoa(i)+"]") }
func inField(err error, name string) error { return inside(err, "."+clip(name)) }

// enter writes the opening byte of a container, one level deeper.
func (w *writer) enter(open byte) error {
	if w.depth++; w.depth > MaxDepth {
		return unmarshalable("nested deeper than %d, or contains itself", MaxDepth)
	}
	w.buf = append(w.buf, open)
	return nil
}

func (w *writer) leave(end byte) {
	w.depth--
	w.buf = append(w.buf, end)
}

// room checks that the text may grow by n bytes. Every value is checked before it is written, so that a small
// value with much sharing, whose text would be endless, ends too.
func (w *writer) room(n int) error {
	if len(w.buf)-w.base+n > MaxBodyBytes {
		return unmarshalable("the text is larger than %d bytes", MaxBodyBytes)
	}
	return nil
}

const hexDigits = "0123456789abcdef"

// quote writes prefix and s as one JSON string, as JSON.stringify does. prefix is plain ASCII.
func (w *writer) quote(prefix, s string) error {
	w.buf = append(append(w.buf, '"'), prefix...)
	return w.quoteRest(s)
}

// quoteRest writes s and the closing quote of a string whose beginning is written already.
func (w *writer) quoteRest(s string) error {
	if err := w.room(len(s)); err != nil {
		return err
	}
	b := w.buf
	start := 0 // where the bytes begin that are not yet copied
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && (c != 0x7f || !w.terminal) {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, `\b`...)
			case '\f':
				b = append(b, `\f`...)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			half, ok := surrogateAt(s, i)
			if !ok {
				return unmarshalable("the string %s is not UTF-8", clipQuoted(s))
			}
			b = append(b, s[start:i]...)
			i += 3
			start = i
			// Two halves that meet are one character, as in JavaScript, where the string cannot be told
			// from one that was written with it.
			if low, ok := surrogateAt(s, i); ok && half < 0xDC00 && low >= 0xDC00 {
				r := 0x10000 + rune(half-0xD800)<<10 + rune(low-0xDC00)
				b = utf8.AppendRune(b, r)
				i += 3
				start = i
				continue
			}
			b = appendEscape(b, half)
			continue
		}
		if w.terminal && misleads(r) {
			b = appendEscape(append(b, s[start:i]...), uint16(r))
			start = i + n
		}
		i += n
	}
	w.buf = append(append(b, s[start:]...), '"')
	return nil
}

func appendEscape(b []byte, u uint16) []byte {
	return append(b, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

// misleads reports whether a character (beyond ASCII) moves the text that a person sees on a terminal: C1
// controls, separators of lines, marks of direction.
func misleads(r rune) bool {
	return r < 0xA0 || r == 0x061C || r >= 0x200E && r <= 0x200F || r >= 0x2028 && r <= 0x202E ||
		r >= 0x2066 && r <= 0x2069
}

// number writes a finite number as JavaScript does.
func (w *writer) number(f float64) {
	abs := math.Abs(f)
	switch {
	case abs < 1<<53 && f == math.Trunc(f):
		w.buf = strconv.AppendInt(w.buf, int64(f), 10) // -0 becomes 0
	case abs < 1e-6 || abs >= 1e21:
		w.exponential(f)
	default:
		w.buf = strconv.AppendFloat(w.buf, f, 'f', -1, 64)
	}
}

// exponential writes 1e-7 where Go would write 1e-07.
func (w *writer) exponential(f float64) {
	b := strconv.AppendFloat(w.buf, f, 'e', -1, 64)
	if n := len(b); b[n-2] == '0' && (b[n-3] == '-' || b[n-3] == '+') {
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	w.buf = b
}

// bigFault returns the reason why a bigint cannot be written, or "".
func bigFault(v *big.Int) string {
	switch {
	case v == nil:
		return "a nil *big.Int"
	case v.BitLen() > MaxBigIntBits:
		return "a bigint of more than " + strconv.Itoa(MaxBigIntBits) + " bits"
	}
	return ""
}

// unsupported returns the error for a value of a type outside of the closed set.
func unsupported(v any) error {
	switch v.(type) {
	case []byte:
		return unmarshalable("smallcaps has no form for byte arrays ([]byte)")
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32:
		return unmarshalable("%T is not a passable type: numbers are float64, bigints *big.Int", v)
	}
	return unmarshalable("%T is not a passable type", v)
}

// clip shortens foreign text for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func clipQuoted(s string) string { return strconv.Quote(clip(s)) }
