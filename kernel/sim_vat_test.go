package kernel_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// simVat is the memory of one incarnation in the simulation: the knowledge of a correct vat.
type simVat struct {
	objects  []wire.Ref // that it may mention
	dropped  []wire.Ref // imports that it can only recognise
	promises []wire.Ref // unresolved, as far as it knows
	decides  []wire.Ref
	highO    uint64
	highP    uint64
	// rested are promises that it listened to when it came to rest: should it be told of one, nothing is lost
	// that the kernel could have known of.
	rested []wire.Ref
	// services are service objects; its store knows them too.
	services []wire.Ref
	// history is the deliveries that a replay of the span must make, and their answers.
	history []exchange
}

type exchange struct {
	deliver wire.Deliver
	done    wire.Done
	store   string // the store as it was before
}

func (s *simVat) clone() *simVat {
	return &simVat{
		slices.Clone(s.objects), slices.Clone(s.dropped), slices.Clone(s.promises), slices.Clone(s.decides), s.highO, s.highP,
		slices.Clone(s.rested), slices.Clone(s.services),
		slices.Clone(s.history),
	}
}

func (s *sim) slots(v *simVat, out *[]wire.Syscall) []wire.Ref {
	var slots []wire.Ref
	for range s.rng.IntN(4) {
		switch s.rng.IntN(5) {
		case 0, 1:
			if r, ok := pick(s.rng, v.objects); ok {
				slots = append(slots, r)
			}
		case 2:
			if r, ok := pick(s.rng, slices.Concat(v.promises, v.decides)); ok {
				slots = append(slots, r)
			}
		case 3:
			v.highO++
			r := wire.Ref("o+" + strconv.FormatUint(v.highO, 10))
			if s.rng.IntN(2) == 0 {
				v.highO--
				r = wire.Ref(fmt.Sprintf("o+d1/%d", 1+s.rng.IntN(5)))
			}
			slots = append(slots, r)
			v.objects = append(v.objects, r)
		case 4:
			v.highP++
			r := wire.Ref("p+" + strconv.FormatUint(v.highP, 10))
			slots = append(slots, r)
			v.decides = append(v.decides, r)
		}
	}
	return slots
}

func body(n int) string {
	if n == 1 {
		return `#"$0"`
	}
	return `#[]`
}

