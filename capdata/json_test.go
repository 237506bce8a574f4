package capdata_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"ocapkernel.dev/capdata"
)

// TestJSONForms pins the form of each kind of value, both ways: users of the command line rely on it.
func TestJSONForms(t *testing.T) {
	for _, c := range []struct {
		body string
		json string
	}{
		{`#null`, `null`},
		{`#"alice"`, `"alice"`},
		{`#"!$0"`, `"$0"`},
		{`#10`, `10`},
		{`#0.1`, `0.1`},
		{`#9007199254740992`, `9007199254740992`},
		{`#-9007199254740992`, `-9007199254740992`},
		{`#9007199254740994`, `9.007199254740994e+15`},
		{`#100000000000000000000`, `1e+20`},
		{`#1e-7`, `1e-7`},
		{`#"#undefined"`, `{"$undefined":true}`},
		{`#["#NaN","#Infinity","#-Infinity"]`, `[{"$number":"NaN"},{"$number":"Infinity"},{"$number":"-Infinity"}]`},
		{`#["+0","+123","-123"]`, `[{"$bigint":"0"},{"$bigint":"123"},{"$bigint":"-123"}]`},
		{`#["%foo","%@@asyncIterator"]`, `[{"$symbol":"foo"},{"$symbol":"@@asyncIterator"}]`},
		{`#["$0","$1","&2"]`, `[{"$ref":"ko0"},{"$ref":"ko1"},{"$ref":"kp2"}]`},
		{`#{"#tag":"copySet","payload":["a"]}`, `{"$tag":"copySet","payload":["a"]}`},
		{`#{"#error":"no","name":"TypeError"}`, `{"$error":"no","name":"TypeError"}`},
		{
			`#{"#error":"no","errorId":"e1","name":"Error","cause":{"#error":"c","name":"E"},"errors":[{"#error":"d","name":"E"}]}`,
			`{"$error":"no","name":"Error","errorId":"e1","cause":{"$error":"c","name":"E"},"errors":[{"$error":"d","name":"E"}]}`,
		},
		{`#{"!$ref":1,"!$$x":2,"a$":3}`, `{"$$$x":2,"$$ref":1,"a$":3}`},
		{`#{"!$":1}`, `{"$$":1}`},
		{`#{"name":"x","payload":1,"!#tag":2}`, `{"#tag":2,"name":"x","payload":1}`},
		{`#{}`, `{}`},
		{`#[]`, `[]`},
		{`#"\ud800 \u001b[31m"`, `"\ud800 \u001b[31m"`},
		{"#\"\x7f\u0085\u202e\u2028<\"", `"\u007f\u0085\u202e\u2028<"`},
	} {
		v, err := capdata.Decode(c.body, 3)
		if err != nil {
			t.Fatalf("%s: %v", c.body, err)
		}
		got, err := capdata.ToJSON(v, kref)
		if err != nil || string(got) != c.json {
			t.Errorf("ToJSON(%s):\n got %s, %v\nwant %s", c.body, got, err, c.json)
		}
		if !json.Valid(got) {
			t.Errorf("%s is not JSON", got)
		}
		back, err := capdata.FromJSON([]byte(c.json), slotOf)
		if err != nil {
			t.Errorf("FromJSON(%s): %v", c.json, err)
		} else if diff := diffValues(v, back); diff != "" {
			t.Errorf("FromJSON(%s): %s", c.json, diff)
		}
	}
}

func TestFromJSONTakesKeysInAnyOrder(t *testing.T) {
	for text, want := range map[string]any{
		`{"payload":1,"$tag":"x"}`:       &capdata.Tagged{Tag: "x", Payload: 1.0},
		`{"name":"E","$error":"x"}`:      &capdata.Error{Name: "E", Message: "x"},
		` { "$bigint" : "7" } `:          big.NewInt(7),
		`{"b":1,"a":{"$$ref":"ko1"}}`:    &capdata.Record{Fields: []capdata.Field{{"a", &capdata.Record{Fields: []capdata.Field{{"$ref", "ko1"}}}}, {"b", 1.0}}},
		`[1e3,12345678901234567890.0,1]`: []any{1000.0, 12345678901234567890.0, 1.0},
	} {
		got, err := capdata.FromJSON([]byte(text), slotOf)
		if err != nil {
			t.Errorf("FromJSON(%s): %v", text, err)
		} else if diff := diffValues(want, got); diff != "" {
			t.Errorf("FromJSON(%s): %s", text, diff)
		}
	}
}

