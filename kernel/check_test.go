package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// A check goes on after a row that cannot be read, and names each; of very many it names the first.
func TestACheckNamesEachRowThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := busy(t, 2)
	var garbled []storage.Write
	tried := map[string]bool{}
	for _, row := range s.mem.Snapshot() {
		kind, _, named := strings.Cut(row.Key, ".")
		if named && !tried[kind] && strings.Contains(" o p b v r q c x t u h k a j f m exit result ", " "+kind+" ") {
			tried[kind] = kind != "f" // which has no value
			garbled = append(garbled, storage.Write{Key: row.Key, Value: []byte{0xc1}})
		}
	}
	if err := s.mem.Commit(garbled); err != nil {
		t.Fatal(err)
	}
	problems, err := kernel.Check(s.mem)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range garbled {
		if g.Key[0] != 'f' && !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, "cannot be read: row "+g.Key+":") }) {
			t.Errorf("%s is not named", g.Key)
		}
	}
	for n := range 300 {
		if err := s.mem.Commit([]storage.Write{{Key: fmt.Sprintf("t.E1.many%d", n), Value: []byte{0xc1}}}); err != nil {
			t.Fatal(err)
		}
	}
	problems, err = kernel.Check(s.mem)
	if last := problems[len(problems)-1]; err != nil || len(problems) != 101 || !strings.HasPrefix(last, "and ") || !strings.HasSuffix(last, " more") {
		t.Errorf("of many it says %d lines, the last %q, %v", len(problems), last, err)
	}
}
