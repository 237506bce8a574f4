package liveslots

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
)

// Description is one row of a vat's store in words, for a person who inspects it. It is read from the row
// alone: the vat's program, with its types, is not needed.
type Description struct {
	Kind DescriptionKind `json:"kind"`
	// Name is the vat's name of an object (o+0 is the root), the key of an entry, the number of a call, the source of a
	// promise.
	Name string `json:"name"`
	// Map is the number of an entry's Map, as the field that holds the Map has it.
	Map uint64 `json:"map,omitempty"`
	// Type is the type of an object, and Fields are the types of its fields as they were when it was saved.
	Type   string            `json:"type,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	// Call is the kind of a call: call, when, forward, send, all or race. Target and Method are the object and
	// the method that it calls.
	Call   string `json:"call,omitempty"`
	Target string `json:"target,omitempty"`
	Method string `json:"method,omitempty"`
	// Waits are the promises that a call waits for, or that are in a value. w7 is the result of call 7.
	Waits []string `json:"waits,omitempty"`
	// Rejected is set for a promise that was rejected.
	Rejected bool `json:"rejected,omitempty"`
	// Value is the record of an object's fields that are not zero, the value of an entry or promise, or the
	// arguments of a call. References are in the names of the vat.
	Value json.RawMessage `json:"value,omitempty"`
	// Problem is the reason why the row, or the value, cannot be read.
	Problem string `json:"problem,omitempty"`
}

// DescriptionKind is the kind of a row.
type DescriptionKind string

// The kinds of row: a closed set.
const (
	RowObject  DescriptionKind = "object"
	RowEntry   DescriptionKind = "entry"   // an entry of a Map
	RowCall    DescriptionKind = "call"    // a call that waits: a continuation of When, say
	RowPromise DescriptionKind = "promise" // a settled promise that a waiting call mentions
	RowOwn     DescriptionKind = "own"     // bookkeeping of this package
	RowOther   DescriptionKind = "other"   // a row that this package has not laid out
)

// IDsKey is the key of the row that [NewDescriber] takes.
const IDsKey = idsKey

// A Describer describes the rows of one vat's store. It accepts any rows: a vat may have written them by other
// means.
type Describer struct {
	kinds   []*kindRow
	root    int
	problem string
	keyed   []string // the numbers of the Maps whose keys are references, as far as Mentions has met them
}

// NewDescriber returns a Describer for the store whose row [IDsKey] is ids, or nil if the store has no such
// row.
func NewDescriber(ids []byte) *Describer {
	var row struct {
		Kinds []*kindRow `json:"kinds"`
		Root  int        `json:"root"`
	}
	d := &Describer{}
	if len(ids) == 0 {
		return d
	}
	if err := json.Unmarshal(ids, &row); err != nil {
		d.problem = "the row " + idsKey + " cannot be read: " + err.Error()
		return d
	}
	d.kinds, d.root = row.Kinds, row.Root
	return d
}

// ownPrefixes are the prefixes of the rows that no author of a vat has written.
var ownPrefixes = strings.Fields("p n c g j k t u x")

// Describe describes a row. If the caller has cut the value, whole is false, and Describe does not read it.
func (d *Describer) Describe(key string, row []byte, whole bool) Description {
	prefix, rest, dotted := strings.Cut(key, ".")
	switch {
	case key == idsKey || key == shelfKey || key == ledgerKey || dotted && slices.Contains(ownPrefixes, prefix):
		return Description{Kind: RowOwn, Name: key}
	case dotted && prefix == "o":
		return d.object(rest, string(row), whole)
	case dotted && prefix == "m":
		number, name, _ := strings.Cut(rest, ".")
		out := Description{Kind: RowEntry, Name: name}
		out.Map, _ = strconv.ParseUint(number, 10, 64)
		slots, body, ok := strings.Cut(string(row), "\n")
		out.value(slots, body, ok, whole)
		return out
	case dotted && prefix == "w":
		return describeCall(rest, string(row), whole)
	case dotted && prefix == "s":
		how, slots, body, ok := threeLines(string(row))
		out := Description{Kind: RowPromise, Name: rest, Rejected: how == "r"}
		out.value(slots, body, ok, whole)
		return out
	}
	return Description{Kind: RowOther, Name: key, Problem: "it is not laid out by this version"}
}

func (d *Describer) object(ref, row string, whole bool) Description {
	out := Description{Kind: RowObject, Name: ref, Problem: d.problem}
	shape, slots, body, ok := threeLines(row)
	if k := d.kindOf(ref); k != nil {
		out.Type = k.Type
		if n, err := strconv.Atoi(shape); ok && err == nil && n >= 0 && n < len(k.Shapes) {
			out.Fields = k.Shapes[n]
		}
	}
	out.value(slots, body, ok, whole)
	return out
}

// kindOf returns the kind of an object by its name (o+0 is the root, o+d3/7 is of kind 3), or nil.
func (d *Describer) kindOf(ref string) *kindRow {
	number := d.root
	if rest, ok := strings.CutPrefix(ref, "o+d"); ok {
		digits, _, _ := strings.Cut(rest, "/")
		number, _ = strconv.Atoi(digits)
	}
	if number < 1 || number > len(d.kinds) {
		return nil
	}
	return d.kinds[number-1]
}

func describeCall(number, row string, whole bool) Description {
	out := Description{Kind: RowCall, Name: number}
	head, slots, body, ok := threeLines(row)
	words := strings.Split(head, " ")
	out.Call = words[0]
	if len(words) > 1 {
		out.Target = words[1]
	}
	names := strings.Fields(slots)
	word, _ := strings.CutSuffix(words[0], asideMark)
	if kind := slices.Index(callKinds, word); ok && body == "" && kind >= 0 && !callKind(kind).callsMethod() {
		out.waits(names) // its result follows them, and it has nothing else
		return out
	}
	if method, args, err := capdata.DecodeCall(body, len(names)); ok && whole && err == nil {
		out.Method = method
		out.waits(names)
		out.show(args, names)
		return out
	}
	out.value(slots, body, ok, whole)
	return out
}

// threeLines cuts a row into head, slots, and body.
func threeLines(row string) (head, slots, body string, ok bool) {
	head, rest, ok1 := strings.Cut(row, "\n")
	slots, body, ok2 := strings.Cut(rest, "\n")
	return head, slots, body, ok1 && ok2
}

// value reads a value from its row.
func (out *Description) value(slots, body string, ok, whole bool) {
	names := strings.Fields(slots)
	if !whole {
		out.Problem = "it is too long to be shown"
		return
	}
	if !ok {
		out.Problem = "it is not in the form of this version"
		return
	}
	out.waits(names)
	tree, err := capdata.Decode(body, len(names))
	if err != nil {
		out.Problem = fmt.Sprintf("its value cannot be read: %v", err)
		return
	}
	out.show(tree, names)
}

// waits notes the promises among slots. An entry has none.
func (out *Description) waits(names []string) {
	for _, name := range names {
		if isPromiseSource(name) {
			out.Waits = append(out.Waits, name)
		}
	}
}

func (out *Description) show(tree any, names []string) {
	text, err := capdata.ToJSON(tree, func(slot int) string { return names[slot] })
	if err != nil {
		out.Problem = fmt.Sprintf("its value cannot be shown: %v", err)
		return
	}
	out.Value = text
}
