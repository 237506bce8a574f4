package kernel

import (
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
)

// leave begins the end of a subcluster, whose state the caller sets: its name, if it is a system subcluster,
// is free, and its service objects go, in slices. From now on they read as gone.
func (t *tx) leave(s SubID, sub *subcluster) {
	if sub.system != "" {
		if b, ok := t.get(keySystem(sub.system)); ok && SubID(b) == s {
			t.delete(keySystem(sub.system))
		}
	}
	if n := len(sub.members); n > 0 {
		t.setUint(keyLeft(s), uint64(n))
	}
	if sub.services > 0 {
		t.addWork(work{kind: workEndServices, sub: s})
	}
}

// endServices ends the service objects of a subcluster, a slice at a time.
func (t *tx) endServices(w *work) (done bool) {
	prefix := prefixServicesOf(w.sub)
	for key := range t.scan(prefix, &w.after) {
		t.endService(KRef(key[len(prefix):]))
	}
	return !t.spent()
}

// endService makes a service object unreachable from this instant. Its rows go in slices.
func (t *tx) endService(k KRef) {
	s := t.service(k)
	if s.ended {
		return
	}
	s.ended = true
	if b, ok := t.get(keyServiceName(s.name)); s.name != "" && ok && KRef(b) == k {
		t.delete(keyServiceName(s.name))
	}
	t.hold(k)
	t.addWork(work{kind: workEndService, promise: k})
	t.effect(EndService{k, s.sub, s.name, s.kind, s.config})
}

// EndService removes a service object, a connection say: what is pending rejects, and so does what comes
// later. Nothing happens if it is gone.
func (m *Machine) EndService(k KRef) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if s := t.services.look(t, k); s == nil || s.ended {
		return Commit{}, nil
	}
	t.endService(k)
	return t.done(), nil
}

// The stages of removing a service object. The numbers are stored; endBegun is followed by endQueue, that by endUnits.
// An earlier version emptied the queue as stage 0, and had endCalls follow.
const (
	endBegun uint8 = iota
	endCalls
	endUnits
	endRows
	endQueue
)

// removeService removes an ended service object, a slice at a time.
func (t *tx) removeService(w *work) (done bool) {
	k := w.promise
	s := t.service(k)
	t.readBytes = 0 // its state, which may be large, does not end the slice: so each has progress
	why := kernelError(capdata.CodeServiceGone, s.isGone())
	for {
		next := w.stage + 1
		switch w.stage {
		case endQueue: // of calls that are younger than those begun
			next = endUnits
			for s.head != s.tail && !t.spent() {
				t.dropItem(k, s, why)
			}
		case endBegun, endCalls:
			if w.stage == endBegun {
				next = endQueue
			}
			for key := range t.scanByNumber(prefixServiceCalls(k), &w.after) {
				n := numberIn(key[len(prefixServiceCalls(k)):])
				t.finishCall(k, s, n, t.call(k, n), Completion{Rejected: true, Value: why})
			}
		case endUnits:
			for key, b := range t.scan(prefixUnits(k), &w.after) {
				var u unit
				u.decode(t.m.dec, key, b)
				t.releaseData(u.value)
				t.delete(key)
				s.units--
			}
		case endRows:
			for _, h := range s.holds {
				t.release(h)
			}
			t.delete(keyServiceOf(s.sub, k))
			sub := s.sub
			t.services.remove(t, k)
			t.release(k) // the pin
			t.release(k) // of this work
			if sub != "" {
				t.lessServices(sub)
			}
			return true
		}
		if t.spent() {
			return false
		}
		w.stage, w.after = next, ""
	}
}

// dropItem ends the item at the head of a service object's queue.
func (t *tx) dropItem(k KRef, s *service, why Data) {
	it := t.waiting(k, s)
	t.takeCall(k, s, it)
	if it.kind == itemDrain {
		t.addWork(work{kind: workDrain, promise: it.promise}) // the item's count goes with it
		return
	}
	if it.msg.result != "" {
		t.forgetAsked(it.msg.result)
		t.settle(it.msg.result, true, why)
	}
	t.releaseMessage(it.msg)
}

func (t *tx) lessServices(s SubID) {
	sub := t.sub(s)
	sub.services--
	t.setSub(s, sub)
	t.endSub(s, sub)
}

