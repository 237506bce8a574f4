package capdata_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"ocapkernel.dev/capdata"
)

func TestDescribe(t *testing.T) {
	named := func(r capdata.Remotable) string { return fmt.Sprint("object ", r.Slot) }
	args := []any{
		nil, capdata.Undefined{}, true, 1.5, big.NewInt(7), "short", strings.Repeat("x", 41), []any{1.0, 2.0}, "left out",
	}
	want := `null, undefined, boolean true, number 1.5, bigint, string "short", string of 41 bytes, array of 2, …`
	if got := capdata.DescribeAll(args, nil); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	args = []any{&capdata.Record{}, &capdata.Error{}, capdata.Symbol("a"), capdata.Promise{}, capdata.Remotable{Slot: 3}}
	if got, want := capdata.DescribeAll(args, named), "record, error, symbol, promise, object 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := capdata.DescribeAll(nil, nil); got != "none" {
		t.Errorf("no arguments: got %s", got)
	}
	if got := capdata.Describe(capdata.Remotable{}, nil); got != "reference" {
		t.Errorf("a reference: got %s", got)
	}
}

func TestMethodName(t *testing.T) {
	for goName, want := range map[string]string{
		"Deposit": "deposit", "ID": "id", "URLOf": "urlOf", "HTTPServer": "httpServer", "X": "x", "already": "already", "": "",
	} {
		if got := capdata.MethodName(goName); got != want {
			t.Errorf("%s: got %s, want %s", goName, got, want)
		}
	}
}
