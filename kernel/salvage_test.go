package kernel_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// removal computes a commit that removes something, as a shell does: rows that cannot be read do not keep it.
func removal(m *kernel.Machine, change func() (kernel.Commit, error)) (c kernel.Commit, err error) {
	attempt := func(change func() (kernel.Commit, error)) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("invariant broken: %v", p)
			}
		}()
		c, err = change()
		return err
	}
	err = attempt(change)
	if refusal := (*kernel.Refusal)(nil); err == nil || errors.As(err, &refusal) {
		return c, err
	}
	return c, attempt(func() (kernel.Commit, error) { return m.Salvage(change) })
}

// work does a slice of the machine's own work.
func (s *sim) work() kernel.Commit {
	s.t.Helper()
	work := func() (kernel.Commit, error) {
		c, _, err := s.m.Work(s.now)
		return c, err
	}
	c, err := kernel.Commit{}, error(nil)
	if s.damaged {
		c, err = removal(s.m, work)
	} else {
		c, err = work()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// busy returns a simulation in which much has happened, the same each time.
func busy(t *testing.T, seed uint64) *sim {
	s := newSim(t, seed)
	s.withServices = true
	s.after = func(kernel.Commit) {}
	s.launch(2)
	s.launch(2)
	for range 350 {
		s.step()
	}
	return s
}

// isOf reports whether a row says something of a subcluster, of its vats, its service objects, the promises that its vats
// decide, or a call of one of its service objects.
func isOf(key string, sub kernel.Subcluster, services []kernel.Service, decided []string) bool {
	kind, rest, _ := strings.Cut(key, ".")
	name, _, _ := strings.Cut(rest, ".")
	vat := func() bool {
		return slices.ContainsFunc(sub.Vats, func(v kernel.SubclusterVat) bool { return string(v.Vat) == name })
	}
	service := func() bool {
		return slices.ContainsFunc(services, func(s kernel.Service) bool { return s.Sub == sub.ID && string(s.KRef) == name })
	}
	switch kind {
	case "v", "r", "q", "c", "s", "d", "x", "y", "z", "f", "exit":
		return vat()
	case "u", "h", "unstarted", "left", "result", "l":
		return name == string(sub.ID)
	case "k", "i", "a", "j":
		return service()
	case "p", "b", "m":
		return slices.Contains(decided, name)
	case "o":
		return slices.Contains(decided, name) || service()
	}
	return false
}

// TestWhatCannotBeReadIsRemoved damages rows of each kind that a subcluster has, before the subcluster is terminated and while
// it is removed. Each time nothing is left of the subcluster, all rows can be read, and the vats of the others go on.
func TestWhatCannotBeReadIsRemoved(t *testing.T) {
	t.Parallel()
	const seeds, rows = 3, 1
	kinds := map[string]int{}
	for seed := range uint64(seeds) {
		s := busy(t, seed+1)
		subs := must(s.m.Subclusters())
		i := slices.IndexFunc(subs, func(s kernel.Subcluster) bool { return !s.State.Leaving() })
		if i < 0 {
			continue
		}
		sub := subs[i]
		services := must(s.m.Services())
		var decided []string
		for _, row := range s.mem.Snapshot() {
			if p := strings.Split(row.Key, "."); p[0] == "d" && isOf(row.Key, sub, services, nil) {
				decided = append(decided, p[2])
			} else if p[0] == "c" && isOf(row.Key, sub, services, nil) && bytesHave(row.Value, "o+") {
				decided = append(decided, p[2])
			}
		}
		tried := map[string]int{}
		list := s.mem.Snapshot()
		for _, x := range services {
			if x.Sub == sub.ID { // in a queue of which the counters do not tell
				list = append(list, storage.Write{Key: "i." + string(x.KRef) + ".7"}, storage.Write{Key: "q." + string(sub.Vats[0].Vat) + ".9999"})
				break
			}
		}
		for _, row := range list {
			kind, _, _ := strings.Cut(row.Key, ".")
			if !isOf(row.Key, sub, services, decided) || tried[kind] >= rows {
				continue
			}
			tried[kind]++
			kinds[kind]++
			for how, value := range map[string][]byte{"garbled": {0xc1}, "missing": nil} {
				for _, late := range []bool{false, true} {
					name := fmt.Sprintf("%s %s late=%t seed=%d", row.Key, how, late, seed+1)
					removeDamaged(t, name, busy(t, seed+1), sub.ID, storage.Write{Key: row.Key, Value: value}, late)
				}
			}
		}
	}
	t.Log(kinds)
	for _, kind := range strings.Fields("v r q c s d u h k l i p o f") {
		if kinds[kind] == 0 {
			t.Errorf("no row of kind %s was damaged", kind)
		}
	}
}

func bytesHave(b []byte, text string) bool { return strings.Contains(string(b), text) }

// removeDamaged damages a row, before or after the subcluster is terminated, and removes the subcluster.
func removeDamaged(t *testing.T, name string, s *sim, sub kernel.SubID, damage storage.Write, late bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Fatalf("that was %s", name)
		}
	}()
	s.damaged, s.calm = true, true
	terminate := func() (kernel.Commit, error) { return s.m.Terminate(sub) }
	spoil := func() {
		if err := s.mem.Commit([]storage.Write{damage}); err != nil {
			t.Fatal(err)
		}
	}
	if !late {
		spoil()
	}
	c, err := removal(s.m, terminate)
	if refusal := (*kernel.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == errcode.NotFound {
		c, err = s.m.Salvage(terminate) // its row is missing
	}
	if err != nil {
		t.Fatalf("%s: terminate: %v", name, err)
	}
	s.apply(c)
	if late {
		spoil()
	}
	for n := 0; ; n++ {
		c := s.work()
		if c.Number == 0 {
			break
		}
		if n > 1000 {
			t.Fatalf("%s: the removal does not end", name)
		}
		s.apply(c)
	}
	for _, other := range must(s.m.Subclusters()) {
		if other.ID == sub || other.Corrupt != nil {
			t.Fatalf("%s: %s is still there: %v", name, other.ID, other.Corrupt)
		}
	}
	goOn := func() {
		for n := 0; s.step(); n++ {
			if n > 3000 {
				t.Fatalf("%s: the others do not come to rest", name)
			}
		}
	}
	for _, other := range must(s.m.Subclusters()) {
		s.apply(must(s.m.FailLaunch(other.ID, "its time is over")))
	}
	for _, v := range must(s.m.Vats()) { // a new incarnation: the promises that the old one forgot to settle are rejected
		if c, err := s.m.Restart(v.ID, true); err == nil {
			s.apply(c)
		}
	}
	goOn()
	problems, err := kernel.Check(s.mem)
	if err != nil {
		t.Fatalf("%s: check: %v", name, err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p, "cannot be read") {
			t.Fatalf("%s: %s", name, p)
		}
		if !strings.HasPrefix(p, "I9") && !strings.Contains(p, "count") {
			t.Logf("%s: left over: %s", name, p)
		}
	}
	for _, other := range must(s.m.Subclusters()) {
		s.apply(must(s.m.Terminate(other.ID)))
	}
	goOn()
	for ticket, answered := range s.tickets {
		st, err := s.m.Ticket(ticket)
		if err != nil || !answered && st.Pending {
			t.Fatalf("%s: ticket %s: %+v, %v", name, ticket, st, err)
		}
	}
}

// Who waits for a promise that a vat decides is told when the vat is removed, although the row that lists the promise as
// the vat's is missing.
func TestMissingRowOfADeciderKeepsNobodyWaiting(t *testing.T) {
	for name, words := range map[string]string{
		"its memory decides":        "subscribe $r",
		"its store decides":         "keep $r stored",
		"and it waits for it":       "keep $r stored\nsubscribe $r stored",
		"and nobody else names it":  "",
		"and messages wait for it":  "send $r more -> p+1\nsubscribe p+1",
		"and it has passed it on":   "send $b take $r",
		"and a message goes for it": "send o+0 again -> p+1\nkeep p+1",
	} {
		w := reader(t)
		w.unchecked = true
		w.goes("v1", words)
		for _, row := range w.mem.Snapshot() {
			if strings.HasPrefix(row.Key, "d.v1.") {
				if err := w.mem.Commit([]storage.Write{{Key: row.Key}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.run(nil)
		w.do(w.m.TerminateVat("v1"))
		w.run(nil)
		for _, line := range kernel.Dump(w.mem) {
			if strings.HasSuffix(line, " pending ") {
				t.Errorf("%s: %s", name, line)
			}
		}
		w.check()
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}
