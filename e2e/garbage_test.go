package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/control"
)

// kept asks the vats for what they no longer need, and counts what is kept then. Not counted are bytes, since numbers in rows grow,
// and a vat's own bookkeeping, three rows at most, which have no dot in their keys: some exist only after a death.
func (s *site) kept(t testing.TB) control.Tally {
	t.Helper()
	out, err := s.tally(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tally is kept, for a kernel that may go away meanwhile.
func (s *site) tally(ctx context.Context) (control.Tally, error) {
	var collected struct{ Busy []string }
	if err := s.ask(&collected, "collect"); err != nil {
		return control.Tally{}, err
	}
	if err := none("vats that have something to do", collected.Busy); err != nil {
		return control.Tally{}, err
	}
	c, err := control.Dial(ctx, s.state)
	if err != nil {
		return control.Tally{}, err
	}
	defer c.Close()
	out, err := c.Tally(ctx)
	if err != nil {
		return control.Tally{}, err
	}
	for i := range out.Vats {
		v := &out.Vats[i]
		v.Rows, v.Bytes = 0, 0
		page, err := c.Stored(ctx, control.StoredRows{Vat: v.ID})
		if err != nil || page.More {
			return control.Tally{}, fmt.Errorf("more than %d rows of %s: %w", len(page.Rows), v.ID, err)
		}
		for _, row := range page.Rows {
			if strings.Contains(string(row.Key), ".") {
				v.Rows++
			}
		}
	}
	return out, nil
}

// Sessions of another vat that were closed, objects that were set in a Map and deleted, and circles of such objects leave as
// many rows and references as there were before, whatever is killed meanwhile.
func TestWhatWasDroppedLeavesNothing(t *testing.T) { overEach(t, droppedLeavesNothing) }

func droppedLeavesNothing(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	r := dice(t)
	d := s.run(t)
	vats := ""
	for _, name := range []string{"visitor", "garden"} {
		vats += fmt.Sprintf(`%q: {"module": "test.garden", "worker": "bin/testworker"},`, name)
	}
	var l control.Launched
	s.read(t, &l, "launch", s.file(t, "gardens.json", `{"bootstrap": "visitor", "vats": {`+strings.TrimSuffix(vats, ",")+`}}`))
	garden := l.ID + "/garden"
	work := func(sessions, replanted, ring int) error {
		for _, call := range []struct {
			target, method string
			n              int
		}{{l.ID, "visit", sessions}, {garden, "replant", replanted}, {garden, "ring", ring}, {l.ID, "visit", sessions}} {
			answer, err := s.tell(t.Context(), "", call.target, call.method, call.n)
			if err != nil || strings.HasPrefix(answer, "!") {
				return fmt.Errorf("%s %d: got %s, %w", call.method, call.n, answer, err)
			}
		}
		return nil
	}
	if err := work(3, 3, 30); err != nil {
		t.Fatal(err)
	}
	before := s.kept(t)
	if len(before.Vats) != 2 || before.Vats[1].Rows == 0 || before.Objects == 0 {
		t.Fatalf("the gardens keep nothing: %+v", before)
	}
	n := int(envInt(t, "KILLS", 10))
	done := during(func() error { return work(15*n, 5*n, 3*n) })
	d = s.storm(t, r, d, uint64(n), 3, s.progress(garden, "planted"), done)
	if err := ended(done); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, s.kept(t)); diff != "" {
		t.Errorf("what is kept (- before, + after):\n%s\n%s%s", diff, s.must(t, "state", "visitor"), s.must(t, "state", "garden"))
	}
	s.empty(t, d, l.ID)
}

// What holds an object is said, with the path through the store of a vat; when all have let it go, the kernel forgets it.
func TestWhyAnObjectIsKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	var l control.Launched
	s.read(t, &l, "launch", s.file(t, "gardens.json", `{"bootstrap": "visitor", "vats": {
		"visitor": {"module": "test.garden", "worker": "bin/testworker"}, "garden": {"module": "test.garden", "worker": "bin/testworker"},
	}}`))
	var plant struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal([]byte(s.now(t, l.ID, "keep")), &plant); err != nil {
		t.Fatal(err)
	}
	s.must(t, "collect")
	var held struct{ Holds []control.Hold }
	s.read(t, &held, "inspect", "--why", plant.Ref)
	if len(held.Holds) != 2 || held.Holds[1].Kind != "ticket" {
		t.Fatalf("the plant is held by %+v, want a vat and a host call", held.Holds)
	}
	call := "  the host call " + held.Holds[1].Name + "\n"
	asked := func(ref, want string) {
		t.Helper()
		if got := s.must(t, "inspect", "--why", ref); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	asked(l.Root, l.Root+" is held by\n  the kernel, since it is the root of v1 (visitor)\n")
	asked(plant.Ref, plant.Ref+" is held by\n  v1 (visitor), which calls it o-2: it is in the Map m1, in o+0 testvats.garden\n"+call)
	s.now(t, l.ID, "lose")
	s.must(t, "collect", "visitor")
	asked(plant.Ref, plant.Ref+" is held by\n"+call)
	ticket, err := control.ParseTicket(held.Holds[1].Name)
	if err == nil {
		err = s.dial(t).Acknowledge(t.Context(), ticket)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, "collect")
	if out := s.cli("inspect", plant.Ref); out.exit != 1 || !strings.Contains(out.stderr, "there is no") {
		t.Errorf("nobody holds %s: %v", plant.Ref, out)
	}
	s.empty(t, d, l.ID)
}