// answer makes up the answer of a vat to a crank: everything it emits is legal for a vat with that memory.
func (s *sim) answer(v *simVat, d wire.Deliver) wire.Done {
	var out []wire.Syscall
	learn := func(refs []wire.Ref) {
		for _, r := range refs {
			v.dropped = slices.DeleteFunc(v.dropped, func(d wire.Ref) bool { return d == r })
			switch {
			case r[0] == 'o':
				if !slices.Contains(v.objects, r) {
					v.objects = append(v.objects, r)
				}
			case !slices.Contains(v.promises, r) && !slices.Contains(v.decides, r):
				v.promises = append(v.promises, r)
				out = append(out, wire.Subscribe{Promise: r})
			}
		}
	}
	retired := func(refs []wire.Ref) {
		gone := func(r wire.Ref) bool { return slices.Contains(refs, r) }
		v.objects, v.dropped = slices.DeleteFunc(v.objects, gone), slices.DeleteFunc(v.dropped, gone)
	}
	switch d := d.Delivery.(type) {
	case wire.RetireExports:
		retired(d.Refs)
	case wire.RetireImports:
		retired(d.Refs)
	case wire.BringOutYourDead:
		return s.bringOut(v, d)
	case wire.Call:
		learn(d.Message.MethArgs.Slots)
		if r := d.Message.Result; r != "" {
			v.promises = slices.DeleteFunc(v.promises, func(p wire.Ref) bool { return p == r })
			v.decides = append(v.decides, r)
		}
	case wire.Notify:
		gone := map[wire.Ref]bool{}
		for _, r := range d.Resolutions {
			gone[r.Promise] = true
		}
		forget := func(p wire.Ref) bool { return gone[p] }
		v.promises = slices.DeleteFunc(v.promises, forget)
		v.decides = slices.DeleteFunc(v.decides, forget)
		for _, r := range d.Resolutions {
			learn(slices.DeleteFunc(slices.Clone(r.Value.Slots), forget))
		}
	}
	if s.calm {
		for _, p := range v.decides {
			out = append(out, wire.Resolve{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: "#null"}}}})
		}
		v.decides = nil
		return wire.Done{Number: 0, Syscalls: out}
	}
	if p, ok := pick(s.rng, v.promises); ok && s.withServices && s.rng.IntN(4) == 0 { // again, or by its store
		out = append(out, wire.Subscribe{Promise: p, Stored: s.rng.IntN(4) == 0})
	}
	if s.withServices {
		out = append(out, s.callServices(v)...)
	}
	for range s.rng.IntN(5) {
		switch s.rng.IntN(6) {
		case 5:
			if r, ok := pick(s.rng, v.objects); ok && s.rng.IntN(2) == 0 {
				s.watched = true
				v.highP++
				result := wire.Ref("p+" + strconv.FormatUint(v.highP, 10))
				v.promises = append(v.promises, result)
				out = append(out, wire.Watch{Target: r, Result: result}, wire.Subscribe{Promise: result, Stored: s.withServices && s.rng.IntN(4) == 0})
			}
		case 4:
			out = append(out, s.collect(v)...)
		case 0, 1:
			target, ok := pick(s.rng, slices.Concat(v.objects, v.promises, v.decides))
			if !ok {
				continue
			}
			slots := s.slots(v, &out)
			send := wire.Send{Target: target, Message: wire.Message{MethArgs: wire.CapData{Body: body(len(slots)), Slots: slots}}}
			switch s.rng.IntN(4) {
			case 0:
			case 1:
				if r, ok := pick(s.rng, v.decides); ok {
					send.Message.Result = r
					v.decides = slices.DeleteFunc(v.decides, func(p wire.Ref) bool { return p == r })
					v.promises = append(v.promises, r)
				}
			default:
				v.highP++
				send.Message.Result = wire.Ref("p+" + strconv.FormatUint(v.highP, 10))
				v.promises = append(v.promises, send.Message.Result)
			}
			out = append(out, send)
			if send.Message.Result != "" {
				out = append(out, wire.Subscribe{Promise: send.Message.Result})
			}
		case 2:
			var res []wire.Resolution
			for range 1 + s.rng.IntN(2) {
				p, ok := pick(s.rng, v.decides)
				if !ok || slices.ContainsFunc(res, func(r wire.Resolution) bool { return r.Promise == p }) {
					continue
				}
				slots := s.slots(v, &out)
				b := body(len(slots))
				if len(slots) == 1 && slots[0][0] == 'p' {
					b = `#["&0"]`
				}
				res = append(res, wire.Resolution{Promise: p, Rejected: s.rng.IntN(4) == 0, Value: wire.CapData{Body: b, Slots: slots}})
			}
			if len(res) > 0 {
				out = append(out, wire.Resolve{Resolutions: res})
				for _, r := range res {
					v.decides = slices.DeleteFunc(v.decides, func(p wire.Ref) bool { return p == r.Promise })
				}
			}
		case 3:
			key := simKeys[s.rng.IntN(len(simKeys))]
			if s.rng.IntN(3) == 0 {
				out = append(out, wire.StoreDelete{Key: key})
			} else {
				out = append(out, wire.StoreSet{Key: key, Value: fmt.Append(nil, "x", s.rng.IntN(9))[:s.rng.IntN(3)]})
			}
		}
	}
	if s.rng.IntN(200) == 0 {
		slots := s.slots(v, &out)
		out = append(out, wire.Exit{Failure: s.rng.IntN(2) == 0, Info: wire.CapData{Body: body(len(slots)), Slots: slots}})
	}
	done := wire.Done{Syscalls: out}
	if s.rng.IntN(3) > 0 {
		done.Outcome.Parked = len(v.promises)
	}
	return done
}

