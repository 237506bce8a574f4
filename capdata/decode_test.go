package capdata_test

import (
	"errors"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"ocapkernel.dev/capdata"
)

func TestDecodeRefusesAndSaysWhere(t *testing.T) {
	nested := func(open, end string) string {
		return "#" + strings.Repeat(open, capdata.MaxDepth+1) + "0" + strings.Repeat(end, capdata.MaxDepth+1)
	}
	for _, c := range []struct{ body, want string }{
		{``, `body does not begin with '#' at byte 0`},
		{`[]`, `body does not begin with '#' at byte 0`},
		{`#`, `text ends where a value was expected at byte 1`},
		{`# `, `text ends where a value was expected at byte 2`},
		{`#1 2`, `text after the end of the value at byte 3`},
		{"#1\x00", `text after the end of the value at byte 2`},
		{"#\x00", `'\x00' where a value was expected at byte 1`},
		{`#nul`, `'n' where a value was expected at byte 1`},
		{`#truefalse`, `text after the end of the value at byte 5`},
		{`#undefined`, `'u' where a value was expected at byte 1`},
		{`#[1,]`, `']' where a value was expected at byte 4`},
		{`#[1 2]`, `'2' where ',' or ']' was expected at byte 4`},
		{`#[1`, `text ends where ',' or ']' was expected at byte 3`},
		{`#{"a":1,}`, `'}' where a string was expected at byte 8`},
		{`#{"a" 1}`, `'1' where ':' was expected at byte 6`},
		{`#{a:1}`, `'a' where a string was expected at byte 2`},
		{nested("[", "]"), `nested deeper than 64 at byte 65`},
		{nested(`{"a":`, "}"), `nested deeper than 64 at byte 321`},
		{nested(`{"#tag":"a","payload":`, "}"), `nested deeper than 64 at byte 1409`},

		{`#01`, `number with a leading zero at byte 1`},
		{`#-`, `text ends where a digit was expected at byte 2`},
		{`#1.`, `text ends where a digit was expected at byte 3`},
		{`#.5`, `'.' where a value was expected at byte 1`},
		{`#1e`, `text ends where a digit was expected at byte 3`},
		{`#1e+x`, `'x' where a digit was expected at byte 4`},
		{`#+1`, `'+' where a value was expected at byte 1`},
		{`#0x10`, `text after the end of the value at byte 2`},
		{`#1e999`, `number 1e999 is out of range at byte 1`},
		{`#NaN`, `'N' where a value was expected at byte 1`},

		{`#"abc`, `string without end at byte 1`},
		{`#"abc\`, `string without end at byte 1`},
		{`#"abc\"`, `string without end at byte 1`},
		{"#\"a\nb\"", `control character in a string at byte 3`},
		{"#\"\\t\n\"", `control character in a string at byte 4`},
		{`#"\x"`, `unknown escape in a string at byte 2`},
		{`#"\u12"`, `malformed \u escape at byte 2`},
		{`#"\u12G4"`, `malformed \u escape at byte 2`},
		{"#\"\xff\"", `string is not UTF-8 at byte 2`},
		{"#\"\\n\xff\"", `string is not UTF-8 at byte 2`},
		{"#\"\xed\xa0\x80\"", `string is not UTF-8 at byte 2`},

		{`#"\"x"`, `string "\"x" begins with a reserved character at byte 1`},
		{`#"'x"`, `string "'x" begins with a reserved character at byte 1`},
		{`#"(x"`, `string "(x" begins with a reserved character at byte 1`},
		{`#",x"`, `string ",x" begins with a reserved character at byte 1`},
		{`#"#nan"`, `unknown constant "#nan" at byte 1`},
		{`#"+"`, `malformed bigint "+" at byte 1`},
		{`#"-"`, `malformed bigint "-" at byte 1`},
		{`#"+007"`, `malformed bigint "+007" at byte 1`},
		{`#"-0"`, `malformed bigint "-0" at byte 1`},
		{`#"+1 "`, `malformed bigint "+1 " at byte 1`},
		{`#"+0x1"`, `malformed bigint "+0x1" at byte 1`},
		{`#"+1_0"`, `malformed bigint "+1_0" at byte 1`},
		{`#"%@@nope"`, `no such well-known symbol "%@@nope" at byte 1`},
		{`#"$"`, `malformed slot "" at byte 1`},
		{`#"$x"`, `malformed slot "x" at byte 1`},
		{`#"$-1"`, `malformed slot "-1" at byte 1`},
		{`#"$00"`, `malformed slot "00" at byte 1`},
		{`#"$0x"`, `malformed reference "$0x" at byte 1`},
		{`#"$0."`, `malformed reference "$0." at byte 1`},
		{`#"$2"`, `slot 2 is out of range: there are 2 at byte 1`},
		{`#"$99999999999999999999"`, `slot 9999999999 is out of range: there are 2 at byte 1`},
		{`#"&0.x"`, `malformed promise "&0.x" at byte 1`},
		{`#"&2"`, `slot 2 is out of range: there are 2 at byte 1`},
		{`#["$0","&0"]`, `slot 0 is both an object and a promise at byte 7`},
		{`#["&0","$0"]`, `slot 0 is both an object and a promise at byte 7`},
		{`#["$0.A","$0.B"]`, `slot 0 has two interface names at byte 9`},

		{`#{"a":1,"a":2}`, `record has two keys "a" at byte 13`},
		{`#{"b":1,"a":1,"b":2}`, `record has two keys "b" at byte 19`},
		{`#{"!a":1,"a":2}`, `record has two keys "a" at byte 14`},
		{`#{"\u0061":1,"a":2}`, `record has two keys "a" at byte 18`},
		{`#{"#x":1}`, `key "#x", unknown or not the first at byte 2`},
		{`#{"payload":1,"#tag":"x"}`, `key "#tag", unknown or not the first at byte 14`},
		{`#{"$0":1}`, `key "$0" is not a string at byte 2`},
		{`#{"+1":1}`, `key "+1" is not a string at byte 2`},
		{`#{"#tag":"x"}`, `'}' where ',' was expected at byte 12`},
		{`#{"#tag":1,"payload":1}`, `'1' where a string was expected at byte 9`},
		{`#{"#tag":"$0","payload":1}`, `a tag is not a string: "$0" at byte 9`},
		{`#{"#tag":"x","other":1}`, `key "other" where "payload" was expected at byte 13`},
		{`#{"#tag":"x","payload":1,"more":1}`, `',' where '}' was expected at byte 24`},
		{`#{"#error":"x"}`, `error without a name at byte 14`},
		{`#{"#error":"x","name":null}`, `'n' where a string was expected at byte 22`},
		{`#{"#error":"x","name":"E","name":"E"}`, `error has two keys "name" at byte 36`},
		{`#{"#error":"x","name":"E","u":1,"u":2}`, `error has two keys "u" at byte 37`},
		{`#{"#error":"x","name":"E","message":"y"}`, `key "message" in an error at byte 26`},
		{`#{"#error":"x","name":"E","#tag":"y"}`, `key "#tag" in an error at byte 26`},
		{`#{"#error":"x","name":"E","cause":1}`, `an error's cause, or one of its errors, is not an error at byte 34`},
		{`#{"#error":"x","name":"E","errors":[1]}`, `an error's cause, or one of its errors, is not an error at byte 36`},
	} {
		v, err := capdata.Decode(c.body, 2)
		var syntax *capdata.SyntaxError
		if !errors.As(err, &syntax) || err.Error() != c.want {
			t.Errorf("Decode(%.80q):\n got %v, error %v\nwant %s", c.body, v, err, c.want)
		}
	}
}

func TestDecodeAcceptsOtherSpellings(t *testing.T) {
	for _, c := range []struct{ body, canonical string }{
		{"# [ 1 , { \"b\" : 2 , \"a\" : [ ] } ]\r\n\t", `#[1,{"a":[],"b":2}]`},
		{`#"\u0041\/\uD83D\uDC4d\u00FF"`, `#"A/👍ÿ"`},
		{`#[1.0,1E2,0.1e1,-0,-0.0,1e-999,1.50]`, `#[1,100,1,0,0,0,1.5]`},
		{`#12345678901234567890`, `#12345678901234567000`},
		{`#"!plain"`, `#"plain"`},
		{`#"!"`, `#""`},
		{`#{"name":"x","message":"y"}`, `#{"message":"y","name":"x"}`},
		{`#{"#error":"x","name":"E","errorId":"i","later":[1]}`, `#{"#error":"x","errorId":"i","name":"E"}`},
		{
			`#{"#error":"x","name":"E","errors":[],"cause":{"#error":"c","name":"E"}}`,
			`#{"#error":"x","name":"E","cause":{"#error":"c","name":"E"},"errors":[]}`,
		},
		{`#["$0","$0.A",{"x":"$0.A"}]`, `#["$0.A","$0",{"x":"$0"}]`},
	} {
		v, err := capdata.Decode(c.body, 1)
		if err != nil {
			t.Errorf("Decode(%s): %v", c.body, err)
			continue
		}
		if got, err := capdata.Encode(v); err != nil || got != c.canonical {
			t.Errorf("Decode(%s) is %s, %v; want %s", c.body, got, err, c.canonical)
		}
	}
}

func TestDecodeGivesTheInterfaceNameToEveryOccurrence(t *testing.T) {
	v, err := capdata.Decode(`#{"0":"$0"," ":"$0.A","x":["$0"]}`, 1)
	if err != nil {
		t.Fatal(err)
	}
	a := capdata.Remotable{Slot: 0, Iface: "A"}
	want := &capdata.Record{Fields: []capdata.Field{{" ", a}, {"0", a}, {"x", []any{a}}}}
	if diff := diffValues(want, v); diff != "" {
		t.Error(diff)
	}
}

func TestBigIntsAreBounded(t *testing.T) {
	most := new(big.Int).Lsh(big.NewInt(1), capdata.MaxBigIntBits)
	most.Sub(most, big.NewInt(1))
	body, err := capdata.Encode(most)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := capdata.Decode(body, 0); err != nil || diffValues(most, v) != "" {
		t.Errorf("the largest bigint does not survive: %v", err)
	}
	above := new(big.Int).Add(most, big.NewInt(1))
	if _, err := capdata.Encode(above); err == nil {
		t.Error("encoded a bigint above the limit")
	}
	for _, digits := range []string{above.String(), strings.Repeat("9", 1_000_000)} {
		if _, err := capdata.Decode(`#"-`+digits+`"`, 0); err == nil {
			t.Errorf("decoded a bigint of %d digits", len(digits))
		}
	}
}

func TestDecodeTakesMemoryInProportion(t *testing.T) {
	const size = 1 << 20
	for _, unit := range []string{
		`0.5,`, `[],`, `{},`, `{"":0.5},`, `[[0.5]],`, `"$0",`, `"a",`, `"!a",`, `"\n",`, `"+1",`,
		`{"#tag":"","payload":0},`, `{"#error":"","name":""},`,
	} {
		body := "#[" + strings.Repeat(unit, size/len(unit)) + "0]"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := capdata.Decode(body, 1); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if times := int(after.TotalAlloc-before.TotalAlloc) / len(body); times > 64 {
			t.Errorf("%s: allocated %d times the length of the body", unit, times)
		} else {
			t.Logf("%s: %d", unit, times)
		}
	}
}

func TestStringsOfALargeBodyDoNotKeepIt(t *testing.T) {
	body := `#["keep","` + strings.Repeat("x", 1<<20) + `"]`
	v, err := capdata.Decode(body, 0)
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	runtime.AddCleanup(unsafe.StringData(body), func(c chan struct{}) { close(c) }, released)
	keep := v.([]any)[0].(string)
	v, body = nil, ""
	collected := func() bool {
		runtime.GC()
		select {
		case <-released:
			return true
		case <-time.After(10 * time.Millisecond): // one collection need not be enough, nor the cleanup have run
			return false
		}
	}
	for tries := 0; !collected(); tries++ {
		if tries == 1000 {
			t.Fatal("the body is kept")
		}
	}
	if keep != "keep" {
		t.Error(keep)
	}
}

func TestCalls(t *testing.T) {
	args := []any{"$x", capdata.Remotable{Slot: 0, Iface: "Alleged: Purse"}, 10.0}
	body, err := capdata.EncodeCall("!deposit", args)
	if want := `#["!!deposit",["!$x","$0.Alleged: Purse",10]]`; err != nil || body != want {
		t.Fatalf("got %s, %v; want %s", body, err, want)
	}
	method, got, err := capdata.DecodeCall(body, 1)
	if err != nil || method != "!deposit" {
		t.Fatalf("got method %q, %v", method, err)
	}
	if diff := diffValues(args, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct{ body, want string }{
		{`#"ping"`, `'"' where '[' of a call was expected at byte 1`},
		{`#[]`, `']' where a string was expected at byte 2`},
		{`#["ping"]`, `']' where ',' was expected at byte 8`},
		{`#["ping",1]`, `'1' where '[' of the arguments was expected at byte 9`},
		{`#["ping",[],1]`, `',' where ']' was expected at byte 11`},
		{`#["ping",[]]]`, `text after the end of the value at byte 12`},
		{`#["%@@asyncIterator",[]]`, `the method is not a string: "%@@asyncIterator" at byte 2`},
		{`#["#undefined",[]]`, `the method is not a string: "#undefined" at byte 2`},
		{`#["ping",["$0"]]`, `slot 0 is out of range: there are 0 at byte 10`},
	} {
		if _, _, err := capdata.DecodeCall(c.body, 0); err == nil || err.Error() != c.want {
			t.Errorf("DecodeCall(%s): got %v, want %s", c.body, err, c.want)
		}
	}
}

func TestDecodeReadsFromTheStartAgainOnlyOnce(t *testing.T) {
	// Each slot's name comes late; the second reading must settle them all.
	v, err := capdata.Decode(`#[["$0","$1"],["$1.B","$0.A"]]`, 2)
	a, b := capdata.Remotable{Slot: 0, Iface: "A"}, capdata.Remotable{Slot: 1, Iface: "B"}
	if diff := diffValues([]any{[]any{a, b}, []any{b, a}}, v); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestLoneSlotAgreesWithDecode(t *testing.T) {
	for _, body := range []string{`#"$0"`, `#"&0"`, `#"$0.Alleged: A"`, `#"$0."`, `#"$1"`, `#"&0.x"`, `#["$0"]`, `#"$0`, `#"a"`, ``, `#"$0.a\"b"`} {
		v, err := capdata.Decode(body, 1)
		_, object := v.(capdata.Remotable)
		_, promise := v.(capdata.Promise)
		if capdata.LoneSlot(body, 1) && (err != nil || !object && !promise) {
			t.Errorf("LoneSlot(%s), but it is %v, %v", body, v, err)
		}
		if capdata.LoneSlot(body, 0) || capdata.LoneSlot(body, 2) {
			t.Errorf("LoneSlot(%s) with another number of slots", body)
		}
	}
	for _, body := range []string{`#"$0"`, `#"&0"`, `#"$0.Alleged: A"`} {
		if !capdata.LoneSlot(body, 1) {
			t.Errorf("LoneSlot(%s) is false", body)
		}
	}
}
