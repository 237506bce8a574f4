package kernel

import (
	"fmt"

	"ocapkernel.dev/wire"
)

// Crank is a delivery in flight: the names that Begin has given, for Finish to apply.
type Crank struct {
	Vat         VatID
	Incarnation uint64
	// Deliver is the frame for the worker.
	Deliver wire.Deliver
	// What describes the delivery in a few words, for logs.
	What string

	item    item
	message message // of a message or drain item: the delivered message, its target as it was when parked
	names   []naming
	members []KRef // promises of a notification, or objects that the delivery tells of
	passed  uint64 // entries of the vat's list that go with the delivery
	round   round  // of bring out your dead
	imports [2]uint64
}

// Step is the next thing to do for a vat, as Begin found it. At most one field is set. None is set if there is nothing
// to do.
type Step struct {
	// Crank is the crank to be delivered.
	Crank *Crank
	// Commit is a change that needed no worker; call Begin again after it.
	Commit *Commit
	// NeedsWorker says that there is something to deliver, and no live incarnation.
	NeedsWorker bool
}

// Begin returns the next step of a vat. A Crank in it changes nothing: it is valid until its Finish, or until the vat's
// incarnation ends. now is in milliseconds; seed is for the vat's dice. With hold, new messages are held back, so that
// the vat may come to rest: Begin then takes from the queue only notifications, and the messages which the vat that
// caused a notification has sent before it.
func (m *Machine) Begin(v VatID, now int64, seed uint64, hold bool) (s Step, err error) {
	defer caught(&err)
	t := m.begin(now)
	u := t.lookRun(v)
	if u == nil || u.phase == dead {
		return Step{}, nil
	}
	if u.memory.reap != 0 {
		t.reap(v)
		return step(m.done(t)), nil
	}
	if u.queue.rejectAt < u.queue.rejectUntil {
		t.rejectQueued(v)
		return step(m.done(t)), nil
	}
	idle := u.queue.head == u.queue.tail
	switch {
	case u.phase == stopped:
		return Step{}, nil
	case !u.looks.isEmpty() && (idle || u.looks.others >= looksEvery):
		return m.beginLooks(t, u, seed), nil
	case u.isRoundDue():
		return m.beginRound(t, u, seed), nil
	case idle:
		return Step{}, nil
	}
	if !t.isItem(v, u.queue.head) {
		t.passHoles(t.run(v), whole.reads)
		t.wakeMore(v)
		return step(m.done(t)), nil
	}
	c := &Crank{Vat: v, Incarnation: u.memory.inc}
	if !hold {
		c.item = t.headItem(u)
	} else if it, ok := t.released(u); ok {
		c.item = it
	} else if !u.looks.isEmpty() { // the vat may come to rest by it
		return m.beginLooks(t, u, seed), nil
	} else {
		return Step{}, nil
	}
	c.Deliver = t.numbered(u, c.item, seed)
	n := newNamer(t, u)
	switch c.item.kind {
	case itemStart:
		c.What = "start"
		c.Deliver.Delivery = wire.StartVat{}
	case itemNotify:
		if _, _, ok := t.vref(v, c.item.promise); !ok {
			t.pop(t.run(v), c.item)
			t.release(c.item.promise)
			t.wakeMore(v)
			return step(m.done(t)), nil
		}
		c.What = "notify " + string(c.item.promise)
		c.Deliver.Delivery = t.closure(c, n)
	default:
		target, ok := t.target(c, v)
		if !ok {
			t.splatHead(v, c)
			t.wakeMore(v)
			return step(m.done(t)), nil
		}
		c.What = "message to " + string(target)
		call := wire.Call{Target: n.name(target)}
		if n.names[0].fresh {
			panic(fmt.Sprintf("kernel: %s owns %s without a name for it", v, target))
		}
		call.Message.MethArgs = n.data(c.message.methArgs)
		if c.message.result != "" {
			call.Message.Result = n.name(c.message.result)
		}
		c.Deliver.Delivery = call
		c.Deliver.State = prefetch(call, func(key string) ([]byte, bool) {
			value, found, err := t.reader.Get(keyStore(v, key))
			if err != nil {
				panic(failure{err})
			}
			return value, found
		})
	}
	if u.memory.inc == u.memory.deadInc {
		return Step{NeedsWorker: true}, nil
	}
	c.names, c.imports = n.names, [2]uint64{n.objects, n.promises}
	return Step{Crank: c}, nil
}

func step(c Commit) Step { return Step{Commit: &c} }

// numbered returns the frame of the vat's next delivery, without the delivery.
func (t *tx) numbered(u *run, it item, seed uint64) wire.Deliver {
	return wire.Deliver{Number: u.deliveries + 1, Now: t.now, Seed: seed, Attempt: u.attemptsAt(it.at)}
}

