package vattest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

func (k *Kernel) newObject(owner *vatState) kref {
	k.last++
	r := kref("ko" + strconv.Itoa(k.last))
	k.objects[r] = owner
	return r
}

func (k *Kernel) newPromise(decider *vatState) kref {
	k.last++
	r := kref("kp" + strconv.Itoa(k.last))
	k.promises[r] = &promise{decider: decider}
	return r
}

func (v *vatState) name(r kref, ref wire.Ref) { v.byRef[ref], v.byKref[r] = r, ref }

func (v *vatState) forget(r kref) {
	delete(v.byRef, v.byKref[r])
	delete(v.byKref, r)
}

func (v *vatState) refs() []wire.Ref { return slices.Sorted(maps.Keys(v.byRef)) }

// down names something for a vat.
func (v *vatState) down(r kref) wire.Ref {
	if ref, ok := v.byKref[r]; ok {
		return ref
	}
	kind, letter := 0, "o-"
	if r.promise() {
		kind, letter = 1, "p-"
	}
	v.imports[kind]++
	ref := wire.Ref(letter + strconv.FormatUint(v.imports[kind], 10))
	v.name(r, ref)
	return ref
}

func (v *vatState) downData(d data) wire.CapData {
	out := wire.CapData{Body: d.Body}
	for _, s := range d.Slots {
		out.Slots = append(out.Slots, v.down(s))
	}
	return out
}

// route queues a message for the vat of its target, parks it, or rejects its result.
func (k *Kernel) route(m message) {
	for m.target.promise() {
		p := k.promises[m.target]
		if !p.settled {
			p.parked = append(p.parked, m)
			return
		}
		if p.rejected {
			k.reject(m.result, p.value)
			return
		}
		if !capdata.LoneSlot(p.value.Body, len(p.value.Slots)) {
			k.reject(m.result, data{Body: capdata.KernelError(capdata.BAD_TARGET, "the promise was fulfilled with data")})
			return
		}
		m.target = p.value.Slots[0]
	}
	owner := k.objects[m.target]
	if owner == nil || owner.gone {
		k.reject(m.result, data{Body: capdata.KernelError(capdata.OBJECT_DELETED, "the object is gone")})
		return
	}
	k.queue = append(k.queue, item{message: &m})
}

func (k *Kernel) reject(p kref, reason data) {
	if p != "" {
		k.settle(p, true, reason)
	}
}

func (k *Kernel) settle(r kref, rejected bool, value data) {
	p := k.promises[r]
	if p.settled {
		panic("vattest: promise settled twice")
	}
	p.settled, p.rejected, p.value = true, rejected, value
	if p.decider != nil {
		p.decider.forget(r)
		p.decider = nil
	}
	for _, v := range p.subscribers {
		k.queue = append(k.queue, item{vat: v, notify: r})
	}
	parked := p.parked
	p.parked, p.subscribers = nil, nil
	for _, m := range parked {
		k.route(m)
	}
}

func (k *Kernel) rejectDecided(v *vatState, code capdata.Code, why string) {
	for _, ref := range v.refs() {
		r := v.byRef[ref]
		if r.promise() && k.promises[r].decider == v {
			k.settle(r, true, data{Body: capdata.KernelError(code, why)})
		}
	}
}

func (k *Kernel) deliverMessage(m message) {
	v := k.objects[m.target]
	if v == nil || v.gone {
		k.route(m)
		return
	}
	call := wire.Call{Target: v.down(m.target), Message: wire.Message{MethArgs: v.downData(m.methargs)}}
	if m.result != "" {
		call.Message.Result = v.down(m.result)
		k.promises[m.result].decider = v
	}
	var state []wire.Row
	for _, ref := range append([]wire.Ref{call.Target}, call.Message.MethArgs.Slots...) {
		key := wire.StateKey(ref)
		if row, ok := v.rows.data[key]; ok {
			state = append(state, wire.Row{Key: key, Value: row, Found: true})
		}
	}
	fault := k.crank(v, call, state)
	if fault == "" {
		return
	}
	if p := k.promises[m.result]; p != nil && !p.settled {
		p.decider = nil
		v.forget(m.result)
		k.settle(m.result, true, data{Body: capdata.KernelError(capdata.DELIVERY_POISONED, fault)})
	}
	k.Restart(v.Name)
}

