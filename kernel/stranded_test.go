package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// kill kills the kernel, and opens the next one.
func (s *sim) kill() {
	clear(s.up)
	clear(s.flights)
	s.open()
	for _, v := range must(s.m.Vats()) {
		if v.Live && !v.Terminated {
			s.die(v.ID, v.Incarnation, kernel.CauseKernel)
		}
	}
	for _, sub := range must(s.m.Subclusters()) {
		s.apply(must(s.m.FailLaunch(sub.ID, "the kernel died")))
	}
	if s.withServices {
		s.resumeServices()
	}
}

// stranded returns the promises that a commit rejects as stranded. Those that are rejected for the same reason since their
// message was sent to a stranded promise are not among them.
func stranded(c kernel.Commit) (out []kernel.KRef) {
	follow := map[kernel.KRef]bool{}
	for _, e := range c.Trace {
		if e, ok := e.(kernel.Rejected); ok {
			follow[e.Result] = true
		}
	}
	for _, w := range c.Writes {
		k, ok := strings.CutPrefix(w.Key, "b.")
		if ok && bytesHave(w.Value, "could not be read, and was removed with its receiver") && !follow[kernel.KRef(k)] {
			out = append(out, kernel.KRef(k))
		}
	}
	return out
}

// checkStranded checks that a commit rejects as stranded only results of messages that were lost. It does not where rows
// were damaged and lost does not tell which.
func (s *sim) checkStranded(c kernel.Commit) {
	if s.damaged && s.lost == nil {
		return
	}
	for _, k := range stranded(c) {
		if !s.lost[k] {
			s.t.Fatalf("commit %d rejects %s, whose message was not lost\n%s", c.Number, k, strings.Join(s.log[max(0, len(s.log)-30):], "\n"))
		}
	}
}

// loseMessages damages some rows that hold messages for a subcluster, and terminates the subcluster.
func (s *sim) loseMessages() {
	subs := slices.DeleteFunc(must(s.m.Subclusters()), func(sub kernel.Subcluster) bool { return sub.State.Leaving() })
	sub, ok := pick(s.rng, subs)
	if !ok {
		return
	}
	services := must(s.m.Services())
	var decided []string
	for _, row := range s.mem.Snapshot() {
		if p := strings.Split(row.Key, "."); p[0] == "d" && isOf(row.Key, sub, services, nil) {
			decided = append(decided, p[2])
		}
	}
	for _, row := range s.mem.Snapshot() {
		if !slices.Contains([]string{"q", "i", "a", "m"}, row.Key[:1]) || row.Key[1] != '.' || !isOf(row.Key, sub, services, decided) || s.rng.IntN(2) == 0 {
			continue
		}
		if k := kernel.ResultIn(row); k != "" {
			s.lost[k] = true
		}
		if row.Value = []byte{0xc1}; row.Key[0] == 'a' || s.rng.IntN(2) == 0 {
			row.Value = nil // of a call always: the simulation answers those that have rows
		}
		if err := s.mem.Commit([]storage.Write{row}); err != nil {
			s.t.Fatal(err)
		}
	}
	c, err := removal(s.m, func() (kernel.Commit, error) { return s.m.Terminate(sub.ID) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(c)
}

// Messages move between the slices of a search for stranded promises, vats end, the kernel is killed, and further rows are
// lost. Each result of a lost message is rejected in the end, and no other promise is.
func TestSearchFindsWhatIsStrandedAndNothingElse(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s := busy(t, seed+100)
			s.damaged = true
			s.lost = map[kernel.KRef]bool{}
			s.after = func(c kernel.Commit) { found += len(stranded(c)) }
			for i := range 400 {
				if i%80 == 0 {
					s.launch(2)
				}
				if i%60 == 30 {
					s.loseMessages()
				}
				if s.rng.IntN(20) == 0 {
					s.kill()
				}
				s.step()
			}
			s.calm = true
			for n := 0; s.step(); n++ {
				if n > 20000 {
					t.Fatal("does not come to rest")
				}
			}
			for _, p := range must(kernel.Check(s.mem)) {
				if strings.HasPrefix(p, "I18") {
					t.Error(p)
				}
			}
			for _, row := range s.mem.Snapshot() {
				if row.Key == "search" || strings.HasPrefix(row.Key, "suspect.") {
					t.Errorf("left over: %s", row.Key)
				}
			}
		})
	}
	if found < 20 {
		t.Errorf("only %d stranded promises were found", found)
	}
}

