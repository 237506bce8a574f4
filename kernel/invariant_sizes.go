package kernel

import "strings"

// sizes checks the counters and indexes that spare a scan (I17): the size of a settled promise's value, the bytes of
// queues, the number of vats, the subclusters that are to be launched again, the vats in whose queues a notification
// is. Rows of an earlier version were not counted, so that a counter of bytes may be too small.
func (c *checker) sizes() {
	codec := c.t.codec
	messages := func(prefix string, of map[string]uint64) {
		c.scan(prefix, func(rest string, b []byte) {
			var it item
			codec.decode(prefix+rest, b, it.fields)
			id, _, _ := strings.Cut(rest, ".")
			switch it.kind {
			case itemMessage:
				of[id] += it.msg.size()
			case itemNotify:
				of[id+" told "+string(it.promise)]++
			}
		})
	}
	held := map[string]uint64{}
	messages("q.", held)
	messages("i.", held)
	c.scan("m.", func(rest string, b []byte) {
		k, _, _ := strings.Cut(rest, ".")
		var m message
		codec.decode("m."+rest, b, m.fields)
		held[k] += m.size()
	})
	c.scan("x.", func(rest string, b []byte) {
		v, _, _ := strings.Cut(rest, ".")
		var p poisoned
		codec.decode("x."+rest, b, p.fields)
		held["poisoned "+v] += p.msg.size()
	})
	most := func(name string, counted uint64) {
		if counted > held[name] {
			c.bad("I17: %s holds %d bytes of messages, its counter says %d", name, held[name], counted)
		}
	}
	watches, endBytes := map[VatID]uint64{}, map[VatID]uint64{}
	for _, p := range sorted(c.promises) {
		watches[p.watcher]++
		endBytes[p.watcher] += p.endSize()
	}
	for v, u := range sorted(c.runs) {
		if u.phase != dead {
			if u.watches.count != watches[v] || u.watches.bytes != endBytes[v] {
				c.bad("I17: %s counts %d watches of %d bytes, there are %d of %d", v, u.watches.count, u.watches.bytes, watches[v], endBytes[v])
			}
			most(string(v), u.queue.bytes)
			most("poisoned "+string(v), u.poisoned.bytes)
		}
	}
	mentions := map[KRef]uint64{}
	for _, p := range sorted(c.promises) {
		if p.state != unresolved {
			c.row(func() {
				for _, s := range c.t.value(&p).Slots {
					mentions[s]++
				}
			})
		}
	}
	for k, p := range sorted(c.promises) {
		if p.mentions > mentions[k] {
			c.bad("I17: %s counts %d mentions in values, there are %d", k, p.mentions, mentions[k])
		}
		most(string(k), p.parkedBytes)
		for _, v := range p.told {
			if u, ok := c.runs[v]; ok && u.phase != dead && held[string(v)+" told "+string(k)] == 0 {
				c.bad("I17: no notification of %s is in the queue of %s", k, v)
			}
		}
		if p.state != unresolved && p.size > 0 {
			var d Data
			if c.row(func() { d = c.t.value(&p) }); !p.known {
				continue
			}
			if p.size != 1+uint64(len(d.Body)) || p.slots != uint64(len(d.Slots)) {
				c.bad("I17: the value of %s has %d bytes and %d references, its size says %d and %d", k, len(d.Body), len(d.Slots), p.size-1, p.slots)
			}
		}
	}
	c.scan("k.", func(rest string, b []byte) {
		var s service
		codec.decode("k."+rest, b, s.fields)
		most(rest, s.queuedBytes)
	})
	expired := c.t.expired()
	c.scan("e.", func(rest string, _ []byte) {
		if "e."+rest <= expired {
			c.bad("I17: a host call is in the expiry index at %s, which is searched from %s", "e."+rest, expired)
		}
	})
	if !c.t.indexed() {
		return
	}
	if n := c.t.countVats(); n != uint64(len(c.vats)) {
		c.bad("I17: there are %d vats, the counter says %d", len(c.vats), n)
	}
	listed := map[string]bool{}
	c.scan("reload.", func(rest string, b []byte) {
		listed[rest] = true
		if len(b) == 0 { // of an earlier version
			return
		}
		var p pendingReload
		codec.decode("reload."+rest, b, p.fields)
		if cfg := c.t.config(SubID(rest)); cfg != nil && (cfg.system != p.system || cfg.by != p.by) {
			c.bad("I17: %s is to be launched again as %q for call %v, the index says as %q for %v", rest, cfg.system, cfg.by, p.system, p.by)
		}
	})
	c.scan("h.", func(rest string, b []byte) {
		var cfg config
		codec.decode("h."+rest, b, cfg.fields)
		if cfg.reload != listed[rest] {
			c.bad("I17: %s is to be launched again: %t, the index says %t", rest, cfg.reload, listed[rest])
		}
		delete(listed, rest)
	})
	for s := range sorted(listed) {
		c.bad("I17: the index says that %s is to be launched again, which has no configuration", s)
	}
}