// beginLooks returns the step for the head of the vat's list of objects that it may have to be told of.
func (m *Machine) beginLooks(t *tx, u *run, seed uint64) Step {
	c := &Crank{Vat: u.id, Incarnation: u.memory.inc, item: item{kind: itemLooks, at: notQueued}}
	c.Deliver = t.numbered(u, c.item, seed)
	t.looks(u, c)
	if c.Deliver.Delivery == nil {
		t.passLooks(t.run(u.id), c.passed)
		t.wakeMore(u.id)
		return step(m.done(t))
	}
	return t.unqueued(u, c)
}

// unqueued returns the step for a crank that is in no queue, and gives no names.
func (t *tx) unqueued(u *run, c *Crank) Step {
	if u.memory.inc == u.memory.deadInc {
		return Step{NeedsWorker: true}
	}
	c.imports = [2]uint64{u.names.importObjects, u.names.importPromises}
	return Step{Crank: c}
}

// target returns the object of the vat to which the message at the head of the queue goes now.
func (t *tx) target(c *Crank, v VatID) (KRef, bool) {
	c.message = c.item.msg
	target := c.message.target
	if c.item.kind == itemDrain {
		p := t.promises.look(t, c.item.promise)
		c.message = t.parked(p)
		target, _ = t.leadsTo(p)
	}
	o := t.objects.look(t, target)
	return target, o != nil && !o.revoked && t.owner(o) == v && !t.isForgedBootstrap(v, target, c.message)
}

// splatHead removes the message at the head of the queue and routes it again. Its target refuses it now, so that its
// result is rejected with the present reason.
func (t *tx) splatHead(v VatID, c *Crank) {
	t.pop(t.run(v), c.item)
	t.route(c.message, false)
	t.releaseMessage(c.message)
}

// closure returns the notification of a promise. With the promise come all settled promises to which its value leads,
// each once, in the order of discovery, up to a fixed size and depth. A promise beyond that arrives unresolved: the vat
// subscribes to it and is told next. The notification of a substitute tells that rejection alone.
//
// The depth is bounded because a vat forgets the names of the promises that it was told of. If each of many promises
// leads to the one before, and the vat was told of all of these already, the notification of the last would bring all
// of them once more.
func (t *tx) closure(c *Crank, n *namer) wire.Notify {
	var out wire.Notify
	if c.item.isSubstitute() {
		c.members = []KRef{c.item.promise}
		out.Resolutions = []wire.Resolution{{Promise: n.name(c.item.promise), Rejected: true, Value: n.data(c.item.msg.methArgs)}}
		return out
	}
	seen := map[KRef]bool{c.item.promise: true}
	c.members = []KRef{c.item.promise}
	depths := []int{0} // of the members
	bytes, slots := 0, 0
	for i := 0; i < len(c.members); i++ {
		p := t.promises.look(t, c.members[i])
		if p.state == unresolved {
			panic(fmt.Sprintf("kernel: notification of %s, which is unresolved", c.members[i]))
		}
		value := t.value(p)
		out.Resolutions = append(out.Resolutions, wire.Resolution{
			Promise: n.name(c.members[i]), Rejected: p.state == rejected, Value: n.data(value),
		})
		if i == 0 { // others are counted when they are added, so that the bound holds for all of them
			bytes, slots = len(value.Body), len(value.Slots)
		}
		for _, s := range value.Slots {
			if !s.IsPromise() || seen[s] || depths[i] == closureDepth {
				continue
			}
			q := t.promises.look(t, s)
			if q.state == unresolved {
				continue
			}
			if q.size == 0 && whole.bytes-t.left.bytes > closureReads {
				continue // an earlier version did not store the size
			}
			body, refs := t.valueSize(q)
			if bytes+body > closureBytes || slots+refs > closureSlots {
				continue
			}
			bytes += body
			slots += refs
			seen[s] = true
			c.members = append(c.members, s)
			depths = append(depths, depths[i]+1)
		}
	}
	return out
}

// prefetch reads the state of the durable objects that a call names, so that the worker need not request it. The choice
// of rows depends on the call and the store alone, since a replay chooses again.
func prefetch(call wire.Call, get func(key string) ([]byte, bool)) []wire.Row {
	var rows []wire.Row
	size, read := 0, 0
	add := func(r wire.Ref) {
		if !isExport(r) || r[0] != 'o' || (r != wire.RootRef && r[2] != 'd') {
			return
		}
		for _, have := range rows {
			if have.Key == wire.StateKey(r) {
				return
			}
		}
		if read > prefetchReads {
			return
		}
		value, found := get(wire.StateKey(r))
		read += len(value)
		if found && size+len(value) <= prefetchBytes {
			size += len(value)
			rows = append(rows, wire.Row{Key: wire.StateKey(r), Value: value, Found: true})
		}
	}
	add(call.Target)
	for _, r := range call.Message.MethArgs.Slots {
		add(r)
	}
	return rows
}
