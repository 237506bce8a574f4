package kernel_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// simServices performs the calls of the service objects of a simulation. A call is performed once the commit that began
// it is durable; its answer comes at any time, or the kernel dies before.
type simServices struct {
	calls map[kernel.CallID]bool
	late  []kernel.CallID // cancelled, and perhaps further than that
	// units counts the units that were read; where is where each is stored, seen by whom it was got.
	units int
	where map[string][]kernel.UnitPlace
	seen  map[string]string
	// shared are the units that another holder might get when the memory of the vat that called was lost: they need not
	// go back.
	shared map[string]bool
	// ended are the service objects that are no more.
	ended map[kernel.KRef]bool
	// knows are the service objects that the store of each vat knows.
	knows map[kernel.VatID][]wire.Ref
}

func (s *sim) initServices() {
	s.services = simServices{calls: map[kernel.CallID]bool{}, seen: map[string]string{}, shared: map[string]bool{}, ended: map[kernel.KRef]bool{}, knows: map[kernel.VatID][]wire.Ref{}}
}

func (s *sim) serviceEffect(e kernel.Effect) {
	v := &s.services
	switch e := e.(type) {
	case kernel.Invoke:
		if v.calls[e.Call] {
			s.t.Fatalf("call %s is begun twice", e.Call)
		}
		if _, found, _ := s.m.ServiceCall(e.Call); found {
			v.calls[e.Call] = true
		}
	case kernel.CancelCall:
		c := e.Call
		if v.calls[c] {
			v.late = append(v.late, c)
		}
		delete(v.calls, c)
	case kernel.EndService:
		v.ended[e.Service] = true
		for c := range v.calls {
			if c.Service == e.Service {
				delete(v.calls, c)
			}
		}
	}
}

// resumeServices treats the calls that the next kernel finds begun.
func (s *sim) resumeServices() {
	s.services.calls, s.services.late = map[kernel.CallID]bool{}, nil
	list, err := s.m.Services()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range list {
		calls, err := s.m.Outstanding(x.KRef)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range calls {
			c := o.ID
			if s.services.calls[c] { // begun by an answer given here
				continue
			}
			s.services.calls[c] = true
			if s.rng.IntN(3) == 0 {
				s.answerCall(c, completion("!AMBIGUOUS"))
			}
		}
	}
}

// learnServices notes which of the references that a delivery names are service objects.
func (s *sim) learnServices(v *simVat, names map[wire.Ref]kernel.KRef) {
	for _, ref := range slices.Sorted(maps.Keys(names)) {
		if ref[0] != 'o' || slices.Contains(v.services, ref) {
			continue
		}
		if _, found, err := s.m.Service(names[ref]); err != nil {
			s.t.Fatal(err)
		} else if found {
			v.services = append(v.services, ref)
		}
	}
}

