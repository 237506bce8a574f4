package kernel

import (
	"fmt"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/storage"
)

// CheckMore checks counters and back references that Check does not: wrong ones make no state unsound by themselves,
// but do in time. It returns one line for each violation.
func CheckMore(r storage.Reader) (problems []string) {
	d := newDumper(r)
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	codec := d.t.codec
	messages, stands, told := map[string]uint64{}, map[KRef]int{}, map[string]bool{}
	bytes := map[string]uint64{}
	d.each("q.", func(rest string, b []byte) {
		v, _, _ := strings.Cut(rest, ".")
		var it item
		codec.decode("q."+rest, b, it.fields)
		switch it.kind {
		case itemMessage:
			messages[v]++
			bytes[v] += it.msg.size()
		case itemNotify:
			if is := v + " " + string(it.promise); told[is] {
				bad("two notifications of %s are in the queue of %s", it.promise, v)
			} else {
				told[is] = true
			}
		case itemDrain:
			stands[it.promise]++
		}
	})
	d.each("i.", func(rest string, b []byte) {
		var it item
		codec.decode("i."+rest, b, it.fields)
		if it.kind == itemDrain {
			stands[it.promise]++
		} else {
			k, _, _ := strings.Cut(rest, ".")
			bytes[k] += it.msg.size()
		}
	})
	d.each("k.", func(k string, b []byte) {
		var s service
		codec.decode("k."+k, b, s.fields)
		if s.queuedBytes != bytes[k] {
			bad("%s counts %d bytes that wait, there are %d", k, s.queuedBytes, bytes[k])
		}
	})
	items := uint64(0)
	d.each("w.", func(rest string, b []byte) {
		var w work
		codec.decode("w."+rest, b, w.fields)
		items++
		if w.kind == workDrain {
			stands[w.promise]++
		}
	})
	if head, tail := d.t.workRange(); tail-head != items {
		bad("the kernel's work has %d items, its counters say %d", items, tail-head)
	}
	poisonedRows := map[string]uint64{}
	d.each("x.", func(rest string, b []byte) {
		v, _, _ := strings.Cut(rest, ".")
		poisonedRows[v]++
		var p poisoned
		codec.decode("x."+rest, b, p.fields)
		bytes["x "+v] += p.msg.size()
	})
	d.each("r.", func(v string, b []byte) {
		var u run
		codec.decode("r."+v, b, u.fields)
		if u.phase != dead && u.queue.messages != messages[v] {
			bad("%s counts %d messages, there are %d", v, u.queue.messages, messages[v])
		}
		if u.phase != dead && (u.queue.bytes != bytes[v] || u.poisoned.bytes != bytes["x "+v]) {
			bad("%s counts %d and %d bytes of messages and poisoned ones, there are %d and %d", v, u.queue.bytes, u.poisoned.bytes, bytes[v], bytes["x "+v])
		}
		if u.phase != dead && u.poisoned.messages != poisonedRows[v] {
			bad("%s counts %d poisoned messages, there are %d", v, u.poisoned.messages, poisonedRows[v])
		}
		if u.phase == stopped && u.memory.inc != u.memory.deadInc {
			bad("%s is stopped and has a live incarnation", v)
		}
	})
	waits := map[KRef]KRef{}
	d.each("m.", func(rest string, b []byte) {
		k, _, _ := strings.Cut(rest, ".")
		var m message
		codec.decode("m."+rest, b, m.fields)
		bytes[k] += m.size()
		if m.result != "" {
			waits[m.result] = KRef(k)
			if m.target != KRef(k) {
				bad("a message to %s is parked on %s", m.target, k)
			}
		}
	})
	d.each("p.", func(rest string, b []byte) {
		var p promise
		k := KRef(rest)
		codec.decode("p."+rest, b, p.fields)
		if p.waitsFor != waits[k] {
			bad("%s waits for %q, the message whose result it is is parked on %q", k, p.waitsFor, waits[k])
		}
		if p.parkedBytes != bytes[rest] {
			bad("%s counts %d bytes that are parked, there are %d", k, p.parkedBytes, bytes[rest])
		}
		for _, v := range p.told {
			is := string(v) + " " + rest
			if !told[is] {
				if u := d.t.lookRun(v); u != nil && u.phase != dead {
					bad("%s says that %s is told, and no notification is queued", k, v)
				}
			}
			delete(told, is)
		}
		want := 0
		if p.state != unresolved && p.head != p.tail {
			want = 1
		}
		if stands[k] != want {
			bad("%d items stand for the messages parked on %s, want %d", stands[k], k, want)
		}
		if p.state == fulfilled {
			if v := d.t.value(&p); capdata.LoneSlot(v.Body, len(v.Slots)) && v.Slots[0].IsPromise() {
				bad("%s is fulfilled with a promise", k)
			}
		}
	})
	for is := range told {
		bad("a notification is queued of which the promise does not know: %s", is)
	}
	expiries := map[string]int{}
	d.each("e.", func(rest string, _ []byte) { expiries[rest[14:]]++ })
	d.each("t.", func(id string, b []byte) {
		var tk ticket
		codec.decode("t."+id, b, tk.fields)
		want := 1
		if tk.state == ticketPending {
			want = 0
		}
		if expiries[id] != want {
			bad("ticket %s is %d times in the expiry index, want %d", id, expiries[id], want)
		}
		delete(expiries, id)
	})
	for id := range expiries {
		bad("the expiry index knows ticket %s, which does not exist", id)
	}
	return problems
}
