package capdata

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SyntaxError is the fault for which [Decode], [DecodeCall] or [FromJSON] refused a text.
type SyntaxError struct {
	// What describes the fault, with no more than a short piece of the text.
	What string
	// Offset is the index of the byte at fault.
	Offset int
}

func (e *SyntaxError) Error() string { return e.What + " at byte " + strconv.Itoa(e.Offset) }

// scanner reads the tokens of JSON (RFC 8259, strictly) off a text.
//
// It is written by hand, and the grammars above it build their values in one pass, for two reasons.
// Bodies are hostile: encoding/json lets duplicate keys, bad UTF-8 and halves of surrogate pairs pass in
// silence, and knows no depth limit of ours. And this is the hot path of every message: encoding/json
// takes several times as long, only to build maps that would have to be walked again.
type scanner struct {
	text  string
	pos   int
	depth int
	// copied is set for a large text: strings are then copied out of it, so that a short string that is kept
	// does not keep the whole text in memory.
	copied bool
	// elements and fields hold the parts of the arrays and records that are being read; when one ends,
	// its parts move to a slice of just their number.
	elements []any
	fields   []Field
}

// copyAbove is the length of a text from which on strings are copied out of it.
const copyAbove = 4 << 10

func (s *scanner) fail(at int, format string, args ...any) error {
	return &SyntaxError{What: fmt.Sprintf(format, args...), Offset: at}
}

// peek skips white space and returns the next byte, or 0 at the end of the text. A zero byte in the text begins
// no token, so the two cannot be confused.
func (s *scanner) peek() byte {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// unexpected returns the error for the token at the current position.
func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.text) {
		return s.fail(s.pos, "text ends where %s was expected", want)
	}
	r, _ := utf8.DecodeRuneInString(s.text[s.pos:])
	return s.fail(s.pos, "%q where %s was expected", r, want)
}

// expect reads the byte c, after white space.
func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		return s.unexpected(strconv.QuoteRune(rune(c)))
	}
	s.pos++
	return nil
}

// more is called after an element of a container, and reports whether another element follows.
func (s *scanner) more(end byte) (bool, error) {
	switch s.peek() {
	case ',':
		s.pos++
		return true, nil
	case end:
		s.pos++
		return false, nil
	}
	return false, s.unexpected("',' or '" + string(end) + "'")
}

// end checks that only white space follows.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.text) {
		return s.fail(s.pos, "text after the end of the value")
	}
	return nil
}

func (s *scanner) enter() error {
	if s.depth++; s.depth > MaxDepth {
		return s.fail(s.pos, "nested deeper than %d", MaxDepth)
	}
	s.pos++
	return nil
}

func (s *scanner) leave() { s.depth-- }

