package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// Completion is the outcome of a call of a service object.
type Completion struct {
	Rejected bool
	// Value is the result. An empty slot stands for the next object of New.
	Value Data
	// New are service objects that the call has made, in the subcluster of the object, or of the vat that called.
	New []NewService
	// Unit is the class of the unit of input that the value is; it is empty if the value is none. A unit that reached
	// no vat goes to the next call that reads a unit of its class.
	Unit string
	// State, if not nil, is the object's new state.
	State []byte
}

// CallID names a call of a service object: N is its number among the calls of that object. The zero value names none.
type CallID struct {
	Service KRef
	N       uint64
}

func (id CallID) String() string { return string(id.Service) + "." + num(id.N) }

// ask begins a call of a service object, or queues it.
func (t *tx) ask(k KRef, m message, bounded bool) {
	s := t.services.look(t, k)
	if why := t.gone(s); why != "" {
		t.splat(m, errcode.ServiceGone, why)
		return
	}
	if bounded && (s.tail-s.head >= maxQueuedCalls || s.queuedBytes >= t.queueBytes) {
		t.full(m)
		return
	}
	s = t.service(k)
	t.holdMessage(m)
	t.tieTo(k, m)
	if s.head == s.tail && s.mayBegin() {
		t.beginCall(s, m)
		return
	}
	t.queueCall(s, item{kind: itemMessage, msg: m})
}

// tieTo ties the result of a message to the service object that the message goes to.
func (t *tx) tieTo(k KRef, m message) {
	if m.result != "" && m.from != "" && t.alive(m.from) {
		t.promise(m.result).tie = tie{call: CallID{Service: k}, vat: m.from}
		t.set(keyTie(m.from, m.result), []byte{})
	}
}

func (t *tx) queueCall(s *service, it item) {
	t.create(keyServiceItem(s.id, s.tail), t.codec.encode(it.fields))
	t.clearSuspect(it.msg.result)
	s.tail++
	if it.kind == itemMessage {
		s.queuedBytes += it.msg.size()
	}
}

// mayBegin reports whether one more call may be begun. The last one may be large.
func (s *service) mayBegin() bool { return s.calls < maxCalls && s.callBytes < maxCallBytes }

// beginCall creates the row of a call, with which the call counts as begun. The counts of the message pass to the row.
func (t *tx) beginCall(s *service, m message) {
	c := serviceCall{id: CallID{s.id, s.next}, at: t.now, msg: m}
	s.next++
	s.calls++
	s.callBytes += uint64(len(m.methArgs.Body))
	t.create(keyServiceCall(c.id), t.codec.encode(c.fields))
	t.clearSuspect(m.result)
	if m.result != "" {
		if a := &t.promise(m.result).tie; a.vat != "" {
			a.call.N = c.id.N
		}
	}
	t.effect(Invoke{c.id})
}

// beginMore begins the calls at the head of the queue, as far as there is room. If the object is revoked, they are
// rejected.
func (t *tx) beginMore(s *service) {
	if s.head == s.tail || t.gone(s) != "" { // if it is gone, its queue goes with it
		return
	}
	revoked := t.objects.look(t, s.id).revoked
	later := func() {
		if !s.more {
			s.more = true
			t.hold(s.id)
			t.addWork(work{kind: workBegin, promise: s.id})
		}
	}
	for s.head < s.tail && (revoked || s.mayBegin()) {
		if t.spent() {
			later()
			return
		}
		it := t.waiting(s)
		if it.kind == itemDrain {
			it.msg = t.parked(t.promise(it.promise))
		}
		if !t.roomFor(len(it.msg.methArgs.Body)) {
			later()
			return
		}
		t.popCall(s, it)
		switch m := it.msg; {
		case revoked:
			if m.result != "" {
				t.untie(m.result)
			}
			t.route(m, false)
			t.releaseMessage(m)
		default:
			t.left.moved -= len(m.methArgs.Body)
			t.tieTo(s.id, m)
			t.beginCall(s, m)
		}
	}
}

// waiting returns the item at the head of a service object's queue.
func (t *tx) waiting(s *service) (it item) {
	key := keyServiceItem(s.id, s.head)
	t.codec.decode(key, t.must(key), it.fields)
	return it
}

// popCall removes the message at the head of a service object's queue. The message's counts pass to the caller. A drain
// item, which stands for parked messages, is removed with the last of them.
func (t *tx) popCall(s *service, it item) {
	if it.kind == itemDrain {
		p := t.promise(it.promise)
		t.takeParked(p)
		if p.head != p.tail {
			return
		}
		t.release(it.promise)
	}
	t.takeCall(s, it)
}

