package kernel

import "fmt"

// object returns the object for changing. It must exist: each holder of a kref holds a count on it.
func (t *tx) object(k KRef) *object {
	o := t.objects.edit(t, k)
	if o == nil && t.salvaging {
		return t.objects.invent(t, k)
	}
	if o == nil {
		panic(fmt.Sprintf("kernel: object %s is held but does not exist", k))
	}
	return o
}

// promise returns the promise for changing. It must exist.
func (t *tx) promise(k KRef) *promise {
	p := t.promises.edit(t, k)
	if p == nil && t.salvaging {
		return t.promises.invent(t, k)
	}
	if p == nil {
		panic(fmt.Sprintf("kernel: promise %s is held but does not exist", k))
	}
	return p
}

// run returns the run row of a vat, for changing. It must exist.
func (t *tx) run(v VatID) *run {
	u := t.runs.edit(t, v)
	if u == nil && t.salvaging {
		return t.runs.invent(t, v)
	}
	if u == nil {
		panic(fmt.Sprintf("kernel: vat %s does not exist", v))
	}
	return u
}

// lookRun returns the run row of a vat, for reading; nil if there is no such vat.
func (t *tx) lookRun(v VatID) *run { return t.runs.look(t, v) }

// hold takes one count on k, for an item of a queue, a value, a pin or a host.
func (t *tx) hold(k KRef) {
	if k.IsPromise() {
		t.promise(k).refs++
		return
	}
	t.reach(k)
	t.object(k).recognizable++
}

// release gives one count back.
func (t *tx) release(k KRef) {
	if k.IsPromise() {
		p := t.promise(k)
		if p.refs == 0 && t.salvaging {
			return
		}
		if p.refs == 0 {
			panic(fmt.Sprintf("kernel: count of %s below zero", k))
		}
		if p.refs--; p.refs == 0 {
			t.maybeFree = append(t.maybeFree, k)
		} else {
			t.maybeCircle = append(t.maybeCircle, k)
		}
		return
	}
	t.unreach(k)
	t.unrecognize(k)
}

func (t *tx) reach(k KRef) {
	o := t.object(k)
	if o.reachable == 0 {
		t.countEphemeral(o, +1)
	}
	o.reachable++
}

// countEphemeral keeps count of the reachable objects that live in the memory of a live incarnation: with
// one of them a vat is not at rest.
func (t *tx) countEphemeral(o *object, n int) {
	if o.inc == 0 || o.owner == "" {
		return
	}
	if u := t.lookRun(o.owner); u != nil && u.phase != dead && o.inc > u.memory.deadInc {
		t.run(o.owner).memory.ephemerals += uint64(n)
	}
}

func (t *tx) unreach(k KRef) {
	o := t.object(k)
	if o.reachable == 0 && t.salvaging {
		return
	}
	if o.reachable == 0 {
		panic(fmt.Sprintf("kernel: reachable count of %s below zero", k))
	}
	o.reachable--
	switch {
	case o.reachable == 0:
		t.countEphemeral(o, -1)
		t.maybeFree = append(t.maybeFree, k)
	case o.reachable == pinned && o.service:
		t.maybeFree = append(t.maybeFree, k)
	}
}

func (t *tx) unrecognize(k KRef) {
	o := t.object(k)
	if t.salvaging && (o.recognizable == 0 || o.recognizable-1 < o.reachable) {
		return
	}
	if o.recognizable == 0 || o.recognizable-1 < o.reachable {
		panic(fmt.Sprintf("kernel: recognizable count of %s below the reachable one", k))
	}
	o.recognizable--
	if o.recognizable == 0 {
		t.maybeFree = append(t.maybeFree, k)
	}
}

func (t *tx) holdData(d Data) {
	for _, s := range d.Slots {
		t.hold(s)
	}
}

func (t *tx) releaseData(d Data) {
	for _, s := range d.Slots {
		t.release(s)
	}
}

func (t *tx) holdMessage(m message) {
	t.hold(m.target)
	if m.result != "" {
		t.hold(m.result)
	}
	t.holdData(m.methArgs)
}

func (t *tx) releaseMessage(m message) {
	t.release(m.target)
	if m.result != "" {
		t.release(m.result)
	}
	t.releaseData(m.methArgs)
}

// free deletes the promises that the commit left without holders, and the orphaned objects that are not even
// recognizable to any vat. Objects that have an owner are listed, so that their owner is told.
//
// The value of a promise may be the only holder of another, and so on without end: beyond freeUnits, or the budget of
// bytes, the rest is the kernel's own work, which holds the promises until then. A value that holds nothing is not
// read.
func (t *tx) free() {
	units := 0
	for i := 0; i < len(t.maybeFree); i++ { // it may grow meanwhile
		k := t.maybeFree[i]
		if !k.IsPromise() {
			t.letGo(k)
			continue
		}
		p := t.promises.look(t, k)
		if p == nil || p.refs > 0 {
			continue
		}
		if units > 0 && (units > freeUnits || t.left.bytes < 0) {
			t.hold(k)
			t.addWork(work{kind: workFree, promise: k})
			continue
		}
		var slots []KRef
		if p.state != unresolved {
			slots = t.slotsOf(p)
			t.delete(keyValue(k))
		}
		units += 1 + len(slots)
		if p.head != p.tail && !t.salvaging {
			panic(fmt.Sprintf("kernel: promise %s has parked messages and no count", k))
		}
		t.clearDecider(k)
		if p.tie.vat != "" {
			t.delete(keyTie(p.tie.vat, k))
		}
		t.unwatch(p)
		t.promises.remove(t, k)
		t.mentioned(slots, -1)
		t.releaseData(Data{Slots: slots})
	}
}

// slotsOf returns the references in the value of a settled promise.
func (t *tx) slotsOf(p *promise) []KRef {
	switch {
	case p.known:
		return p.value.Slots
	case p.size > 0 && p.slots == 0:
		return nil
	}
	key, slots := keyValue(p.id), []KRef(nil)
	if !t.decoded(key, func() { t.codec.decode(key, t.must(key), func(c *codec) { c.slots(&slots) }) }) {
		return nil
	}
	return slots
}

// owner returns the vat that answers for an object now. It is empty if the object is orphaned, its vat is dead, or it
// lived in the memory of a dead incarnation.
func (t *tx) owner(o *object) VatID {
	if o == nil || o.owner == "" {
		return ""
	}
	u := t.lookRun(o.owner)
	if u == nil || u.phase == dead || (o.inc != 0 && o.inc <= u.memory.deadInc) {
		return ""
	}
	return o.owner
}
