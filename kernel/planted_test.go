package kernel_test

import (
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// Each kind of damage in a good state is found, and named: the check says which invariant, and which row or id. docs/schema.md
// has no kind of row of which nothing was damaged.
func TestPlantedDamageIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	planted, kinds := map[string]bool{}, map[string]bool{}
	for seed := uint64(1); seed <= 40 && len(planted) < len(kernel.Planting); seed++ {
		s := busy(t, seed)
		if problems, err := kernel.Check(s.mem); err != nil || len(problems) > 0 {
			t.Fatalf("seed %d: before the damage: %v, %q", seed, err, problems)
		}
		for _, p := range kernel.Planting {
			writes, want := p.Plant(kernel.NewSoil(s.mem))
			if len(writes) == 0 || want == "" || planted[p.Name] {
				continue
			}
			planted[p.Name] = true
			for _, w := range writes {
				kind, _, _ := strings.Cut(w.Key, ".")
				kinds[kind] = true
			}
			mem := storage.NewMem()
			if err := mem.Commit(slices.Concat(s.mem.Snapshot())); err != nil {
				t.Fatal(err)
			}
			if err := mem.Commit(writes); err != nil {
				t.Fatal(err)
			}
			problems, err := kernel.Check(mem)
			if err != nil {
				t.Errorf("%s: %v", p.Name, err)
			} else if !slices.ContainsFunc(problems, func(line string) bool { return strings.Contains(line, want) }) {
				t.Errorf("%s (%q): check says\n\t%s\nwant a line with %q", p.Name, writes[0].Key, strings.Join(problems, "\n\t"), want)
			}
		}
	}
	for _, p := range kernel.Planting {
		if !planted[p.Name] {
			t.Errorf("%s: no state has had anything to damage", p.Name)
		}
	}
	for _, kind := range strings.Fields("v r q y z c s look again d x o p b m u unstarted left result t e expired g reload h k n l i a f j w exit search circles circle suspect") {
		if !kinds[kind] {
			t.Errorf("no row %s was damaged", kind)
		}
	}
	t.Logf("%d kinds of damage", len(planted))
}
