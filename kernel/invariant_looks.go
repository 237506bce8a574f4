package kernel

import (
	"strings"

	"ocapkernel.dev/wire"
)

// looks checks that the objects which no vat can reach, and of which their owner has not been told, are listed for the
// owner (I19), and that the lists are as their counters and the objects say.
func (c *checker) looks() {
	entries, owners := map[VatID]uint64{}, map[KRef]int{}
	c.scan("look.", func(rest string, b []byte) {
		vs, n, _ := strings.Cut(rest, ".")
		v, k := VatID(vs), KRef(b)
		c.t.listed(v, numberIn(n)) // can be read
		entries[v]++
		if o := c.objects[k]; o.owner == v && o.look == listedForOwner {
			owners[k]++
		}
		u, ok := c.runs[v]
		if at := numberIn(n); !ok || at < u.looks.head || at >= u.looks.tail {
			c.bad("I19: look.%s is in no list: there is a vat %t, its list is %d to %d", rest, ok, u.looks.head, u.looks.tail)
		}
	})
	for v, u := range sorted(c.runs) {
		if n := u.looks.tail - u.looks.head; n != entries[v] && u.phase != dead {
			c.bad("I19: the list of %s has %d entries, its counters say %d", v, entries[v], n)
		}
	}
	again := map[VatID]uint64{}
	c.scan("again.", func(rest string, _ []byte) {
		vs, ref, _ := strings.Cut(rest, ".")
		v := VatID(vs)
		again[v]++
		u, ok := c.runs[v]
		if !ok || u.phase == dead {
			if !ok {
				c.bad("I19: again.%s is of no vat", rest)
			}
			return
		}
		k, found := c.t.kref(v, wire.Ref(ref))
		if _, reachable, _ := c.t.vref(v, k); !found || !reachable || !strings.HasPrefix(ref, "o-") || numberIn(ref[len("o-"):]) > u.rounds.mark {
			c.bad("I19: again.%s is of no import that a round would not name otherwise", rest)
		}
	})
	for v, u := range sorted(c.runs) {
		if u.rounds.again != again[v] && u.phase != dead {
			c.bad("I19: %s was given %d imports again, its counter says %d", v, again[v], u.rounds.again)
		}
	}
	_, swept := c.t.get(keySwept)
	for k, o := range sorted(c.objects) {
		u := c.runs[o.owner]
		gone := o.owner == "" || u.phase == dead || (o.inc != 0 && o.inc <= u.memory.deadInc)
		switch {
		case o.look == listedForOwner && owners[k] != 1 && u.phase != dead:
			c.bad("I19: %s is listed for its owner %q, %d times", k, o.owner, owners[k])
		case o.reachable > 0 || !swept || c.sweeping:
		case o.owner == "" && o.look != listedForImporters && o.recognizable > 0:
			c.bad("I19: %s is orphaned, and its importers will not be told", k)
		case !gone && o.look != listedForOwner:
			if _, is := c.t.newsOf(o.owner, k); is != noNews {
				c.bad("I19: %s is unreachable, and %s will not be told", k, o.owner)
			}
		}
	}
}
