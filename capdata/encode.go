package capdata

import (
	"math"
	"math/big"
	"slices"
	"strconv"
)

// Encode returns the body of v: '#' and JSON. It fails, and says where, if v holds anything that is not
// passable, or exceeds a limit, or uses one slot both as a [Remotable] and as a [Promise]. The caller
// keeps the slots; Encode writes their indexes as they are.
func Encode(v any) (body string, err error) {
	b, err := Append(make([]byte, 0, 128), v)
	return string(b), err
}

// Append appends the body of v to dst and returns the extended slice, as [Encode]. On an error it
// returns dst unchanged.
func Append(dst []byte, v any) ([]byte, error) {
	e := encoder{writer: writer{buf: append(dst, '#'), base: len(dst)}}
	if err := e.value(v); err != nil {
		return dst, err
	}
	if err := e.room(0); err != nil {
		return dst, err
	}
	return e.buf, nil
}

// EncodeCall returns the body of a method call, [method, [args…]], as [Encode].
func EncodeCall(method string, args []any) (body string, err error) {
	b, err := AppendCall(make([]byte, 0, 128), method, args)
	return string(b), err
}

// AppendCall appends the body of a method call to dst, as [Append].
func AppendCall(dst []byte, method string, args []any) ([]byte, error) {
	e := encoder{writer: writer{buf: append(dst, "#["...), base: len(dst), depth: 1}}
	if err := e.string(method); err != nil {
		return dst, inside(err, "<method>")
	}
	e.buf = append(e.buf, ',')
	if err := e.array(args); err != nil {
		return dst, err
	}
	e.buf = append(e.buf, ']')
	if err := e.room(0); err != nil {
		return dst, err
	}
	return e.buf, nil
}

// encoder writes smallcaps.
type encoder struct {
	writer
	slots slotTable
}

func (e *encoder) value(v any) error {
	if err := e.room(0); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, "null"...)
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case float64:
		switch {
		case math.IsNaN(v):
			e.buf = append(e.buf, `"#NaN"`...)
		case math.IsInf(v, 1):
			e.buf = append(e.buf, `"#Infinity"`...)
		case math.IsInf(v, -1):
			e.buf = append(e.buf, `"#-Infinity"`...)
		default:
			e.number(v)
		}
	case string:
		return e.string(v)
	case []any:
		return e.array(v)
	case *Record:
		if v == nil {
			return unmarshalable("a nil *Record")
		}
		return e.record(v)
	case Remotable:
		return e.remotable(v)
	case Promise:
		if fault := e.slots.promise(v.Slot); fault != "" {
			return unmarshalable("%s", fault)
		}
		e.buf = append(strconv.AppendInt(append(e.buf, `"&`...), int64(v.Slot), 10), '"')
	case Undefined:
		e.buf = append(e.buf, `"#undefined"`...)
	case *big.Int:
		if fault := bigFault(v); fault != "" {
			return unmarshalable("%s", fault)
		}
		e.buf = append(e.buf, '"')
		if v.Sign() >= 0 {
			e.buf = append(e.buf, '+')
		}
		if v.IsInt64() { // without the allocation
			e.buf = append(strconv.AppendInt(e.buf, v.Int64(), 10), '"')
		} else {
			e.buf = append(v.Append(e.buf, 10), '"')
		}
	case Symbol:
		if fault := symbolFault(string(v)); fault != "" {
			return unmarshalable("the symbol %s: %s", clipQuoted(string(v)), fault)
		}
		return e.quote("%", string(v))
	case *Tagged:
		if v == nil {
			return unmarshalable("a nil *Tagged")
		}
		return e.tagged(v)
	case *Error:
		return e.error(v)
	default:
		return unsupported(v)
	}
	return nil
}

// string writes a string value or the name of a property. A string that begins like a special form gets a '!'.
func (e *encoder) string(s string) error {
	if special(s) {
		return e.quote("!", s)
	}
	return e.quote("", s)
}

func (e *encoder) remotable(v Remotable) error {
	first, fault := e.slots.remotable(v.Slot, v.Iface)
	if fault != "" {
		return unmarshalable("%s", fault)
	}
	e.buf = strconv.AppendInt(append(e.buf, `"$`...), int64(v.Slot), 10)
	if first && v.Iface != "" {
		e.buf = append(e.buf, '.')
	}
	if !first {
		return e.quoteRest("")
	}
	return e.quoteRest(v.Iface)
}

