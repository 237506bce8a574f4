package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// chains has v1 build chains of parked messages, each of which waits for the result of the one before, a crank for each. It
// returns the last promise of each, and the highest number of a promise that was used.
func chains(w *world, n, length int) (ends []int, high int) {
	w.t.Helper()
	for range n {
		var words strings.Builder
		fmt.Fprintf(&words, "resolve $r=(p+%d)\n", high+1)
		for i := range length {
			fmt.Fprintf(&words, "send p+%d next -> p+%d\n", high+1+i, high+2+i)
		}
		w.goes("v1", words.String())
		high += length + 1
		ends = append(ends, high)
	}
	return ends, high
}

// closing is an answer that parks a message on each of the ends whose result something waits for already, so that the
// whole chain has to be walked for a circle.
func closing(ends []int, high int) string {
	var words strings.Builder
	fmt.Fprintf(&words, "resolve $r=(%s)\n", list("p+", high+1, len(ends)))
	for i, end := range ends {
		fmt.Fprintf(&words, "send p+%d first\nsend p+%d last -> p+%[1]d\n", high+1+i, end)
	}
	return words.String()
}

// The search for circles of messages that wait for each other is bounded by the rows that it reads in one crank,
// however many chains there are.
func TestLookingForCirclesReadsABoundedNumberOfRows(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	const n, length = 30, 800
	ends, high := chains(w, n, length)
	w.flush()
	r := count(w)
	w.goes("v1", closing(ends, high))
	if r.reads > 15_000 {
		t.Errorf("a crank has %d rows read", r.reads)
	}
	out := w.flush()
	if limited := strings.Count(out, ": LIMIT"); limited == 0 || limited > 20 {
		t.Errorf("%d of %d messages were rejected", limited, n)
	}
	w.check()
	// The next crank has a bound of its own, and rows that are known cost nothing: one chain may be walked often.
	for _, end := range [][]int{{ends[n-1]}, slices.Repeat(ends[n-2:n-1], 100)} {
		high += 1000
		w.goes("v1", closing(end, high))
		if out := w.flush(); strings.Contains(out, "LIMIT") {
			t.Errorf("%d messages to the end of one chain: %.2000s", len(end), out)
		}
	}
	if vat, _, _ := w.m.Vat("v1"); !vat.Live {
		t.Error("it is the fault of the vat")
	}
	w.check()
}