// takeCall removes the item at the head of a service object's queue.
func (t *tx) takeCall(s *service, it item) {
	t.delete(keyServiceItem(s.id, s.head))
	s.head++
	if it.kind == itemMessage {
		less(&s.queuedBytes, it.msg.size())
	}
}

// call returns a call that was begun and is not done; nil if there is none.
func (t *tx) call(id CallID) *serviceCall {
	key := keyServiceCall(id)
	b, ok := t.get(key)
	if !ok {
		return nil
	}
	c := &serviceCall{id: id}
	if !t.decoded(key, func() { t.codec.decode(key, b, c.fields) }) {
		return nil
	}
	return c
}

// Complete ends a call of a service object: its result is settled, and queued calls may begin. made are the new service
// objects, in the order of c.New. Of a call that is over, or was cancelled, only units of input and the state are kept.
// A commit with Number 0 changes nothing.
func (m *Machine) Complete(id CallID, c Completion, now int64) (commit Commit, made []KRef, err error) {
	defer caught(&err)
	t := m.begin(now)
	s := t.services.edit(t, id.Service)
	if s == nil {
		return Commit{}, nil, nil
	}
	call := t.call(id)
	if c.Rejected {
		c.New = nil
	}
	fault := t.checkReply(c)
	if c.State != nil && len(c.State) <= maxState(m.limits) {
		s.state = c.State
	}
	if fault != "" {
		c = Completion{Rejected: true, Value: kernelError(errcode.Limit, fault)}
	}
	if call == nil && (c.Unit == "" || c.Rejected || t.gone(s) != "") {
		if c.State == nil {
			return Commit{}, nil, nil
		}
		return m.done(t), nil, nil
	}
	if what := t.answersWithGone(c); what != "" {
		c = Completion{Rejected: true, Value: kernelError(errcode.ObjectDeleted, what)}
	}
	sub, found := t.subFor(s, call)
	if len(c.New) > 0 {
		if row := t.sub(sub); !found || sub != "" && (row == nil || (row.state != SubRunning && row.state != SubLaunching)) {
			c = Completion{Rejected: true, Value: kernelError(errcode.ServiceGone, "the subcluster is gone")}
		} else if row != nil && row.services+uint64(len(c.New)) > maxServices {
			c = Completion{Rejected: true, Value: kernelError(errcode.Limit, fmt.Sprintf("the subcluster has %d connections and other service objects, the limit is %d: close some", row.services, maxServices))}
		} else if row != nil {
			row.services += uint64(len(c.New))
			t.setSub(row)
		}
	}
	next := 0
	for i, slot := range c.Value.Slots {
		if slot == "" {
			made = append(made, t.newService("", sub, c.New[next]))
			c.Value.Slots[i] = made[next]
			next++
		}
	}
	switch {
	case call != nil:
		t.finishCall(call, c)
	case !c.Rejected: // the call was cancelled, but the unit that it has read is not lost
		t.keepUnit(s, t.nextUnit(s), c.Unit, c.Value)
	}
	return m.done(t), made, nil
}

// subFor returns the subcluster of the objects that a call makes: that of the service object, or that of the vat that
// called. It is not found if that vat is gone.
func (t *tx) subFor(s *service, call *serviceCall) (sub SubID, found bool) {
	if s.sub != "" || call == nil || call.msg.from == "" {
		return s.sub, true
	}
	if t.lookRun(call.msg.from) == nil {
		return "", false
	}
	return t.vat(call.msg.from).sub, true
}

// answersWithGone returns an error text if a reply refers to something that is gone; it is empty otherwise.
func (t *tx) answersWithGone(c Completion) string {
	for i, slot := range c.Value.Slots {
		if slot != "" && t.exists(slot) != nil {
			return fmt.Sprintf("the service answered with a reference, in slot %d, to what is gone", i)
		}
	}
	for _, n := range c.New {
		for _, h := range n.Holds {
			if t.exists(h) != nil {
				return "the service answered with an object that holds what is gone"
			}
		}
	}
	return ""
}

