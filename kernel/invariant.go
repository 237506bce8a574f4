package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// Check reads a whole state and returns its problems: one line for each row that cannot be read, then one for each
// violation, some of which may follow from such rows. It returns none if the state is good. There are 100 lines at
// most, and one that says how many more there are. docs/invariants.md numbers the invariants. Check is for tests and
// for an operator with a stopped store: it reads everything.
func Check(r storage.Reader) (problems []string, err error) {
	defer caught(&err)
	c := &checker{
		t: NewView(r).begin(0), reach: map[KRef]uint64{},
		recog: map[KRef]uint64{}, objects: map[KRef]object{}, promises: map[KRef]promise{},
		vats: map[VatID]vatRow{}, runs: map[VatID]run{}, results: map[KRef]bool{}, unread: map[string]bool{},
	}
	for _, part := range []func(){c.load, c.queues, c.clists, c.others, c.services, c.compare, c.looks, c.spans, c.sizes, c.search, c.back, c.rows, c.damages} {
		c.row(part) // a row that is read in passing, as those of counters are, ends its part
	}
	problems = append(slices.Sorted(maps.Keys(c.unread)), c.problems...)
	if n := len(problems) - maxProblems + c.more; n > 0 {
		problems = append(problems[:min(len(problems), maxProblems):maxProblems], fmt.Sprintf("and %d more", n))
	}
	return problems, nil
}

// maxProblems bounds the problems that Check returns.
const maxProblems = 100

type checker struct {
	t            *tx
	problems     []string
	reach, recog map[KRef]uint64 // promises are counted in recog
	objects      map[KRef]object
	promises     map[KRef]promise
	vats         map[VatID]vatRow
	runs         map[VatID]run
	results      map[KRef]bool   // of messages
	unread       map[string]bool // lines of rows that cannot be read
	more         int             // problems that are not kept
	circles      int             // items of work that break circles
	sweeping     bool            // the objects of an earlier version are being listed
}

func (c *checker) bad(format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more++
		return
	}
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// row calls read, which reads rows, and notes one that cannot be read.
func (c *checker) row(read func()) {
	why := readable(read)
	switch line := fmt.Sprintf("cannot be read: %v", why); {
	case why == nil || c.unread[line]:
	case !errors.Is(why, storage.ErrCorrupt): // the store itself fails
		panic(failure{why})
	case len(c.unread) == maxProblems:
		c.more++ // once for each time that the row is met
	default:
		c.unread[line] = true
	}
}

func (c *checker) damages() {
	for _, d := range c.t.damages() {
		c.bad("I8: %s", d)
	}
}

// scan calls each for the rows with the prefix: rest is the key behind the prefix.
func (c *checker) scan(prefix string, each func(rest string, value []byte)) {
	for rest, value := range c.t.all(prefix, "") {
		c.row(func() { each(rest, value) })
	}
}

func (c *checker) hold(k KRef) {
	c.recog[k]++
	if !k.IsPromise() {
		c.reach[k]++
	}
}

func (c *checker) holdData(d Data) {
	for _, s := range d.Slots {
		c.hold(s)
	}
}

func (c *checker) holdMessage(m message) {
	c.hold(m.target)
	if m.result != "" {
		c.results[m.result] = true
		c.hold(m.result)
	}
	c.holdData(m.methArgs)
}

func (c *checker) load() {
	codec := c.t.codec
	c.scan("o.", func(rest string, b []byte) {
		var o object
		codec.decode("o."+rest, b, o.fields)
		c.objects[KRef(rest)] = o
	})
	c.scan("p.", func(rest string, b []byte) {
		var p promise
		codec.decode("p."+rest, b, p.fields)
		c.promises[KRef(rest)] = p
	})
	c.scan("v.", func(rest string, b []byte) {
		var v vatRow
		codec.decode("v."+rest, b, v.fields)
		c.vats[VatID(rest)] = v
	})
	c.scan("r.", func(rest string, b []byte) {
		var u run
		codec.decode("r."+rest, b, u.fields)
		c.runs[VatID(rest)] = u
		if _, ok := c.vats[VatID(rest)]; !ok {
			c.bad("I1: vat %s runs and does not exist", rest)
		}
	})
}

