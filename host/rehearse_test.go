package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/internal/programs"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/vat"
)

// parks launches a vat, in which a turn waits for a promise then.
func (w *world) parks() (a kernel.VatID, to teller, ok bool) {
	to = teller{w, w.launch(`{"bootstrap": "a", "vats": {"a": {"module": "program"}}}`)}
	found, err := w.k.FindVat(w.t.Context(), "a")
	if err != nil {
		w.t.Error(err)
		return "", to, false
	}
	if _, err := to.Ask(w.t.Context(), "make", "a", "run", json.RawMessage(`[{"do": "promise", "key": "p"}]`)); err != nil {
		w.t.Error(err)
	}
	if err := to.Send(w.t.Context(), "park", "a", "run", json.RawMessage(`[{"do": "park", "key": "p", "peer": "a"}]`)); err != nil {
		w.t.Error(err)
	}
	<-time.After(time.Second) // it waits
	return found.ID, to, true
}

// A rehearsal ends when its caller leaves; and a subcluster that is terminated meanwhile is gone only with the rehearsal's
// worker.
func TestARehearsalEndsWithWhoAsked(t *testing.T) {
	program := programOf(t, vat.Modules{"program": programs.Module()})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, program, true)
		w.live(func() {
			a, to, ok := w.parks()
			if !ok {
				return
			}
			workersOf := func() (n int) {
				for _, id := range w.vats.Live() {
					if id == string(a) {
						n++
					}
				}
				return n
			}

			short, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			if lines, err := w.k.Rehearse(short, a); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %q, %v", lines, err)
			}
			synctest.Wait()
			if n := workersOf(); n != 1 {
				t.Errorf("%d workers of the vat live, want its own", n)
			}
			lines, err := w.k.Rehearse(t.Context(), a)
			if err != nil || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "came out as recorded") }) {
				t.Errorf("got %q, %v", lines, err)
			}

			over := make(chan []string, 1)
			go func() {
				lines, _ := w.k.Rehearse(t.Context(), a)
				over <- lines
			}()
			synctest.Wait()
			w.terminate(to.sub)
			if live := w.vats.Live(); len(live) > 0 {
				t.Errorf("%v live on", live)
			}
			if lines := <-over; len(lines) == 0 || !strings.Contains(lines[len(lines)-1], "stopped meanwhile") {
				t.Errorf("the rehearsal tells %q", lines)
			}
		})
	})
}

// A rehearsal that is asked for during a crank begins after it: the crank may leave nothing to replay.
func TestARehearsalWaitsForTheCrankUnderWay(t *testing.T) {
	program := programOf(t, vat.Modules{"program": programs.Module()})
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed+1, program, true)
			w.live(func() {
				a, to, ok := w.parks()
				if !ok {
					return
				}
				if err := to.Send(t.Context(), "settle", "a", "run", json.RawMessage(`[{"do": "settle", "key": "p", "n": 1}]`)); err != nil {
					t.Error(err)
				}
				lines, err := w.k.Rehearse(t.Context(), a)
				last := strings.Join(lines[max(0, len(lines)-1):], "")
				if err != nil || !strings.Contains(last, "at rest") && !strings.Contains(last, "came out as recorded") {
					t.Errorf("got %q, %v", lines, err)
				}
			})
		})
	}
}
