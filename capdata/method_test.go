package capdata_test

import (
	"testing"

	"ocapkernel.dev/capdata"
)

// The name is that of DecodeCall, in any spelling.
func TestMethodOf(t *testing.T) {
	for body, want := range map[string]string{
		`#["bootstrap",[]]`:            "bootstrap",
		`# [ "bootstrap" , [1, "x"] ]`: "bootstrap",
		`#["\u0062ootstrap",["&9"]]`:   "bootstrap",
		`#["!bootstrap",[]]`:           "bootstrap",
		`#["%bootstrap",[]]`:           "",
		`#["bootstraps",[]]`:           "bootstraps",
		`#["bootstrap"`:                "bootstrap", // the rest is not read
		`#["boot`:                      "",
		`#"bootstrap"`:                 "",
		`["bootstrap",[]]`:             "",
		`#[1,[]]`:                      "",
		`#[]`:                          "",
		``:                             "",
	} {
		if got := capdata.MethodOf(body); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
		if method, _, err := capdata.DecodeCall(body, 10); err == nil && method != want {
			t.Errorf("%s: DecodeCall says %q, want %q", body, method, want)
		}
	}
}