func (k *Kernel) deliverNotify(v *vatState, first kref) {
	if _, known := v.byKref[first]; !known || v.gone {
		return
	}
	var n wire.Notify
	members := []kref{first}
	for i := 0; i < len(members); i++ {
		p := k.promises[members[i]]
		n.Resolutions = append(n.Resolutions, wire.Resolution{
			Promise: v.down(members[i]), Rejected: p.rejected, Value: v.downData(p.value),
		})
		for _, s := range p.value.Slots {
			if s.promise() && k.promises[s].settled && !slices.Contains(members, s) {
				members = append(members, s)
			}
		}
	}
	fault := k.crank(v, n, nil)
	for _, r := range members {
		v.forget(r)
	}
	if fault != "" {
		k.Restart(v.Name)
	}
}

// crank delivers to a vat and applies what it answers. It returns the fault of the vat, if there is one.
func (k *Kernel) crank(v *vatState, d wire.Delivery, state []wire.Row) string {
	k.tb.Helper()
	deliver := wire.Deliver{Number: v.number + 1, Now: k.now, Seed: uint64(k.now), State: state, Delivery: d}
	// Both frames take the way over the wire.
	down, err := wire.AppendDown(nil, deliver)
	if err != nil {
		k.tb.Fatalf("delivery to %s: %v", v.Name, err)
	}
	received, err := wire.DecodeDown(down[4:])
	if err != nil {
		k.tb.Fatalf("delivery to %s: %v", v.Name, err)
	}
	done := v.worker.Deliver(received.(wire.Deliver))
	up, err := wire.AppendUp(nil, done)
	if err != nil {
		k.tb.Fatalf("answer of %s: %v", v.Name, err)
	}
	v.record = append(v.record, delivered{incarnation: v.incarnation, deliver: deliver, frame: up, parked: done.Outcome.Parked})
	frame, err := wire.DecodeUp(up[4:], wire.Limits{})
	if err != nil {
		k.tb.Fatalf("answer of %s: %v", v.Name, err)
	}
	done = frame.(wire.Done)
	if done.Outcome.Fault != "" {
		if _, starting := d.(wire.StartVat); starting {
			v.gone = true
			k.rejectDecided(v, capdata.VAT_TERMINATED, done.Outcome.Fault)
		}
		return done.Outcome.Fault
	}
	v.number++
	c := crank{k: k, v: v, high: v.high}
	if n, ok := d.(wire.Notify); ok {
		for _, r := range n.Resolutions {
			v.forget(v.byRef[r.Promise]) // the names are gone before the vat's own syscalls count
		}
	}
	for i, s := range done.Syscalls {
		if err := c.apply(s); err != nil {
			k.tb.Fatalf("vat %s, delivery %d: illegal syscall %d, %#v: %v", v.Name, deliver.Number, i, s, err)
		}
	}
	v.rows.apply(done.Syscalls)
	if c.exit {
		v.gone = true
		k.rejectDecided(v, capdata.VAT_TERMINATED, "the vat exited")
	}
	return ""
}

// crank is the syscalls of one crank being applied.
type crank struct {
	k    *Kernel
	v    *vatState
	high [2]uint64 // before the crank
	exit bool
}

