package liveslots_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/vat"
)

type Values struct{ vat.Durable }

func NewValues() *Values { return &Values{} }

type Color string

type Shape struct {
	Name    string
	Corner  []Corner
	Paint   *Color
	Renamed int    `vat:"also"`
	secret  string `vat:"-"`
}

type Corner struct{ X, Y float64 }

type Tree struct {
	Leaf int
	Kids []*Tree
}

func (*Values) Bool(x bool) bool                       { return !x }
func (*Values) Int(x int) int                          { return x }
func (*Values) Int8(x int8) int8                       { return x }
func (*Values) Int64(x int64) int64                    { return x }
func (*Values) Uint64(x uint64) uint64                 { return x }
func (*Values) Float(x float64) float64                { return x }
func (*Values) Float32(x float32) float32              { return x }
func (*Values) Big(x *big.Int) *big.Int                { return x }
func (*Values) Text(x Color) Color                     { return x }
func (*Values) Bytes(x []byte) []byte                  { return append(x, '!') }
func (*Values) Time(x time.Time) time.Time             { return x.Add(time.Second) }
func (*Values) Duration(x time.Duration) time.Duration { return x }
func (*Values) List(x []int) string                    { return fmt.Sprint(x == nil, x) }
func (*Values) Array(x [2]int) [2]int                  { return x }
func (*Values) Map(x map[Color]int) map[Color]int      { return x }
func (*Values) Shape(x Shape) Shape                    { x.secret = "lost"; return x }
func (*Values) Pointer(x *Shape) string                { return fmt.Sprint(x == nil) }
func (*Values) Tree(x *Tree) *Tree                     { return x }
func (*Values) Any(x any) string                       { return fmt.Sprintf("%T %v", x, x) }
func (*Values) Echo(x any) any                         { return x }
func (*Values) Error(x error) error                    { return x }
func (*Values) TwoErrors(x error) (error, error)       { return x, nil }
func (*Values) Nothing()                               {}
func (*Values) Ref(x vat.Ref) bool                     { return x.IsZero() }
func (*Values) Circle() *Tree                          { t := &Tree{}; t.Kids = []*Tree{t}; return t }
func (*Values) Huge() string                           { return strings.Repeat("x", 3<<20) }
func (*Values) MaxInt() []int64                        { return []int64{math.MaxInt64, math.MinInt64, 1<<53 - 1, 1 << 53} }
func (*Values) Wrapped(x error) error                  { return fmt.Errorf("wrapped: %w", x) }
func (*Values) Custom() error                          { return &vat.Error{Name: "RangeError", Message: "out of it"} }

func (*Values) Codes(x error) string {
	return fmt.Sprint(errors.Is(x, vat.ErrRevoked), errors.Is(x, vat.ErrVatRestarted), errors.Is(fmt.Errorf("y: %w", x), vat.ErrRevoked))
}

