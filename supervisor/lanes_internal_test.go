package supervisor

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// ways is lanes with the helpers of a test.
type ways struct {
	*testing.T
	lanes
	over chan struct{} // of those that are not to wait
}

func newWays(t *testing.T, places int) *ways {
	w := &ways{T: t, lanes: newLanes(places), over: make(chan struct{})}
	close(w.over)
	return w
}

// place takes a place that must be free, and returns the function that gives it back.
func (w *ways) place(vat string) (leave func(hello bool)) {
	w.Helper()
	leave, ok := w.enter(vat, nil)
	if !ok {
		w.Fatalf("%s has no place", vat)
	}
	return leave
}

// waits reports whether a vat would have to wait for a place.
func (w *ways) waits(vat string) bool {
	lane := w.lane(vat)
	return len(lane) == cap(lane)
}

func TestStartsHaveAsManyPlacesAsAreGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWays(t, 2)
		first, second := w.place("v1"), w.place("v2")
		if !w.waits("v3") {
			t.Error("a third worker starts in two places")
		}
		if _, ok := w.enter("v3", w.over); ok {
			t.Error("a worker that is over has got a place")
		}
		entered := make(chan func(bool), 1)
		go func() { entered <- w.place("v3") }()
		if synctest.Wait(); len(entered) > 0 {
			t.Error("a third worker starts in two places")
		}
		first(true)
		third := <-entered
		first(true) // gives nothing back a second time
		if !w.waits("v4") {
			t.Error("a place was given back twice")
		}
		second(true)
		third(true)
		if len(w.fast) != 0 || len(w.slow) != 0 || len(w.late) != 0 {
			t.Errorf("when all are there %d and %d places are taken, and %v are late", len(w.fast), len(w.slow), w.late)
		}
		<-time.After(time.Second)
		if synctest.Wait(); len(w.late) != 0 {
			t.Errorf("%v became late after their hello", w.late)
		}
	})
}

func TestWhoDoesNotSayHelloStartsInALaneOfItsOwnUntilItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWays(t, 1)
		slow := w.place("v1")
		<-time.After(laneTime - 1)
		if synctest.Wait(); !w.waits("v2") {
			t.Error("the place is free before its time is over")
		}
		<-time.After(1)
		if synctest.Wait(); w.waits("v2") || w.lane("v1") != w.slow || w.lane("v2") != w.fast {
			t.Error("a worker that does not say hello keeps its place, or its vat the lane of all others")
		}
		w.place("v2")(true)
		// Its next worker starts, beside others, and a second late one waits for it.
		again := w.place("v1")
		w.setLate("v3", true)
		if w.waits("v2") || !w.waits("v3") {
			t.Error("the next worker of a late vat takes a place of others, or none of its own")
		}
		slow(false) // the first ends: it has given its place back already
		if !w.waits("v3") {
			t.Error("a place was given back that was taken by another")
		}
		again(true)
		if w.lane("v1") != w.fast {
			t.Error("after its hello a vat is still late")
		}
		w.place("v1")(false) // ends at once, without a hello
		if w.lane("v1") != w.fast {
			t.Error("a vat whose worker ended in time is late")
		}
	})
}

// A vat that becomes late while another worker of it waits: that one does not take the place of others.
func TestALateVatWaitsInItsOwnLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWays(t, 1)
		first := w.place("v9")
		entered := make(chan func(bool), 1)
		go func() { entered <- w.place("v1") }()
		synctest.Wait()
		w.setLate("v1", true)
		held := w.place("v1") // it holds the lane of the late ones
		first(true)
		if synctest.Wait(); len(entered) > 0 || w.waits("v2") {
			t.Error("a worker of a late vat has taken, or holds, a place of others")
		}
		held(false)
		(<-entered)(true)
		if len(w.fast) != 0 || len(w.slow) != 0 {
			t.Error("a place was not given back")
		}
	})
}

func TestFewLateVatsAreRemembered(t *testing.T) {
	l := newLanes(1)
	for i := range mostLate + 10 {
		l.setLate(fmt.Sprint("v", i), true)
	}
	if len(l.late) != mostLate {
		t.Errorf("%d late vats are remembered, want %d", len(l.late), mostLate)
	}
	l.setLate("v5", false)
	l.setLate("v-new", true)
	if l.lane("v5") != l.fast || l.lane("v-new") != l.slow {
		t.Error("there is no room for another when one is in time again")
	}
}
