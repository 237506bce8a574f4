package kernel

import (
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
)

// Poison is a message that was given up.
type Poison struct {
	N        uint64
	Vat      VatID
	Target   KRef
	MethArgs Data
	Attempts uint64
	// At is when it was given up, in milliseconds.
	At int64
	// Code and Why tell the reason with which its result was rejected.
	Code, Why string
}

// poison gives up a delivery. A delivery of garbage collection costs the vat its memory first; then it counts as
// delivered. A message is kept for inspection, its result rejected. A notification costs the vat its
// memory first; then it counts as delivered. If the store of the vat waits for the promise, it would wait for ever:
// then the vat is told that the promise is rejected, though for others it is not. A vat whose code ends its workers
// even at that is stopped, which settles the promises that the vat would have settled.
func (t *tx) poison(u *run, d Death, code errcode.Code) {
	it, why := d.Crank.item, d.why()
	attempts := u.charged.attempts + u.charged.kills
	event := Poisoned{Vat: u.id, Code: string(code)}
	switch it.kind {
	case itemStart:
		// Deaths by other causes have failed the launch at once; here the worker was killed from outside, again and
		// again. A launch is not over before all its vats have started: it is still pending, and fails.
		if t.launching(t.vat(u.id).sub) {
			t.failLaunch(t.vat(u.id).sub, fmt.Sprintf("vat %s (%s) did not start: %s", u.id, t.vat(u.id).name, why))
			return
		}
		// The vat was added to a subcluster that runs: it alone is stopped, and starts when it is restarted.
		u.charged.attempts, u.charged.kills = 0, 0
		t.stop(u, "it did not start: "+why)
		return
	case itemLooks, itemRound:
		if t.forgetFor(u, d.Crank.What, why) {
			return
		}
		// It counts as delivered, and the vat as told.
		event.What = d.Crank.What
		first, anew := it.kind == itemRound && !u.rounds.first, u.rounds.anew
		t.collected(d.Crank, u)
		u.rounds.at = min(u.rounds.at, u.deliveries)
		if first {
			// The vat takes the exports that the first round has named for all that others may hold: it is told of all of
			// them, by a round that begins anew.
			u.rounds.first, u.rounds.anew, u.rounds.cursor, u.rounds.due = false, anew, "", false
		}
	case itemNotify:
		if t.forgetFor(u, "a notification", why) {
			return
		}
		event.What = "notification of " + string(it.promise)
		p := t.promise(it.promise)
		with := ""
		if p.tie.unit != "" && !it.isSubstitute() { // given again it would end the next worker
			with = ", and the input that it brought is not given again"
			event.What += with
		}
		if it.isSubstitute() {
			t.stop(u, fmt.Sprintf("its store waits for a promise, and the notification that it is rejected killed %d workers, the last: %s", attempts, why))
			u.acquit()
			return
		}
		if slices.Contains(p.watched, u.id) {
			t.gotUnit(it.promise)
			it.msg.methArgs = kernelError(code, "the notification of a promise ended the worker each time"+with+": "+d.public())
			t.set(keyQueue(u.id, it.at), t.codec.encode(it.fields))
			u.acquit()
			break
		}
		t.pop(u, it)
		t.forgetTold(u.id, it.promise)
		t.release(it.promise)
	default:
		c := &Crank{item: it}
		target, _ := t.target(c, u.id)
		msg := c.message
		event.What = "message to " + string(target)
		t.pop(u, it)
		if msg.result != "" {
			t.settle(msg.result, true, kernelError(code, d.public()))
			t.release(msg.result)
			msg.result = ""
		}
		if u.poisoned.messages < maxPoisoned && u.poisoned.bytes < t.queueBytes {
			n := t.allocate("x")
			p := &poisoned{msg: msg, attempts: attempts, at: t.now, code: string(code), why: why}
			t.create(keyPoisoned(u.id, n), t.codec.encode(p.fields))
			u.poisoned.messages++
			u.poisoned.bytes += msg.size()
			event.N = n
		} else {
			t.releaseMessage(msg)
		}
	}
	t.event(event)
}

// forgetFor starts the vat from its durable state alone, once for each delivery: the memory may be the cause of the
// deaths. It returns whether it did.
func (t *tx) forgetFor(u *run, what, why string) bool {
	if u.span.records == 0 || u.charged.forgotten {
		return false
	}
	t.loseMemory(u, fmt.Sprintf("%s killed %d workers, the last: %s", what, u.charged.attempts+u.charged.kills, why))
	u.charged.attempts, u.charged.kills, u.charged.forgotten = 0, 0, true
	return true
}

// Unpoison removes a poisoned message. With retry the message is delivered again, without a result.
func (m *Machine) Unpoison(v VatID, n uint64, retry bool) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	key := keyPoisoned(v, n)
	b, ok := t.get(key)
	u := t.lookRun(v)
	if !ok || u == nil || u.phase == dead {
		return Commit{}, refuse(errcode.NotFound, "vat %s has no poisoned message %d", v, n)
	}
	if retry && u.phase == stopped {
		return Commit{}, refuse(errcode.Invalid, "vat %s is stopped; restart it first", v)
	}
	var p poisoned
	m.codec.decode(key, b, p.fields)
	t.delete(key)
	run := t.run(v)
	run.poisoned.messages--
	less(&run.poisoned.bytes, p.msg.size())
	if retry {
		t.route(p.msg, false)
	}
	t.releaseMessage(p.msg)
	return m.done(t), nil
}

// Poisoned lists the poisoned messages of a vat.
func (q *View) Poisoned(v VatID) (out []Poison, err error) {
	defer caught(&err)
	t := q.begin(0)
	prefix := prefixPoisoned(v)
	for rest, b := range t.all(prefix, "") {
		p, err := q.poison(prefix+rest, b)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// PoisonedAfter lists poisoned messages of all vats, in the order of their keys, behind the cursor that an earlier call
// has returned, or from the first if that is empty. It stops after `rows` messages, or `size` bytes of bodies. next is
// empty if there are no more.
func (q *View) PoisonedAfter(cursor string, rows, size int) (out []Poison, next string, err error) {
	defer caught(&err)
	t := q.begin(0)
	for rest, b := range t.all("x.", cursor) {
		p, err := q.poison("x."+rest, b)
		if err != nil {
			return nil, "", err
		}
		out = append(out, p)
		if size -= len(b); len(out) == rows || size <= 0 {
			return out, "x." + rest, nil
		}
	}
	return out, "", nil
}

// PoisonedVat returns the vat of a poisoned message.
func (q *View) PoisonedVat(n uint64) (v VatID, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	for after := ""; ; {
		key, _ := t.next("x.", after)
		if key == "" {
			return "", false, nil
		}
		v = VatID(key[len("x."):strings.LastIndexByte(key, '.')])
		if _, found := t.get(keyPoisoned(v, n)); found {
			return v, true, nil
		}
		after = "x." + string(v) + "/" // behind all keys of this vat
	}
}

func (q *View) poison(key string, b []byte) (Poison, error) {
	dot := strings.LastIndexByte(key, '.')
	if dot < len("x.") {
		return Poison{}, fmt.Errorf("key %.80q: %w", key, storage.ErrCorrupt)
	}
	var p poisoned
	q.codec.decode(key, b, p.fields)
	return Poison{
		N: numberIn(key[dot+1:]), Vat: VatID(key[len("x."):dot]), Target: p.msg.target, MethArgs: p.msg.methArgs,
		Attempts: p.attempts, At: p.at, Code: p.code, Why: p.why,
	}, nil
}
