package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// answers puts all questions to a view.
func answers(t *testing.T, q *kernel.View) string {
	t.Helper()
	var out strings.Builder
	tell := func(what string, answer ...any) { fmt.Fprintf(&out, "%s: %+v\n", what, answer) }
	vats, err := q.Vats()
	tell("vats", vats, err)
	subs, err := q.Subclusters()
	tell("subclusters", subs, err)
	services, err := q.Services()
	tell("services", services, err)
	systems, err := q.Systems()
	tell("systems", systems, err)
	reloads, err := q.Reloads()
	tell("reloads", reloads, err)
	damages, err := q.Damages()
	tell("damages", damages, err)
	for _, v := range vats {
		poisoned, err := q.Poisoned(v.ID)
		tell("poisoned", poisoned, err)
		in, found, err := q.Inspect(v.Root)
		tell("root", in, found, err)
		holders, next, err := q.HoldersAfter(v.Root, "")
		tell("holders", holders, next, err)
	}
	for _, s := range services {
		calls, err := q.Outstanding(s.KRef)
		tell("calls", calls, err)
	}
	var tally kernel.Tally
	for after, first := "", true; err == nil && (first || after != ""); first = false {
		after, err = q.TallyAfter(&tally, after)
	}
	tell("tally", tally, err)
	row, err := q.StoreNext("v1", "", "")
	tell("store", row, err)
	return out.String()
}

// A view over a snapshot answers as the machine did when the snapshot was taken, though the machine goes on afterwards.
func TestViewOverASnapshotAnswersAsTheMachineDid(t *testing.T) {
	t.Parallel()
	w := reader(t)
	w.goes("v1", "send $in read -> p+1\nsubscribe p+1\nset k v\nlet r $r")
	w.deliver("v2", "subscribe $1")
	snapshot := storage.NewMem()
	if err := snapshot.Commit(w.mem.Snapshot()); err != nil {
		t.Fatal(err)
	}
	want := answers(t, &w.m.View)
	if !strings.Contains(want, "Name:") || !strings.Contains(want, "calls: [[{ID:") {
		t.Fatalf("the state has too little to ask for:\n%s", want)
	}
	view := kernel.NewView(snapshot)
	if diff := cmp.Diff(want, answers(t, view)); diff != "" {
		t.Errorf("the view and the machine differ (-machine +view):\n%s", diff)
	}
	w.do(w.m.Terminate("s1"))
	if diff := cmp.Diff(want, answers(t, view)); diff != "" {
		t.Errorf("the view changed (-before +after):\n%s", diff)
	}
	if want == answers(t, &w.m.View) {
		t.Error("the machine's view did not change")
	}
}
