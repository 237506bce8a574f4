package capdata_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ocapkernel.dev/capdata"
)

// diffValues compares two values by their printed form: go-cmp itself takes exponential time on deep slices of
// interfaces.
func diffValues(want, got any) string { return cmp.Diff(dump(want), dump(got)) }

// dump prints every bit of a value, the order of fields included.
func dump(v any) string {
	switch v := v.(type) {
	case float64:
		return fmt.Sprintf("float64(%v %v)", v, math.Signbit(v) && v == 0)
	case *big.Int:
		return "big(" + v.String() + ")"
	case []any:
		s := "["
		for _, x := range v {
			s += dump(x) + ",\n"
		}
		return s + "]"
	case *capdata.Record:
		s := "{"
		for _, f := range v.Fields {
			s += strconv.Quote(f.Name) + ": " + dump(f.Value) + ",\n"
		}
		return s + "}"
	case *capdata.Tagged:
		return fmt.Sprintf("tagged(%q %s)", v.Tag, dump(v.Payload))
	case *capdata.Error:
		s := fmt.Sprintf("error(%q %q %q", v.Name, v.Message, v.ErrorID)
		if v.Cause != nil {
			s += " cause " + dump(v.Cause)
		}
		if v.Errors != nil {
			s += " errors"
		}
		for _, e := range v.Errors {
			s += " " + dump(e)
		}
		return s + ")"
	}
	return fmt.Sprintf("%T(%#v)", v, v)
}

// genString draws strings that are hard on escapes and on order, halves of surrogate pairs included.
func genString() *rapid.Generator[string] {
	part := rapid.OneOf(
		rapid.SampledFrom([]string{
			"", "!", "#", "$", "$ref", "$$", "&0", "+1", "-", "%", "@@", "payload", "name", "0", "7", "10", "4294967295",
			"\x00", "\n", "\x7f", "\u0085", "\u2028", "\u202e", "\"", "\\", "/", "\ufffd", "\uffff", "\U0001F44D",
			"\xed\xa0\x80", "\xed\xb0\x80",
		}),
		rapid.StringN(0, 4, 16))
	return rapid.Custom(func(t *rapid.T) string {
		s := strings.Join(rapid.SliceOfN(part, 0, 3).Draw(t, "parts"), "")
		// A pair of halves that meet is one character after a round trip.
		return strings.ReplaceAll(s, "\xed\xa0\x80\xed\xb0\x80", "")
	})
}

// genRef draws one of 21 slots: of every three, one is an object without an interface name, one has
// one, and one is a promise.
func genRef(t *rapid.T) any {
	i := rapid.IntRange(0, 20).Draw(t, "slot")
	switch i % 3 {
	case 0:
		return capdata.Remotable{Slot: i}
	case 1:
		return capdata.Remotable{Slot: i, Iface: "Alleged: " + strconv.Itoa(i)}
	}
	return capdata.Promise{Slot: i}
}

func genError(t *rapid.T, depth int) *capdata.Error {
	e := &capdata.Error{
		Name: genString().Draw(t, "name"), Message: genString().Draw(t, "message"), ErrorID: genString().Draw(t, "id"),
	}
	if depth > 0 && rapid.Bool().Draw(t, "caused") {
		e.Cause = genError(t, depth-1)
	}
	if depth > 0 && rapid.Bool().Draw(t, "aggregate") {
		e.Errors = []*capdata.Error{}
		for range rapid.IntRange(0, 2).Draw(t, "n") {
			e.Errors = append(e.Errors, genError(t, depth-1))
		}
	}
	return e
}

