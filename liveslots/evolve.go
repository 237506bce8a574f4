package liveslots

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
)

// A changed program reads the state of its predecessor if nothing of it would be lost or taken for something
// else. In objects and in records, however deep,
//
//   - a new field is zero,
//   - the type of a number may become a type that holds all numbers of the former type,
//   - a field that is gone, or has another type, is refused where it holds a value.
//
// An object's row has the number of the shape in which it was written, so each field can be compared with the
// program's. The entries of a Map have no such number: the shape of the object that has the Map tells whether
// their type has changed, and the value of a gone field is found when the entry is read.

// changed is the error for a field that cannot be read as the program has it.
type changed struct {
	path string
	was  string
	now  string // empty: there is no such field
}

func (c *changed) Error() string {
	path := strings.TrimPrefix(c.path, ".")
	if c.now == "" {
		return fmt.Sprintf("%s is stored as %s, and the program has no such field", path, c.was)
	}
	return fmt.Sprintf("%s is stored as %s, and is %s in the program", path, c.was, c.now)
}

// evolve returns the reason why a value that was stored under one shape cannot be read under another, or nil. x
// is the value; if any value may be stored, x is unknown{}.
func (c *codecs) evolve(path, was, now string, x any) error {
	if was == now || holdsNothing(x) {
		return nil
	}
	refused := error(&changed{path, was, now})
	was, now = c.copied(was), c.copied(now)
	if _, any := x.(unknown); any && sortOf(was) != sortOf(now) {
		return nil // decoding finds whether a value fits
	}
	if was == now {
		return nil
	}
	wasFields, isStruct := structFields(was)
	nowFields, staysStruct := structFields(now)
	switch {
	case isStruct && staysStruct:
		return c.evolveFields(path, wasFields, nowFields, x)
	case isStruct || staysStruct:
		return refused
	}
	for _, prefix := range []string{"[]", "map[string]"} {
		w, isOne := strings.CutPrefix(was, prefix)
		n, staysOne := strings.CutPrefix(now, prefix)
		switch {
		case isOne && staysOne:
			return c.evolveElements(path, w, n, x)
		case isOne || staysOne:
			return refused
		}
	}
	if length, w, ok := cutBrackets(was, "["); ok {
		if length2, n, ok := cutBrackets(now, "["); ok && length == length2 {
			return c.evolveElements(path, w, n, x)
		}
		return refused
	}
	if key, w, ok := cutBrackets(was, "vat.Map["); ok {
		// The entries are rows of their own, and x is the number of the Map.
		if key2, n, ok := cutBrackets(now, "vat.Map["); ok && c.sameName(key, key2) {
			return c.evolve(path+"[]", w, n, unknown{})
		}
		return refused
	}
	if widens(was, now) || c.sameName(was, now) {
		return nil
	}
	if _, any := x.(unknown); any && sortOf(was) == "number" {
		return nil
	}
	return refused
}

// sortOf returns the sort of passable that a value of a type is stored as.
func sortOf(shape string) string {
	_, number := numberKinds[shape]
	switch {
	case number:
		return "number"
	case shape == "string", shape == "time.Time", shape == "[]byte":
		return "string"
	case strings.HasPrefix(shape, "struct{"), strings.HasPrefix(shape, "map["):
		return "record"
	case strings.HasPrefix(shape, "["):
		return "array"
	case strings.HasPrefix(shape, "*"), shape == "vat.Ref":
		return "reference"
	}
	return shape
}

