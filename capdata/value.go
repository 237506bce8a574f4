package capdata

import "strings"

// Limits of every body, in both directions.
const (
	// MaxDepth is how deep arrays, records, tagged values and errors may nest. A lone array has depth 1.
	// A call's method and argument list take two of them.
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

// Remotable is a reference to an object: the slot's index beside the body. Slots and indexes are the
// caller's: the codec only checks that they are in range and that a slot is not also a [Promise].
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

// Get returns the property with the given name, and whether there is one. It looks at one field after
// another; a caller that wants most fields of a wide record had better range over them.
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
	// Cause and Errors are what JavaScript's error objects have under these names. Endo reads them but
	// does not yet write them. Nil means none. Of Errors, no element may be nil.
	Cause  *Error
	Errors []*Error
}

// symbolFault says what is wrong with the name of a symbol, or nothing.
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

// special says whether a string needs an escape in smallcaps: it begins with one of !"#$%&'()*+,-
func special(s string) bool { return s != "" && s[0] >= '!' && s[0] <= '-' }
