package service

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Ref is a reference to an object or a promise in the kernel, in the hands of a service: a parameter, a result,
// or a part of either. Refs can be compared with ==. The zero Ref is null.
//
// A Ref is only a name: it keeps nothing alive. An object that the caller passed exists at least until the call
// has ended; if a service hands out a Ref later, and the object is gone, the result is rejected.
//
// In JSON a Ref is {"$ref":"ko4"}; a Ref that this process wrote carries a mark behind the name, which changes
// with each process. In the result of a method only a Ref with the mark, or a reference that the caller itself
// passed to this call, becomes a reference. So data that happens to look like a reference (a key of a map that
// a vat chose) does not become one. Text of a Ref in JSON is therefore not for vats.
type Ref struct {
	name string
	// mark is the mark of the call that exported the object; empty if the name is the kernel's.
	mark string
}

// processMark cannot be known outside of this process.
var processMark = rand.Text()

// ParseRef returns the reference to the object or promise of a name such as "ko4" or "kp7". It is for programs
// that have the operator's authority: with it a program can name every object.
func ParseRef(name string) (Ref, error) {
	rest, ok := strings.CutPrefix(name, "ko")
	if !ok {
		rest, ok = strings.CutPrefix(name, "kp")
	}
	n, err := strconv.ParseUint(rest, 10, 64)
	if !ok || err != nil || strconv.FormatUint(n, 10) != rest {
		return Ref{}, fmt.Errorf("%s is no name of an object or promise; they look like ko4 and kp7", quote(name))
	}
	return Ref{name: name}, nil
}

// NewRef returns the reference to Exports[i] of the [Reply] that it is for, made with [Fulfil]. The methods of
// a value that [New] was given use [ExportObject] instead.
func NewRef(i int) Ref { return Ref{name: newPrefix + strconv.Itoa(i)} }

const newPrefix = "new"

// String returns the kernel's name, such as "ko4", or "new0" for an object that this call exports, or "null".
func (r Ref) String() string {
	if r.name == "" {
		return "null"
	}
	return r.name
}

// MarshalJSON writes the reference with its mark.
func (r Ref) MarshalJSON() ([]byte, error) {
	if r.name == "" {
		return []byte("null"), nil
	}
	mark := r.mark
	if mark == "" {
		mark = processMark
	}
	return json.Marshal(map[string]string{"$ref": r.name + markSign + mark})
}

const markSign = "!"

// UnmarshalJSON reads {"$ref":"ko4"}, with the mark of this process or without, or null.
func (r *Ref) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*r = Ref{}
		return nil
	}
	var form map[string]json.RawMessage
	var name string
	if json.Unmarshal(text, &form) != nil || len(form) != 1 || json.Unmarshal(form["$ref"], &name) != nil {
		return errors.New("want a reference")
	}
	name, mark, marked := strings.Cut(name, markSign)
	if marked && mark != processMark {
		return fmt.Errorf("the reference %s is of another process, or of a call that has ended", quote(name))
	}
	got, err := ParseRef(name)
	if err != nil {
		return err
	}
	*r = got
	return nil
}

// name returns the entry of the reply's slots for a reference of the result, given the reference's text in the
// JSON.
func (e *resultEncoder) name(text string) (string, error) {
	name, mark, marked := strings.Cut(text, markSign)
	number, isNew := strings.CutPrefix(name, newPrefix)
	switch {
	case !marked && e.call.passed(name):
		return name, nil
	case !marked:
		return "", fmt.Errorf("{$ref: %s}: a reference is passed as a service.Ref, and this is none that the caller passed", quote(name))
	case !isNew && mark == processMark:
		return name, nil
	case !isNew:
		return "", fmt.Errorf("the reference %s is of another process", quote(name))
	case e.call == nil && mark == processMark:
		if i, err := strconv.Atoi(number); err != nil || i < 0 || i >= MaxExports {
			return "", fmt.Errorf("%s: a reply has at most %d exports", quote(name), MaxExports)
		}
		return name, nil
	case e.call == nil || mark != e.call.mark:
		return "", fmt.Errorf("%s: an exported object can only be referred to by the result of the call that exported it; export it again", quote(name))
	}
	// Only objects to which the result refers are exported, numbered in the order of their first mention.
	x, err := e.call.exported(number)
	if err != nil {
		return "", err
	}
	e.exports = append(e.exports, x)
	return newPrefix + strconv.Itoa(len(e.exports)-1), nil
}

// quote returns a piece of s in quotes, for messages.
func quote(s string) string { return strconv.Quote(clip(s, 64)) }