// queues checks that each counted item exists and no other (I2), and counts the references that items hold.
func (c *checker) queues() {
	codec := c.t.codec
	items := map[string]int{}
	c.scan("q.", func(rest string, b []byte) {
		v, _, _ := strings.Cut(rest, ".")
		items[v]++
		var it item
		codec.decode("q."+rest, b, it.fields)
		switch it.kind {
		case itemMessage:
			c.holdMessage(it.msg)
		case itemNotify, itemDrain:
			c.hold(it.promise)
			if p := c.promises[it.promise]; p.state == unresolved {
				c.bad("I3: q.%s is about %s, which is unresolved", rest, it.promise)
			}
		}
	})
	for v, u := range sorted(c.runs) {
		if uint64(items[string(v)]) != u.queue.items {
			c.bad("I2: the queue of %s has %d items, its counter says %d", v, items[string(v)], u.queue.items)
		}
		delete(items, string(v))
	}
	for v := range sorted(items) {
		c.bad("I2: items are queued for %s, which does not exist", v)
	}
	parked := map[KRef]uint64{}
	c.scan("m.", func(rest string, b []byte) {
		k, _, _ := strings.Cut(rest, ".")
		parked[KRef(k)]++
		var m message
		codec.decode("m."+rest, b, m.fields)
		c.holdMessage(m)
	})
	for k, p := range sorted(c.promises) {
		if parked[k] != p.tail-p.head {
			c.bad("I2: %d messages are parked on %s, its counters say %d", parked[k], k, p.tail-p.head)
		}
		delete(parked, k)
		if p.state != unresolved && p.decider != "" {
			c.bad("I4: %s is settled and has a decider", k)
		}
		if p.awaitsEnd && (p.decider == "" || p.inc != 0) {
			c.bad("I4: %s awaits the end of %q, and is decided by its incarnation %d", k, p.decider, p.inc)
		}
		if p.state != unresolved && p.head != p.tail && !p.drained {
			c.bad("I4: %s is settled and nothing will deliver its messages", k)
		}
		if p.ticket != "" || p.launch != "" {
			c.hold(k)
		}
	}
	values := map[KRef]bool{}
	c.scan("b.", func(rest string, b []byte) {
		values[KRef(rest)] = true
		var a answer
		codec.decode("b."+rest, b, a.fields)
		c.holdData(a.value)
	})
	for k, p := range sorted(c.promises) {
		if values[k] != (p.state != unresolved) {
			c.bad("I4: %s is %s, and has a value: %t", k, p.state, values[k])
		}
		delete(values, k)
	}
	for k := range sorted(values) {
		c.bad("I4: there is a value of %s, which does not exist", k)
	}
	for k := range sorted(parked) {
		c.bad("I2: messages are parked on %s, which does not exist", k)
	}
}

// clists checks that c-lists mirror each other (I5) and that exports belong to their vat (I6).
func (c *checker) clists() {
	c.scan("c.", func(rest string, b []byte) {
		vs, name, _ := strings.Cut(rest, ".")
		v := VatID(vs)
		if name[0] == 'k' && !isEntry(b) {
			c.t.codec.corruptAt("c."+rest, errLength)
		}
		if _, ok := c.vats[v]; !ok {
			c.bad("I5: c.%s is of a vat that does not exist", rest)
			return
		}
		if name[0] != 'k' {
			if back, _, ok := c.t.vref(v, KRef(b)); !ok || string(back) != name {
				c.bad("I5: %s of %s is %s, which is %q", name, v, b, back)
			}
			return
		}
		k, ref, reachable := KRef(name), wire.Ref(b[1:]), b[0] == 'r'
		if back, ok := c.t.kref(v, ref); !ok || back != k {
			c.bad("I5: %s of %s is %s, which is %q", k, v, ref, back)
		}
		switch {
		case k.IsPromise():
			c.recog[k]++
		case isExport(ref):
			if o := c.objects[k]; o.owner != v {
				c.bad("I6: %s exports %s, whose owner is %q", v, k, o.owner)
			}
		default:
			c.recog[k]++
			if reachable {
				c.reach[k]++
			}
		}
	})
	for k, o := range sorted(c.objects) {
		if o.owner == "" {
			continue
		}
		if _, ok := c.t.get(keyCListK(o.owner, k)); !ok {
			c.bad("I6: %s is owned by %s, which has no name for it", k, o.owner)
		}
	}
}

