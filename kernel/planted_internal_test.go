package kernel

import (
	"encoding/binary"
	"fmt"
	"strings"

	"ocapkernel.dev/storage"
)

// A Planted is one kind of damage of a good state.
type Planted struct {
	Name string
	// Plant returns the writes that make the damage, and what Check has to say of it: the invariant, and the row or the id. There
	// are no writes if the state has nothing of the kind.
	Plant func(s *Soil) (writes []storage.Write, want string)
}

// Soil is a good state in which damage is planted.
type Soil struct {
	d    *dumper
	rows []storage.Write
}

// NewSoil returns the state in mem.
func NewSoil(mem *storage.Mem) *Soil { return &Soil{newDumper(mem), mem.Snapshot()} }

// find returns the first row with a prefix for which is returns true; nil is any.
func (s *Soil) find(prefix string, is func(rest string, value []byte) bool) (rest string, value []byte, found bool) {
	for _, row := range s.rows {
		if r, ok := strings.CutPrefix(row.Key, prefix); ok && (is == nil || is(r, row.Value)) {
			return r, row.Value, true
		}
	}
	return "", nil, false
}

// lose deletes the first such row. want has a verb for the rest of its key.
func lose(prefix, want string, is func(s *Soil, rest string, value []byte) bool) func(*Soil) ([]storage.Write, string) {
	return func(s *Soil) ([]storage.Write, string) {
		rest, _, found := s.find(prefix, func(r string, b []byte) bool { return is == nil || is(s, r, b) })
		if !found {
			return nil, ""
		}
		return []storage.Write{{Key: prefix + rest}}, filled(want, rest)
	}
}

// move writes the first row with a prefix once more, under another key.
func move(prefix, to, want string) func(*Soil) ([]storage.Write, string) {
	return func(s *Soil) ([]storage.Write, string) {
		_, value, found := s.find(prefix, nil)
		if !found {
			return nil, ""
		}
		return []storage.Write{{Key: to, Value: value}}, want
	}
}

// put writes a row.
func put(key string, value []byte, want string) func(*Soil) ([]storage.Write, string) {
	return func(*Soil) ([]storage.Write, string) {
		return []storage.Write{{Key: key, Value: append([]byte{}, value...)}}, want // nil would delete it
	}
}

// turn changes the first row with a prefix that change accepts.
func turn[T any, P interface {
	*T
	fields(*codec)
}](prefix, want string, change func(s *Soil, rest string, row P) bool) func(*Soil) ([]storage.Write, string) {
	return func(s *Soil) ([]storage.Write, string) {
		codec := s.d.t.codec
		for _, w := range s.rows {
			rest, ok := strings.CutPrefix(w.Key, prefix)
			if !ok {
				continue
			}
			row := P(new(T))
			codec.decode(w.Key, w.Value, row.fields)
			if change(s, rest, row) {
				return []storage.Write{{Key: w.Key, Value: codec.encode(row.fields)}}, filled(want, rest)
			}
		}
		return nil, ""
	}
}

// both plants two things of which the second decides what is said.
func both(first, second func(*Soil) ([]storage.Write, string)) func(*Soil) ([]storage.Write, string) {
	return func(s *Soil) ([]storage.Write, string) {
		a, _ := first(s)
		if a == nil {
			return nil, ""
		}
		b, want := second(s)
		return append(a, b...), want
	}
}

// filled puts the id that a key begins with in the place of ID, and what follows kind in that of KEY.
func filled(want, rest string) string {
	id, _, _ := strings.Cut(rest, ".")
	return strings.ReplaceAll(strings.ReplaceAll(want, "KEY", rest), "ID", id)
}