// checkReply returns an error text if a reply exceeds a bound of the machine; it is empty otherwise.
func (t *tx) checkReply(c Completion) string {
	empty, holds, stored := 0, 0, len(c.State)
	for _, s := range c.Value.Slots {
		if s == "" {
			empty++
		}
	}
	for _, n := range c.New {
		holds += len(n.Holds)
		stored += len(n.Config) + len(n.State)
	}
	switch {
	case len(c.Unit) > maxClass:
		return fmt.Sprintf("the service answered with a unit whose class has %d bytes, the limit is %d", len(c.Unit), maxClass)
	case len(c.Value.Slots) > MaxSlots:
		return fmt.Sprintf("the service answered with %d references, the limit is %d", len(c.Value.Slots), MaxSlots)
	case len(c.Value.Body) > t.limits.Bytes/4:
		return fmt.Sprintf("the service answered with %d bytes, the limit is %d", len(c.Value.Body), t.limits.Bytes/4)
	case empty != len(c.New) || empty > MaxExports:
		return fmt.Sprintf("the service answered with %d new objects and %d references to them, the limit is %d", len(c.New), empty, MaxExports)
	case stored > t.limits.Bytes/4:
		return fmt.Sprintf("the service answered with %d bytes to be stored for its objects, the limit is %d", stored, t.limits.Bytes/4)
	case holds > MaxSlots:
		return fmt.Sprintf("the service answered with objects that hold %d references, the limit is %d", holds, MaxSlots)
	case !c.Rejected && capdata.LoneSlot(c.Value.Body, len(c.Value.Slots)) && c.Value.Slots[0].IsPromise():
		return "the service answered with a promise alone"
	}
	return ""
}

// finishCall settles the result of a call and removes its row.
func (t *tx) finishCall(call *serviceCall, c Completion) {
	s, result := t.service(call.id.Service), call.msg.result
	isUnit := c.Unit != "" && !c.Rejected
	if isUnit {
		// Units that were given back earlier come before this one.
		number := t.nextUnit(s)
		switch unheard := t.unheard(call.msg); {
		case unheard && result != "" && t.promise(result).head != t.promise(result).tail:
			// Messages are parked on the result and get the unit; the memory of the vat that called is lost.
			t.keepUnit(s, number, c.Unit, c.Value)
			defer t.retire(call.msg.from, result) // so that the vat is not told
			isUnit = false
		case unheard:
			t.keepUnit(s, number, c.Unit, c.Value)
			c = Completion{Rejected: true, Value: kernelError(errcode.VatRestarted, "nobody waits for the input any more")}
			isUnit = false
		case s.units > 0:
			t.keepUnit(s, number, c.Unit, c.Value)
			number, c.Value, _ = t.takeUnit(s, c.Unit)
			defer t.releaseData(c.Value) // settle holds it
		}
		if isUnit {
			t.asUnit(result, number, c.Unit)
		}
	}
	if result != "" {
		if !isUnit {
			t.untie(result)
		}
		if p := t.promise(result); p.state != unresolved && !t.salvaging {
			panic(fmt.Sprintf("kernel: result %s of call %s is settled", result, call.id))
		}
		t.settle(result, c.Rejected, c.Value)
		t.left.moved -= len(c.Value.Body)
	} else if c.Rejected {
		t.event(ServiceFailed{call.id, errorText(c.Value.Body)})
	}
	t.endCall(s, call)
	t.releaseMessage(call.msg)
	t.beginMore(s)
}

// endCall removes the row of a call.
func (t *tx) endCall(s *service, call *serviceCall) {
	t.delete(keyServiceCall(call.id))
	s.calls--
	s.callBytes -= uint64(len(call.msg.methArgs.Body))
}

// Forward ends a call of a service object by sending a message on behalf of the caller. The message's result becomes
// that of the call.
func (m *Machine) Forward(id CallID, target KRef, methArgs Data, now int64) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(now)
	s := t.services.edit(t, id.Service)
	call := t.call(id)
	if s == nil || call == nil {
		return Commit{}, nil
	}
	if err := t.admit(target, methArgs); err != nil {
		r := err.(*Refusal)
		t.finishCall(call, Completion{Rejected: true, Value: kernelError(r.Code, r.Detail)})
		return m.done(t), nil
	}
	result := call.msg.result
	if result != "" {
		t.untie(result)
	}
	t.endCall(s, call)
	t.route(message{target: target, methArgs: methArgs, result: result, from: call.msg.from, inc: call.msg.inc}, true)
	t.releaseMessage(call.msg)
	t.beginMore(s)
	return m.done(t), nil
}

// answerCall settles a call of a service object, unless it is over.
func (t *tx) answerCall(by CallID, c func() Completion) {
	if by == (CallID{}) {
		return
	}
	if call := t.call(by); call != nil {
		t.finishCall(call, c())
	}
}

// begun reports whether the call whose result p is is begun.
func (t *tx) begun(p *promise) bool {
	call := t.call(p.tie.call)
	return call != nil && call.msg.result == p.id
}

// cancelCall ends a call whose result no vat waits for any more.
func (t *tx) cancelCall(p *promise, why errcode.Code) {
	a := t.promise(p.id).tie
	t.effect(CancelCall{a.call})
	t.finishCall(t.call(a.call), Completion{Rejected: true, Value: kernelError(why, fmt.Sprintf("vat %s does not wait for the answer any more", a.vat))})
}
