package liveslots

import (
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// verdict says whether a call can be stored.
type verdict uint8

const (
	asked verdict = iota // the answer depends on itself, which makes it no
	yes
	no
)

// storable says whether a call that waits can do so in the store.
func (v *Vat) storable(c *call) bool {
	if c.epoch == v.epoch {
		return c.verdict == yes
	}
	c.epoch, c.verdict = v.epoch, asked
	ok := c.target == nil || !c.target.kind.ephemeral
	ok = ok && len(c.body) <= v.maxValueBytes && (!c.left || c.findable() != nil) && !c.crowded
	ok = ok && v.loadOf(c.slots).fits(v, len(c.body))
	v.reach(c.slots, func(p *promise) {
		if ok && !p.settled {
			if by := p.leader().call; by != nil && by.waits() && v.storable(by) {
				v.list(by) // if it was latent, it is no longer
			}
		}
	}, func(any) { ok = false })
	c.verdict = no
	if ok {
		c.verdict = yes
	}
	return ok
}

// nameAwaited has the kernel know the promises that slots lead to, of a call or of a value that is stored, where
// memory alone would: if that is lost, the kernel says so to the store.
func (v *Vat) nameAwaited(slots []any) {
	v.reach(slots, func(p *promise) {
		if p.settled {
			return
		}
		if l := p.leader(); l.ref == "" && !l.ofStored() {
			v.promiseName(l)
			v.subscribe(l, true)
		}
	}, func(any) {})
}

// reach visits the promises that slots lead to, each once, and what among the slots lives in memory only.
func (v *Vat) reach(slots []any, visit func(*promise), ephemeral func(any)) {
	seen := map[*promise]bool{}
	todo := slices.Clone(slots)
	for i := 0; i < len(todo); i++ {
		switch s := todo[i].(type) {
		case *promise:
			if seen[s] {
				continue
			}
			seen[s] = true
			visit(s)
			if s.settled {
				todo = append(todo, s.val.slots...)
			}
		case *presence:
			if s.ephemeral() {
				ephemeral(s)
			}
		case *head:
			if s.kind.ephemeral {
				ephemeral(s)
			}
		}
	}
}

// touch notes that who keeps a promise may have changed.
func (v *Vat) touch(p *promise) {
	if !p.touched {
		p.touched = true
		v.touched = append(v.touched, p)
	}
}

// shelve ends the crank for the calls that wait: it stores those that can be, removes those that do not
// wait any more, and tells the kernel which promises the store will settle.
func (v *Vat) shelve() {
	for _, p := range v.touched {
		if c := p.leader().call; p.ours && c != nil && c.waits() {
			v.list(c) // if it was latent, it is no longer
		}
	}
	if len(v.calls) == 0 && len(v.shelved().Due) == 0 {
		v.goOnLater()
		v.keep()
		v.settledIn = nil
		v.shelved().save(v.rows)
		return
	}
	v.keepDue()
	v.judge()
	if v.crowd() {
		v.judge()
	}
	var keep, store []*call
	for _, c := range v.calls {
		switch {
		case c.waits() && c.verdict == yes:
			store = append(store, c)
			if c.number == 0 {
				c.number = v.nextNumber()
			}
			v.shelfMap()[c.number] = c
		case c.waits():
			keep = append(keep, c)
		default:
			c.listed = false
		}
	}
	for _, c := range store {
		c.stored, c.listed = true, false
		for _, p := range c.result.named {
			v.touch(p)
		}
	}
	w := shelfWriter{v: v, placed: map[string]bool{}}
	for _, c := range store {
		v.nameAwaited(c.slots)
		if c.left {
			v.leaveStored(c, w.source(c.findable()))
		}
	}
	for _, d := range v.shelved().Due {
		if p := v.settledIn[d.Source]; p != nil {
			v.nameAwaited([]any{p})
		}
	}
	v.keep()
	purged := map[*promise]bool{}
	for _, c := range store {
		v.shelved().count(c, +1)
		w.call(c)
		// From now on the store wakes it, and memory does not.
		waited := []any{c.on}
		if c.kind.latent() {
			waited = c.slots
		}
		for _, s := range waited {
			p := s.(*promise)
			if p.ref != "" && !p.settled && !slices.Contains(c.slots, s) { // in the value of a promise among its slots
				v.subscribe(p, true)
			}
			if !purged[p] {
				purged[p] = true
				p.waiters = slices.DeleteFunc(p.waiters, func(x waiter) bool { return x.call != nil && x.call.stored })
			}
		}
		c.on = nil
	}
	for _, c := range v.calls {
		if c.number != 0 && !c.stored {
			w.remove(callKey(c.number), callWatcher(c.number))
			delete(v.onShelf, c.number)
		}
	}
	for _, d := range v.shelved().Due {
		if p := v.settledIn[d.Source]; p != nil {
			w.settled(d.Source, p)
		}
	}
	v.goOnLater()
	w.sweep()
	v.shelved().save(v.rows)
	for _, c := range store {
		c.args, c.slots, c.body, c.target = nil, nil, "", nil
	}
	clear(v.calls)
	v.calls = append(v.calls[:0], keep...)
	v.settledIn = nil
}

func (v *Vat) nextNumber() uint64 {
	s := v.shelved()
	s.Last++
	s.changed = true
	return s.Last
}

// judge finds which of the calls that wait can do so in the store. The result of a call that was stored
// and now depends on memory cannot be waited for in the store any more.
func (v *Vat) judge() {
	for again := true; again; {
		again = false
		v.epoch++
		for i := 0; i < len(v.calls); i++ {
			c := v.calls[i]
			ok := c.waits() && v.storable(c)
			if ok || c.number == 0 || c.result.settled {
				continue
			}
			watchers, _ := v.unshelveWatchers(due{resultSource(c.number), 0}, -1)
			for _, d := range watchers {
				again = true
				v.reach(d.slots, func(p *promise) {
					if !d.waits() && !p.settled {
						v.await(d, p)
					}
				}, func(any) {})
				if !d.waits() {
					panic(fault(fmt.Sprintf("stored call %d waits for nothing", d.number)))
				}
			}
		}
	}
}

// keep tells the kernel which promises the store will settle from now on, and which memory.
func (v *Vat) keep() {
	for _, p := range v.touched {
		p.touched = false
		if p.ref == "" || !p.ours {
			continue
		}
		var keeper *call
		if l := p.leader(); l.ofStored() {
			keeper = l.call
		}
		was := p.keeper
		p.keeper = keeper
		switch {
		case keeper == nil && was != nil:
			v.deciding++
			// The kernel may have settled it long ago, and not count it.
			p.unkept = true
			v.unkept++
			v.syscall(wire.Keep{Promise: p.ref})
		case keeper != nil && was == nil:
			v.deciding--
			if p.unkept {
				p.unkept = false
				v.unkept--
			}
			v.syscall(wire.Keep{Promise: p.ref, Stored: true})
		}
		if keeper != nil && keeper != was && !keeper.waits() { // it was stored by an earlier crank
			key := callKey(keeper.number)
			row, _ := v.rows.get(key)
			head, rest, ok := strings.Cut(string(row), "\n")
			if !ok {
				panic(fault(key + " is gone"))
			}
			v.rows.set(key, []byte(head+" "+string(p.ref)+"\n"+rest))
			v.shelved().size(1 + len(p.ref))
		}
	}
	clear(v.touched)
	v.touched = v.touched[:0]
}
