package capdata_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"ocapkernel.dev/capdata"
)

// endoLine is a line of testdata/endo.jsonl; testdata/README.md explains it.
type endoLine struct {
	Body   string
	Slots  []string
	Ifaces map[string]string
	JSON   string
}

func endoLines(tb testing.TB) []endoLine {
	tb.Helper()
	f, err := os.Open("testdata/endo.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var all []endoLine
	for s := bufio.NewScanner(f); s.Scan(); {
		var l endoLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			tb.Fatal(err)
		}
		all = append(all, l)
	}
	if len(all) < 250 {
		tb.Fatalf("only %d lines", len(all))
	}
	return all
}

// value builds the value of the line without reading its body.
func (l endoLine) value(t *testing.T) any {
	t.Helper()
	v, err := capdata.FromJSON([]byte(l.JSON), func(name string) (int, error) {
		if i := slices.Index(l.Slots, name); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("no such name")
	})
	if err != nil {
		t.Fatalf("FromJSON(%s): %v", l.JSON, err)
	}
	return mapRemotables(v, func(r capdata.Remotable) capdata.Remotable {
		r.Iface = l.Ifaces[l.Slots[r.Slot]]
		return r
	})
}

// mapRemotables changes every remotable of v, in place where it can.
func mapRemotables(v any, f func(capdata.Remotable) capdata.Remotable) any {
	switch v := v.(type) {
	case capdata.Remotable:
		return f(v)
	case []any:
		for i := range v {
			v[i] = mapRemotables(v[i], f)
		}
	case *capdata.Record:
		for i := range v.Fields {
			v.Fields[i].Value = mapRemotables(v.Fields[i].Value, f)
		}
	case *capdata.Tagged:
		v.Payload = mapRemotables(v.Payload, f)
	}
	return v
}

func TestEncodeWritesWhatEndoWrites(t *testing.T) {
	for i, l := range endoLines(t) {
		got, err := capdata.Encode(l.value(t))
		if err != nil || got != l.Body {
			t.Errorf("line %d:\n got %s, %v\nwant %s", i+1, got, err, l.Body)
		}
	}
}

func TestDecodeReadsWhatEndoWrites(t *testing.T) {
	for i, l := range endoLines(t) {
		v, err := capdata.Decode(l.Body, len(l.Slots))
		if err != nil {
			t.Errorf("line %d: Decode(%s): %v", i+1, l.Body, err)
			continue
		}
		if diff := diffValues(l.value(t), v); diff != "" {
			t.Errorf("line %d: %s", i+1, diff)
		}
		if again, err := capdata.Encode(v); err != nil || again != l.Body {
			t.Errorf("line %d: re-encoded:\n got %s, %v\nwant %s", i+1, again, err, l.Body)
		}
	}
}
