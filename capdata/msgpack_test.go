package capdata_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"ocapkernel.dev/capdata"
)

type ref string

var limits = capdata.DataLimits{MaxBodyBytes: 1 << 10, MaxSlots: 20}

func decodeData(b []byte) (capdata.Data[ref], error) {
	return capdata.DecodeData[ref](msgpack.NewDecoder(bytes.NewReader(b)), limits)
}

func encodeData(tb testing.TB, d capdata.Data[ref]) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := capdata.EncodeData(msgpack.NewEncoder(&b), d); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestDataSurvivesItsEnvelope(t *testing.T) {
	many := make([]ref, limits.MaxSlots)
	for i := range many {
		many[i] = ref(strings.Repeat("o", capdata.MaxRefBytes))
	}
	for _, d := range []capdata.Data[ref]{
		{},
		{Body: "#null"},
		{Body: `#["ping",["$0"]]`, Slots: []ref{"o-1"}},
		{Body: "#" + strings.Repeat("é", 100), Slots: []ref{"o-1", "p+2", ""}},
		{Body: "#" + strings.Repeat("x", limits.MaxBodyBytes-1), Slots: many},
	} {
		b := encodeData(t, d)
		got, err := decodeData(b)
		if diff := cmp.Diff(d, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		for n := range b {
			if _, err := decodeData(b[:n]); err == nil {
				t.Errorf("%d of %d bytes were taken for the whole", n, len(b))
			}
		}
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	body := "\xa5#null"
	for _, c := range []struct{ bytes, want string }{
		{"", "read capdata: EOF"},
		{"\xc0", "read capdata: array of -1 elements, want 2"},
		{"\x93", "read capdata: array of 3 elements, want 2"},
		{"\xdd\xff\xff\xff\xff", "read capdata: array of 4294967295 elements, want 2"},
		{"\x82", "read capdata: msgpack: invalid code=82 decoding array length"},
		{"\x92\xc0\x90", "read capdata: body: code 0xc0, want a string"},
		{"\x92\xc4\x01#\x90", "read capdata: body: code 0xc4, want a string"},
		{"\x92\x01\x90", "read capdata: body: code 0x01, want a string"},
		{"\x92\xd9\x05#null\x90", ""},
		{"\x92\xdb\xff\xff\xff\xff#", "read capdata: body: 4294967295 bytes, above the limit of 1024"},
		{"\x92\xda\x04\x01#", "read capdata: body: 1025 bytes, above the limit of 1024"},
		{"\x92\xda\x04\x00#", "read capdata: body: unexpected EOF"},
		{"\x92\xa2#\xff\x90", "read capdata: body: not UTF-8"},
		{"\x92\xa4null\x90", "read capdata: body does not begin with '#'"},
		{"\x92\xa0\x91\xa1x", "read capdata: slots without a body"},
		{"\x92" + body, "read capdata: slots: EOF"},
		{"\x92" + body + "\xc0", "read capdata: slots: nil, want an array"},
		{"\x92" + body + "\xdd\xff\xff\xff\xff", "read capdata: 4294967295 slots, above the limit of 20"},
		{"\x92" + body + "\xdc\x00\x15", "read capdata: 21 slots, above the limit of 20"},
		{"\x92" + body + "\x91\xc0", "read capdata: slot 0: code 0xc0, want a string"},
		{"\x92" + body + "\x92\xa1x\xd9\x41x", "read capdata: slot 1: 65 bytes, above the limit of 64"},
		{"\x92" + body + "\x91\xa1\xff", "read capdata: slot 0: not UTF-8"},
	} {
		d, err := decodeData([]byte(c.bytes))
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || err.Error() != c.want || d.Body != "" || d.Slots != nil {
			t.Errorf("%q: got %v, %v; want %s", c.bytes, d, err, c.want)
		}
	}
}