func bigEndian(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func (s *Soil) promise(k KRef) *promise { return s.d.t.promises.look(s.d.t, k) }

func (s *Soil) run(v VatID) *run { return s.d.t.lookRun(v) }

// searches reports whether a search for stranded promises is due, or goes on: what it will find is no damage.
func (s *Soil) searches() bool {
	_, _, found := s.find("w.", func(rest string, b []byte) bool {
		var w work
		s.d.t.codec.decode("w."+rest, b, w.fields)
		return w.kind == workStranded
	})
	return found
}

// lives reports whether the vat that a key begins with is not dead.
func (s *Soil) lives(rest string) bool {
	v, _, _ := strings.Cut(rest, ".")
	u := s.run(VatID(v))
	return u != nil && u.phase != dead
}

func lives(s *Soil, rest string, _ []byte) bool { return s.lives(rest) }

// namedIn returns a criterion of a vat that lives and of which the row has a name with a prefix.
func namedIn(prefix string) func(*Soil, string, []byte) bool {
	return func(s *Soil, rest string, _ []byte) bool {
		_, name, _ := strings.Cut(rest, ".")
		return s.lives(rest) && strings.HasPrefix(name, prefix)
	}
}

// Planting is a table of damage, in the order of the rows of docs/schema.md.
var Planting = []Planted{
	// The head.
	{"a row of no kind", put("zz.1", nil, `I20: row "zz.1" is of no kind`)},
	{"a row of the head of no kind", put("next.q", bigEndian(1), `I20: row "next.q" is of no kind`)},
	{"the number of vats", put("count.v", bigEndian(77), "I17: there are")},
	{"a number of an object that is handed out again", put("next.o", bigEndian(4), "I21: row next.o says that the next number is 4, and ")},
	{"a number of a promise that is handed out again", put("next.p", bigEndian(1), "I21: row next.p says that the next number is 1, and ")},
	{"a number of a vat that is handed out again", put("next.v", bigEndian(1), "I21: row next.v says that the next number is 1, and ")},
	{"a number of a subcluster that is handed out again", put("next.s", []byte("1"), "cannot be read: row next.s")},

	// Vats.
	{"a vat without its life", lose("r.", "I1: vat KEY does not run", nil)},
	{"a life without its vat", lose("v.", "I1: vat KEY runs and does not exist", nil)},
	{"a queue's count of items", turn[run]("r.", "I2: the queue of KEY has", func(_ *Soil, _ string, u *run) bool {
		u.queue.tail, u.queue.items = u.queue.tail+1, u.queue.items+1
		return u.phase != dead
	})},
	{"a queue's count of messages", turn[run]("r.", "I2: the queue of KEY has", func(_ *Soil, _ string, u *run) bool {
		u.queue.messages++
		return u.phase != dead
	})},
	{"a queue's count of bytes", turn[run]("r.", "I17: KEY holds", func(_ *Soil, _ string, u *run) bool {
		u.queue.bytes += 1 << 20
		return u.phase != dead
	})},
	{"an item that is lost", lose("q.", "I2: the queue of ID has", lives)},
	{"an item for no vat", move("q.", "q.v999.1", "I2: items are queued for v999, which does not exist")},
	{"a notification of a promise that is not settled", turn[item]("q.", "I3: q.KEY is about ", func(s *Soil, _ string, it *item) bool {
		k, _, found := s.find("p.", func(k string, _ []byte) bool { return s.promise(KRef(k)).state == unresolved })
		if it.kind == itemNotify && found {
			it.promise = KRef(k)
		}
		return it.kind == itemNotify && found
	})},
	{"a notification that is there twice", func(s *Soil) ([]storage.Write, string) {
		for _, row := range s.rows {
			if rest, ok := strings.CutPrefix(row.Key, "q."); ok && s.lives(rest) {
				var it item
				s.d.t.codec.decode(row.Key, row.Value, it.fields)
				if v, _, _ := strings.Cut(rest, "."); it.kind == itemNotify {
					return []storage.Write{{Key: "q." + v + ".999999", Value: row.Value}}, fmt.Sprintf("I22: two notifications of %s are in the queue of %s", it.promise, v)
				}
			}
		}
		return nil, ""
	}},
	{"a notification that is lost", func(s *Soil) ([]storage.Write, string) {
		for _, row := range s.rows {
			if rest, ok := strings.CutPrefix(row.Key, "q."); ok && s.lives(rest) {
				var it item
				s.d.t.codec.decode(row.Key, row.Value, it.fields)
				if v, _, _ := strings.Cut(rest, "."); it.kind == itemNotify {
					return []storage.Write{{Key: row.Key}}, fmt.Sprintf("I17: no notification of %s is in the queue of %s", it.promise, v)
				}
			}
		}
		return nil, ""
	}},
	{"a result that is lost with its message", func(s *Soil) ([]storage.Write, string) {
		if s.searches() {
			return nil, ""
		}
		for _, row := range s.rows {
			if rest, ok := strings.CutPrefix(row.Key, "q."); ok && s.lives(rest) {
				var it item
				s.d.t.codec.decode(row.Key, row.Value, it.fields)
				if it.kind == itemMessage && it.msg.result != "" {
					return []storage.Write{{Key: row.Key}}, fmt.Sprintf("I18: %s has no decider, and is the result of no message", it.msg.result)
				}
			}
		}
		return nil, ""
	}},
	{"a record that is lost", lose("y.", "I14: the transcript of ID has", func(s *Soil, rest string, _ []byte) bool {
		v, behind, _ := strings.Cut(rest, ".")
		u := s.run(VatID(v))
		return u != nil && u.phase != dead && strings.HasPrefix(behind, num(u.span.number)+".")
	})},
	{"a record that cannot be read", func(s *Soil) ([]storage.Write, string) {
		rest, _, found := s.find("y.", func(rest string, _ []byte) bool {
			v, behind, _ := strings.Cut(rest, ".")
			u := s.run(VatID(v))
			return u != nil && u.phase != dead && strings.HasPrefix(behind, num(u.span.number)+".")
		})
		if !found {
			return nil, ""
		}
		return []storage.Write{{Key: "y." + rest, Value: []byte{0xc1}}}, filled("I14: the memory of ID cannot be made again", rest)
	}},
	{"a transcript of a span that is over", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) })
		_, record, any := s.find("y.", nil)
		if !found || !any {
			return nil, ""
		}
		return []storage.Write{{Key: "y." + v + ".987654.0", Value: record}}, "I14: there are rows y." + v + ".987654, of a span that is over"
	}},
	{"a former value of a span that is over", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) })
		f := former{}
		if !found {
			return nil, ""
		}
		return []storage.Write{{Key: "z." + v + ".987654.k", Value: s.d.t.codec.encode(f.fields)}}, "I14: there are rows z." + v + ".987654, of a span that is over"
	}},
	{"a c-list without the vat's name", lose("c.", "I5: ", namedIn("o-"))},
	{"a c-list without the kernel's name", lose("c.", "I5: ", namedIn("ko"))},
	{"a c-list of no vat", put("c.v999.o-1", []byte("ko4"), "I5: c.v999.o-1 is of a vat that does not exist")},
	{"a name above the highest", turn[run]("r.", "I21: KEY has the name o-", func(s *Soil, v string, u *run) bool {
		_, _, found := s.find("c."+v+".o-", nil)
		u.names.importObjects, u.rounds.mark = 0, 0
		return u.phase != dead && found
	})},
	{"a row of the store of no vat", put("s.v999.x", nil, `I20: row "s.v999.x" is of v999, which is no vat`)},
	{"a poisoned message of no vat", func(s *Soil) ([]storage.Write, string) {
		p := poisoned{}
		return []storage.Write{{Key: "x.v999.1", Value: s.d.t.codec.encode(p.fields)}}, `I20: row "x.v999.1" is of v999, which is no vat`
	}},
	{"a poisoned message that is lost", turn[run]("r.", "I2: KEY has ", func(_ *Soil, _ string, u *run) bool {
		u.poisoned.messages++
		return u.phase != dead
	})},
	{"an entry of a list that is lost", lose("look.", "I19: the list of ID has", lives)},
	{"an entry of a list beyond its end", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) })
		if !found {
			return nil, ""
		}
		return []storage.Write{{Key: "look." + v + ".999999", Value: []byte("ko4")}}, "I19: look." + v + ".999999 is in no list"
	}},
	{"an import that is given again, and is not", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) })
		if !found {
			return nil, ""
		}
		return []storage.Write{{Key: "again." + v + ".o-999999", Value: []byte{}}}, "I19: again." + v + ".o-999999 is of no import"
	}},
	{"a decider that the index lacks", lose("d.", "I7: ", nil)},
	{"a decider that the promise lacks", move("d.", "d.v1.kp999999", "I7: the index knows a decider of kp999999, which does not exist")},
	{"the end of a vat that has not ended", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) })
		if !found {
			return nil, ""
		}
		e := exit{}
		return []storage.Write{{Key: "exit." + v, Value: s.d.t.codec.encode(e.fields)}}, "I7: how " + v + " has ended is known, and it has not"
	}},
	{"a stopped vat with memory", turn[run]("r.", "I13: KEY is stopped, and its incarnation", func(_ *Soil, _ string, u *run) bool {
		u.memory.inc++
		return u.phase == stopped
	})},
	{"a count of what keeps a vat from rest", turn[run]("r.", "I13: KEY counts", func(_ *Soil, _ string, u *run) bool {
		u.memory.decides++
		return u.phase != dead
	})},
	{"a count of promises that a vat decides", turn[run]("r.", "I13: KEY counts", func(_ *Soil, _ string, u *run) bool {
		u.decided += 1000
		return true
	})},
	{"a count of watches", turn[run]("r.", "I17: KEY counts", func(_ *Soil, _ string, u *run) bool {
		u.watches.count++
		return u.phase != dead
	})},

	// Objects and promises.
	{"an object that is reachable once too often", turn[object]("o.", "I10: KEY counts", func(_ *Soil, _ string, o *object) bool { o.reachable++; return true })},
	{"an object that is reachable once too rarely", turn[object]("o.", "I10: KEY counts", func(_ *Soil, _ string, o *object) bool {
		o.reachable--
		return o.reachable < pinned
	})},
	{"an object that is recognizable once too often", turn[object]("o.", "I10: KEY counts", func(_ *Soil, _ string, o *object) bool { o.recognizable++; return true })},
	{"a promise that is counted once too often", turn[promise]("p.", "I10: KEY counts", func(_ *Soil, _ string, p *promise) bool { p.refs++; return true })},
	{"a promise that is counted once too rarely", turn[promise]("p.", "I10: KEY counts", func(_ *Soil, _ string, p *promise) bool { p.refs--; return true })},
	{"an object that nobody needs", func(s *Soil) ([]storage.Write, string) {
		o := object{}
		return []storage.Write{{Key: "o.ko3", Value: s.d.t.codec.encode(o.fields)}}, "I11: ko3 is orphaned, without holders, and still there"
	}},
	{"a promise that nobody needs", func(s *Soil) ([]storage.Write, string) {
		p := promise{}
		return []storage.Write{{Key: "p.kp999999", Value: s.d.t.codec.encode(p.fields)}}, "I11: kp999999 is without holders and still there"
	}},
	{"an object that is held and gone", lose("o.", "I12: KEY is held and does not exist", nil)},
	{"a promise that is held and gone", lose("p.", "I12: KEY is held and does not exist", nil)},
	{"an export of another vat", turn[object]("o.", "I6: ", func(_ *Soil, _ string, o *object) bool {
		was := o.owner
		o.owner = "v999"
		return was != ""
	})},
	{"an unreachable object of which nobody will be told", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) && s.run(VatID(rest)).phase == live })
		if !found {
			return nil, ""
		}
		o := object{owner: VatID(v)}
		return []storage.Write{
			{Key: "o.ko3", Value: s.d.t.codec.encode(o.fields)}, {Key: "c." + v + ".ko3", Value: []byte("ro+777777")}, {Key: "c." + v + ".o+777777", Value: []byte("ko3")},
		}, "I19: ko3 is unreachable, and " + v + " will not be told"
	}},
	{"an object that is listed, and is not", turn[object]("o.", "I19: KEY is listed for its owner ", func(s *Soil, _ string, o *object) bool {
		was := o.look
		o.look = listedForOwner
		return was == notListed && o.owner != "" && s.lives(string(o.owner))
	})},
	{"an orphan of which nobody will be told", func(s *Soil) ([]storage.Write, string) {
		v, _, found := s.find("r.", func(rest string, _ []byte) bool { return s.lives(rest) })
		if !found {
			return nil, ""
		}
		o := object{recognizable: 1}
		return []storage.Write{
			{Key: "o.ko3", Value: s.d.t.codec.encode(o.fields)}, {Key: "c." + v + ".ko3", Value: []byte("_o-777777")}, {Key: "c." + v + ".o-777777", Value: []byte("ko3")},
		}, "I19: ko3 is orphaned, and its importers will not be told"
	}},
	{"a settled promise with a decider", turn[promise]("p.", "I4: KEY is settled and has a decider", func(_ *Soil, _ string, p *promise) bool {
		p.decider = "v1"
		return p.state != unresolved
	})},
	{"a settled promise without its value", lose("b.", "I4: KEY is ", nil)},
	{"a value of no promise", move("b.", "b.kp999999", "I4: there is a value of kp999999, which does not exist")},
	{"a promise that is fulfilled with a promise", func(s *Soil) ([]storage.Write, string) {
		k, _, found := s.find("p.", func(k string, _ []byte) bool { return s.promise(KRef(k)).state == fulfilled })
		if !found {
			return nil, ""
		}
		a := answer{Data{Body: `#"&0"`, Slots: []KRef{"kp1"}}}
		return []storage.Write{{Key: "b." + k, Value: s.d.t.codec.encode(a.fields)}}, "I22: " + k + " is fulfilled with a promise"
	}},
	{"a promise decided by nobody", both(
		lose("d.", "", func(s *Soil, _ string, _ []byte) bool { return !s.searches() }),
		func(s *Soil) ([]storage.Write, string) {
			rest, _, _ := s.find("d.", nil)
			_, k, _ := strings.Cut(rest, ".")
			return turn[promise]("p."+k, "I18: "+k+" has no decider, and is the result of no message", func(_ *Soil, rest string, p *promise) bool {
				p.decider, p.inc, p.awaitsEnd = "", 0, false
				return rest == ""
			})(s)
		},
	)},
	{"a parked message that is lost", lose("m.", " messages are parked on ID, its counters say ", nil)},
	{"messages parked on no promise", move("m.", "m.kp999999.0", "I2: messages are parked on kp999999, which does not exist")},
	{"a promise that waits for another, and does not", turn[promise]("p.", "I22: KEY waits for ", func(_ *Soil, _ string, p *promise) bool {
		p.waitsFor += "kp1"
		return true
	})},
	{"parked messages that nothing stands for", turn[promise]("p.", "0 items stand for the messages parked on KEY", func(_ *Soil, _ string, p *promise) bool {
		was := p.state
		p.state, p.decider, p.drained = fulfilled, "", true
		return was == unresolved && p.head != p.tail
	})},
	{"parked bytes", turn[promise]("p.", "I17: KEY holds", func(_ *Soil, _ string, p *promise) bool { p.parkedBytes += 1 << 20; return true })},
	{"the size of a value", turn[promise]("p.", "I17: the value of KEY has", func(_ *Soil, _ string, p *promise) bool { p.size++; return p.size > 1 })},
	{"the references of a value", turn[promise]("p.", "I17: the value of KEY has", func(_ *Soil, _ string, p *promise) bool { p.slots++; return p.size > 0 })},
	{"mentions in values", turn[promise]("p.", "I17: KEY counts", func(_ *Soil, _ string, p *promise) bool { p.mentions += 5; return true })},
	{"a mark of circles without the work", put("circles", nil, "I11: 0 promises may be in a circle, 0 items of work look for circles, the mark of that is there: true")},
	{"a promise in a circle without the mark", put("circle.kp1", nil, "I11: 1 promises may be in a circle")},

	// Subclusters and host calls.
	{"a member that does not know it", turn[vatRow]("v.", "KEY", func(_ *Soil, _ string, v *vatRow) bool { v.sub = "s999"; return true })},
	{"a subcluster that is gone", lose("u.", "KEY", nil)},
	{"a root that is another", turn[subcluster]("u.", "I8: subcluster KEY: its root is ko2", func(_ *Soil, _ string, s *subcluster) bool { s.root = "ko2"; return s.state == SubRunning })},
	{"vats that are left to be removed", put("left.s1", bigEndian(7), "I")},
	{"vats that have not started, of no subcluster", put("unstarted.s999", bigEndian(7), `I20: row "unstarted.s999" is of s999, which is no subcluster`)},
	{"a result of no subcluster", move("b.", "result.s999", "I8: there is a result of s999, which does not exist")},
	{"a result that is lost", lose("result.", "I8: KEY has its result in a row of its own: false, it says true", nil)},
	{"a ticket without its promise", turn[ticket]("t.", "I9: ticket KEY waits for kp999999, which does not know it", func(_ *Soil, _ string, tk *ticket) bool {
		tk.promise = "kp999999"
		return tk.state == ticketPending
	})},
	{"a promise without its ticket", lose("t.", "I10: ", func(s *Soil, rest string, b []byte) bool {
		var tk ticket
		s.d.t.codec.decode("t."+rest, b, tk.fields)
		return tk.isElsewhere() || len(tk.value.Slots) > 0
	})},
	{"an answer that would never expire", func(s *Soil) ([]storage.Write, string) {
		rest, _, found := s.find("e.", nil)
		_, id, _ := strings.Cut(rest, ".")
		return []storage.Write{{Key: "e." + rest}}, map[bool]string{true: "I9: ticket " + id + " is 0 times in the expiry index, want 1"}[found]
	}},
	{"an answer that expires, and is not there", put("e.9999999999999.E1.none", nil, "I9: the expiry index has ticket E1.none, which does not exist")},
	{"an answer below what has expired", both(
		func(s *Soil) ([]storage.Write, string) {
			_, _, found := s.find("e.", nil)
			return map[bool][]storage.Write{true: {}}[found], ""
		},
		put("expired", []byte("e.9999999999999.Z"), "I17: a host call is in the expiry index at "),
	)},
	{"a name of no system subcluster", put("g.spare", []byte("s999"), "I15: the system subcluster spare is s999, which is not there under that name")},
	{"a subcluster that is to be launched again, without a configuration", put("reload.s999", nil, "I17: the index says that s999 is to be launched again, which has no configuration")},
	{"a configuration of no subcluster", func(s *Soil) ([]storage.Write, string) {
		c := config{config: []byte("{}")}
		return []storage.Write{{Key: "h.s999", Value: s.d.t.codec.encode(c.fields)}}, "I15: there is a configuration of s999, which is gone"
	}},
	{"a configuration that is to be launched again, and is not listed", func(s *Soil) ([]storage.Write, string) {
		c := config{config: []byte("{}"), reload: true}
		return []storage.Write{{Key: "h.s999", Value: s.d.t.codec.encode(c.fields)}}, "I17: s999 is to be launched again: true, the index says false"
	}},

	// Service objects.
	{"a service object without its object", turn[object]("o.", "I15: KEY is a service and no object of the kernel", func(s *Soil, k string, o *object) bool {
		_, _, is := s.find("k."+k, nil)
		o.service = false
		return is
	})},
	{"a service object of no subcluster", turn[service]("k.", "I15: KEY is of the subcluster s999, which does not exist", func(_ *Soil, _ string, s *service) bool { s.sub = "s999"; return true })},
	{"a service object that is lost", lose("k.", "KEY", nil)},
	{"a service object that its index lacks", lose("l.", "whose index does not know it", nil)},
	{"a service object in the index of another", put("l.s999.ko2", nil, "I15: l.s999.ko2 is of no service object")},
	{"a name of a service object that leads elsewhere", lose("n.", "is named ", nil)},
	{"a name of no service object", put("n.spare", []byte("ko2"), "I15: the name spare is that of ko2, which is no service object")},
	{"a call that waits and is lost", turn[service]("k.", "items wait for KEY, its counters say ", func(_ *Soil, _ string, s *service) bool { s.tail++; return true })},
	{"a call that waits for no service object", func(s *Soil) ([]storage.Write, string) {
		it := item{}
		return []storage.Write{{Key: "i.ko2.0", Value: s.d.t.codec.encode(it.fields)}}, "I15: i.ko2.0 is of no service object"
	}},
	{"a call that is begun and lost", lose("a.", "calls of ID are begun", nil)},
	{"a call that no service object has begun", move("a.", "a.ko2.0", "I15: a.ko2.0 is of no service object")},
	{"a call that is begun and settled", func(s *Soil) ([]storage.Write, string) {
		k, _, found := s.find("p.", func(k string, _ []byte) bool { return s.promise(KRef(k)).state != unresolved })
		if !found {
			return nil, ""
		}
		return turn[serviceCall]("a.", "is begun, its result "+k+" is settled", func(_ *Soil, _ string, c *serviceCall) bool {
			was := c.msg.result
			c.msg.result = KRef(k)
			return was != ""
		})(s)
	}},
	{"a unit that goes back and is lost", lose("j.", "units go back to ID, its counter says", nil)},
	{"a unit of no service object", put("j.ko2.c61.00000000000000000001", nil, "I15: j.ko2.c61.00000000000000000001 is of no service object")},
	{"bytes of a service object's queue", turn[service]("k.", "I17: KEY holds", func(_ *Soil, _ string, s *service) bool { s.queuedBytes += 1 << 20; return true })},
	{"a count of service objects", turn[subcluster]("u.", "I15: KEY has", func(_ *Soil, _ string, s *subcluster) bool { s.services++; return true })},
	{"a question that its index lacks", lose("f.", "and the index does not know it", nil)},
	{"a question that nobody asks", put("f.v1.kp999999", nil, "I16: f.v1.kp999999 is of no promise that was asked for")},

	// The kernel's own work.
	{"work that is lost", lose("w.", "I2: the kernel's work has", nil)},
	{"work beyond its end", func(s *Soil) ([]storage.Write, string) {
		w := work{kind: workForget, vat: "v1", span: 99}
		return []storage.Write{{Key: "w.999999", Value: s.d.t.codec.encode(w.fields)}}, "I2: w.999999 is not among the items of the kernel's work"
	}},
	{"a search that nothing goes on with", func(s *Soil) ([]storage.Write, string) {
		if s.searches() {
			return nil, ""
		}
		x := search{}
		return []storage.Write{{Key: keySearch, Value: s.d.t.codec.encode(x.fields)}}, "I18: there is a search for stranded promises, and no work that goes on with it"
	}},
	{"a suspect of no search", func(s *Soil) ([]storage.Write, string) {
		if s.searches() {
			return nil, ""
		}
		return []storage.Write{{Key: "suspect.kp1", Value: []byte{}}}, "I18: kp1 is said to be stranded perhaps, and no search goes on"
	}},
	{"a suspect that is no promise", put("suspect.x", nil, `I20: row "suspect.x" is of something that is neither an object nor a promise`)},
}
