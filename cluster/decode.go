package cluster

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"
)

// decoder walks the parsed text, and gathers the mistakes in it. Its methods return zero values for mistaken
// parts, so that the walk goes on.
type decoder struct {
	doc *document
	// source is the absolute path of the file.
	source string
	errs   Errors
}

func (d *decoder) problem(v *hujson.Value, field, format string, args ...any) {
	d.errs.add(func() Problem { return d.doc.problem(v.StartOffset, field, format, args...) })
}

// object is a JSON object whose fields are known.
type object struct {
	path   string
	value  *hujson.Value
	fields map[string]*hujson.Value
}

// entry is one member of a JSON object whose names are free.
type entry struct {
	name string
	// at is the name itself, at its place in the text.
	at, value *hujson.Value
}

// object reads the fields of v, which may be nil, and reports a field that is not among known.
func (d *decoder) object(v *hujson.Value, path string, known []string) object {
	o := object{path: path, value: v, fields: map[string]*hujson.Value{}}
	for _, e := range d.entries(v, path) {
		field := join(path, e.name)
		if !slices.Contains(known, e.name) {
			d.errs.add(func() Problem {
				return d.doc.problem(e.at.StartOffset, path, "unknown field %s: %s", quote(e.name), suggest(e.name, known))
			})
			continue
		}
		o.fields[e.name] = e.value
		d.doc.places[field] = e.value.StartOffset
	}
	return o
}

// entries returns the members of v, which may be nil, in order, and reports names that come twice.
func (d *decoder) entries(v *hujson.Value, path string) []entry {
	if v == nil {
		return nil
	}
	o, ok := v.Value.(*hujson.Object)
	if !ok {
		d.problem(v, path, "expected an object { … }, got %s", kind(v))
		return nil
	}
	seen := map[string]bool{}
	entries := make([]entry, 0, len(o.Members))
	for i := range o.Members {
		m := &o.Members[i]
		name := m.Name.Value.(hujson.Literal).String()
		if seen[name] {
			d.problem(&m.Name, path, "%s is given twice: remove one of them", quote(name))
			continue
		}
		seen[name] = true
		entries = append(entries, entry{name: name, at: &m.Name, value: &m.Value})
	}
	return entries
}

// str returns the string in the field name; ok is false if there is none, or a mistake.
func (d *decoder) str(o object, name string) (s string, v *hujson.Value, ok bool) {
	if v = o.fields[name]; v == nil {
		return "", nil, false
	}
	if kind(v) != kindString {
		d.problem(v, join(o.path, name), "expected a string, got %s", kind(v))
		return "", v, false
	}
	return v.Value.(hujson.Literal).String(), v, true
}

// choice returns the string in the field name, which must be one of choices; the first is the default.
func (d *decoder) choice(o object, name string, choices ...string) string {
	s, v, ok := d.str(o, name)
	if ok && !slices.Contains(choices, s) {
		d.problem(v, join(o.path, name), "unknown value %s: %s", quote(s), suggest(s, choices))
		ok = false
	}
	if !ok {
		return choices[0]
	}
	return s
}

// boolean returns the truth value in the field name, or false if there is none.
func (d *decoder) boolean(o object, name string) bool {
	v := o.fields[name]
	if v == nil {
		return false
	}
	switch literal, _ := v.Value.(hujson.Literal); string(literal) {
	case "true":
		return true
	case "false":
	default:
		d.problem(v, join(o.path, name), "expected true or false, got %s", kind(v))
	}
	return false
}

// array returns the elements of the array v, which may be nil.
func (d *decoder) array(v *hujson.Value, path string) []hujson.Value {
	if v == nil {
		return nil
	}
	a, ok := v.Value.(*hujson.Array)
	if !ok {
		d.problem(v, path, "expected an array [ … ], got %s", kind(v))
		return nil
	}
	return a.Elements
}