// endSub removes the row of a subcluster of which nothing is left.
func (t *tx) endSub(s SubID, sub *subcluster) {
	if len(sub.members) > 0 || sub.services > 0 {
		return
	}
	t.releaseData(t.resultOf(s, sub))
	t.subs.remove(t, KRef(s))
	if sub.apart {
		t.delete(keyResult(s))
	}
	if _, ok := t.get(keyUnstarted(s)); ok {
		t.delete(keyUnstarted(s))
	}
	if c := t.config(s); c != nil && !c.reload {
		t.deleteConfig(s)
	}
	t.effect(Gone{s})
}

// ServiceCall tells about a call that is begun; found is false if it is over.
func (m *Machine) ServiceCall(k KRef, n uint64) (o Outstanding, found bool, err error) {
	defer caught(&err)
	t := m.begin(0)
	c := t.call(k, n)
	if c == nil {
		return Outstanding{}, false, nil
	}
	return t.outstanding(k, n, c), true, nil
}

func (t *tx) outstanding(k KRef, n uint64, c *serviceCall) Outstanding {
	o := Outstanding{Service: k, Call: n, From: c.msg.from, At: c.at, MethArgs: c.msg.methArgs}
	if v := c.msg.from; v != "" && t.lookRun(v) != nil {
		o.Sub = t.vat(v).sub
	}
	return o
}

// Outstanding lists the calls of a service object that are begun and not done, in the order in which they
// were begun; those too of which the row cannot be read.
func (m *Machine) Outstanding(k KRef) (out []Outstanding, err error) {
	defer caught(&err)
	t := m.begin(0)
	for after := ""; ; {
		key, b := t.next(prefixServiceCalls(k), after)
		if key == "" {
			slices.SortFunc(out, func(a, b Outstanding) int { return int(int64(a.Call) - int64(b.Call)) })
			return out, nil
		}
		after = key
		var o Outstanding
		n := numberIn(key[len(prefixServiceCalls(k)):])
		if err := readable(func() {
			var c serviceCall
			c.decode(m.dec, key, b)
			o = t.outstanding(k, n, &c)
		}); err != nil {
			o = Outstanding{Service: k, Call: n, Corrupt: err}
		}
		out = append(out, o)
	}
}

// Service tells about a service object; found is false if there is none of that name.
func (m *Machine) Service(k KRef) (out Service, found bool, err error) {
	defer caught(&err)
	s := m.begin(0).services.look(m.tx, k)
	if s == nil {
		return Service{}, false, nil
	}
	return s.export(k), true, nil
}

// ServiceNamed finds a service object by its name; empty if there is none.
func (m *Machine) ServiceNamed(name string) (k KRef, err error) {
	defer caught(&err)
	b, _ := m.begin(0).get(keyServiceName(name))
	return KRef(b), nil
}

// Services lists all service objects, in the order of their keys; those too of which the row cannot be read.
func (m *Machine) Services() (out []Service, err error) {
	defer caught(&err)
	t := m.begin(0)
	for after := ""; ; {
		key, b := t.next("k.", after)
		if key == "" {
			return out, nil
		}
		after = key
		out = append(out, t.listedService(KRef(key[len("k."):]), b))
	}
}

// listedService is a service object in a list.
func (t *tx) listedService(k KRef, b []byte) Service {
	var s service
	if err := readable(func() { s.decode(t.m.dec, keyService(k), b) }); err != nil {
		return Service{KRef: k, Sub: t.ownerOf(k), Corrupt: err}
	}
	return s.export(k)
}

// ServiceOwner finds the subcluster of a service object, also if the object's own row cannot be read. It is empty for one
// of the kernel.
func (m *Machine) ServiceOwner(k KRef) (s SubID, err error) {
	defer caught(&err)
	return m.begin(0).ownerOf(k), nil
}

func (t *tx) ownerOf(k KRef) SubID {
	for after := ""; ; {
		key, _ := t.next("l.", after)
		if key == "" {
			return ""
		}
		after = key
		if s, ok := strings.CutSuffix(key[len("l."):], "."+string(k)); ok {
			return SubID(s)
		}
	}
}

// ServicesOf lists the service objects of a subcluster.
func (m *Machine) ServicesOf(id SubID) (out []Service, err error) {
	defer caught(&err)
	t := m.begin(0)
	for after := ""; ; {
		key, _ := t.next(prefixServicesOf(id), after)
		if key == "" {
			return out, nil
		}
		after = key
		k := KRef(key[len(prefixServicesOf(id)):])
		out = append(out, t.services.look(t, k).export(k))
	}
}

func (s *service) export(k KRef) Service {
	return Service{
		KRef: k, Name: s.name, Kind: s.kind, Sub: s.sub, Config: s.config, State: s.state, Holds: s.holds, Ended: s.ended,
		Calls: s.calls, Queued: s.tail - s.head, Units: s.units,
	}
}