// array reads an array whose elements value reads.
func (s *scanner) array(value func() (any, error)) ([]any, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if s.peek() == ']' {
		s.pos++
		return []any{}, nil
	}
	if s.elements == nil {
		s.elements = make([]any, 0, 8)
	}
	base := len(s.elements)
	for {
		v, err := value()
		if err != nil {
			return nil, err
		}
		s.elements = append(s.elements, v)
		more, err := s.more(']')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	a := make([]any, len(s.elements)-base)
	copy(a, s.elements[base:])
	s.elements = s.elements[:base]
	return a, nil
}

// takeFields returns the fields from index base on, in a slice of their own.
func (s *scanner) takeFields(base int) []Field {
	f := make([]Field, len(s.fields)-base)
	copy(f, s.fields[base:])
	s.fields = s.fields[:base]
	return f
}

// word reads null, true or false.
func (s *scanner) word(w string) error {
	if !strings.HasPrefix(s.text[s.pos:], w) {
		return s.unexpected("a value")
	}
	s.pos += len(w)
	return nil
}

// number reads a number and returns it with its text.
func (s *scanner) number() (f float64, literal string, err error) {
	start := s.pos
	i, t := s.pos, s.text
	digits := func() int {
		from := i
		for i < len(t) && t[i]-'0' <= 9 {
			i++
		}
		return i - from
	}
	bad := func() (float64, string, error) {
		s.pos = i
		return 0, "", s.unexpected("a digit")
	}
	negative := t[i] == '-'
	if negative {
		i++
	}
	whole := i
	if n := digits(); n == 0 {
		return bad()
	} else if n > 1 && t[whole] == '0' {
		return 0, "", s.fail(start, "number with a leading zero")
	}
	integer := true
	if i < len(t) && t[i] == '.' {
		integer = false
		i++
		if digits() == 0 {
			return bad()
		}
	}
	if i < len(t) && (t[i] == 'e' || t[i] == 'E') {
		integer = false
		i++
		if i < len(t) && (t[i] == '+' || t[i] == '-') {
			i++
		}
		if digits() == 0 {
			return bad()
		}
	}
	s.pos = i
	literal = t[start:i]
	if integer && i-whole <= 15 { // below 2^53: exact
		n := int64(0)
		for _, c := range []byte(t[whole:i]) {
			n = n*10 + int64(c-'0')
		}
		if negative {
			n = -n
		}
		return float64(n), literal, nil // never -0
	}
	f, err = strconv.ParseFloat(literal, 64)
	if err != nil || math.IsInf(f, 0) {
		return 0, "", s.fail(start, "number %s is out of range", clip(literal))
	}
	if f == 0 {
		f = 0 // no -0: Encode could not write it
	}
	return f, literal, nil
}

// str reads a string.
func (s *scanner) str() (string, error) {
	if s.peek() != '"' {
		return "", s.unexpected("a string")
	}
	s.pos++
	start := s.pos
	high := byte(0) // has the top bit set if a byte beyond ASCII was seen
	for i, t := s.pos, s.text; i < len(t); i++ {
		c := t[i]
		switch {
		case c == '"':
			s.pos = i + 1
			v := t[start:i]
			if high >= utf8.RuneSelf && !utf8.ValidString(v) {
				return "", s.fail(start, "string is not UTF-8")
			}
			if s.copied {
				v = strings.Clone(v)
			}
			return v, nil
		case c == '\\':
			return s.escaped(start, i)
		case c < 0x20:
			return "", s.fail(i, "control character in a string")
		}
		high |= c
	}
	return "", s.fail(start-1, "string without end")
}

// escaped reads on at the first backslash of a string.
func (s *scanner) escaped(start, i int) (string, error) {
	t := s.text
	b := make([]byte, 0, i-start+32)
	plain := start // where the bytes begin that are not yet copied
	for i < len(t) {
		c := t[i]
		switch {
		case c == '"':
			s.pos = i + 1
			b = append(b, t[plain:i]...)
			if !utf8.ValidString(t[start:i]) {
				return "", s.fail(start, "string is not UTF-8")
			}
			return string(b), nil
		case c < 0x20:
			return "", s.fail(i, "control character in a string")
		case c != '\\':
			i++
			continue
		}
		b = append(b, t[plain:i]...)
		if i+1 == len(t) {
			break
		}
		c = t[i+1]
		switch c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			u, ok := escapeAt(t, i)
			if !ok {
				return "", s.fail(i, "malformed \\u escape")
			}
			i += 6
			plain = i
			low, ok := escapeAt(t, i)
			switch {
			case u < 0xD800 || u > 0xDFFF:
				b = utf8.AppendRune(b, rune(u))
			case ok && u < 0xDC00 && low >= 0xDC00 && low <= 0xDFFF:
				b = utf8.AppendRune(b, 0x10000+rune(u-0xD800)<<10+rune(low-0xDC00))
				i += 6
				plain = i
			default: // half of a pair: WTF-8, see the package comment
				b = append(b, 0xED, byte(0x80|u>>6&0x3F), byte(0x80|u&0x3F))
			}
			continue
		default:
			return "", s.fail(i, "unknown escape in a string")
		}
		b = append(b, c)
		i += 2
		plain = i
	}
	return "", s.fail(start-1, "string without end")
}

// escapeAt returns the code unit of the \uXXXX at t[i:], if there is one.
func escapeAt(t string, i int) (u uint16, ok bool) {
	if len(t)-i < 6 || t[i] != '\\' || t[i+1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(t[i+2 : i+6]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | uint16(c)
	}
	return u, true
}
