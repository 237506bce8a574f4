package kernel

import (
	"strings"

	"ocapkernel.dev/capdata"
)

// back checks references in both directions, and counters that no other check needs: wrong ones make no state unsound at once,
// but do in time. They are of notifications and parked messages (I22), of host calls (I9), and of queues and the kernel's own
// work (I2).
func (c *checker) back() {
	codec := c.t.codec
	messages, stands, told := map[string]uint64{}, map[KRef]int{}, map[string]bool{}
	for _, prefix := range []string{"q.", "i."} {
		c.scan(prefix, func(rest string, b []byte) {
			of, _, _ := strings.Cut(rest, ".")
			var it item
			codec.decode(prefix+rest, b, it.fields)
			switch it.kind {
			case itemMessage:
				messages[of]++
			case itemNotify:
				is := of + " " + string(it.promise)
				if told[is] {
					c.bad("I22: two notifications of %s are in the queue of %s", it.promise, of)
				}
				told[is] = true
			case itemDrain:
				stands[it.promise]++
			}
		})
	}
	items := uint64(0)
	c.scan("w.", func(rest string, b []byte) {
		items++
		var w work
		codec.decode("w."+rest, b, w.fields)
		if w.kind == workDrain {
			stands[w.promise]++
		}
		if head, tail := c.t.workRange(); numberIn(rest) < head || numberIn(rest) >= tail {
			c.bad("I2: w.%s is not among the items of the kernel's work, %d to %d", rest, head, tail)
		}
	})
	if head, tail := c.t.workRange(); tail-head != items {
		c.bad("I2: the kernel's work has %d items, its counters say %d", items, tail-head)
	}
	poisonings := map[string]uint64{}
	c.scan("x.", func(rest string, _ []byte) {
		v, _, _ := strings.Cut(rest, ".")
		poisonings[v]++
	})
	for v, u := range sorted(c.runs) {
		if u.phase == dead {
			continue
		}
		if u.queue.messages != messages[string(v)] {
			c.bad("I2: the queue of %s has %d messages, its counter says %d", v, messages[string(v)], u.queue.messages)
		}
		if u.poisoned.messages != poisonings[string(v)] {
			c.bad("I2: %s has %d poisoned messages, its counter says %d", v, poisonings[string(v)], u.poisoned.messages)
		}
		if u.phase == stopped && u.memory.inc != u.memory.deadInc {
			c.bad("I13: %s is stopped, and its incarnation %d lives", v, u.memory.inc)
		}
	}
	waits := map[KRef]KRef{}
	c.scan("m.", func(rest string, b []byte) {
		k, _, _ := strings.Cut(rest, ".")
		var m message
		codec.decode("m."+rest, b, m.fields)
		if m.result == "" {
			return
		}
		waits[m.result] = KRef(k)
		if m.target != KRef(k) {
			c.bad("I22: m.%s is parked on %s, and is to %s", rest, k, m.target)
		}
	})
	for k, p := range sorted(c.promises) {
		if p.waitsFor != waits[k] {
			c.bad("I22: %s waits for %q, the message whose result it is is parked on %q", k, p.waitsFor, waits[k])
		}
		want := 0
		if p.state != unresolved && p.head != p.tail {
			want = 1
		}
		if stands[k] != want {
			c.bad("I22: %d items stand for the messages parked on %s, want %d", stands[k], k, want)
		}
		delete(stands, k)
		if p.state == fulfilled {
			c.row(func() {
				if d := c.t.value(&p); capdata.LoneSlot(d.Body, len(d.Slots)) && d.Slots[0].IsPromise() {
					c.bad("I22: %s is fulfilled with a promise", k)
				}
			})
		}
	}
	for k := range sorted(stands) {
		c.bad("I22: an item stands for the messages parked on %s, which does not exist", k)
	}
	c.expiries()
}

// expiries checks that the expiry index lists the settled host calls, each once (I9).
func (c *checker) expiries() {
	listed := map[string]int{}
	c.scan("e.", func(rest string, _ []byte) {
		_, id, _ := strings.Cut(rest, ".")
		listed[id]++
	})
	c.scan("t.", func(id string, b []byte) {
		n := listed[id]
		delete(listed, id)
		var tk ticket
		c.t.codec.decode("t."+id, b, tk.fields)
		want := 1
		if tk.state == ticketPending {
			want = 0
		}
		if n != want {
			c.bad("I9: ticket %s is %d times in the expiry index, want %d", id, n, want)
		}
	})
	for id := range sorted(listed) {
		c.bad("I9: the expiry index has ticket %s, which does not exist", id)
	}
}
