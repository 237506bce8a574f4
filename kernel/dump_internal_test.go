package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// Dump renders a stored state for transcripts, one line for each vat, c-list, object, promise, ticket
// and so on, each beginning with its name.
func Dump(r storage.Reader) []string {
	d := newDumper(r)
	d.name = func(k KRef) string { return string(k) }
	return d.lines(false)
}

// Learn gives names to krefs that have none yet: a name that does not depend on the order in which krefs are allocated,
// such as "v1/o+3" for the object that v1 introduced as o+3.
func Learn(r storage.Reader, names map[KRef]string) {
	d := newDumper(r)
	d.each("c.", func(rest string, b []byte) {
		v, ref, _ := strings.Cut(rest, ".")
		if ref[0] != 'k' && ref[1] == '+' && names[KRef(b)] == "" {
			names[KRef(b)] = v + "/" + ref
		}
	})
	d.each("p.", func(rest string, b []byte) {
		var p promise
		d.t.codec.decode("p."+rest, b, p.fields)
		if names[KRef(rest)] == "" && p.ticket != "" {
			names[KRef(rest)] = "call/" + p.ticket
		}
		if names[KRef(rest)] == "" && p.launch != "" {
			names[KRef(rest)] = "bootstrap/" + string(p.launch)
		}
	})
}

// Project renders a stored state so that two states which differ only in the numbers that the kernel allocated, and in
// its counters, are rendered alike.
func Project(r storage.Reader, names map[KRef]string) []string {
	d := newDumper(r)
	d.name = func(k KRef) string {
		if n := names[k]; n != "" {
			return n
		}
		return "unknown " + string(k)
	}
	return d.lines(true)
}

// Named returns the krefs of the names in a crank in flight.
func Named(c *Crank) map[wire.Ref]KRef {
	names := map[wire.Ref]KRef{}
	for _, n := range c.names {
		names[n.ref] = n.kref
	}
	return names
}

type dumper struct {
	t    *tx
	name func(KRef) string
}

func newDumper(r storage.Reader) *dumper {
	return &dumper{t: NewView(r).begin(0)}
}

func (d *dumper) each(prefix string, f func(rest string, value []byte)) {
	for after := ""; ; {
		key, value := d.t.next(prefix, after)
		if key == "" {
			return
		}
		after = key
		f(key[len(prefix):], value)
	}
}

// ids lists the rest of the keys behind a prefix, in the order of their numbers.
func (d *dumper) ids(prefix string) []string {
	var ids []string
	d.each(prefix, func(rest string, _ []byte) { ids = append(ids, rest) })
	slices.SortStableFunc(ids, func(a, b string) int {
		na, _ := strconv.Atoi(strings.TrimLeft(a, "kopvs"))
		nb, _ := strconv.Atoi(strings.TrimLeft(b, "kopvs"))
		return na - nb
	})
	return ids
}

func (d *dumper) list(ks []KRef) string {
	var out []string
	for _, k := range ks {
		out = append(out, d.name(k))
	}
	return strings.Join(out, " ")
}

func (d *dumper) data(v Data) string {
	if capdata.LoneSlot(v.Body, len(v.Slots)) {
		return d.name(v.Slots[0])
	}
	body := strings.TrimPrefix(v.Body, "#")
	if value, err := capdata.Decode(v.Body, MaxSlots); err == nil {
		if e, ok := value.(*capdata.Error); ok {
			body = "error " + e.Message
			if code, _, ok := capdata.ParseKernelError(e); ok {
				body = "error " + string(code)
			}
		}
	}
	if len(body) > 80 {
		body = body[:80] + "…"
	}
	if len(v.Slots) > 0 {
		body += " (" + d.list(v.Slots) + ")"
	}
	return body
}

func (d *dumper) message(m message) string {
	s := d.name(m.target) + "." + Method(m.methArgs.Body) + "(" + d.list(m.methArgs.Slots) + ")"
	if m.result != "" {
		s += "->" + d.name(m.result)
	}
	return s
}

