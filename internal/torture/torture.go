// Package torture is what the long tests share: for how long they go on, from which seed, and the table of what they did.
//
// A test of make test does a bounded part. Where TORTURE_MINUTES is set, as make torture does, each part goes on for its share
// of that time, and appends its row to the file that TORTURE_TABLE names.
package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Row is what one part did. Findings are faults of the program, of which a test that passes has none.
type Row struct {
	Part                                               string
	Scenarios, Points, Kills, Cranks, Faults, Findings int
	Seed                                               uint64
}

// Until returns when a part ends that takes so many parts in a hundred of TORTURE_MINUTES; if that is not set, it ends after the
// time that make test has for it.
func Until(t testing.TB, percent int, bounded time.Duration) time.Time {
	t.Helper()
	text := os.Getenv("TORTURE_MINUTES")
	if text == "" {
		return time.Now().Add(bounded)
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil || minutes <= 0 {
		t.Fatalf("TORTURE_MINUTES=%q: it is a number of minutes above 0", text)
	}
	return time.Now().Add(time.Duration(minutes * float64(time.Minute) * float64(percent) / 100))
}

// Long reports whether TORTURE_MINUTES is set.
func Long() bool { return os.Getenv("TORTURE_MINUTES") != "" }

// Seed returns the seed of a test: TORTURE_SEED, or another one in each run. It is logged.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("TORTURE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("TORTURE_SEED: %v", err)
		}
	}
	t.Logf("TORTURE_SEED=%d", seed)
	return seed
}

// Report logs a row, and appends it to the table. It is called when the part has ended, also if it has failed.
func Report(t testing.TB, r Row) {
	t.Helper()
	t.Logf("%s: %d scenarios, %d crash points, %d kills, %d cranks, %d faults, %d findings, seed %d", r.Part, r.Scenarios, r.Points, r.Kills,
		r.Cranks, r.Faults, r.Findings, r.Seed)
	path := os.Getenv("TORTURE_TABLE")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := fmt.Fprintf(f, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", r.Part, r.Scenarios, r.Points, r.Kills, r.Cranks, r.Faults, r.Findings, r.Seed); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
