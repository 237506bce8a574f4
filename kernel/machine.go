// Package kernel is the kernel's state machine: queues, promises, c-lists, reference counts, vats, subclusters and host
// calls.
//
// It is deterministic and has no goroutines, clocks, dice, files or logs. It reads stored state through a
// [storage.Reader], takes one input at a time and answers with a [Commit]: the rows to write, and the effects to
// perform once these are durable. The caller makes the writes visible to the Reader before the next call.
//
// A crank is [Machine.Begin], which changes nothing, then the worker's answer, then [Machine.Finish]. Cranks of
// different vats may be begun while others are in flight; they take effect one at a time, in the order of their Finish.
//
// # Concurrency
//
// A Machine belongs to one goroutine.
//
// # Durability
//
// Between any two commits the stored state is whole. Work that a commit leaves to be done in slices is a row too, see
// [Machine.Work]. Until it is done, the rows concerned read as if it were.
package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
)

// A Commit holds all changes of one crank, or of one input.
type Commit struct {
	// Number numbers the commit, from 1.
	Number uint64
	// Writes must be durable BEFORE any of Effects is performed.
	Writes []storage.Write
	// Effects happen in order, AFTER Writes are durable ([Wake] may happen before). A crash loses the effects that are
	// not yet done: each follows again from stored state at the next start, and bears being done twice.
	Effects []Effect
	// Trace tells the story of the crank, for logs and golden tests.
	Trace []Event
}

// Machine is the state machine over one store. Its own methods are inputs, which answer with a [Commit]; the questions
// are those of the [View] that it embeds.
type Machine struct {
	View
	commit uint64
	cranks uint64
	hash   uint64
	epoch  string
	// older says that the state is of an older version of the schema: the next commit writes the number of this one.
	older bool
}

// Open returns the machine over the state that r reads, or ErrNewerSchema or ErrOlderSchema. If there is no state yet,
// Open creates one with the given epoch, and Commit holds its first rows; otherwise Commit.Number is 0. limits bounds
// one commit: a crank may use half of it.
func Open(r storage.Reader, limits storage.Limits, epoch string) (m *Machine, first Commit, err error) {
	defer caught(&err)
	m = &Machine{View: *NewView(r)}
	m.limits, m.queueBytes = limits, maxQueueBytes
	t := m.begin(0)
	version, found := t.uintRow(keySchema)
	if !found {
		if _, _, any, err := r.Next("", ""); err != nil || any {
			return nil, Commit{}, fmt.Errorf("the store holds something else than a kernel's state: %w", errors.Join(err, storage.ErrCorrupt))
		}
		m.epoch = epoch
		t.setUint(keySchema, SchemaVersion)
		t.set(keyEpoch, []byte(epoch))
		t.setUint(keyCount, 0)
		t.set(keySwept, []byte{})
		// ko1 to ko3 are reserved for the built-in services, as in the system that this one succeeds.
		t.setUint(keyNext("o"), 4)
		return m, m.done(t), nil
	}
	if version > SchemaVersion {
		return nil, Commit{}, fmt.Errorf("schema %d, this program knows %d: %w", version, SchemaVersion, ErrNewerSchema)
	}
	if b, ok := t.get(keyEpoch); ok {
		m.epoch = string(b)
	}
	_, m.searching = t.get(keySearch)
	if version < OldestSchema && version > 0 {
		return nil, Commit{}, fmt.Errorf("schema %d, this program knows %d to %d: %w", version, OldestSchema, SchemaVersion, ErrOlderSchema)
	}
	m.older = version < SchemaVersion
	b, ok := t.get(keyCommit)
	if !ok || len(b) != 24 || version == 0 || m.epoch == "" {
		return nil, Commit{}, fmt.Errorf("the head of the state: %w", storage.ErrCorrupt)
	}
	m.commit, m.hash, m.cranks = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	return m, Commit{}, nil
}

// Epoch identifies this state; tickets of another epoch are unknown here.
func (m *Machine) Epoch() string { return m.epoch }

// CommitNumber is the number of the last commit.
func (m *Machine) CommitNumber() uint64 { return m.commit }

// Cranks is the number of deliveries committed since the state was created.
func (m *Machine) Cranks() uint64 { return m.cranks }

// Hash is the chained hash of all writes up to the last commit: two runs that differ can be bisected.
func (m *Machine) Hash() uint64 { return m.hash }

// NewEpoch starts another epoch: every ticket handed out before is unknown from now on (their calls go on, and expire
// as usual).
func (m *Machine) NewEpoch(epoch string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	m.epoch = epoch
	t.set(keyEpoch, []byte(epoch))
	return m.done(t), nil
}

// Reset starts another epoch, drops the subclusters that were to be launched again, and notes that the state is being
// cleared. The caller then terminates all subclusters, launches none, and calls ResetDone when they are gone; if this
// kernel dies first, the next one goes on with it. Numbers are not used twice: no kept name comes to mean something
// else.
func (m *Machine) Reset(epoch string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	m.epoch = epoch
	t.set(keyEpoch, []byte(epoch))
	t.set(keyReset, []byte{})
	for _, s := range t.reloads() {
		t.dropReload(s, "the state was cleared")
	}
	return m.done(t), nil
}

// Resetting reports whether the state is being cleared.
func (q *View) Resetting() (resetting bool, err error) {
	defer caught(&err)
	_, resetting = q.begin(0).get(keyReset)
	return resetting, nil
}

// ResetDone notes that the clearing of the state is over.
func (m *Machine) ResetDone() (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	t.delete(keyReset)
	return m.done(t), nil
}

// seal numbers a commit and chains its hash. It is the last act of a transaction. A commit that no store would take is
// not made: seal panics with a *Refusal, which caught returns, and nothing has changed. For a crank that is the vat's
// fault (Finish); for another input the Refusal is the answer to it.
func (m *Machine) seal(t *tx) Commit {
	writes := t.writes()
	size := 0
	for _, w := range writes {
		size += w.Size()
	}
	if len(writes)+headRows > m.limits.Rows || size+headBytes > m.limits.Bytes {
		panic(refuse(errcode.Limit, "it would write %d rows and %d bytes at once, the limits are %d and %d", len(writes), size, m.limits.Rows, m.limits.Bytes))
	}
	if t.delivered {
		m.cranks++
	}
	h := xxhash.New()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], m.hash)
	_, _ = h.Write(b[:8])
	for _, w := range writes {
		_, _ = h.WriteString(w.Key)
		_, _ = h.Write([]byte{0, byte(len(w.Value)), byte(len(w.Value) >> 8), byte(len(w.Value) >> 16)})
		_, _ = h.Write(w.Value)
	}
	m.commit++
	m.hash = h.Sum64()
	head := make([]byte, 24)
	binary.BigEndian.PutUint64(head, m.commit)
	binary.BigEndian.PutUint64(head[8:], m.hash)
	binary.BigEndian.PutUint64(head[16:], m.cranks)
	writes = append(writes, storage.Write{Key: keyCommit, Value: head})
	return Commit{Number: m.commit, Writes: writes, Effects: t.effects, Trace: t.trace}
}