func TestFromJSONRefuses(t *testing.T) {
	const hint = `; a record's own key that begins with '$' is written with one more`
	for _, c := range []struct{ text, want string }{
		{``, `text ends where a value was expected at byte 0`},
		{`alice`, `'a' where a value was expected at byte 0`},
		{`'alice'`, `'\'' where a value was expected at byte 0`},
		{`1 2`, `text after the end of the value at byte 2`},
		{`9007199254740993`, `whole number 9007199254740993 does not fit a JavaScript number; write {"$bigint":"9007199254740993"} at byte 0`},
		{`[-9007199254740993]`, `whole number -9007199254740993 does not fit a JavaScript number; write {"$bigint":"-9007199254740993"} at byte 1`},
		{`123456789012345678901234567890`, `whole number 123456789012345678901234567890 does not fit a JavaScript number; write {"$bigint":"123456789012345678901234567890"} at byte 0`},
		{`1e400`, `number 1e400 is out of range at byte 0`},
		{`{"a":1,"a":2}`, `object has two keys "a" at byte 0`},
		{`{"$ref":"ko1","$ref":"ko2"}`, `key "$ref" beside $ref` + hint + ` at byte 14`},
		{`{"$ref":"ko1","$tag":"ko2"}`, `key "$tag" beside $ref` + hint + ` at byte 14`},
		{`{"$ref":"ko1","x":1}`, `$ref stands beside a key "x" at byte 0`},
		{`{"$ref":"ko1","$$ref":1}`, `$ref stands beside a key "$ref" at byte 0`},
		{`{"$ref":1}`, `$ref wants a string at byte 0`},
		{`{"$type":"x"}`, `unknown form "$type"` + hint + ` at byte 0`},
		{`{"$":"x"}`, `unknown form "$"` + hint + ` at byte 0`},
		{`[{"$undefined":false}]`, `$undefined wants true at byte 1`},
		{`{"$undefined":[]}`, `$undefined wants true at byte 0`},
		{`{"$bigint":123}`, `$bigint wants a string at byte 0`},
		{`{"$bigint":"+1"}`, `$bigint "+1": malformed bigint at byte 0`},
		{`{"$bigint":"-0"}`, `$bigint "-0": malformed bigint at byte 0`},
		{`{"$bigint":"--1"}`, `$bigint "--1": malformed bigint at byte 0`},
		{`{"$number":"1"}`, `$number "1": want "NaN", "Infinity" or "-Infinity" at byte 0`},
		{`{"$symbol":"@@x"}`, `$symbol "@@x": no such well-known symbol at byte 0`},
		{`{"$tag":"x"}`, `$tag wants a string, a payload, and nothing else at byte 0`},
		{`{"$tag":1,"payload":1}`, `$tag wants a string, a payload, and nothing else at byte 0`},
		{`{"$tag":"x","payload":1,"y":1}`, `$tag wants a string, a payload, and nothing else at byte 0`},
		{`{"$error":"x"}`, `$error wants a "name" at byte 0`},
		{`{"$error":1,"name":"E"}`, `$error wants a string at byte 0`},
		{`{"$error":"x","name":1}`, `name has a wrong type in an error at byte 0`},
		{`{"$error":"x","name":"E","errors":[1]}`, `errors has a wrong type in an error at byte 0`},
		{`{"$error":"x","name":"E","cause":"y"}`, `cause has a wrong type in an error at byte 0`},
		{`{"$error":"x","name":"E","stack":"y"}`, `$error stands beside a key "stack" at byte 0`},
		{strings.Repeat(`[`, 100_000), `nested deeper than 64 at byte 64`},
		{strings.Repeat(`{"a":`, 100_000), `nested deeper than 64 at byte 320`},
	} {
		v, err := capdata.FromJSON([]byte(c.text), slotOf)
		var syntax *capdata.SyntaxError
		if !errors.As(err, &syntax) || err.Error() != c.want {
			t.Errorf("FromJSON(%.80s):\n got %v, error %v\nwant %s", c.text, v, err, c.want)
		}
	}
	unknown := errors.New("no such object")
	_, err := capdata.FromJSON([]byte(`[{"$ref":"ko9"}]`), func(string) (int, error) { return 0, unknown })
	if !errors.Is(err, unknown) || err.Error() != `$ref "ko9" at byte 1: no such object` {
		t.Errorf("got %v", err)
	}
}

func TestToJSONRefusesWhatEncodeRefuses(t *testing.T) {
	self := []any{nil}
	self[0] = self
	for _, v := range []any{1, []byte("x"), self, "\xff", capdata.Symbol("@@x"), (*capdata.Record)(nil), (*capdata.Error)(nil)} {
		if text, err := capdata.ToJSON(v, kref); err == nil {
			t.Errorf("ToJSON returned %s", text)
		}
	}
}
