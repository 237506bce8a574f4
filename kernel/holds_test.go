package kernel_test

import (
	"fmt"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// holds returns all holds of a reference.
func holds(t testing.TB, q *kernel.View, k kernel.KRef) (out []kernel.Hold) {
	t.Helper()
	for after, first := "", true; first || after != ""; first = false {
		page, next, err := q.HoldsAfter(k, after)
		if err != nil {
			t.Fatal(err)
		}
		out, after = append(out, page...), next
	}
	for after, first := kernel.VatID(""), true; first || after != ""; first = false {
		page, next, err := q.VatHoldsAfter(k, after)
		if err != nil {
			t.Fatal(err)
		}
		out, after = append(out, page...), next
	}
	return out
}

// checkHolds compares the number of holds of each reference with its count.
func checkHolds(t testing.TB, r storage.Reader) (kinds map[kernel.HoldKind]int) {
	t.Helper()
	q := kernel.NewView(r)
	kinds = map[kernel.HoldKind]int{}
	for _, prefix := range []string{"o.", "p."} {
		for after := ""; ; {
			key, _, found, err := r.Next(prefix, after)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				break
			}
			after = key
			k := kernel.KRef(key[len(prefix):])
			in, _, err := q.Inspect(k)
			if err != nil {
				t.Fatal(err)
			}
			list := holds(t, q, k)
			if uint64(len(list)) != in.Recognizable {
				t.Errorf("%s counts %d, and is held by %+v", k, in.Recognizable, list)
			}
			for _, h := range list {
				kinds[h.Kind]++
			}
		}
	}
	return kinds
}

// Each reference has as many holds as it counts, in every state that random programs reach.
func TestHoldsAreWhatIsCounted(t *testing.T) {
	t.Parallel()
	kinds := map[kernel.HoldKind]int{}
	for seed := range uint64(20) {
		s := newSim(t, seed)
		s.withServices = seed%2 == 1
		s.after = func(kernel.Commit) {}
		s.launch(3)
		for i := range 300 {
			s.step()
			if i%100 == 99 {
				for kind, n := range checkHolds(t, s.mem) {
					kinds[kind] += n
				}
			}
		}
	}
	t.Log(fmt.Sprint(kinds))
	for _, kind := range []kernel.HoldKind{
		kernel.HeldAsRoot, kernel.HeldByVat, kernel.HeldInQueue, kernel.HeldByValue, kernel.HeldParked, kernel.HeldAsService,
		kernel.HeldByCall, kernel.HeldByTicket,
	} {
		if kinds[kind] == 0 {
			t.Errorf("no state has a reference that is held by a %s", kind)
		}
	}
}
