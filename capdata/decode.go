package capdata

import (
	"math"
	"math/big"
	"slices"
	"strconv"
)

// Decode returns the value of a body whose references are indexes below nslots. It accepts the texts that
// Endo's unmarshaller accepts (white space between tokens and any order of keys included), except texts that
// are ambiguous or have a second spelling: duplicate keys, a "#tag" or "#error" that is not the first key,
// bigints such as "+007", a slot that is both object and promise or has two interface names. It refuses bytes
// after the value, and values that exceed a limit of the package. Any text may be handed to it; the error is a
// [*SyntaxError].
//
// The strings of the result may share memory with a body of up to a few kilobytes.
func Decode(body string, nslots int) (any, error) {
	var d decoder
	if err := d.begin(body, nslots); err != nil {
		return nil, err
	}
	for {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		if again, err := d.finish(); err != nil {
			return nil, err
		} else if !again {
			return v, nil
		}
	}
}

// DecodeCall returns the method and the arguments of the body of a method call, [method, [args…]]. It is as
// strict as [Decode]. The method is a string; Endo's symbol-named methods and calls of functions are refused.
func DecodeCall(body string, nslots int) (method string, args []any, err error) {
	var d decoder
	if err := d.begin(body, nslots); err != nil {
		return "", nil, err
	}
	for {
		method, args, err := d.call()
		if err != nil {
			return "", nil, err
		}
		if again, err := d.finish(); err != nil {
			return "", nil, err
		} else if !again {
			return method, args, nil
		}
	}
}

// MethodOf returns the name of the method at the front of a call's body, or "" if the body does not begin with
// one. It does not read the rest of the body.
func MethodOf(body string) string {
	var d decoder
	if d.begin(body, 0) != nil || d.peek() != '[' || d.enter() != nil {
		return ""
	}
	method, err := d.plain("the method")
	if err != nil {
		return ""
	}
	return method
}

// decoder reads smallcaps: the tokens of JSON, and the strings that stand for more than themselves.
type decoder struct {
	scanner
	nslots int
	slots  slotTable
	// late is set when an interface name is met after the first occurrence of its slot.
	late bool
}

func (d *decoder) begin(body string, nslots int) error {
	if len(body) > MaxBodyBytes {
		return d.fail(MaxBodyBytes, "body is larger than %d bytes", MaxBodyBytes)
	}
	if body == "" || body[0] != '#' {
		return d.fail(0, "body does not begin with '#'")
	}
	d.text, d.pos, d.nslots = body, 1, nslots
	d.copied = len(body) > copyAbove
	return nil
}

// finish checks that the text ends here, and reports whether the text must be read again. Endo names an
// interface at the first occurrence of its slot in the order of visiting, which need not be the first in the
// text; the second reading knows all names.
func (d *decoder) finish() (again bool, err error) {
	if err := d.end(); err != nil {
		return false, err
	}
	again = d.late
	d.pos, d.late = 1, false
	return again, nil
}

func (d *decoder) call() (method string, args []any, err error) {
	if d.peek() != '[' {
		return "", nil, d.unexpected("'[' of a call")
	}
	if err := d.enter(); err != nil {
		return "", nil, err
	}
	defer d.leave()
	if method, err = d.plain("the method"); err != nil {
		return "", nil, err
	}
	if err := d.expect(','); err != nil {
		return "", nil, err
	}
	if d.peek() != '[' {
		return "", nil, d.unexpected("'[' of the arguments")
	}
	if args, err = d.array(d.value); err != nil {
		return "", nil, err
	}
	return method, args, d.expect(']')
}

func (d *decoder) value() (any, error) {
	switch c := d.peek(); c {
	case '"':
		at := d.pos
		s, err := d.str()
		if err != nil || !special(s) {
			return s, err
		}
		return d.special(s, at)
	case '{':
		return d.object()
	case '[':
		return d.array(d.value)
	case 'n':
		return nil, d.word("null")
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		f, _, err := d.number()
		return f, err
	}
	return nil, d.unexpected("a value")
}

