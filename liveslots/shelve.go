package liveslots

import (
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// verdict is the answer whether a call can be stored.
type verdict uint8

const (
	undecided verdict = iota // under examination: if its answer depends on itself, the answer is no
	yes
	no
)

// storable reports whether a waiting call can wait in the store.
func (v *Vat) storable(c *call) bool {
	if c.epoch == v.epoch {
		return c.verdict == yes
	}
	c.epoch, c.verdict = v.epoch, undecided
	ok := c.target == nil || !c.target.kind.ephemeral
	ok = ok && len(c.body) <= v.maxValueBytes && (!c.left || c.findable() != nil) && !c.crowded
	ok = ok && v.footprintOf(c.slots).fits(v, len(c.body))
	v.reach(c.slots, func(p *promise) {
		if ok && !p.settled {
			if by := p.leader().call; by != nil && by.waits() && v.storable(by) {
				v.list(by) // if it was latent, it is latent no longer
			}
		}
	}, func(any) { ok = false })
	c.verdict = no
	if ok {
		c.verdict = yes
	}
	return ok
}

// nameAwaited gives names to the unsettled promises that the slots of a stored row lead to and that only memory
// knows. The kernel then rejects them, and so tells the store, if memory is lost.
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

// reach visits each promise that slots lead to once, and calls ephemeral with each object among the slots that
// lives in memory only.
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

// touch notes that the keeper of a promise may have changed.
func (v *Vat) touch(p *promise) {
	if !p.touched {
		p.touched = true
		v.touched = append(v.touched, p)
	}
}

// shelve ends the crank for the calls that wait: it stores the calls that can be stored, removes the rows of
// calls that no longer wait, and tells the kernel which promises the store will settle. The example in shelf.go
// shows its writes.
func (v *Vat) shelve() {
	for _, p := range v.touched {
		if c := p.leader().call; p.ours && c != nil && c.waits() {
			v.list(c) // if it was latent, it is latent no longer
		}
	}
	if len(v.calls) == 0 && len(v.shelved().Due) == 0 {
		v.goOnLater()
		v.tellKeepers()
		v.settledIn = nil
		v.shelved().save(v)
		return
	}
	v.unshelveDue()
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
	v.tellKeepers()
	purged := map[*promise]bool{}
	for _, c := range store {
		v.shelved().count(c, +1)
		w.call(c)
		// From now on the store wakes the call, and memory does not.
		waited := []any{c.on}
		if c.kind.isLatent() {
			waited = c.slots
		}
		for _, s := range waited {
			p := s.(*promise)
			if !p.settled && !slices.Contains(c.slots, s) { // the promise is in the value of a promise among the slots
				q := p
				if v.ids.rules() >= rulesOfChains {
					q = p.way()
				}
				if q != nil && q.ref != "" {
					v.subscribe(q, true)
				}
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
	v.shelved().save(v)
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

// judge finds which of the waiting calls can wait in the store. If the result of a stored call now depends on
// memory, the stored calls that wait for this result are read back and wait in memory as well.
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

// tellKeepers tells the kernel which promises the store will settle from now on, and which memory will settle.
func (v *Vat) tellKeepers() {
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
			// The kernel may have settled the promise long ago, and no longer count it.
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
		if keeper != nil && keeper != was && !keeper.waits() { // the call was stored by an earlier crank
			v.addName(keeper, p.ref)
		}
	}
	clear(v.touched)
	v.touched = v.touched[:0]
}

// addName adds a name of the result to the row of a stored call. The names stand in the order in which the kernel is to be
// told of them, see [promise.named].
func (v *Vat) addName(c *call, name wire.Ref) {
	key := callKey(c.number)
	row, _ := v.rows.get(key)
	head, rest, ok := strings.Cut(string(row), "\n")
	if !ok {
		panic(fault(key + " is gone"))
	}
	words := append(strings.Split(head, " "), string(name))
	if v.ids.rules() >= rulesOfChains {
		var names []string
		for _, p := range c.result.named {
			names = append(names, string(p.ref))
		}
		slices.SortStableFunc(words[2:], func(a, b string) int { return slices.Index(names, a) - slices.Index(names, b) })
	}
	now := strings.Join(words, " ")
	v.rows.set(key, []byte(now+"\n"+rest))
	v.shelved().size(len(now) - len(head))
}
