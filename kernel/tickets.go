package kernel

import (
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
)

// HostCall is a message that comes from outside, under a ticket.
type HostCall struct {
	// Ticket is EPOCH.ID.
	Ticket string
	// Hash identifies the content, so that the same id with other content is found out.
	Hash string
	// Target is an object or a promise.
	Target KRef
	// MethArgs is the marshalled call.
	MethArgs Data
}

// TicketState is the state of a host call.
type TicketState struct {
	// Found is false if there is no such ticket.
	Found bool
	// Pending is true until the call is settled.
	Pending bool
	// Acknowledged says that the answer was let go; Value is empty then.
	Acknowledged bool
	Rejected     bool
	Value        Data
	Hash         string
}

// Call accepts a host call and queues it. A ticket that is known is not executed again: the commit has Number 0, and
// the state tells where the call stands. A known ticket with another hash is refused with errcode.Conflict. References must
// exist: an object that is unreachable for all vats is OBJECT_DELETED, a promise that does not exist BAD_TARGET. A full
// queue is QUEUE_FULL, more references or bytes than a vat could send are LIMIT.
func (m *Machine) Call(h HostCall, now int64) (st TicketState, c Commit, err error) {
	defer caught(&err)
	t := m.begin(now)
	if tk := t.ticket(h.Ticket); tk != nil {
		if tk.hash != h.Hash {
			return TicketState{}, Commit{}, refuse(errcode.Conflict, "ticket %s was used for another call", h.Ticket)
		}
		return t.stateOf(tk), Commit{}, nil
	}
	if err := t.admit(h.Target, h.MethArgs); err != nil {
		return TicketState{}, Commit{}, err
	}
	result := t.newPromise("", 0)
	p := t.promise(result)
	p.ticket = h.Ticket
	t.hold(result) // the host waits
	t.setTicket(h.Ticket, &ticket{hash: h.Hash, promise: result})
	t.route(message{target: h.Target, methArgs: h.MethArgs, result: result}, true)
	if t.queueFull {
		// Refused, not answered: the caller may try again under the same ticket.
		return TicketState{}, Commit{}, refuse(errcode.QueueFull, queueFull)
	}
	return t.stateOf(t.ticket(h.Ticket)), m.done(t), nil
}

// admit checks a message that comes from outside of any vat. It is bounded, as those of vats are, before any of its
// references is read.
func (t *tx) admit(target KRef, methArgs Data) error {
	if err := CheckMessage(t.limits, methArgs); err != nil {
		return err
	}
	for _, k := range append([]KRef{target}, methArgs.Slots...) {
		if err := t.exists(k); err != nil {
			return err
		}
	}
	return nil
}

// CheckMessage refuses, with [errcode.Limit], the method and arguments of a message from outside of any vat that have
// more references or bytes than a vat could send. limits are those of the store.
func CheckMessage(limits storage.Limits, methArgs Data) error {
	if n := len(methArgs.Slots); n > MaxSlots {
		return refuse(errcode.Limit, "%d references, the limit is %d", n, MaxSlots)
	}
	if size, most := dataSize(methArgs.Body, len(methArgs.Slots)), limits.Bytes/2; size > most {
		return refuse(errcode.Limit, "method and arguments of %d bytes, the limit is %d", size, most)
	}
	return nil
}

// dataSize is the number of bytes that a value counts for against the limit of one crank, or of one input.
func dataSize(body string, slots int) int { return len(body) + 64*(slots+1) }

// exists checks a reference that a host names.
func (t *tx) exists(k KRef) error {
	if k.IsPromise() {
		if t.promises.look(t, k) == nil {
			return refuse(errcode.BadTarget, "there is no promise %s", k)
		}
		return nil
	}
	if o := t.objects.look(t, k); o == nil || o.reachable == 0 || (t.owner(o) == "" && !o.service) {
		return refuse(errcode.ObjectDeleted, "there is no object %s", k)
	}
	return nil
}

func (t *tx) ticket(id string) *ticket {
	b, ok := t.get(keyTicket(id))
	if !ok {
		return nil
	}
	tk := &ticket{}
	if !t.decoded(keyTicket(id), func() { t.codec.decode(keyTicket(id), b, tk.fields) }) {
		return &ticket{}
	}
	return tk
}

func (t *tx) setTicket(id string, tk *ticket) { t.set(keyTicket(id), t.codec.encode(tk.fields)) }

