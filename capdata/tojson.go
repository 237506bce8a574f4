package capdata

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// The keys that mark a form of the JSON for people; see the package comment.
const (
	keyRef       = "$ref"
	keyBigInt    = "$bigint"
	keyUndefined = "$undefined"
	keyNumber    = "$number"
	keySymbol    = "$symbol"
	keyTag       = "$tag"
	keyError     = "$error"
)

// promisePrefix begins the names of promises that people see. No name of an object begins so.
const promisePrefix = "kp"

// ToJSON returns v as JSON, in the form that the package comment describes, on one line. kref returns the name
// of the reference in a slot. Properties are in Endo's order. Interface names of references are left out.
//
// The text may be shown on a terminal: control characters and marks that change the direction of text are
// written as \u escapes. ToJSON fails where [Encode] does.
func ToJSON(v any, kref func(slot int) string) ([]byte, error) {
	w := jsonWriter{writer: writer{terminal: true}, kref: kref}
	if err := w.value(v); err != nil {
		return nil, err
	}
	if err := w.room(0); err != nil {
		return nil, err
	}
	return w.buf, nil
}

type jsonWriter struct {
	writer
	kref func(slot int) string
}

func (w *jsonWriter) value(v any) error {
	if err := w.room(0); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		w.buf = append(w.buf, "null"...)
	case bool:
		w.buf = strconv.AppendBool(w.buf, v)
	case float64:
		return w.float(v)
	case string:
		return w.quote("", v)
	case []any:
		return w.array(v)
	case *Record:
		if v == nil {
			return unmarshalable("a nil *Record")
		}
		return w.record(v)
	case Remotable:
		return w.form(keyRef, w.kref(v.Slot))
	case Promise:
		return w.form(keyRef, w.kref(v.Slot))
	case Undefined:
		w.buf = append(w.buf, `{"$undefined":true}`...)
	case *big.Int:
		if fault := bigFault(v); fault != "" {
			return unmarshalable("%s", fault)
		}
		return w.form(keyBigInt, v.String())
	case Symbol:
		if fault := symbolFault(string(v)); fault != "" {
			return unmarshalable("the symbol %s: %s", clipQuoted(string(v)), fault)
		}
		return w.form(keySymbol, string(v))
	case *Tagged:
		if v == nil {
			return unmarshalable("a nil *Tagged")
		}
		return w.tagged(v)
	case *Error:
		return w.error(v)
	default:
		return unsupported(v)
	}
	return nil
}

// form writes {"key":"text"}.
func (w *jsonWriter) form(key, text string) error {
	w.buf = append(append(append(w.buf, `{"`...), key...), `":`...)
	if err := w.quote("", text); err != nil {
		return err
	}
	w.buf = append(w.buf, '}')
	return nil
}

// float writes a whole number beyond 2^53 with an exponent, since FromJSON refuses it without one.
func (w *jsonWriter) float(f float64) error {
	switch {
	case math.IsNaN(f):
		return w.form(keyNumber, "NaN")
	case math.IsInf(f, 1):
		return w.form(keyNumber, "Infinity")
	case math.IsInf(f, -1):
		return w.form(keyNumber, "-Infinity")
	case math.Abs(f) > 1<<53:
		w.exponential(f)
	default:
		w.number(f)
	}
	return nil
}

func (w *jsonWriter) array(a []any) error {
	if err := w.enter('['); err != nil {
		return err
	}
	for i, v := range a {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		if err := w.value(v); err != nil {
			return inElement(err, i)
		}
	}
	w.leave(']')
	return nil
}

func (w *jsonWriter) record(r *Record) error {
	if err := w.enter('{'); err != nil {
		return err
	}
	fields, _, err := arrange(r)
	if err != nil {
		return err
	}
	for i, f := range fields {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		extra := ""
		if strings.HasPrefix(f.Name, "$") {
			extra = "$"
		}
		if err := w.quote(extra, f.Name); err != nil {
			return inside(err, ".<name>")
		}
		w.buf = append(w.buf, ':')
		if err := w.value(f.Value); err != nil {
			return inField(err, f.Name)
		}
	}
	w.leave('}')
	return nil
}

func (w *jsonWriter) tagged(t *Tagged) error {
	if err := w.enter('{'); err != nil {
		return err
	}
	w.buf = append(w.buf, `"$tag":`...)
	if err := w.quote("", t.Tag); err != nil {
		return inside(err, ".<tag>")
	}
	w.buf = append(w.buf, `,"payload":`...)
	if err := w.value(t.Payload); err != nil {
		return inField(err, "payload")
	}
	w.leave('}')
	return nil
}

func (w *jsonWriter) error(v *Error) error {
	if v == nil {
		return unmarshalable("a nil *Error")
	}
	if err := w.enter('{'); err != nil {
		return err
	}
	w.buf = append(w.buf, `"$error":`...)
	if err := w.quote("", v.Message); err != nil {
		return inField(err, "message")
	}
	w.buf = append(w.buf, `,"name":`...)
	if err := w.quote("", v.Name); err != nil {
		return inField(err, "name")
	}
	if v.ErrorID != "" {
		w.buf = append(w.buf, `,"errorId":`...)
		if err := w.quote("", v.ErrorID); err != nil {
			return inField(err, "errorId")
		}
	}
	if v.Cause != nil {
		w.buf = append(w.buf, `,"cause":`...)
		if err := w.error(v.Cause); err != nil {
			return inField(err, "cause")
		}
	}
	if v.Errors != nil {
		w.buf = append(w.buf, `,"errors":`...)
		if err := w.enter('['); err != nil {
			return inField(err, "errors")
		}
		for i, x := range v.Errors {
			if i > 0 {
				w.buf = append(w.buf, ',')
			}
			if err := w.error(x); err != nil {
				return inField(inElement(err, i), "errors")
			}
		}
		w.leave(']')
	}
	w.leave('}')
	return nil
}
