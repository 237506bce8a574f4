package capdata

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// FromJSON reads JSON in the form that the package comment describes. slot returns the slot's index for a name
// in {"$ref":name}: a name that begins with "kp" becomes a [Promise], any other a [Remotable]; slot decides
// whether the name is well formed and known.
//
// FromJSON is as strict and as bounded as [Decode]. It also refuses a whole number beyond 2^53, which would
// silently lose digits as a float64: a bigint is written {"$bigint":"…"}, and a number of that size with an
// exponent or a decimal point. The keys of a form may come in any order. The error is a [*SyntaxError], or
// wraps the error of slot.
func FromJSON(text []byte, slot func(kref string) (int, error)) (any, error) {
	p := jsonReader{slot: slot}
	if len(text) > MaxBodyBytes {
		return nil, p.fail(MaxBodyBytes, "text is larger than %d bytes", MaxBodyBytes)
	}
	p.text = string(text)
	p.copied = len(text) > copyAbove
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	return v, p.end()
}

type jsonReader struct {
	scanner
	slot func(kref string) (int, error)
}

func (p *jsonReader) value() (any, error) {
	switch c := p.peek(); c {
	case '"':
		return p.str()
	case '{':
		return p.object()
	case '[':
		return p.array(p.value)
	case 'n':
		return nil, p.word("null")
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		at := p.pos
		f, literal, err := p.number()
		if err != nil {
			return nil, err
		}
		if len(literal) > 15 && !strings.ContainsAny(literal, ".eE") {
			n, err := strconv.ParseInt(literal, 10, 64)
			if err != nil || n > 1<<53 || n < -1<<53 {
				return nil, p.fail(at, `whole number %s does not fit a JavaScript number; write {"$bigint":"%s"}`,
					clip(literal), clip(literal))
			}
		}
		return f, nil
	}
	return nil, p.unexpected("a value")
}

// object reads an object whole, and only then looks for a key that marks a form.
func (p *jsonReader) object() (any, error) {
	start := p.pos
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.peek() == '}' {
		p.pos++
		return &Record{}, nil
	}
	base := len(p.fields)
	form, marked := "", any(nil)
	for {
		p.peek()
		at := p.pos
		key, err := p.str()
		if err != nil {
			return nil, err
		}
		rest, dollar := strings.CutPrefix(key, "$")
		own := !dollar || strings.HasPrefix(rest, "$")
		if !own && form != "" {
			return nil, p.fail(at, "key %s beside %s; %s", clipQuoted(key), form, hintDollar)
		}
		if err := p.expect(':'); err != nil {
			return nil, err
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		switch {
		case !own:
			form, marked = key, v
		case dollar:
			p.fields = append(p.fields, Field{rest, v})
		default:
			p.fields = append(p.fields, Field{key, v})
		}
		more, err := p.more('}')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	fields := p.takeFields(base)
	if i := sortFields(fields); i >= 0 {
		return nil, p.fail(start, "object has two keys %s", clipQuoted(fields[i].Name))
	}
	if form == "" {
		return &Record{fields}, nil
	}
	return p.form(start, form, marked, &Record{fields})
}

const hintDollar = "a record's own key that begins with '$' is written with one more"

// form returns the value of the object {form: marked, …others}. at is the position at which the object begins.
func (p *jsonReader) form(at int, form string, marked any, others *Record) (any, error) {
	fail := func(format string, args ...any) (any, error) {
		return nil, p.fail(at, form+" "+format, args...)
	}
	text, isText := marked.(string)
	switch form {
	case keyTag, keyError:
	case keyUndefined:
		if marked != true {
			return fail("wants true")
		}
	case keyRef, keyBigInt, keyNumber, keySymbol:
		if !isText {
			return fail("wants a string")
		}
	default:
		return nil, p.fail(at, "unknown form %s; %s", clipQuoted(form), hintDollar)
	}
	switch form {
	case keyTag:
		payload, found := others.Get("payload")
		if !isText || !found || len(others.Fields) != 1 {
			return fail("wants a string, a payload, and nothing else")
		}
		return &Tagged{text, payload}, nil
	case keyError:
		if !isText {
			return fail("wants a string")
		}
		return p.error(at, text, others)
	}
	if len(others.Fields) > 0 {
		return fail("stands beside a key %s", clipQuoted(others.Fields[0].Name))
	}
	switch form {
	case keyRef:
		i, err := p.slot(text)
		if err != nil {
			return nil, fmt.Errorf("%s %s at byte %d: %w", form, clipQuoted(text), at, err)
		}
		if strings.HasPrefix(text, promisePrefix) {
			return Promise{i}, nil
		}
		return Remotable{Slot: i}, nil
	case keyBigInt:
		digits, negative := strings.CutPrefix(text, "-")
		n, fault := parseBig(digits, negative)
		if fault != "" {
			return fail("%s: %s", clipQuoted(text), fault)
		}
		return n, nil
	case keyNumber:
		switch text {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return fail(`%s: want "NaN", "Infinity" or "-Infinity"`, clipQuoted(text))
	case keySymbol:
		if fault := symbolFault(text); fault != "" {
			return fail("%s: %s", clipQuoted(text), fault)
		}
		return Symbol(text), nil
	}
	return Undefined{}, nil
}

func (p *jsonReader) error(at int, message string, others *Record) (any, error) {
	v := &Error{Message: message}
	named := false
	for _, f := range others.Fields {
		ok := false
		switch f.Name {
		case "name":
			v.Name, ok = f.Value.(string)
			named = true
		case "errorId":
			v.ErrorID, ok = f.Value.(string)
		case "cause":
			v.Cause, ok = f.Value.(*Error)
		case "errors":
			var all []any
			all, ok = f.Value.([]any)
			v.Errors = make([]*Error, len(all))
			for i := 0; ok && i < len(all); i++ {
				v.Errors[i], ok = all[i].(*Error)
			}
		default:
			return nil, p.fail(at, "%s stands beside a key %s", keyError, clipQuoted(f.Name))
		}
		if !ok {
			return nil, p.fail(at, "%s has a wrong type in an error", f.Name)
		}
	}
	if !named {
		return nil, p.fail(at, `%s wants a "name"`, keyError)
	}
	return v, nil
}