// Method is the name of the method in the body of a call.
func Method(body string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(body, `#["`), `"`)
	return name
}

func (d *dumper) lines(canonical bool) (out []string) {
	add := func(format string, args ...any) {
		out = append(out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
	for _, id := range d.ids("u.") {
		s := d.t.sub(SubID(id))
		add("%s %s result %s", id, s.state, d.data(d.t.resultOf(s)))
	}
	for _, id := range d.ids("r.") {
		d.vat(VatID(id), canonical, add)
	}
	var rest []string
	for _, id := range d.ids("o.") {
		o := d.t.objects.look(d.t, KRef(id))
		s := fmt.Sprintf("%s owner %q counts %d,%d", d.name(KRef(id)), o.owner, o.reachable, o.recognizable)
		if o.service {
			s = fmt.Sprintf("%s of the kernel, counts %d,%d", d.name(KRef(id)), o.reachable, o.recognizable)
		}
		if o.revoked {
			s += " revoked"
		}
		rest = append(rest, s)
	}
	for _, id := range d.ids("p.") {
		k := KRef(id)
		p := d.t.promises.look(d.t, k)
		s := fmt.Sprintf("%s %s count %d", d.name(k), p.state, p.refs)
		if p.decider != "" {
			s += " decider " + string(p.decider)
		}
		if len(p.subscribers) > 0 {
			subs := slices.Clone(p.subscribers)
			if canonical {
				slices.Sort(subs)
			}
			s += fmt.Sprint(" subscribers ", subs)
		}
		if len(p.watched) > 0 {
			s += fmt.Sprint(" watched by ", p.watched)
		}
		if a := p.tie; a.vat != "" {
			s += fmt.Sprintf(" asked of %s by %s", d.name(a.call.Service), a.vat)
			if a.unit != "" {
				s += fmt.Sprintf(" (unit %d, told %v)", a.call.N, p.told)
			}
		}
		for n := p.head; n != p.tail; n++ {
			b, _ := d.t.get(keyParked(k, n))
			var m message
			d.t.codec.decode("", b, m.fields)
			s += " parked " + d.message(m)
		}
		if p.state != unresolved {
			s += " " + d.data(d.t.value(p))
		}
		rest = append(rest, s)
	}
	if canonical {
		slices.Sort(rest)
	}
	out = append(out, rest...)
	for _, id := range d.ids("k.") {
		d.service(KRef(id), add)
	}
	d.each("g.", func(name string, b []byte) { add("system %s is %s", name, b) })
	d.each("h.", func(id string, b []byte) {
		var c config
		d.t.codec.decode("", b, c.fields)
		if c.reload {
			add("reload %s %s", id, c.system)
		}
	})
	d.each("t.", func(id string, b []byte) {
		var tk ticket
		d.t.codec.decode("", b, tk.fields)
		add("%s %s %s", id, [...]string{"pending", "fulfilled", "rejected", "acknowledged"}[tk.state], d.data(d.t.stateOf(&tk).Value))
	})
	d.each("x.", func(id string, b []byte) {
		var p poisoned
		d.t.codec.decode("", b, p.fields)
		v, n, _ := strings.Cut(id, ".")
		if canonical {
			n = ""
		}
		add("poisoned %s %s %s %s after %d", v, n, d.message(p.msg), p.code, p.attempts)
	})
	head, tail := d.t.workRange()
	for ; head != tail; head++ {
		b, _ := d.t.get(keyWorkItem(head))
		var w work
		d.t.codec.decode("", b, w.fields)
		add("work %s %s%s", [...]string{"tell", "drain", "free", "forget", "remove vat", "end services", "end service", "begin", "loose", "stranded", "retire", "sweep", "circles"}[w.kind], d.list(slices.DeleteFunc([]KRef{w.promise}, func(k KRef) bool { return k == "" })), w.vat)
	}
	return out
}

func (d *dumper) service(k KRef, add func(string, ...any)) {
	s := d.t.services.look(d.t, k)
	var queue, calls, units []string
	for n := s.head; n != s.tail; n++ {
		b, _ := d.t.get(keyServiceItem(k, n))
		var it item
		d.t.codec.decode("", b, it.fields)
		if it.kind == itemDrain {
			queue = append(queue, "drain "+d.name(it.promise))
		} else {
			queue = append(queue, d.message(it.msg))
		}
	}
	for _, id := range d.ids(prefixServiceCalls(k)) {
		b, _ := d.t.get(prefixServiceCalls(k) + id)
		var c serviceCall
		d.t.codec.decode("", b, c.fields)
		calls = append(calls, id+": "+d.message(c.msg))
	}
	d.each(prefixUnits(k), func(id string, b []byte) {
		var u unit
		d.t.codec.decode("", b, u.fields)
		units = append(units, u.class+" "+d.data(u.value))
	})
	line := fmt.Sprintf("%s is the %s", d.name(k), strings.TrimSpace(s.kind+" "+s.name))
	for _, what := range []struct {
		name string
		list []string
	}{{"calls", calls}, {"queue", queue}, {"units", units}} {
		if len(what.list) > 0 {
			line += fmt.Sprintf(" %s [%s]", what.name, strings.Join(what.list, "; "))
		}
	}
	if s.state != nil {
		line += fmt.Sprintf(" state %s", s.state)
	}
	if s.ended {
		line += " ended"
	}
	add("%s", line)
}

func (d *dumper) vat(v VatID, canonical bool, add func(string, ...any)) {
	u := d.t.lookRun(v)
	var items []string
	for n := u.queue.head; n != u.queue.tail; n++ {
		it, found := d.t.itemAt(v, n)
		if !found {
			continue // taken out of turn
		}
		switch it.kind {
		case itemStart:
			items = append(items, "start")
		case itemNotify:
			items = append(items, "notify "+d.name(it.promise))
		case itemDrain:
			items = append(items, "drain "+d.name(it.promise))
		default:
			items = append(items, d.message(it.msg))
		}
	}
	phase := [...]string{"live", "stopped", "dead"}[u.phase]
	if canonical {
		add("%s %s queue %d/%d [%s]", v, phase, u.queue.messages, len(items), strings.Join(items, "; "))
	} else {
		add("%s %s incarnation %d (dead %d) deaths %d attempts %d kills %d queue %d/%d [%s]", v, phase, u.memory.inc, u.memory.deadInc,
			u.deaths, u.charged.attempts, u.charged.kills, u.queue.messages, len(items), strings.Join(items, "; "))
	}
	var listed []string
	for n := u.looks.head; n != u.looks.tail; n++ {
		listed = append(listed, d.name(d.t.listed(v, n)))
	}
	if canonical {
		slices.Sort(listed)
	}
	if len(listed) > 0 {
		add("%s is to be told of %s", v, strings.Join(listed, " "))
	}
	names := map[string]string{}
	d.each(prefixCList(v)+"k", func(rest string, b []byte) {
		ref := wire.Ref(b[1:])
		s := d.name(KRef("k" + rest))
		if b[0] != 'r' {
			s = "_" + s
		}
		// The names that the kernel allocated depend on the order of things.
		if !canonical || isExport(ref) {
			s += "=" + string(ref)
		}
		names[string(ref[:2])+fmt.Sprintf("%20s", ref[2:])+s] = s
	})
	var entries []string
	for _, k := range slices.Sorted(maps.Keys(names)) {
		entries = append(entries, names[k])
	}
	if canonical {
		slices.Sort(entries)
	}
	add("%s c-list %s", v, strings.Join(entries, " "))
	d.each(keyStore(v, ""), func(key string, b []byte) { add("%s store %s=%.60s", v, key, b) })
}
