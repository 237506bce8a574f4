package capdata

import "strings"

// Limits of every body, in both directions.
const (
	// MaxDepth is the deepest nesting of arrays, records, tagged values and errors. A lone array has depth 1. A
	// call's method and argument list take two of them.
	MaxDepth = 64
	// MaxBodyBytes bounds a body. It stops a small value with much sharing from becoming an endless
	// text; the limits of frames are far lower.
	MaxBodyBytes = 16 << 20
	// MaxBigIntBits bounds a bigint, because the time to read decimal digits grows with their square.
	MaxBigIntBits = 1 << 15
)

// Undefined is JavaScript's undefined.
type Undefined struct{}

// Symbol is a JavaScript symbol, by the name that smallcaps gives it: a registered symbol has its key
// ("foo" is Symbol.for("foo")), a well-known symbol has "@@" and its property name
// ("@@asyncIterator"), and a registered symbol whose key begins with "@@" has "@@" before that.
type Symbol string

// Remotable is a reference to an object: the slot's index beside the body. The caller keeps the slots: the
// codec only checks that indexes are in range and that a slot is not also a [Promise].
type Remotable struct {
	Slot int
	// Iface is the interface name, by custom "Alleged: " and a word, or empty. It is text for people and
	// proves nothing. A body carries it once; Decode gives it to every occurrence of the slot.
	Iface string
}

// Promise is a reference to a promise: the slot's index beside the body.
type Promise struct{ Slot int }

// Field is one property of a [Record].
type Field struct {
	Name  string
	Value any
}

// Record is a plain object. The order of Fields means nothing: Encode writes them in Endo's order, and
// refuses a record that names a property twice. Decode and FromJSON return them without duplicates,
// sorted by the UTF-16 code units of the names, as JavaScript's sort does.
type Record struct{ Fields []Field }

// Get returns the value of the property with the given name; found reports whether the record has it. It looks
// at one field after another; a caller that wants most fields of a wide record had better range over them.
func (r *Record) Get(name string) (value any, found bool) {
	for i := range r.Fields {
		if r.Fields[i].Name == name {
			return r.Fields[i].Value, true
		}
	}
	return nil, false
}

// Tagged is a value with a tag, such as Endo's copySet and copyMap.
type Tagged struct {
	Tag     string
	Payload any
}

// Error is an error as a value. It is data: it does not implement the error interface, so that a
// rejection cannot be mistaken for a failure of the program that reads it.
type Error struct {
	// Name is the JavaScript class, such as "Error" or "TypeError".
	Name    string
	Message string
	// ErrorID is the sender's mark for finding the error in its logs, or empty.
	ErrorID string
	// Cause and Errors are the properties of JavaScript's error objects with these names. Endo reads them but
	// does not yet write them. Nil means that there are none. No element of Errors may be nil.
	Cause  *Error
	Errors []*Error
}

// symbolFault returns the reason why a symbol cannot have this name, or "".
func symbolFault(name string) string {
	after, reserved := strings.CutPrefix(name, "@@")
	if !reserved || strings.HasPrefix(after, "@@") {
		return ""
	}
	switch after {
	case "asyncDispose", "asyncIterator", "dispose", "hasInstance", "isConcatSpreadable", "iterator",
		"match", "matchAll", "replace", "search", "species", "split", "toPrimitive", "toStringTag", "unscopables":
		return ""
	}
	return "no such well-known symbol"
}

// special reports whether smallcaps must escape a string, that is whether it begins with one of !"#$%&'()*+,-
func special(s string) bool { return s != "" && s[0] >= '!' && s[0] <= '-' }