func (c *crank) apply(s wire.Syscall) error {
	k, v := c.k, c.v
	switch s := s.(type) {
	case wire.Send:
		m := message{}
		var err error
		if m.target, err = c.up(s.Target); err != nil {
			return err
		}
		if m.target.promise() && v.byKref[m.target] == "" {
			return fmt.Errorf("target %s is retired", s.Target)
		}
		if m.methargs, err = c.upData(s.Message.MethArgs); err != nil {
			return err
		}
		if _, known := v.byRef[s.Message.Result]; known {
			return fmt.Errorf("result %s is not new", s.Message.Result)
		}
		if m.result, err = c.up(s.Message.Result); err != nil {
			return err
		}
		k.promises[m.result].decider = nil
		k.route(m)
	case wire.Subscribe:
		r, ok := v.byRef[s.Promise]
		if !ok || !r.promise() {
			return fmt.Errorf("%s is not a known promise", s.Promise)
		}
		p := k.promises[r]
		switch {
		case p.settled:
			k.queue = append(k.queue, item{vat: v, notify: r})
		case !slices.Contains(p.subscribers, v):
			p.subscribers = append(p.subscribers, v)
		}
	case wire.Resolve:
		return c.resolve(s)
	case wire.Exit:
		if _, err := c.upData(s.Info); err != nil {
			return err
		}
		c.exit = true
	case wire.StoreSet:
		if s.Key == "" || len(s.Key) > wire.MaxKeyBytes {
			return fmt.Errorf("key of %d bytes", len(s.Key))
		}
	case wire.StoreDelete:
	default:
		return fmt.Errorf("not in vattest")
	}
	return nil
}

func (c *crank) resolve(s wire.Resolve) error {
	seen := map[kref]bool{}
	var values []data
	for _, r := range s.Resolutions {
		p, ok := c.v.byRef[r.Promise]
		if !ok || !p.promise() || c.k.promises[p].settled || c.k.promises[p].decider != c.v || seen[p] {
			return fmt.Errorf("%s is not the vat's to resolve", r.Promise)
		}
		seen[p] = true
		d, err := c.upData(r.Value)
		if err != nil {
			return err
		}
		if !r.Rejected && capdata.LoneSlot(d.Body, len(d.Slots)) && d.Slots[0].promise() {
			return fmt.Errorf("%s is fulfilled with a promise", r.Promise)
		}
		values = append(values, d)
	}
	for i, r := range s.Resolutions {
		c.k.settle(c.v.byRef[r.Promise], r.Rejected, values[i])
	}
	return nil
}

func (c *crank) upData(d wire.CapData) (data, error) {
	if _, err := capdata.Decode(d.Body, len(d.Slots)); err != nil {
		return data{}, err
	}
	out := data{Body: d.Body}
	for _, s := range d.Slots {
		r, err := c.up(s)
		if err != nil {
			return data{}, err
		}
		out.Slots = append(out.Slots, r)
	}
	return out, nil
}

// up translates a vat's name, which may be a new one of its own.
func (c *crank) up(ref wire.Ref) (kref, error) {
	if r, ok := c.v.byRef[ref]; ok {
		return r, nil
	}
	parts, err := wire.ParseRef(string(ref))
	if err != nil {
		return "", err
	}
	if !parts.Own {
		return "", fmt.Errorf("%s is unknown", ref)
	}
	kind := 0
	if parts.Promise {
		kind = 1
	}
	if !parts.Durable {
		if parts.Number <= c.high[kind] || strings.HasPrefix(string(ref), "o+0") {
			return "", fmt.Errorf("%s is unknown, and not above %d", ref, c.high[kind])
		}
		c.v.high[kind] = max(c.v.high[kind], parts.Number)
		// Distinct within the crank: once resolved, a name does not come again.
		if c.v.used == nil {
			c.v.used = map[wire.Ref]bool{}
		}
		if c.v.used[ref] {
			return "", fmt.Errorf("%s is used for a second thing", ref)
		}
		c.v.used[ref] = true
	}
	var r kref
	if parts.Promise {
		r = c.k.newPromise(c.v)
	} else {
		r = c.k.newObject(c.v)
	}
	c.v.name(r, ref)
	return r, nil
}