// others counts the holders that are no queue, value or c-list.
func (c *checker) others() {
	codec := c.t.codec
	for v, row := range sorted(c.vats) {
		if u, ok := c.runs[v]; !ok {
			c.bad("I1: vat %s does not run", v)
		} else if u.phase != dead {
			c.hold(row.root)
		}
	}
	deciders := map[KRef]VatID{}
	c.scan("d.", func(rest string, _ []byte) {
		v, k, _ := strings.Cut(rest, ".")
		deciders[KRef(k)] = VatID(v)
	})
	for k, p := range sorted(c.promises) {
		if deciders[k] != p.decider {
			c.bad("I7: %s is decided by %q, the index says %q", k, p.decider, deciders[k])
		}
		delete(deciders, k)
	}
	for k := range sorted(deciders) {
		c.bad("I7: the index knows a decider of %s, which does not exist", k)
	}
	c.scan("exit.", func(rest string, b []byte) {
		var e exit
		codec.decode("exit."+rest, b, e.fields)
		c.holdData(e.value)
		if c.runs[VatID(rest)].phase != dead {
			c.bad("I7: how %s has ended is known, and it has not", rest)
		}
	})
	c.scan("u.", func(rest string, b []byte) {
		var s subcluster
		codec.decode("u."+rest, b, s.fields)
		if !s.apart {
			c.holdData(s.result)
		}
		if _, ok := c.t.get(keyResult(SubID(rest))); ok != s.apart || s.apart && !s.settled {
			c.bad("I8: %s has its result in a row of its own: %t, it says %t", rest, ok, s.apart)
		}
		left, counted := c.t.uintRow(keyLeft(SubID(rest)))
		there := uint64(0)
		for _, m := range s.members {
			row, ok := c.vats[m.vat]
			if ok {
				there++
			}
			if row.sub != SubID(rest) && (ok || !counted) {
				c.bad("I8: %s is in %s and does not know it", m.vat, rest)
			}
		}
		if counted && (left != there || !s.state.Leaving()) {
			c.bad("I8: %s is %s and has %d vats, its counter says that %d are to be removed", rest, s.state, there, left)
		}
	})
	c.scan("result.", func(rest string, b []byte) {
		var a answer
		codec.decode("result."+rest, b, a.fields)
		c.holdData(a.value)
		if c.t.sub(SubID(rest)) == nil {
			c.bad("I8: there is a result of %s, which does not exist", rest)
		}
	})
	c.scan("t.", func(rest string, b []byte) {
		var tk ticket
		codec.decode("t."+rest, b, tk.fields)
		c.holdData(tk.value)
		if tk.isElsewhere() {
			c.hold(tk.promise)
		}
		if tk.state == ticketPending && c.promises[tk.promise].ticket != rest {
			c.bad("I9: ticket %s waits for %s, which does not know it", rest, tk.promise)
		}
	})
	c.scan("x.", func(rest string, b []byte) {
		var p poisoned
		codec.decode("x."+rest, b, p.fields)
		c.holdMessage(p.msg)
	})
	c.scan("w.", func(rest string, b []byte) {
		var w work
		codec.decode("w."+rest, b, w.fields)
		if w.promise != "" && w.kind != workRetire {
			c.hold(w.promise)
		}
		if w.kind == workCircles {
			c.circles++
		}
		c.sweeping = c.sweeping || w.kind == workSweep
	})
	suspects := 0
	c.scan(prefixCircle, func(string, []byte) { suspects++ })
	if marked := c.t.has(keyCircles); c.circles > 1 || marked != (c.circles == 1) || suspects > 0 && !marked {
		c.bad("I11: %d promises may be in a circle, %d items of work look for circles, the mark of that is there: %t", suspects, c.circles, marked)
	}
}

// spans checks that a vat's counts of the things that keep it from quiescence are right (I13), and that its transcript
// is whole (I14).
func (c *checker) spans() {
	decides, ephemerals, decided := map[VatID]uint64{}, map[VatID]uint64{}, map[VatID]uint64{}
	for _, p := range sorted(c.promises) {
		decided[p.decider]++
		if p.decider != "" && p.inc > c.runs[p.decider].memory.deadInc {
			decides[p.decider]++
		}
	}
	for _, o := range sorted(c.objects) {
		if o.owner != "" && o.inc > c.runs[o.owner].memory.deadInc && o.reachable > 0 {
			ephemerals[o.owner]++
		}
	}
	for v, u := range sorted(c.runs) {
		if u.decided > decided[v] {
			c.bad("I13: %s counts %d promises that it or its end decides, there are %d", v, u.decided, decided[v])
		}
		if u.phase == dead {
			continue
		}
		if u.memory.decides != decides[v] || u.memory.ephemerals != ephemerals[v] {
			c.bad("I13: %s counts %d promises and %d objects in memory, there are %d and %d", v, u.memory.decides, u.memory.ephemerals, decides[v], ephemerals[v])
		}
		n := uint64(0)
		c.scan(prefixRecord(v, u.span.number), func(string, []byte) { n++ })
		if n != u.span.records {
			c.bad("I14: the transcript of %s has %d records, its counter says %d", v, n, u.span.records)
		}
		c.transcript(v, u)
	}
}

