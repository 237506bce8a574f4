package kernel_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// goldenStates are states in which a kernel of schema 3 was killed at any moment of a random program: storage/testdata/schema3.json.gz,
// written once by TestWriteGoldenStates. They are never written again: what this version cannot open any more, no user can.
func goldenStates(t *testing.T) (states []map[string][]byte) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "storage", "testdata", "schema3.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&states); err != nil {
		t.Fatal(err)
	}
	return states
}

// kinds returns the kinds of the rows of a state; of the kernel's own work also the kinds of its items.
func kinds(state map[string][]byte) map[string]bool {
	out := map[string]bool{}
	for key, value := range state {
		kind, _, dotted := strings.Cut(key, ".")
		if out[kind] = true; kind == "w" && dotted {
			out[fmt.Sprint("w of kind ", value[1])] = true
		}
	}
	return out
}

// TestWriteGoldenStates writes golden states for the next version to the file that GOLDEN_STATES names: of each 400 random programs
// those that have a kind of row, or of work, that those before have not.
func TestWriteGoldenStates(t *testing.T) {
	path := os.Getenv("GOLDEN_STATES")
	if path == "" {
		t.Skip("GOLDEN_STATES names no file")
	}
	have := map[string]bool{}
	var states []map[string][]byte
	for seed := range uint64(400) {
		s := newSim(t, 7000+seed)
		s.withServices = seed%2 == 0
		_, c, err := s.m.Launch(kernel.Launch{System: "system", Bootstrap: "a0", Vats: []kernel.LaunchVat{{Name: "a0", MaxQueue: 20, Config: []byte("{}")}}})
		if err != nil {
			t.Fatal(err)
		}
		s.apply(c)
		s.launch(3)
		keep := 0
		s.after = func(kernel.Commit) {
			state := map[string][]byte{}
			for _, row := range s.mem.Snapshot() {
				state[row.Key] = row.Value
			}
			fresh := false
			for kind := range kinds(state) {
				fresh = fresh || !have[kind]
			}
			if keep--; !fresh && keep != 0 {
				return
			}
			states = append(states, state)
			for kind := range kinds(state) {
				have[kind] = true
			}
		}
		if seed%20 == 0 {
			keep = 100 + int(seed)
		}
		for i := range 600 {
			s.step()
			if i%60 != 59 {
				continue
			}
			subs := must(s.m.Subclusters())
			if len(subs) == 0 {
				continue
			}
			if sub := subs[i/60%len(subs)]; sub.State == kernel.SubRunning {
				c, err := s.m.Reload(sub.ID)
				if err != nil {
					t.Fatal(err)
				}
				s.apply(c)
			}
		}
	}
	t.Logf("%d states with rows of the kinds %v", len(states), have)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	if err := json.NewEncoder(z).Encode(states); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// States of schema 3 open, go on, and come to nothing.
func TestStatesOfSchema3GoOn(t *testing.T) {
	t.Parallel()
	for i, state := range goldenStates(t) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := worldOf(t, state)
			if problems, err := kernel.Check(w.mem); err != nil || len(problems) > 0 {
				t.Fatalf("check: %q, %v", problems, err)
			}
			w.endGlobals, w.now = true, 1_000_000
			w.open()
			w.run(nil)
			w.check()
			for _, r := range must(w.m.Reloads()) {
				w.do(w.m.DropReload(r.Sub, "the test ends"))
			}
			if left := w.leftovers(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			w.check()
		})
	}
}