// callServices makes up calls of service objects, some of them by way of promises.
func (s *sim) callServices(v *simVat) (out []wire.Syscall) {
	if r, ok := pick(s.rng, v.services); ok && s.rng.IntN(3) == 0 && len(v.decides) > 0 {
		p, _ := pick(s.rng, v.decides)
		v.decides = slices.DeleteFunc(v.decides, func(d wire.Ref) bool { return d == p })
		out = append(out, wire.Resolve{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: `#"$0"`, Slots: []wire.Ref{r}}}}})
	}
	for range s.rng.IntN(4) {
		target, ok := pick(s.rng, v.services)
		if p, any := pick(s.rng, v.promises); any && s.rng.IntN(3) == 0 {
			target, ok = p, true
		}
		if !ok {
			return out
		}
		v.highP++
		result := wire.Ref("p+" + strconv.FormatUint(v.highP, 10))
		v.promises = append(v.promises, result)
		out = append(out, wire.Send{Target: target, Message: wire.Message{MethArgs: wire.CapData{Body: `#["read",[]]`}, Result: result}})
		if s.rng.IntN(8) > 0 {
			out = append(out, wire.Subscribe{Promise: result, Stored: s.rng.IntN(4) == 0})
		}
	}
	return out
}

// deadly returns the promise whose notification kills the worker now; empty if none does.
func (s *sim) deadly(v kernel.VatID, d wire.Delivery) wire.Ref {
	n, ok := d.(wire.Notify)
	if !ok || s.waits[v][n.Resolutions[0].Promise] == 0 {
		return ""
	}
	return n.Resolutions[0].Promise
}

// noteWaits notes the promises that the store of a vat waits for after a crank: each must be told, whatever its
// notification does to workers, unless the vat itself settles it.
func (s *sim) noteWaits(v kernel.VatID, d wire.Delivery, done wire.Done) {
	if s.waits[v] == nil {
		s.waits[v] = map[wire.Ref]int{}
	}
	over := func(list []wire.Resolution) {
		for _, r := range list {
			delete(s.waits[v], r.Promise)
		}
	}
	if n, ok := d.(wire.Notify); ok {
		over(n.Resolutions)
	}
	for _, c := range done.Syscalls {
		switch c := c.(type) {
		case wire.Subscribe:
			if _, known := s.waits[v][c.Promise]; c.Stored && !known {
				s.waits[v][c.Promise] = max(0, s.rng.IntN(16)-6)
			}
		case wire.Resolve:
			over(c.Resolutions)
		}
	}
}

// checkWaits checks that no store waits for a promise of which it will not be told any more, at rest.
func (s *sim) checkWaits() {
	for _, v := range must(s.m.Vats()) {
		for ref := range s.waits[v.ID] {
			name, found, err := s.mem.Get("c." + string(v.ID) + "." + string(ref))
			if err != nil {
				s.t.Fatal(err)
			}
			_, settled, err := s.mem.Get("b." + string(name))
			if err != nil {
				s.t.Fatal(err)
			}
			if !found || settled || !s.watched { // else it may be waiting for the end of a vat
				s.t.Errorf("the store of %s waits for ever for %s, which is %s", v.ID, ref, name)
			}
		}
	}
}

// collect makes up syscalls about references that a vat no longer holds.
func (s *sim) collect(v *simVat) []wire.Syscall {
	r, ok := pick(s.rng, v.objects)
	if ok && r != wire.RootRef && s.rng.IntN(2) == 0 {
		v.objects = slices.DeleteFunc(v.objects, func(o wire.Ref) bool { return o == r })
		v.services = slices.DeleteFunc(v.services, func(o wire.Ref) bool { return o == r })
		if r[1] == '+' {
			return []wire.Syscall{wire.AbandonExports{Refs: []wire.Ref{r}}}
		}
		v.dropped = append(v.dropped, r)
		return []wire.Syscall{wire.DropImports{Refs: []wire.Ref{r}}}
	}
	if r, ok := pick(s.rng, v.dropped); ok {
		v.dropped = slices.DeleteFunc(v.dropped, func(o wire.Ref) bool { return o == r })
		return []wire.Syscall{wire.RetireImportsCall{Refs: []wire.Ref{r}}}
	}
	return nil
}

// bringOut answers a page of a round: the vat is at rest, and holds what its store knows. Now and then it only drops what
// it does not hold, or has not finished.
func (s *sim) bringOut(v *simVat, d wire.BringOutYourDead) wire.Done {
	var drop, retire []wire.Ref
	for _, r := range d.Known {
		if r[1] != '-' || slices.Contains(v.objects, r) || slices.Contains(v.services, r) {
			continue
		}
		drop = append(drop, r)
		if s.calm || s.rng.IntN(3) > 0 {
			retire = append(retire, r)
		}
	}
	var out []wire.Syscall
	if len(drop) > 0 {
		out = append(out, wire.DropImports{Refs: drop})
	}
	if len(retire) > 0 {
		out = append(out, wire.RetireImportsCall{Refs: retire})
	}
	if !s.calm && s.rng.IntN(3) == 0 {
		out = append(out, wire.Collect{})
	}
	return wire.Done{Syscalls: out}
}

