package capdata_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

func TestEncodeRefusesAndSaysWhere(t *testing.T) {
	self := []any{nil}
	self[0] = self
	loop := &capdata.Record{}
	loop.Fields = []capdata.Field{{"me", loop}}
	var shared any = "x"
	for range capdata.MaxDepth {
		shared = []any{shared, shared, shared}
	}
	for _, c := range []struct {
		v    any
		want string
	}{
		{1, "cannot marshal the value: int is not a passable type: numbers are float64, bigints *big.Int"},
		{
			[]any{true, &capdata.Record{Fields: []capdata.Field{{"a", []any{int64(1)}}}}},
			"cannot marshal [1].a[0] of the value: int64 is not a passable type: numbers are float64, bigints *big.Int",
		},
		{[]byte("x"), "cannot marshal the value: smallcaps has no form for byte arrays ([]byte)"},
		{map[string]any{}, "cannot marshal the value: map[string]interface {} is not a passable type"},
		{capdata.Record{}, "cannot marshal the value: capdata.Record is not a passable type"},
		{(*capdata.Record)(nil), "cannot marshal the value: a nil *Record"},
		{(*capdata.Tagged)(nil), "cannot marshal the value: a nil *Tagged"},
		{(*capdata.Error)(nil), "cannot marshal the value: a nil *Error"},
		{(*big.Int)(nil), "cannot marshal the value: a nil *big.Int"},
		{&capdata.Error{Errors: []*capdata.Error{nil}}, "cannot marshal .errors[0] of the value: a nil *Error"},
		{"\xff", `cannot marshal the value: the string "\xff" is not UTF-8`},
		{"\xed\xa0", `cannot marshal the value: the string "\xed\xa0" is not UTF-8`},
		{capdata.Symbol("@@x"), `cannot marshal the value: the symbol "@@x": no such well-known symbol`},
		{capdata.Remotable{Slot: -1}, "cannot marshal the value: negative slot -1"},
		{capdata.Promise{Slot: -1}, "cannot marshal the value: negative slot -1"},
		{
			[]any{capdata.Promise{Slot: 9}, capdata.Remotable{Slot: 9}},
			"cannot marshal [1] of the value: slot 9 is both an object and a promise",
		},
		{
			[]any{capdata.Remotable{Slot: 9, Iface: "A"}, capdata.Remotable{Slot: 9, Iface: "B"}},
			"cannot marshal [1] of the value: slot 9 has two interface names",
		},
		{
			&capdata.Record{Fields: []capdata.Field{{"b", nil}, {"a", nil}, {"b", nil}}},
			`cannot marshal the value: the record has two properties named "b"`,
		},
		{
			&capdata.Record{Fields: []capdata.Field{{"\xed\xa0\x80\xed\xb0\x80", nil}, {"\U00010000", nil}}},
			"cannot marshal the value: the record has two properties named \"𐀀\"",
		},
		{self, "cannot marshal " + strings.Repeat("[0]", 20) + "… of the value: nested deeper than 64, or contains itself"},
		{loop, "cannot marshal " + strings.Repeat(".me", 20) + "… of the value: nested deeper than 64, or contains itself"},
		{shared, "cannot marshal " + strings.Repeat("[0]", 20) + "… of the value: the text is larger than 16777216 bytes"},
		{strings.Repeat("x", capdata.MaxBodyBytes), "cannot marshal the value: the text is larger than 16777216 bytes"},
	} {
		body, err := capdata.Encode(c.v)
		if err == nil || body != "" || err.Error() != c.want {
			t.Errorf("got %.80s, error %v\nwant %s", body, err, c.want)
		}
	}
}

func TestEncodeLeavesTheValueAlone(t *testing.T) {
	r := &capdata.Record{Fields: []capdata.Field{{"b", 1.0}, {"10", 2.0}, {"9", 3.0}}}
	body, err := capdata.Encode(r)
	if want := `#{"9":3,"10":2,"b":1}`; err != nil || body != want {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
	if r.Fields[0].Name != "b" || r.Fields[1].Name != "10" {
		t.Errorf("the record was reordered: %v", r.Fields)
	}
}

func TestAppendKeepsWhatStandsBefore(t *testing.T) {
	b, err := capdata.Append([]byte("before "), []any{math.Copysign(0, -1), nil, []any(nil)})
	if want := "before #[0,null,[]]"; err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
	b, err = capdata.AppendCall([]byte("before "), "m", []any{3})
	if err == nil || string(b) != "before " {
		t.Errorf("got %s, %v; want an error and only what stood before", b, err)
	}
}

func TestEncodeJoinsHalvesOfAPair(t *testing.T) {
	if body, err := capdata.Encode("\xed\xa0\xbd\xed\xb1\x8d\xed\xa0\xbd"); err != nil || body != `#"👍\ud83d"` {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestKernelErrors(t *testing.T) {
	for _, code := range errcode.Rejections() {
		body := capdata.KernelError(code, "ko4 \"x\"\n\xff")
		if want := `#{"#error":"[KERNEL:` + string(code) + `] ko4 \"x\"\n` + "\uFFFD" + `","name":"Error"}`; body != want {
			t.Errorf("got %s, want %s", body, want)
		}
		v, err := capdata.Decode(body, 0)
		if err != nil {
			t.Fatal(err)
		}
		e := v.(*capdata.Error)
		if got, detail, ok := capdata.ParseKernelError(e); !ok || got != code || detail != "ko4 \"x\"\n\uFFFD" {
			t.Errorf("got %q %q %v, want %q", got, detail, ok, code)
		}
		if again, err := capdata.Encode(e); err != nil || again != body {
			t.Errorf("re-encoded %s, %v; want %s", again, err, body)
		}
	}
	for _, message := range []string{"", "x", "[KERNEL:REVOKED]", "[KERNEL:REVOKED]x", "[KERNEL:NOPE] x", " [KERNEL:REVOKED] x", "[KERNEL:revoked] x"} {
		if code, _, ok := capdata.ParseKernelError(&capdata.Error{Name: "Error", Message: message}); ok {
			t.Errorf("%q was taken for %s", message, code)
		}
	}
	if _, _, ok := capdata.ParseKernelError(nil); ok {
		t.Error("nil was taken for a kernel error")
	}
	long := capdata.KernelError(errcode.Limit, strings.Repeat("é", 1<<20))
	if _, err := capdata.Decode(long, 0); err != nil || len(long) > 2<<10 {
		t.Errorf("a long detail makes %d bytes, %v", len(long), err)
	}
	if _, detail, ok := capdata.ParseKernelError(&capdata.Error{Message: "[KERNEL:LIMIT] "}); !ok || detail != "" {
		t.Error("an empty detail is not understood")
	}
}