// special reads a string value that begins with one of the reserved characters.
func (d *decoder) special(s string, at int) (any, error) {
	switch rest := s[1:]; s[0] {
	case '!':
		return rest, nil
	case '$':
		return d.remotable(rest, at)
	case '&':
		slot, after, err := d.slot(rest, at)
		if err != nil {
			return nil, err
		}
		if after != "" {
			return nil, d.fail(at, "malformed promise %s", clipQuoted(s))
		}
		if fault := d.slots.promise(slot); fault != "" {
			return nil, d.fail(at, "%s", fault)
		}
		return Promise{slot}, nil
	case '+', '-':
		n, fault := parseBig(rest, s[0] == '-')
		if fault != "" {
			return nil, d.fail(at, "%s %s", fault, clipQuoted(s))
		}
		return n, nil
	case '%':
		if fault := symbolFault(rest); fault != "" {
			return nil, d.fail(at, "%s %s", fault, clipQuoted(s))
		}
		return Symbol(rest), nil
	case '#':
		switch rest {
		case "undefined":
			return Undefined{}, nil
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return nil, d.fail(at, "unknown constant %s", clipQuoted(s))
	}
	return nil, d.fail(at, "string %s begins with a reserved character", clipQuoted(s))
}

func (d *decoder) remotable(rest string, at int) (any, error) {
	slot, after, err := d.slot(rest, at)
	if err != nil {
		return nil, err
	}
	iface := ""
	if after != "" {
		if iface = after[1:]; after[0] != '.' || iface == "" {
			return nil, d.fail(at, "malformed reference %s", clipQuoted("$"+rest))
		}
	}
	before := d.slots.get(slot)
	first, fault := d.slots.remotable(slot, iface)
	if fault != "" {
		return nil, d.fail(at, "%s", fault)
	}
	if iface == "" {
		iface = before.iface
	} else if !first && before.iface == "" {
		d.late = true
	}
	return Remotable{slot, iface}, nil
}

// slot reads the index at the front of s.
func (d *decoder) slot(s string, at int) (slot int, after string, err error) {
	n := 0
	for n < len(s) && n < 10 && s[n]-'0' <= 9 {
		n++
	}
	if n == 0 || n > 1 && s[0] == '0' {
		return 0, "", d.fail(at, "malformed slot %s", clipQuoted(s))
	}
	i, err := strconv.ParseInt(s[:n], 10, 64)
	if err != nil || i >= int64(d.nslots) {
		return 0, "", d.fail(at, "slot %s is out of range: there are %d", s[:n], d.nslots)
	}
	return int(i), s[n:], nil
}

// parseBig returns the bigint with these digits. It accepts their one normal form: no sign, no leading zeros,
// no -0.
func parseBig(digits string, negative bool) (n *big.Int, fault string) {
	const mostDigits = MaxBigIntBits*30103/100000 + 1
	if digits == "" || digits[0] == '0' && (len(digits) > 1 || negative) {
		return nil, "malformed bigint"
	}
	for i := range len(digits) {
		if digits[i]-'0' > 9 {
			return nil, "malformed bigint"
		}
	}
	if len(digits) <= 18 {
		i, _ := strconv.ParseInt(digits, 10, 64) // cannot fail: at most 18 digits
		n = big.NewInt(i)
	} else {
		if len(digits) > mostDigits {
			return nil, "too large a bigint"
		}
		n, _ = new(big.Int).SetString(digits, 10)
		if bigFault(n) != "" {
			return nil, "too large a bigint"
		}
	}
	if negative {
		n.Neg(n)
	}
	return n, ""
}

// plain reads a string at a place where smallcaps allows no other value: a method, a key, a tag.
func (d *decoder) plain(what string) (string, error) {
	d.peek()
	at := d.pos
	s, err := d.str()
	if err != nil || !special(s) {
		return s, err
	}
	if s[0] != '!' {
		return "", d.fail(at, "%s is not a string: %s", what, clipQuoted(s))
	}
	return s[1:], nil
}

// object reads a record, a tagged value or an error; its first key tells which.
func (d *decoder) object() (any, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if d.peek() == '}' {
		d.pos++
		return &Record{}, nil
	}
	if d.fields == nil {
		d.fields = make([]Field, 0, 8)
	}
	base := len(d.fields)
	for {
		d.peek()
		at := d.pos
		key, err := d.str()
		if err != nil {
			return nil, err
		}
		if special(key) {
			switch {
			case key == "#tag" && len(d.fields) == base:
				return d.tagged()
			case key == "#error" && len(d.fields) == base:
				return d.error()
			case key[0] == '#':
				return nil, d.fail(at, "key %s, unknown or not the first", clipQuoted(key))
			case key[0] != '!':
				return nil, d.fail(at, "key %s is not a string", clipQuoted(key))
			}
			key = key[1:]
		}
		if err := d.expect(':'); err != nil {
			return nil, err
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		d.fields = append(d.fields, Field{key, v})
		more, err := d.more('}')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	fields := d.takeFields(base)
	if i := sortFields(fields); i >= 0 {
		return nil, d.fail(d.pos-1, "record has two keys %s", clipQuoted(fields[i].Name))
	}
	return &Record{fields}, nil
}

// tagged reads on after the key "#tag".
func (d *decoder) tagged() (any, error) {
	if err := d.expect(':'); err != nil {
		return nil, err
	}
	tag, err := d.plain("a tag")
	if err != nil {
		return nil, err
	}
	if err := d.expect(','); err != nil {
		return nil, err
	}
	d.peek()
	at := d.pos
	if key, err := d.str(); err != nil {
		return nil, err
	} else if key != "payload" {
		return nil, d.fail(at, "key %s where \"payload\" was expected", clipQuoted(key))
	}
	if err := d.expect(':'); err != nil {
		return nil, err
	}
	payload, err := d.value()
	if err != nil {
		return nil, err
	}
	return &Tagged{tag, payload}, d.expect('}')
}

// error reads on after the key "#error". Like Endo's own reader, it lets properties pass that it does not know,
// for the sake of later versions, and drops them.
func (d *decoder) error() (any, error) {
	if err := d.expect(':'); err != nil {
		return nil, err
	}
	message, err := d.plain("an error's message")
	if err != nil {
		return nil, err
	}
	v := &Error{Message: message}
	var keys []string
	for {
		more, err := d.more('}')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		d.peek()
		at := d.pos
		key, err := d.str()
		if err != nil {
			return nil, err
		}
		if special(key) && key[0] != '!' || key == "message" {
			return nil, d.fail(at, "key %s in an error", clipQuoted(key))
		}
		keys = append(keys, key)
		if err := d.expect(':'); err != nil {
			return nil, err
		}
		switch key {
		case "name":
			v.Name, err = d.plain("an error's name")
		case "errorId":
			v.ErrorID, err = d.plain("an error's errorId")
		case "cause":
			v.Cause, err = d.errorValue()
		case "errors":
			v.Errors, err = d.errorValues()
		default:
			_, err = d.value()
		}
		if err != nil {
			return nil, err
		}
	}
	if !slices.Contains(keys, "name") {
		return nil, d.fail(d.pos-1, "error without a name")
	}
	slices.Sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			return nil, d.fail(d.pos-1, "error has two keys %s", clipQuoted(keys[i]))
		}
	}
	return v, nil
}

func (d *decoder) errorValue() (*Error, error) {
	d.peek()
	at := d.pos
	v, err := d.value()
	if err != nil {
		return nil, err
	}
	e, ok := v.(*Error)
	if !ok {
		return nil, d.fail(at, "an error's cause, or one of its errors, is not an error")
	}
	return e, nil
}

func (d *decoder) errorValues() ([]*Error, error) {
	if d.peek() != '[' {
		return nil, d.unexpected("'[' of an error's errors")
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	all := []*Error{}
	if d.peek() == ']' {
		d.pos++
		return all, nil
	}
	for {
		e, err := d.errorValue()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		more, err := d.more(']')
		if err != nil {
			return nil, err
		}
		if !more {
			return all, nil
		}
	}
}