// stateOf returns the state of a host call.
func (t *tx) stateOf(tk *ticket) TicketState {
	st := TicketState{
		Found: true, Pending: tk.state == ticketPending, Acknowledged: tk.state == ticketAcknowledged,
		Rejected: tk.state == ticketRejected, Value: tk.value, Hash: tk.hash,
	}
	if tk.isElsewhere() {
		st.Value = t.dataAt(keyValue(tk.promise))
	}
	return st
}

// maxCopied is the size of the largest answer that is written twice: as the value of its promise and with the ticket.
// With a second copy of a larger one, a crank would reach its limit.
const maxCopied = 64 << 10

// isElsewhere reports whether the answer of a settled call is that of its promise, which the ticket holds.
func (tk *ticket) isElsewhere() bool { return tk.promise != "" && tk.state != ticketPending }

// releaseAnswer releases the references that a settled host call holds.
func (t *tx) releaseAnswer(tk *ticket) {
	t.releaseData(tk.value)
	if tk.isElsewhere() {
		t.release(tk.promise)
	}
}

// settleTicket keeps the answer of a host call, and holds the references in it.
func (t *tx) settleTicket(p *promise) {
	id := p.ticket
	p.ticket = ""
	tk := t.ticket(id)
	if tk == nil && t.salvaging {
		t.release(p.id)
		return
	}
	tk.state, tk.value, tk.settledAt, tk.promise = ticketFulfilled, p.value, t.now, ""
	if p.state == rejected {
		tk.state = ticketRejected
	}
	if len(tk.value.Body) > maxCopied {
		tk.value, tk.promise = Data{}, p.id // which it holds already
	} else {
		t.holdData(tk.value)
		t.own.bytes += len(tk.value.Body) // the value is written twice
		t.release(p.id)
	}
	t.setTicket(id, tk)
	t.setExpiry(keyExpiry(t.now, id))
	t.effect(Answer{id})
}

// Ticket returns the state of a host call.
func (q *View) Ticket(id string) (st TicketState, err error) {
	defer caught(&err)
	t := q.begin(0)
	if tk := t.ticket(id); tk != nil {
		return t.stateOf(tk), nil
	}
	return TicketState{}, nil
}

// Acknowledge removes the answer of a settled host call. Its id stays known until it expires. Acknowledge does nothing
// to a call that is pending, unknown or acknowledged.
func (m *Machine) Acknowledge(id string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	tk := t.ticket(id)
	if tk == nil || tk.state == ticketPending || tk.state == ticketAcknowledged {
		return Commit{}, nil
	}
	t.releaseAnswer(tk)
	tk.state, tk.value, tk.promise = ticketAcknowledged, Data{}, ""
	t.setTicket(id, tk)
	return m.done(t), nil
}

// Expire removes the host calls that were settled before a time, a slice at a time. next is the time at which the first
// remaining one was settled; 0 if none remains, and 1 if the next slice has to find out. A commit with Number 0 changes
// nothing.
func (m *Machine) Expire(before int64) (c Commit, next int64, err error) {
	defer caught(&err)
	t := m.begin(0)
	begun := t.expired()
	after := begun
	for {
		key, _, ready := t.step("e.", after)
		if key == "" {
			break
		}
		if !ready { // there are removed rows to be passed still
			after, next = key, 1
			break
		}
		var when int64
		for _, d := range []byte(key[len("e."):][:13]) {
			when = when*10 + int64(d-'0')
		}
		if when >= before || t.spent() {
			next = max(when, 1)
			break
		}
		after = key
		id := key[len("e.")+14:]
		t.delete(key)
		if tk := t.ticket(id); tk != nil {
			t.releaseAnswer(tk)
			t.delete(keyTicket(id))
		}
	}
	if after == begun {
		return Commit{}, next, nil
	}
	t.set(keyExpired, []byte(after))
	return m.done(t), next, nil
}

// expired returns the last removed row of the expiry index: no row is at it or before. So the index is not searched
// from its start, where the store may still have to pass over the removed rows.
func (t *tx) expired() string {
	b, _ := t.get(keyExpired)
	return string(b)
}

// setExpiry adds a row to the expiry index. If the clock was set back, the row may come before one that was removed.
func (t *tx) setExpiry(key string) {
	if key <= t.expired() {
		t.delete(keyExpired)
	}
	t.set(key, []byte{})
}