func TestValues(t *testing.T) {
	k := launch(t, NewValues)
	for _, c := range []struct{ method, arg, want string }{
		{"bool", "true", "false"},
		{"bool", "1", "want bool, got number 1"},
		{"int", "-7", "-7"},
		{"int", `{"$undefined":true}`, "want int, got undefined"},
		{"int8", "127", "127"},
		{"int8", "128", "want int8, got number 128"},
		{"int64", "9007199254740991", "9007199254740991"},
		{"int64", `{"$bigint":"9223372036854775807"}`, `{"$bigint":"9223372036854775807"}`},
		{"int64", `{"$bigint":"9223372036854775808"}`, "want int64, got bigint"},
		{"int64", `{"$bigint":"5"}`, "5"},
		{"int64", "0.5", "want int64, got number 0.5"},
		{"int64", `{"$number":"NaN"}`, "want int64, got number NaN"},
		{"uint64", `{"$bigint":"18446744073709551615"}`, `{"$bigint":"18446744073709551615"}`},
		{"uint64", "-1", "want uint64, got number -1"},
		{"float", "1e300", "1e+300"},
		{"float", `{"$number":"-Infinity"}`, `{"$number":"-Infinity"}`},
		{"float", `{"$bigint":"1"}`, "want float64, got bigint"},
		{"float32", "1e300", "want float32, got number 1e+300"},
		{"big", `{"$bigint":"123456789012345678901234567890"}`, `{"$bigint":"123456789012345678901234567890"}`},
		{"big", "12", `{"$bigint":"12"}`},
		{"big", "null", "null"},
		{"text", `"$&+"`, `"$&+"`},
		{"text", "null", "want liveslots_test.Color, got null"},
		{"bytes", `"aGk="`, `"aGkh"`},
		{"bytes", `"?"`, `want []byte as a base64 string, got string "?"`},
		{"time", `"2026-01-02T03:04:05.000000006Z"`, `"2026-01-02T03:04:06.000000006Z"`},
		{"time", `"now"`, `want time.Time as an RFC 3339 string, got string "now"`},
		{"duration", "1500000000", "1500000000"},
		{"list", "null", `"true []"`},
		{"list", "[]", `"false []"`},
		{"list", `[1,"2"]`, `want int at [1], got string "2"`},
		{"array", "[1,2]", "[1,2]"},
		{"array", "[1]", "want [2]int, got array of 1"},
		{"map", `{"red":1,"blue":2}`, `{"blue":2,"red":1}`},
		{"map", `{"red":"x"}`, `want int at red, got string "x"`},
		{"shape", `{"name":"n","corner":[{"x":1,"y":2}],"paint":"red","also":3}`, `{"also":3,"corner":[{"x":1,"y":2}],"name":"n","paint":"red"}`},
		{"shape", `{"name":"n"}`, `{"also":0,"corner":[],"name":"n","paint":null}`},
		{"shape", `{"nam":"n"}`, `want liveslots_test.Shape, got a record with an unknown field "nam"`},
		{"shape", `{"corner":[{"x":1},{"y":"2"}]}`, `want float64 at corner[1].y, got string "2"`},
		{"pointer", "null", `"true"`},
		{"pointer", "{}", `"false"`},
		{"tree", `{"leaf":1,"kids":[{"leaf":2},null]}`, `{"kids":[{"kids":[],"leaf":2},null],"leaf":1}`},
		{"any", "null", `"\u003cnil\u003e \u003cnil\u003e"`},
		{"any", "1", `"float64 1"`},
		{"any", `{"a":[true]}`, `"map[string]interface {} map[a:[true]]"`},
		{"any", `{"$symbol":"s"}`, `"capdata.Symbol s"`},
		{"any", `{"$bigint":"7"}`, `"*big.Int 7"`},
		{"echo", `{"$tag":"t","payload":[1,{"$bigint":"2"},{"$symbol":"s"}]}`, `{"$tag":"t","payload":[1,{"$bigint":"2"},{"$symbol":"s"}]}`},
		{"echo", `{"$error":"e","name":"TypeError"}`, `{"$error":"e","name":"TypeError"}`},
		{"error", `null`, `{"$undefined":true}`},
		{"error", `{"$error":"e","name":"TypeError"}`, "e"},
		{"twoErrors", `{"$error":"e","name":"TypeError"}`, `{"$error":"e","name":"TypeError"}`},
		{"wrapped", `{"$error":"e","name":"TypeError"}`, "wrapped: e"},
		{"codes", `{"$error":"[KERNEL:REVOKED] gone","name":"Error"}`, `"true false true"`},
		{"codes", `{"$error":"[KERNEL:NONSENSE] gone","name":"Error"}`, `"false false false"`},
		{"ref", "null", "true"},
		{"ref", `"x"`, `want reference, got string "x"`},
	} {
		got := result(k.Call("lab", c.method, c.arg))
		got = strings.TrimPrefix(got, "error: ")
		got = strings.TrimPrefix(got, "liveslots_test.Values."+c.method+": argument 1: ")
		got, _, _ = strings.Cut(got, "; it takes ")
		if got != c.want && got != strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(c.want) {
			t.Errorf("%s(%s)\n got %s\nwant %s", c.method, c.arg, got, c.want)
		}
	}
	want(t, k, `{"$undefined":true}`, "lab", "nothing")
	want(t, k, `[{"$bigint":"9223372036854775807"},{"$bigint":"-9223372036854775808"},9007199254740991,{"$bigint":"9007199254740992"}]`, "lab", "maxInt")
	want(t, k, "error: liveslots_test.Values.huge: the result cannot be passed: a value of 3145731 bytes is too large to pass: the limit is 2097152", "lab", "huge")
	want(t, k, "error: out of it", "lab", "custom")
	if got := result(k.Call("lab", "circle")); !strings.Contains(got, "nested too deep") {
		t.Errorf("circle: got %s", got)
	}
	if got := result(k.Call("lab", "nonsense")); !strings.HasPrefix(got, `error: liveslots_test.Values has no method "nonsense"; it has any, array,`) {
		t.Errorf("nonsense: got %s", got)
	}
}