// genValue draws any passable value.
func genValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 9
		if depth > 0 {
			kinds = 13
		}
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return capdata.Undefined{}
		case 2:
			return rapid.Bool().Draw(t, "bool")
		case 3:
			return rapid.SampledFrom([]float64{
				0, 1, -1, 1 << 53, 1<<53 - 1, 1e20, 1e21, 1e-6, 1e-7, 5e-324, math.MaxFloat64,
				math.NaN(), math.Inf(1), math.Inf(-1),
			}).Draw(t, "number")
		case 4:
			return rapid.Float64().Draw(t, "float") + 0 // no -0
		case 5:
			n, _ := new(big.Int).SetString(rapid.StringMatching(`-?[1-9][0-9]{0,60}`).Draw(t, "bigint"), 10)
			return n
		case 6, 7:
			return genString().Draw(t, "string")
		case 8:
			s := rapid.SampledFrom([]string{"", "foo", "@@iterator", "@@@@x", "%\n"}).Draw(t, "symbol")
			return capdata.Symbol(s)
		case 9:
			return genRef(t)
		case 10:
			a := make([]any, rapid.IntRange(0, 4).Draw(t, "length"))
			for i := range a {
				a[i] = genValue(depth-1).Draw(t, "element")
			}
			return a
		case 11, 12:
			r := &capdata.Record{}
			for range rapid.IntRange(0, 4).Draw(t, "width") {
				name := genString().Draw(t, "key")
				if _, found := r.Get(name); !found {
					r.Fields = append(r.Fields, capdata.Field{Name: name, Value: genValue(depth-1).Draw(t, "value")})
				}
			}
			return r
		}
		if rapid.Bool().Draw(t, "tagged") {
			return &capdata.Tagged{Tag: genString().Draw(t, "tag"), Payload: genValue(depth-1).Draw(t, "payload")}
		}
		return genError(t, depth-1)
	})
}

// sortByNames sorts the fields of every record in place, by bytes: an order of the test's own.
func sortByNames(v any) any {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			sortByNames(x)
		}
	case *capdata.Record:
		slices.SortFunc(v.Fields, func(a, b capdata.Field) int { return strings.Compare(a.Name, b.Name) })
		for _, f := range v.Fields {
			sortByNames(f.Value)
		}
	case *capdata.Tagged:
		sortByNames(v.Payload)
	}
	return v
}

// kref and slotOf name the slots of genRef.
func kref(slot int) string {
	if slot%3 == 2 {
		return "kp" + strconv.Itoa(slot)
	}
	return "ko" + strconv.Itoa(slot)
}

func slotOf(name string) (int, error) { return strconv.Atoi(name[2:]) }

// sorted returns v with the fields of its records in the order that the decoders promise.
func sorted(t *rapid.T, v any) any {
	body, err := capdata.Encode(v)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	v, err = capdata.Decode(body, 21)
	if err != nil {
		t.Fatalf("decode %s: %v", body, err)
	}
	return v
}

func TestEveryValueSurvivesItsBody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genValue(3).Draw(t, "v")
		body, err := capdata.Encode(v)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		got, err := capdata.Decode(body, 21)
		if err != nil {
			t.Fatalf("decode %s: %v", body, err)
		}
		if diff := diffValues(sortByNames(v), sortByNames(got)); diff != "" {
			t.Fatalf("%s: %s", body, diff)
		}
		again, err := capdata.Encode(got)
		if err != nil || again != body {
			t.Fatalf("again %s, %v; want %s", again, err, body)
		}
	})
}

func TestEveryValueSurvivesItsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := sorted(t, genValue(3).Draw(t, "v"))
		text, err := capdata.ToJSON(v, kref)
		if err != nil {
			t.Fatalf("ToJSON: %v", err)
		}
		got, err := capdata.FromJSON(text, slotOf)
		if err != nil {
			t.Fatalf("FromJSON(%s): %v", text, err)
		}
		v = mapRemotables(v, func(r capdata.Remotable) capdata.Remotable { return capdata.Remotable{Slot: r.Slot} })
		if diff := diffValues(v, got); diff != "" {
			t.Fatalf("%s: %s", text, diff)
		}
	})
}