// integer returns the number in the field name, or otherwise if there is none.
func (d *decoder) integer(o object, name string, otherwise, lowest, highest int) int {
	v := o.fields[name]
	if v == nil {
		return otherwise
	}
	literal, _ := v.Value.(hujson.Literal)
	n, err := strconv.Atoi(string(literal))
	switch {
	case err != nil && kind(v) != kindNumber:
		d.problem(v, join(o.path, name), "expected a whole number, got %s", kind(v))
	case err != nil:
		d.problem(v, join(o.path, name), "expected a whole number from %d to %d, got %s",
			lowest, highest, shorten(string(literal)))
	case n < lowest || n > highest:
		d.problem(v, join(o.path, name), "%d is out of range: expected %d to %d", n, lowest, highest)
	default:
		return n
	}
	return otherwise
}

// duration is like integer, for a string such as "10s".
func (d *decoder) duration(o object, name string, otherwise, lowest, highest time.Duration) time.Duration {
	v := o.fields[name]
	if v == nil {
		return otherwise
	}
	if kind(v) != kindString {
		d.problem(v, join(o.path, name), `expected a duration such as "10s" or "2m", got %s`, kind(v))
		return otherwise
	}
	s := v.Value.(hujson.Literal).String()
	n, err := time.ParseDuration(s)
	switch {
	case err != nil:
		d.problem(v, join(o.path, name), `%s is not a duration: write "500ms", "10s" or "2m"`, quote(s))
	case n < lowest || n > highest:
		d.problem(v, join(o.path, name), "%s is out of range: expected %s to %s", shorten(s), span(lowest), span(highest))
	default:
		return n
	}
	return otherwise
}

// span returns a duration in the spelling of a person: 1h, not 1h0m0s.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// size is like integer, for a number of bytes or a string such as "4MiB".
func (d *decoder) size(o object, name string, otherwise, lowest, highest int) int {
	v := o.fields[name]
	if v == nil || kind(v) == kindNumber {
		return d.integer(o, name, otherwise, lowest, highest)
	}
	if kind(v) != kindString {
		d.problem(v, join(o.path, name), `expected a size such as "4MiB" or a number of bytes, got %s`, kind(v))
		return otherwise
	}
	s := v.Value.(hujson.Literal).String()
	n, ok := parseSize(s)
	switch {
	case !ok:
		d.problem(v, join(o.path, name), `%s is not a size: write a number of bytes, or "512KiB" or "4MiB"`, quote(s))
	case n < lowest || n > highest:
		d.problem(v, join(o.path, name), "%s is out of range: expected %s to %s", shorten(s), formatSize(lowest), formatSize(highest))
	default:
		return n
	}
	return otherwise
}

// sizeUnits are tried in this order: the suffix of a later one is the end of the earlier suffixes.
var sizeUnits = []struct {
	suffix string
	bytes  int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

func parseSize(s string) (n int, ok bool) {
	for _, unit := range sizeUnits {
		digits, found := strings.CutSuffix(s, unit.suffix)
		if !found {
			continue
		}
		// Unlike Atoi, ParseUint takes no sign.
		u, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || u > math.MaxInt/uint64(unit.bytes) {
			return 0, false
		}
		return int(u) * unit.bytes, true
	}
	return 0, false
}

func formatSize(n int) string {
	for _, unit := range sizeUnits {
		if n%unit.bytes == 0 {
			return fmt.Sprint(n/unit.bytes) + unit.suffix
		}
	}
	return fmt.Sprint(n)
}

// join returns the path of a field. A name that could be mistaken for a path is quoted.
func join(path, name string) string {
	if !validVatName(name) {
		name = quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

const (
	kindString = "a string"
	kindNumber = "a number"
	kindObject = "an object"
)

// kind names the kind of a value, for messages.
func kind(v *hujson.Value) string {
	switch v.Value.Kind() {
	case '{':
		return kindObject
	case '[':
		return "an array"
	case '"':
		return kindString
	case '0':
		return kindNumber
	case 'n':
		return "null"
	default:
		return "a boolean"
	}
}