// A search goes through thousands of rows in slices, each of which reads as much as any other step does. Between the slices
// messages with old results are written, of each kind of row, in front of the search and behind it. The kernel is killed
// after each slice, or never.
func TestSearchIsDoneInSlices(t *testing.T) {
	t.Parallel()
	const calls, parked, lost = 2000, 1000, 5
	for _, killed := range []bool{false, true} {
		w := newWorld(t)
		w.unchecked = true
		l := kernel.Launch{Bootstrap: "a", Services: own("in", "busy")}
		for _, name := range []string{"a", "b"} {
			vat := launchVat(name)
			vat.MaxQueue, vat.MaxRecords = 2*calls, 2*calls
			l.Vats = append(l.Vats, vat)
		}
		w.up(l)
		w.cluster(nil, "c")
		root := func(v kernel.VatID) kernel.KRef { return must2(w.m.Vat(v)).Root }
		w.goes("v1", repeat(1, 200, "send $busy read -> p+%d")+"resolve $r=null") // more than may be begun
		w.goes("v1", "send p+1000 one -> p+1001\nresolve $r=null")
		for i := range parked / 1000 {
			w.goes("v1", repeat(1002+1000*i, 1000, "send p+1000 more -> p+%d")+"resolve $r=null")
		}
		for i := range calls {
			w.call(fmt.Sprintf("E1.%d", i), root("v1"), "go")
		}
		for i := range lost {
			w.call(fmt.Sprintf("E1.ends%d", i), root("v2"), "go")
			w.call(fmt.Sprintf("E1.lost%d", i), root("v3"), "go")
		}
		for _, row := range w.mem.Snapshot() {
			if strings.HasPrefix(row.Key, "q.v3.") {
				if err := w.mem.Commit([]storage.Write{{Key: row.Key, Value: []byte{0xc1}}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		r := count(w)
		w.apply(must(removal(w.m, func() (kernel.Commit, error) { return w.m.Terminate("s2") })))
		slices, most, bytes, found := 0, 0, 0, 0
		for ; ; slices++ {
			r.reads, r.bytes = 0, 0
			c := must(removal(w.m, func() (c kernel.Commit, err error) {
				c, _, err = w.m.Work(w.now)
				return c, err
			}))
			most, bytes = max(most, r.reads), max(bytes, r.bytes)
			if c.Number == 0 {
				break
			}
			w.apply(c)
			found += len(stranded(c))
			if killed {
				w.open()
				r = count(w)
			}
			for _, target := range []string{"$a", "p+1000", "$in", "$busy"} { // the result of each call goes on
				w.deliver("v1", "send "+target+" more -> $r")
			}
			if slices == 8 {
				w.do(w.m.TerminateVat("v2"))
			}
			w.flush()
		}
		if slices < 12 || most > 2500 || bytes > 4<<20 {
			t.Errorf("%d slices, the largest reads %d rows, %d bytes", slices, most, bytes)
		}
		if found != lost {
			t.Errorf("%d stranded promises were found, want %d", found, lost)
		}
		for i := range lost {
			if st := must(w.m.Ticket(fmt.Sprintf("E1.lost%d", i))); !st.Rejected {
				t.Errorf("the call of a lost message: %+v", st)
			}
		}
		for i := range calls {
			if st := must(w.m.Ticket(fmt.Sprintf("E1.%d", i))); !st.Pending {
				t.Errorf("the call of a message that was not lost: %+v", st)
			}
		}
	}
}