func (e *encoder) array(a []any) error {
	if err := e.enter('['); err != nil {
		return err
	}
	for i, v := range a {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		if err := e.value(v); err != nil {
			return inElement(err, i)
		}
	}
	e.leave(']')
	return nil
}

func (e *encoder) record(r *Record) error {
	if err := e.enter('{'); err != nil {
		return err
	}
	fields, indexes, err := arrange(r)
	if err != nil {
		return err
	}
	if indexes {
		return e.recordWithIndexes(fields)
	}
	for i, f := range fields {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		if err := e.field(f); err != nil {
			return err
		}
	}
	e.leave('}')
	return nil
}

func (e *encoder) field(f Field) error {
	if err := e.string(f.Name); err != nil {
		return inside(err, ".<name>")
	}
	e.buf = append(e.buf, ':')
	if err := e.value(f.Value); err != nil {
		return inField(err, f.Name)
	}
	return nil
}

// recordWithIndexes visits the fields in the order that decides at which occurrence of a slot its interface
// name is shown, and prints them in another order (see compareNames).
func (e *encoder) recordWithIndexes(fields []Field) error {
	type part struct {
		name       string
		start, end int
	}
	parts := make([]part, len(fields))
	begin := len(e.buf)
	for i, f := range fields {
		start := len(e.buf)
		if err := e.field(f); err != nil {
			return err
		}
		parts[i] = part{f.Name, start, len(e.buf)}
	}
	visited := slices.Clone(e.buf[begin:])
	slices.SortFunc(parts, func(a, b part) int { return compareProperties(a.name, b.name) })
	e.buf = e.buf[:begin]
	for i, p := range parts {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = append(e.buf, visited[p.start-begin:p.end-begin]...)
	}
	e.leave('}')
	return nil
}

// arrange returns a record's fields in visiting order, and whether an array index is among the names.
// The record itself stays as it is.
func arrange(r *Record) (fields []Field, indexes bool, err error) {
	fields = r.Fields
	for i := range fields {
		if _, ok := arrayIndex(fields[i].Name); ok {
			indexes = true
		}
		if i > 0 && compareNames(fields[i-1].Name, fields[i].Name) >= 0 {
			// Sort a copy, once. The rest of the loop only looks for indexes.
			fields = slices.Clone(r.Fields)
			if d := sortFields(fields); d >= 0 {
				return nil, false, unmarshalable("the record has two properties named %s", clipQuoted(fields[d].Name))
			}
			for _, f := range fields {
				_, ok := arrayIndex(f.Name)
				indexes = indexes || ok
			}
			return fields, indexes, nil
		}
	}
	return fields, indexes, nil
}

func (e *encoder) tagged(t *Tagged) error {
	if err := e.enter('{'); err != nil {
		return err
	}
	e.buf = append(e.buf, `"#tag":`...)
	if err := e.string(t.Tag); err != nil {
		return inside(err, ".<tag>")
	}
	e.buf = append(e.buf, `,"payload":`...)
	if err := e.value(t.Payload); err != nil {
		return inField(err, "payload")
	}
	e.leave('}')
	return nil
}

// error writes the properties in Endo's order; properties that Endo does not write yet come last.
func (e *encoder) error(v *Error) error {
	if v == nil {
		return unmarshalable("a nil *Error")
	}
	if err := e.enter('{'); err != nil {
		return err
	}
	e.buf = append(e.buf, `"#error":`...)
	if err := e.string(v.Message); err != nil {
		return inField(err, "message")
	}
	if v.ErrorID != "" {
		e.buf = append(e.buf, `,"errorId":`...)
		if err := e.string(v.ErrorID); err != nil {
			return inField(err, "errorId")
		}
	}
	e.buf = append(e.buf, `,"name":`...)
	if err := e.string(v.Name); err != nil {
		return inField(err, "name")
	}
	if v.Cause != nil {
		e.buf = append(e.buf, `,"cause":`...)
		if err := e.error(v.Cause); err != nil {
			return inField(err, "cause")
		}
	}
	if v.Errors != nil {
		e.buf = append(e.buf, `,"errors":`...)
		if err := e.enter('['); err != nil {
			return inField(err, "errors")
		}
		for i, x := range v.Errors {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			if err := e.error(x); err != nil {
				return inField(inElement(err, i), "errors")
			}
		}
		e.leave(']')
	}
	e.leave('}')
	return nil
}