func (s *sim) anyCall() (kernel.CallID, bool) {
	list := slices.SortedFunc(maps.Keys(s.services.calls), func(a, b kernel.CallID) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return pick(s.rng, list)
}

func (s *sim) answerCall(c kernel.CallID, how kernel.Completion) {
	delete(s.services.calls, c)
	commit, made, err := s.m.Complete(c, how, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(made) != 0 && len(made) != len(how.New) {
		s.t.Fatalf("%d objects made of %d", len(made), len(how.New))
	}
	s.apply(commit)
}

// makeAnswer makes up how a call comes out.
func (s *sim) makeAnswer(c kernel.CallID) kernel.Completion {
	o, _, err := s.m.ServiceCall(c)
	if err != nil {
		s.t.Fatal(err)
	}
	known := o.MethArgs.Slots
	if root, ok := s.anyRoot(); ok {
		known = append(known, root)
	}
	switch s.rng.IntN(10) {
	case 0:
		return completion("!no")
	case 1:
		return completion("null")
	case 2:
		return completion("(ko999 new)")
	case 3:
		c := completion("new")
		c.State = []byte("s")
		if s.rng.IntN(2) == 0 {
			if v, ok := s.anyRoot(); ok {
				c.New[0].Holds = []kernel.KRef{v}
			}
		}
		return c
	case 4, 5:
		words := "("
		for range 1 + s.rng.IntN(3) {
			if k, ok := pick(s.rng, known); ok {
				words += " " + string(k)
			}
		}
		return completion(words + " new)")
	case 6:
		if k, ok := pick(s.rng, known); ok {
			return completion(string(k))
		}
	}
	return s.unit()
}

// unit reads something that is there only once.
func (s *sim) unit() kernel.Completion {
	s.services.units++
	s.log = append(s.log, fmt.Sprintf("  unit %d", s.services.units))
	c := completion(fmt.Sprintf("unit %d", s.services.units))
	c.Unit = "read"
	return c
}

func (s *sim) anyRoot() (kernel.KRef, bool) {
	vats, _ := s.m.Vats()
	v, ok := pick(s.rng, vats)
	return v.Root, ok && !v.Terminated
}

// anyKRef is an object or a promise that exists.
func (s *sim) anyKRef() (kernel.KRef, bool) {
	prefix, _ := pick(s.rng, []string{"o.", "p."})
	var list []kernel.KRef
	for _, w := range s.mem.Snapshot() {
		if rest, ok := strings.CutPrefix(w.Key, prefix); ok {
			list = append(list, kernel.KRef(rest))
		}
	}
	return pick(s.rng, list)
}

// serviceStep does one random thing of those that service objects do.
func (s *sim) serviceStep() {
	input := func(c kernel.Commit, err error) {
		var refusal *kernel.Refusal
		if err != nil && !errors.As(err, &refusal) {
			s.t.Fatal(err)
		}
		if err == nil {
			s.apply(c)
		}
	}
	list, err := s.m.Services()
	if err != nil {
		s.t.Fatal(err)
	}
	x, ok := pick(s.rng, list)
	if !ok {
		return
	}
	c, pending := s.anyCall()
	root, rooted := s.anyRoot()
	switch s.rng.IntN(16) {
	case 0:
		if s.rng.IntN(4) == 0 {
			input(s.m.EndService(x.KRef))
		}
	case 1:
		if k, ok := s.anyKRef(); ok {
			input(s.m.Emit(x.KRef, []byte("e"), k, kernel.Data{Body: "#[]"}, s.now))
		}
	case 2:
		if s.rng.IntN(10) == 0 {
			input(s.m.Revoke(x.KRef))
		}
	case 3:
		if pending && rooted {
			delete(s.services.calls, c)
			to, _ := pick(s.rng, []kernel.KRef{root, x.KRef})
			input(s.m.Forward(c, to, kernel.Data{Body: "#[]", Slots: []kernel.KRef{root}}, s.now))
		}
	case 4:
		if v, ok := pick(s.rng, s.services.late); ok && !s.services.ended[v.Service] { // it had read already
			s.services.late = slices.DeleteFunc(s.services.late, func(l kernel.CallID) bool { return l == v })
			s.answerCall(v, s.unit())
		}
	case 5, 6:
		if pending {
			commit, taken, err := s.m.TakeUnit(c, "read", s.now)
			if taken {
				delete(s.services.calls, c)
			}
			input(commit, err)
		}
	case 7:
		vats, _ := s.m.Vats()
		if v, ok := pick(s.rng, vats); ok && !v.Terminated && s.rng.IntN(2) == 0 {
			input(s.m.Restart(v.ID, true))
		} else if ok && s.rng.IntN(8) == 0 {
			input(s.m.TerminateVat(v.ID))
		}
	case 8:
		id := fmt.Sprintf("E1.t%d", len(s.tickets))
		_, commit, err := s.m.Call(kernel.HostCall{Ticket: id, Hash: "h", Target: x.KRef, MethArgs: kernel.Data{Body: "#[]"}}, s.now)
		if err == nil {
			s.tickets[id] = false
		}
		input(commit, err)
	default:
		if pending {
			s.answerCall(c, s.makeAnswer(c))
		}
	}
}

// checkUnits checks that no unit goes back twice, or after it was got, and that none vanishes that must go back.
func (s *sim) checkUnits(c kernel.Commit) {
	places := kernel.UnitPlaces(s.mem)
	for _, id := range slices.Sorted(maps.Keys(places)) {
		// It may also be in a promise of which nothing is left but a notification that will be dropped.
		back := 0
		for _, p := range places[id] {
			if p.Service != "" {
				back++
			}
		}
		if back > 1 {
			s.fatal(c, "unit %s is in %v", id, places[id])
		}
		if back > 0 && s.services.seen[id] != "" {
			s.fatal(c, "unit %s is back, and %s got it", id, s.services.seen[id])
		}
	}
	for _, e := range c.Trace {
		v := kernel.VatID("")
		switch e := e.(type) {
		case kernel.MemoryLost:
			v = e.Vat
		case kernel.VatTerminated:
			v = e.Vat
		}
		for id, p := range places {
			if p[0].By == v && !p[0].Tied {
				s.services.shared[id] = true
			}
		}
	}
	for id, was := range s.services.where {
		if s.services.shared[id] {
			continue
		}
		if len(places[id]) == 0 && s.services.seen[id] == "" && !s.services.ended[was[0].Asked] && (was[0].Service != "" || was[0].Tied) {
			s.fatal(c, "unit %s is lost, it was in %+v", id, was)
		}
	}
	s.services.where = places
}

// got notes the receiver of a unit: the holders of one promise, or one host call.
func (s *sim) got(body, who string) {
	text, ok := strings.CutPrefix(body, `#"unit `)
	if !ok {
		return
	}
	id := strings.TrimSuffix(text, `"`)
	// The promise of a host call may be known to vats as well.
	was := s.services.seen[id]
	if was != "" && was != who && was[0] == 'k' && who[0] == 'k' {
		s.t.Fatalf("unit %s was got by %s, and now by %s", id, was, who)
	}
	s.services.seen[id] = who
	s.log = append(s.log, fmt.Sprintf("  unit %s got by %s", id, who))
}

func (s *sim) fatal(c kernel.Commit, format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("commit %d: %s\nlog:\n%s", c.Number, fmt.Sprintf(format, args...), strings.Join(s.log[max(0, len(s.log)-20):], "\n"))
}