func (c *codecs) evolveFields(path string, was, now map[string]string, x any) error {
	check := func(name string, x any) error {
		w, known := was[name]
		n, there := now[name]
		switch {
		case !known || holdsNothing(x):
			return nil // decoding finds the fault of such a field
		case !there:
			if _, any := x.(unknown); any {
				return nil // found when an entry is read
			}
			return &changed{path + "." + name, w, ""}
		}
		return c.evolve(path+"."+name, w, n, x)
	}
	r, ok := x.(*capdata.Record)
	if !ok { // x is unknown, or is no record, which decoding finds
		for _, name := range slices.Sorted(maps.Keys(was)) {
			if err := check(name, unknown{}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range r.Fields {
		if err := check(f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}

func (c *codecs) evolveElements(path, was, now string, x any) error {
	switch x := x.(type) {
	case []any:
		for i, e := range x {
			if err := c.evolve(path+"["+strconv.Itoa(i)+"]", was, now, e); err != nil {
				return err
			}
		}
		return nil
	case *capdata.Record:
		for _, f := range x.Fields {
			if err := c.evolve(path+"["+strconv.Quote(f.Name)+"]", was, now, f.Value); err != nil {
				return err
			}
		}
		return nil
	}
	return c.evolve(path+"[]", was, now, unknown{})
}

// unknown stands for a value that is not at hand.
type unknown struct{}

// holdsNothing reports whether a stored value is the zero value of its type.
func holdsNothing(x any) bool {
	switch x := x.(type) {
	case nil, capdata.Undefined:
		return true
	case bool:
		return !x
	case float64:
		return x == 0
	case string:
		return x == "" || x == "0001-01-01T00:00:00Z" // the zero time.Time
	case capdata.Symbol:
		return x == ""
	case []any:
		for _, e := range x {
			if !holdsNothing(e) {
				return false
			}
		}
		return true
	case *capdata.Record:
		for _, f := range x.Fields {
			if !holdsNothing(f.Value) {
				return false
			}
		}
		return true
	}
	return false
}

// copied returns a shape without the pointers that make no difference: those to values that are passed by copy.
func (c *codecs) copied(shape string) string {
	for strings.HasPrefix(shape, "*") && shape != "*big.Int" {
		elem := shape[1:]
		if strings.Contains(elem, ".") && !strings.ContainsAny(elem[:1], "*[") && !strings.HasPrefix(elem, "map[") &&
			!strings.HasPrefix(elem, "struct{") && elem != "time.Time" && elem != "vat.Ref" {
			break // an object, or a type that contains itself, by its name
		}
		shape = elem
	}
	return shape
}

// sameName reports whether two shapes are the same type by name: objects, by the present and former names of
// the program, and types that contain themselves, which stand for the record that they are in.
func (c *codecs) sameName(was, now string) bool {
	if was == now {
		return true
	}
	w, ok := strings.CutPrefix(was, "*")
	n, ok2 := strings.CutPrefix(now, "*")
	if !ok || !ok2 {
		return false
	}
	t, known := c.typeNamed(w), c.names[n]
	if t == nil && known == nil {
		return strings.Contains(w, ".") && strings.Contains(n, ".")
	}
	return t == known
}

// typeNamed returns the object type that has, or had, a name; nil if there is none.
func (c *codecs) typeNamed(name string) reflect.Type {
	if t := c.names[name]; t != nil {
		return t
	}
	return c.former[name]
}

// widens reports whether the type now of numbers holds all numbers of the type was.
func widens(was, now string) bool {
	w, ok := numberKinds[was]
	n, ok2 := numberKinds[now]
	if !ok || !ok2 {
		return false
	}
	return w.min >= n.min && w.max <= n.max && (n.float || !w.float)
}

// numbers is the range of the whole numbers of a type: -2^min to 2^max. A float's range is that of its exact
// integers.
type numbers struct {
	min, max int
	float    bool
}

// numberKinds have min as the negated exponent, so that a smaller one holds more.
var numberKinds = map[string]numbers{
	"int8": {-7, 7, false}, "int16": {-15, 15, false}, "int32": {-31, 31, false}, "int64": {-63, 63, false}, "int": {-63, 63, false},
	"uint8": {0, 8, false}, "uint16": {0, 16, false}, "uint32": {0, 32, false}, "uint64": {0, 64, false}, "uint": {0, 64, false}, "uintptr": {0, 64, false},
	"float32": {-24, 24, true}, "float64": {-53, 53, true}, "*big.Int": {-1 << 20, 1 << 20, false},
}

// structFields returns the fields of the shape of a record, with their shapes.
func structFields(shape string) (map[string]string, bool) {
	inner, ok := strings.CutPrefix(shape, "struct{")
	if !ok || !strings.HasSuffix(inner, "}") {
		return nil, false
	}
	fields := map[string]string{}
	inner = inner[:len(inner)-1]
	depth, start := 0, 0
	for i := 0; i <= len(inner); i++ {
		switch {
		case i == len(inner) || inner[i] == ';' && depth == 0:
			if name, s, ok := strings.Cut(strings.TrimSpace(inner[start:i]), " "); ok {
				fields[name] = s
			}
			start = i + 1
		case inner[i] == '{':
			depth++
		case inner[i] == '}':
			depth--
		}
	}
	return fields, true
}

// cutBrackets cuts a shape behind an opening bracket into the part inside of the brackets, and the rest.
func cutBrackets(shape, prefix string) (inner, rest string, ok bool) {
	s, ok := strings.CutPrefix(shape, prefix)
	if !ok {
		return "", "", false
	}
	depth := 0
	for i, b := range []byte(s) {
		switch {
		case b == '[':
			depth++
		case b == ']' && depth == 0:
			return s[:i], s[i+1:], true
		case b == ']':
			depth--
		}
	}
	return "", "", false
}