// checkCollected asks each vat for its dead, and checks that no vat at rest has a name left for an import that its store
// does not hold, and that no object is left that nobody needs.
func (s *sim) checkCollected() {
	for _, v := range must(s.m.Vats()) {
		if v.Terminated || v.Stopped != "" {
			continue
		}
		c, err := s.m.Collect(v.ID, true)
		if err != nil {
			s.t.Fatal(err)
		}
		s.apply(c)
	}
	for i := 0; s.step(); i++ {
		if i > 20000 {
			s.t.Fatal("the collection does not end")
		}
	}
	for _, v := range must(s.m.Vats()) {
		if v.Terminated || v.Stopped != "" || v.Records > 0 || v.Lost {
			continue
		}
		prefix := "c." + string(v.ID) + ".o-"
		for _, row := range s.mem.Snapshot() {
			ref, ok := strings.CutPrefix(row.Key, prefix)
			if !ok || slices.Contains(s.services.knows[v.ID], wire.Ref("o-"+ref)) {
				continue
			}
			entry, _, err := s.mem.Get("c." + string(v.ID) + "." + string(row.Value))
			if err != nil {
				s.t.Fatal(err)
			}
			if entry[0] == 'r' { // one that the vat has dropped it has to retire by itself
				s.t.Errorf("%s has the name o-%s for %s, which it does not hold", v.ID, ref, row.Value)
			}
		}
		for _, line := range kernel.Dump(s.mem) {
			if strings.Contains(line, fmt.Sprintf("owner %q counts 0,0", v.ID)) {
				s.t.Errorf("nobody needs %s", line)
			}
		}
	}
}

// hostile puts an illegal syscall somewhere into an answer of a vat.
func (s *sim) hostile(v *simVat, done wire.Done) wire.Done {
	bad := []wire.Syscall{
		wire.Send{Target: "o-9999"},
		wire.Send{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: "#[]", Slots: []wire.Ref{"p-9999"}}}},
		wire.Send{Target: "o+0", Message: wire.Message{Result: "o+0"}},
		wire.Send{Target: "garbage"},
		wire.Subscribe{Promise: "o+0"},
		wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p-9999"}}},
		wire.DropImports{Refs: []wire.Ref{"o+0"}},
		wire.AbandonExports{Refs: []wire.Ref{"o+0"}},
		wire.RetireExportsCall{Refs: []wire.Ref{"o+0"}},
		wire.StoreSet{},
		wire.Watch{Target: "o-9999", Result: "p+99999"},
		wire.Watch{Target: "o+0", Result: "o+0"},
	}
	if p, ok := pick(s.rng, v.promises); ok { // not its to resolve, to give away
		bad = append(bad, wire.Watch{Target: "o+0", Result: p}, wire.Resolve{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: "#null"}}}},
			wire.Send{Target: "o+0", Message: wire.Message{Result: p}})
	}
	if p, ok := pick(s.rng, v.decides); ok {
		bad = append(bad, wire.Resolve{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: `#"&0"`, Slots: []wire.Ref{p}}}}})
	}
	if r, ok := pick(s.rng, v.dropped); ok {
		bad = append(bad, wire.Send{Target: r}, wire.DropImports{Refs: []wire.Ref{r}})
	}
	b, _ := pick(s.rng, bad)
	at := len(done.Syscalls) // the syscalls before it are legal
	if at > 0 {
		if e, ok := done.Syscalls[at-1].(wire.Exit); ok && e.Failure {
			at-- // the syscalls that follow it are not read
		}
	}
	done.Syscalls = slices.Insert(done.Syscalls, at, b)
	return done
}

// failed reports whether a vat exits with a failure: the delivery that it answers counts as not made.
func failed(done wire.Done) bool {
	return slices.ContainsFunc(done.Syscalls, func(s wire.Syscall) bool {
		e, ok := s.(wire.Exit)
		return ok && e.Failure
	})
}
