package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// fresh is an answer that writes n rows, which begin with a prefix.
func fresh(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "set %s%05d new\n", prefix, i)
	}
	return b.String()
}

// A worker in its replay requests the next row of its store, among thousands that did not exist yet in the span. The
// kernel reads a bounded number of rows at a time, and each of them once for the whole replay.
func TestReplayFindsTheNextRowInBoundedSteps(t *testing.T) {
	const n = 3000
	w := recorded(t, 100)
	w.unchecked = true
	w.call("E1.0", "ko4", "before")
	crank(w, "set a old\nset m old\nset z old\nresolve $r=null", 0)
	var answers []wire.Done
	for i, words := range []string{fresh("b", n) + "delete m", fresh("n", n), "set m again"} {
		w.call(fmt.Sprintf("E1.%d", i+1), "ko4", "go")
		answers = append(answers, crank(w, words, 1))
	}
	r := lost(w)
	steps := func(prefix, after string) (key string, steps int) {
		t.Helper()
		for steps = 1; ; steps++ {
			row, ready, err := r.After(prefix, after)
			switch {
			case err != nil:
				t.Fatal(err)
			case ready:
				return row.Key, steps
			case steps > 100:
				t.Fatalf("the row after %q is not found", after)
			}
		}
	}
	for range answers {
		if _, ready := (past{t, r}).next(); !ready {
			break // only the hash of that frame was kept
		}
	}
	for i, want := range [][]string{{"a", "m", "z"}, {"a", "b00000", "z"}, {"a", "b00000", "z"}} {
		if key, _ := steps("", ""); key != want[0] {
			t.Errorf("before delivery %d the first row is %q, want %q", i, key, want[0])
		}
		key, first := steps("", "a")
		if key != want[1] {
			t.Errorf("before delivery %d the row after a is %q, want %q", i, key, want[1])
		}
		if _, again := steps("", "a"); again > 1 || (i == 0 && first < 2) {
			t.Errorf("before delivery %d the row after a takes %d steps, then %d", i, first, again)
		}
		if key, _ := steps("z", ""); key != want[2] {
			t.Errorf("before delivery %d the first row of z is %q", i, key)
		}
		if key, _ := steps("q", ""); key != "" {
			t.Errorf("there is a row %q", key)
		}
		if err := (past{t, r}).answer(answers[i]); err != nil {
			t.Fatal(err)
		}
		past{t, r}.next()
	}
	if key, _ := steps("", "b02999"); key != "m" || !r.Done() {
		t.Errorf("in the end the row behind those of b is %q, want m", key)
	}
}

// The rows that a replay has to hold in memory are counted in the transcript: each once, however often it was written.
func TestTranscriptCountsWhatItsReplayHolds(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name string
		key  func(i int) string
		lost bool
	}{
		{"one row again and again", func(int) string { return "row" }, false},
		{"many rows", func(i int) string { return fmt.Sprint("row", i) }, true},
		{"rows that are deleted again", func(i int) string { return fmt.Sprint("row", i, " ", big, "\ndelete row", i, "\nset small") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := recorded(t, 1000)
			w.unchecked = true
			for i := range 80 {
				w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
				words := "set " + c.key(i) + " " + big
				if strings.Contains(words, "small") {
					words = "set " + c.key(i) + " v"
				}
				crank(w, words, 1)
			}
			if v, _, err := w.m.Vat("v1"); err != nil || v.Lost != c.lost {
				t.Errorf("got %+v, %v, want lost: %t", v, err, c.lost)
			}
		})
	}
}

// A former value that cannot be read is an error of the replay, which its caller charges to the vat, and no panic.
func TestReplayOfDamagedRowsIsAnError(t *testing.T) {
	for _, prefix := range []string{"y.v1.", "z.v1."} {
		w := recorded(t, 100)
		w.call("E1.0", "ko4", "go")
		crank(w, "set k v", 1)
		for _, row := range w.mem.Snapshot() {
			if strings.HasPrefix(row.Key, prefix) {
				if err := w.mem.Commit([]storage.Write{{Key: row.Key, Value: []byte{0xc1}}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.unchecked = true
		r := lost(w)
		_, _, err := r.Next()
		if err == nil {
			_, err = r.Get("k")
		}
		if err == nil || !strings.Contains(err.Error(), "row "+prefix) {
			t.Errorf("got %v, want an error that names the row", err)
		}
		if _, _, err := r.After("", ""); prefix == "z.v1." && err == nil {
			t.Error("the next row is found although a former value cannot be read")
		}
	}
}
