package capdata_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"ocapkernel.dev/capdata"
)

// FuzzDecode: no text makes Decode panic, and each accepted text has one canonical body.
func FuzzDecode(f *testing.F) {
	for _, l := range endoLines(f) {
		f.Add(l.Body)
	}
	f.Add(`#{"#error":"x","name":"E","cause":{"#error":"y","name":"E"},"errors":[]}`)
	f.Add(`#["$0","&1","$0.Alleged: A",{"0":"$3"," ":"$3.B"}]`)
	f.Fuzz(func(t *testing.T, body string) {
		const nslots = 21
		v, err := capdata.Decode(body, nslots)
		method, args, callErr := capdata.DecodeCall(body, nslots)
		if err != nil {
			if callErr == nil {
				t.Fatalf("DecodeCall accepts what Decode refuses: %v", err)
			}
			return
		}
		canonical, err := capdata.Encode(v)
		if err != nil {
			t.Fatalf("decoded, but cannot be encoded: %v", err)
		}
		if !utf8.ValidString(canonical) || !json.Valid([]byte(canonical[1:])) {
			t.Fatalf("%q is not JSON", canonical)
		}
		again, err := capdata.Decode(canonical, nslots)
		if err != nil {
			t.Fatalf("%s: %v", canonical, err)
		}
		if diff := diffValues(v, again); diff != "" {
			t.Fatalf("%s: %s", canonical, diff)
		}
		if twice, err := capdata.Encode(again); err != nil || twice != canonical {
			t.Fatalf("got %s, %v; want %s", twice, err, canonical)
		}
		if callErr == nil {
			if call, err := capdata.EncodeCall(method, args); err != nil || call != canonical {
				t.Fatalf("as a call %s, %v; want %s", call, err, canonical)
			}
		}
		if text, err := capdata.ToJSON(v, kref); err != nil || !json.Valid(text) {
			t.Fatalf("ToJSON: %s, %v", text, err)
		}
	})
}

// FuzzFromJSON: no text makes FromJSON panic, an accepted text is JSON, and comes back the same.
func FuzzFromJSON(f *testing.F) {
	for _, l := range endoLines(f) {
		f.Add([]byte(l.JSON))
	}
	f.Add([]byte(`{"payload":{"$undefined":true},"$tag":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var names []string
		v, err := capdata.FromJSON(text, func(name string) (int, error) {
			names = append(names, name)
			return len(names) - 1, nil
		})
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatal("accepts what is not JSON")
		}
		out, err := capdata.ToJSON(v, func(slot int) string { return names[slot] })
		if err != nil {
			t.Fatalf("ToJSON: %v", err)
		}
		given := names
		names = nil
		again, err := capdata.FromJSON(out, func(name string) (int, error) {
			for i, n := range given {
				if n == name {
					return i, nil
				}
			}
			t.Fatalf("a name %q from nowhere", name)
			return 0, nil
		})
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if out2, err := capdata.ToJSON(again, func(slot int) string { return given[slot] }); err != nil || string(out2) != string(out) {
			t.Fatalf("got %s, %v; want %s", out2, err, out)
		}
		if _, err := capdata.Encode(v); err != nil {
			t.Fatalf("Encode: %v", err)
		}
	})
}
