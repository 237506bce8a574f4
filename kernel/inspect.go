package kernel

import (
	"fmt"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/storage"
)

// Vat is what a vat is and where it stands, as far as it is durable.
type Vat struct {
	ID     VatID
	Name   string
	Sub    SubID
	Root   KRef
	Config []byte
	// Stopped tells why a stopped vat was stopped; empty if it is not.
	Stopped string
	// Terminated says that it is being removed.
	Terminated bool
	// Incarnation is live if Live is true, else the last dead one.
	Incarnation uint64
	Live        bool
	// Started says that its start was delivered: its module's constructor has run.
	Started bool
	// Queue counts the items in its queue, Restarts the deaths of its workers.
	Queue, Restarts, Deliveries uint64
	// Records is the length of the transcript that a fresh worker would be given; Lost says that it does
	// not hold all, so that the vat would start from its durable state.
	Records uint64
	Lost    bool
	// SpanAt is when the first of the records was made, in milliseconds; 0 if there is none.
	SpanAt int64
	// HasWork says that Begin may find something.
	HasWork bool
	// Corrupt tells what is wrong with the rows that describe the vat; only ID is known then. Only Vats says so.
	Corrupt error
}

// Vat tells about one vat; found is false if there is none of that id.
func (m *Machine) Vat(v VatID) (out Vat, found bool, err error) {
	defer caught(&err)
	t := m.begin(0)
	if t.lookRun(v) == nil {
		return Vat{}, false, nil
	}
	return t.exportVat(v), true, nil
}

// Vats lists all vats, in the order of their keys, those too of which the rows cannot be read.
func (m *Machine) Vats() (out []Vat, err error) {
	for after, first := VatID(""), true; first || after != ""; first = false {
		var page []Vat
		if page, after, err = m.VatsAfter(after); err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	return out, nil
}

func (t *tx) exportVat(v VatID) Vat {
	u, row := t.lookRun(v), t.vat(v)
	out := Vat{
		ID: v, Name: row.name, Sub: row.sub, Root: row.root, Config: row.config,
		Terminated: u.phase == dead, Incarnation: u.inc, Live: u.inc != u.deadInc, Started: u.started,
		Queue: u.items, Restarts: u.restarts, Deliveries: u.deliveries,
		Records: u.records, Lost: u.lost,
		HasWork: u.phase != dead && (u.reap != 0 || u.rejectAt < u.rejectUntil || (u.phase == live && u.head != u.tail)),
	}
	if u.phase == stopped {
		out.Stopped = u.why
	}
	if u.records > 0 {
		out.SpanAt = int64(u.spanAt)
	}
	return out
}

// Poison is a message that was given up.
type Poison struct {
	N        uint64
	Vat      VatID
	Target   KRef
	MethArgs Data
	Attempts uint64
	// At is when it was given up, in milliseconds.
	At int64
	// Code and Why are what its result was rejected with.
	Code, Why string
}

// Poisoned lists the poisoned messages of a vat.
func (m *Machine) Poisoned(v VatID) (out []Poison, err error) {
	defer caught(&err)
	t := m.begin(0)
	prefix := prefixPoisoned(v)
	for after := ""; ; {
		key, b := t.next(prefix, after)
		if key == "" {
			return out, nil
		}
		after = key
		p, err := m.poison(key, b)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
}

// PoisonedAfter lists poisoned messages of all vats, in the order of their keys, behind the cursor that an earlier call has
// returned, or from the first if that is empty. It stops when it has rows messages, or bodies of size bytes; next is empty
// if there are no more.
func (m *Machine) PoisonedAfter(cursor string, rows, size int) (out []Poison, next string, err error) {
	defer caught(&err)
	t := m.begin(0)
	for key := cursor; ; {
		var b []byte
		if key, b = t.next("x.", key); key == "" {
			return out, "", nil
		}
		p, err := m.poison(key, b)
		if err != nil {
			return nil, "", err
		}
		out = append(out, p)
		if size -= len(b); len(out) == rows || size <= 0 {
			return out, key, nil
		}
	}
}

// PoisonedVat finds the vat that a poisoned message belongs to.
func (m *Machine) PoisonedVat(n uint64) (v VatID, found bool, err error) {
	defer caught(&err)
	t := m.begin(0)
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

func (m *Machine) poison(key string, b []byte) (Poison, error) {
	dot := strings.LastIndexByte(key, '.')
	if dot < len("x.") {
		return Poison{}, fmt.Errorf("key %.80q: %w", key, storage.ErrCorrupt)
	}
	var p poisoned
	p.decode(m.dec, key, b)
	return Poison{
		N: numberIn(key[dot+1:]), Vat: VatID(key[len("x."):dot]), Target: p.msg.target, MethArgs: p.msg.methArgs,
		Attempts: p.attempts, At: p.at, Code: p.code, Why: p.why,
	}, nil
}

// Unpoison takes a poisoned message away. With retry it is delivered again, without a result.
func (m *Machine) Unpoison(v VatID, n uint64, retry bool) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	key := keyPoisoned(v, n)
	b, ok := t.get(key)
	u := t.lookRun(v)
	if !ok || u == nil || u.phase == dead {
		return Commit{}, refuse(CodeNotFound, "vat %s has no poisoned message %d", v, n)
	}
	if retry && u.phase == stopped {
		return Commit{}, refuse(CodeInvalid, "vat %s is stopped; restart it first", v)
	}
	var p poisoned
	p.decode(m.dec, key, b)
	t.delete(key)
	run := t.run(v)
	run.poisoned--
	less(&run.poisonedBytes, p.msg.size())
	if retry {
		t.route(p.msg, false)
	}
	t.releaseMessage(p.msg)
	return t.done(), nil
}

// Revoke makes an object refuse every message from now on, those in queues included. It cannot be undone.
func (m *Machine) Revoke(k KRef) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if k.IsPromise() {
		return Commit{}, refuse(capdata.CodeBadTarget, "%s is a promise; only an object can be revoked", k)
	}
	if err := t.exists(k); err != nil {
		return Commit{}, err
	}
	t.object(k).revoked = true
	if s := t.services.edit(t, k); s != nil {
		t.beginMore(k, s) // that is, rejects what waits
	}
	return t.done(), nil
}
