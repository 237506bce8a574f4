package kernel_test

import (
	"testing"

	"ocapkernel.dev/kernel"
)

// flight returns the crank of a vat in flight, which begin has begun.
func (w *world) flight(v kernel.VatID) *kernel.Crank {
	w.t.Helper()
	if w.flights[v] == nil && !w.begin(v) {
		w.t.Fatalf("%s has nothing to do:\n%s", v, w.flush())
	}
	return w.flights[v]
}

// A vat goes about a delivery with care that has ended a worker, whatever it was that ended it.
func TestAttemptCountsDeathsOfEveryCause(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.call("E1.t", "ko4", "go")
	for i, cause := range []kernel.Cause{kernel.CauseKilled, kernel.CauseCrash, kernel.CauseKilled} {
		if got := w.flight("v1").Deliver.Attempt; got != uint64(i) {
			t.Errorf("after %d deaths: got attempt %d", i, got)
		}
		w.died("v1", cause, "")
	}
	if got := w.flight("v1").Deliver.Attempt; got != 3 {
		t.Errorf("got attempt %d, want 3", got)
	}
}
