//go:build race

package kernel_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain draws fewer sequences under the race detector, which looks for races and not for sequences, and makes each
// take several times as long.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "25"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