// transcript decodes the rows from which a vat's memory is made again, as a replay would (I14). Each bad row is a
// problem of its own: it costs that vat its memory.
func (c *checker) transcript(v VatID, u run) {
	for n := range u.span.records {
		// That a record is missing was counted.
		if _, found := c.t.get(keyRecord(v, u.span.number, n)); found {
			if err := readable(func() { c.t.transcriptRecord(v, u.span.number, n) }); err != nil {
				c.bad("I14: the memory of %s cannot be made again: %v", v, err)
			}
		}
	}
	past := &pastStore{base: c.t.base}
	prefix := prefixFormer(v, u.span.number)
	c.scan(prefix, func(rest string, b []byte) {
		if err := readable(func() { past.existed(prefix+rest, b) }); err != nil {
			c.bad("I14: the memory of %s cannot be made again: %v", v, err)
		}
	})
}

// services checks that the counters of service objects are right and their indexes whole (I15), and that each promise
// tells the truth about the call whose result it is (I16). It counts the references that service objects and their
// calls hold.
func (c *checker) services() {
	codec := c.t.codec
	count := func(prefix string, each func(rest string, b []byte)) (n uint64) {
		c.scan(prefix, func(rest string, b []byte) { n++; each(rest, b) })
		return n
	}
	of := map[SubID]uint64{}
	services := map[KRef]service{}
	c.scan("k.", func(rest string, b []byte) {
		var s service
		codec.decode("k."+rest, b, s.fields)
		services[KRef(rest)] = s
	})
	for k, s := range sorted(services) {
		c.hold(k)
		for _, h := range s.holds {
			c.hold(h)
		}
		of[s.sub]++
		if s.sub != "" && !c.t.has(keySub(s.sub)) {
			c.bad("I15: %s is of the subcluster %s, which does not exist", k, s.sub)
		}
		if o, ok := c.objects[k]; !ok || !o.service || o.owner != "" {
			c.bad("I15: %s is a service and no object of the kernel", k)
		}
		if _, ok := c.t.get(keyServiceOf(s.sub, k)); !ok {
			c.bad("I15: %s is of %q, whose index does not know it", k, s.sub)
		}
		if b, _ := c.t.get(keyServiceName(s.name)); s.name != "" && !s.ended && KRef(b) != k {
			c.bad("I15: %s is named %q, which is %q", k, s.name, b)
		}
		if n := count("i."+string(k)+".", func(rest string, b []byte) {
			var it item
			codec.decode("i."+string(k)+"."+rest, b, it.fields)
			if it.kind == itemDrain {
				c.hold(it.promise)
			} else {
				c.holdMessage(it.msg)
			}
		}); n != s.tail-s.head {
			c.bad("I15: %d items wait for %s, its counters say %d", n, k, s.tail-s.head)
		}
		bytes := uint64(0)
		if n := count(prefixServiceCalls(k), func(rest string, b []byte) {
			var call serviceCall
			codec.decode(prefixServiceCalls(k)+rest, b, call.fields)
			bytes += uint64(len(call.msg.methArgs.Body))
			c.holdMessage(call.msg)
			if r := call.msg.result; r != "" && c.promises[r].state != unresolved {
				c.bad("I16: call %s of %s is begun, its result %s is settled", rest, k, r)
			}
		}); n != s.calls || bytes != s.callBytes {
			c.bad("I15: %d calls of %s are begun, with %d bytes, its counters say %d and %d", n, k, bytes, s.calls, s.callBytes)
		}
		if n := count(prefixUnits(k), func(rest string, b []byte) {
			var u unit
			codec.decode(prefixUnits(k)+rest, b, u.fields)
			if key := prefixUnits(k) + rest; key != keyUnit(k, u.class, unitNumber(key)) && len(rest) != unitDigits {
				c.bad("I15: %s is a unit of class %q", key, u.class)
			}
			c.holdData(u.value)
		}); n != s.units {
			c.bad("I15: %d units go back to %s, its counter says %d", n, k, s.units)
		}
	}
	c.scan("l.", func(rest string, _ []byte) {
		sub, k, _ := strings.Cut(rest, ".")
		if s, ok := services[KRef(k)]; !ok || s.sub != SubID(sub) {
			c.bad("I15: l.%s is of no service object", rest)
		}
	})
	for _, prefix := range []string{"i.", "a.", "j."} {
		c.scan(prefix, func(rest string, b []byte) {
			k, _, _ := strings.Cut(rest, ".")
			if _, ok := services[KRef(k)]; ok {
				return // its row was read already
			}
			c.bad("I15: %s%s is of no service object", prefix, rest)
			switch prefix {
			case "i.":
				codec.decode(prefix+rest, b, new(item).fields)
			case "a.":
				codec.decode(prefix+rest, b, new(serviceCall).fields)
			default:
				codec.decode(prefix+rest, b, new(unit).fields)
			}
		})
	}
	c.scan("g.", func(name string, b []byte) {
		if sub := c.t.sub(SubID(b)); sub == nil || sub.system != name || sub.state > SubRunning {
			c.bad("I15: the system subcluster %s is %s, which is not there under that name", name, b)
		}
	})
	c.scan("n.", func(rest string, b []byte) {
		if _, ok := services[KRef(b)]; !ok {
			c.bad("I15: the name %s is that of %s, which is no service object", rest, b)
		}
	})
	c.scan("u.", func(rest string, b []byte) {
		var s subcluster
		codec.decode("u."+rest, b, s.fields)
		if n := of[SubID(rest)]; n != s.services {
			c.bad("I15: %s has %d service objects, its counter says %d", rest, n, s.services)
		}
		if !c.t.has(keyConfig(SubID(rest))) && s.state <= SubRunning {
			c.bad("I15: %s has no configuration: row h.%s is missing", rest, rest)
		}
		if b, _ := c.t.get(keySystem(s.system)); s.system != "" && s.state <= SubRunning && SubID(b) != SubID(rest) {
			c.bad("I15: %s is the system subcluster %s, which is %q", rest, s.system, b)
		}
	})
	c.scan("h.", func(rest string, b []byte) {
		var cfg config
		codec.decode("h."+rest, b, cfg.fields)
		if _, ok := c.t.get(keySub(SubID(rest))); !ok && !cfg.reload {
			c.bad("I15: there is a configuration of %s, which is gone", rest)
		}
	})
	asked := map[string]bool{}
	c.scan("f.", func(rest string, _ []byte) { asked[rest] = true })
	for k, p := range sorted(c.promises) {
		if p.tie.vat == "" {
			continue
		}
		rest := string(p.tie.vat) + "." + string(k)
		if !asked[rest] {
			c.bad("I16: %s asked for %s, and the index does not know it", p.tie.vat, k)
		}
		delete(asked, rest)
		if p.state != unresolved && p.tie.unit == "" {
			c.bad("I16: %s is settled, is no unit, and says that it was asked for", k)
		}
	}
	for rest := range sorted(asked) {
		c.bad("I16: f.%s is of no promise that was asked for", rest)
	}
}

// compare checks that every stored count is the sum over its holders (I10).
func (c *checker) compare() {
	for k, o := range sorted(c.objects) {
		if o.reachable != c.reach[k] || o.recognizable != c.recog[k] {
			c.bad("I10: %s counts %d,%d, its holders are %d,%d", k, o.reachable, o.recognizable, c.reach[k], c.recog[k])
		}
		if o.owner == "" && o.recognizable == 0 {
			c.bad("I11: %s is orphaned, without holders, and still there", k)
		}
		delete(c.recog, k)
	}
	for k, p := range sorted(c.promises) {
		if p.refs != c.recog[k] {
			c.bad("I10: %s counts %d, its holders are %d", k, p.refs, c.recog[k])
		}
		if p.refs == 0 {
			c.bad("I11: %s is without holders and still there", k)
		}
		delete(c.recog, k)
	}
	for k := range sorted(c.recog) {
		c.bad("I12: %s is held and does not exist", k)
	}
}

// sorted yields a map in the order of its keys.
func sorted[K ~string, V any](m map[K]V) func(func(K, V) bool) {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
