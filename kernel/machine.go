// Package kernel is the kernel's state machine: queues, promises, c-lists, reference counts, vats,
// subclusters and host calls.
//
// It is deterministic and has no goroutines, clocks, dice, files or logs. It reads stored state through
// a [storage.Reader], takes one input at a time and answers with a [Commit]: what to write, and what to
// do once that is durable. The caller makes the writes visible to the Reader before the next call.
//
// A crank is [Machine.Begin], which changes nothing, then the worker's answer, then [Machine.Finish].
// Cranks of different vats may be begun while others are in flight; they take effect one at a time, in
// the order of their Finish.
//
// # Concurrency
//
// A Machine belongs to one goroutine.
//
// # Durability
//
// Between any two commits the stored state is whole. What a commit leaves to be done in slices is a row
// too, see [Machine.Work], and until it is done the rows concerned read as if it were.
package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/storage"
)

// A Commit is everything that one crank, or one input, changes.
type Commit struct {
	// Number numbers the commit, from 1.
	Number uint64
	// Writes must be durable BEFORE any of Effects is performed.
	Writes []storage.Write
	// Effects happen in order, AFTER Writes are durable ([Wake] may happen before). A crash loses those
	// not yet done: each follows again from stored state at the next start, and bears being done twice.
	Effects []Effect
	// Trace tells the story of the crank, for logs and golden tests.
	Trace []Event
}

// Fault is a vat's fault found in what it answered. The crank is aborted: nothing was changed.
// The caller replaces the worker and reports its death with [CauseIllegal] or [CauseLimit].
type Fault struct {
	Vat    VatID
	Cause  Cause
	Reason string
}

func (f *Fault) Error() string { return fmt.Sprintf("vat %s: %s: %s", f.Vat, f.Cause, f.Reason) }

// Refusal says that an input was not accepted and changed nothing.
type Refusal struct {
	Code   capdata.Code
	Detail string
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

// Codes of refusals beside the kernel's closed set of errors: they never reach a vat.
const (
	// CodeNotFound says that there is no such vat, subcluster or poisoned message.
	CodeNotFound capdata.Code = "NOT_FOUND"
	// CodeConflict says that the id of a host call was used for another call.
	CodeConflict capdata.Code = "CONFLICT"
	// CodeInvalid says that an argument is malformed.
	CodeInvalid capdata.Code = "INVALID"
)

func refuse(code capdata.Code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// ErrNewerSchema is returned by Open for a store that a newer kernel wrote.
var ErrNewerSchema = errors.New("the state was written by a newer version of the kernel")

// ErrOlderSchema is returned by Open for a store that an older kernel wrote, which this one cannot read.
var ErrOlderSchema = errors.New("the state was written by an older version of the kernel, in a form that is no longer read")

// Limits of the machine that no configuration changes.
const (
	// MaxVats bounds the vats of one kernel.
	MaxVats = 5000
	// MaxSlots bounds the slots of one message or value.
	MaxSlots = 1000
	// MaxParked bounds the messages parked on one promise.
	MaxParked = 10_000
	// maxQueueBytes bounds the messages in one queue: of a vat, of a service object, parked on one promise, and the
	// poisoned ones kept for one vat. The last one may be large.
	maxQueueBytes = 256 << 20
	// MaxStoreKeyBytes bounds a key of a vat's store.
	MaxStoreKeyBytes = 1024
	// maxKills is the number of SIGKILLs from outside that one message survives, and one memory in its replays.
	maxKills = 20
	// maxAttempts is the number of deaths for one delivery until it is poisoned, maxDeadlines the same
	// for deliveries that did not end.
	maxAttempts, maxDeadlines = 3, 2
	// maxPoisoned bounds the poisoned messages kept for one vat.
	maxPoisoned = 1000
	// closureBytes and closureSlots cut the closure of one notification.
	closureBytes, closureSlots = 256 << 10, 2000
	// closureDepth is how many promises lead from the one that is told of to the last one in its closure.
	closureDepth = 16
	// closureReads bounds the values that are read for it though they may not fit.
	closureReads = 4 * closureBytes
	// maxLoneBytes bounds the body of a value that is one object and nothing else: its interface's name makes it long.
	maxLoneBytes = 4 << 10
	// maxChain bounds the parked messages that wait for each other in a row, where that is looked at.
	maxChain = 10_000
	// sliceReads and sliceBytes bound what one slice of the kernel's own work reads, sliceRows what it changes: beyond,
	// it takes no further item. An item may change MaxSlots rows.
	sliceReads, sliceBytes, sliceRows = 1000, 1 << 20, 2000
	// passRows is how many removed rows the store may pass over for what counts as the reading of one row, stepRows how many
	// for one question of a worker.
	passRows, stepRows = 50, 4000
	// freeUnits bounds the promises that one commit lets go in passing, their slots included.
	freeUnits = 2000
	// maxWalk bounds the steps of all walks of waitsInCircle in one commit, maxWalkReads those of them that read a row.
	maxWalk, maxWalkReads = 1_000_000, maxChain
	// maxReason bounds a reason that is repeated to the results of messages to a rejected promise,
	// maxRepeated what one commit repeats.
	maxReason, maxRepeated = 64 << 10, 1 << 20
	// tellAtOnce bounds the notifications that one crank makes in passing; beyond, they are work.
	tellAtOnce = 1000
	// maxCalls bounds the calls of one service object that are begun and not done, maxCallBytes their bodies,
	// which are in memory; maxAsked those that wait to be begun.
	maxCalls, maxCallBytes, maxAsked = 1000, 8 << 20, 10_000
	// MaxExports bounds the service objects that one reply makes, maxServices those that one subcluster has by
	// such calls.
	MaxExports, maxServices = 100, 10_000
	// maxWatches bounds the promises of how vats end that one vat has asked for and that are still held, by it or by others,
	// maxEndBytes the values of those that are settled: each watcher has a copy.
	maxWatches, maxEndBytes = 10_000, 16 << 20
	// maxClass bounds the name of a class of units.
	maxClass = 100
	// headRows and headBytes are kept free in each commit for its own number and hash.
	headRows, headBytes = 1, 64
	// prefetchBytes bounds the stored state that travels with a delivery, prefetchReads what is read for that.
	prefetchBytes, prefetchReads = 64 << 10, 4 * 64 << 10
)

// failure carries an error of the world (a disk that fails, rows that are corrupt) out of the machine.
type failure struct{ err error }

// caught turns a failure into an error. Broken invariants, which are our mistakes, go on as panics.
func caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = p.err
	case *Refusal: // of a commit that would be too large, see seal
		*err = p
	default:
		panic(p)
	}
}

// Machine is the state machine over one store.
type Machine struct {
	reader storage.Reader
	limits storage.Limits
	// queueBytes is maxQueueBytes, or less in tests.
	queueBytes uint64
	enc        *rowEncoder
	dec        *rowDecoder
	tx         *tx // the transaction whose memory the next one uses
	commit     uint64
	cranks     uint64
	hash       uint64
	epoch      string
}

// Open returns the machine over the state that r reads, or ErrNewerSchema or ErrOlderSchema. If there is no state yet it
// is begun with the given epoch and time, and Commit holds its first rows; otherwise Commit.Number is 0.
// limits bounds one commit: a crank may use half of it.
func Open(r storage.Reader, limits storage.Limits, epoch string) (m *Machine, first Commit, err error) {
	defer caught(&err)
	m = &Machine{reader: r, limits: limits, queueBytes: maxQueueBytes, enc: newRowEncoder(), dec: newRowDecoder()}
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
		// ko1 to ko3 are kept for the built-in services, as in the system that this one succeeds.
		t.setUint(keyNext("o"), 4)
		return m, t.done(), nil
	}
	if version > SchemaVersion {
		return nil, Commit{}, fmt.Errorf("schema %d, this program knows %d: %w", version, SchemaVersion, ErrNewerSchema)
	}
	if b, ok := t.get(keyEpoch); ok {
		m.epoch = string(b)
	}
	if version < SchemaVersion && version > 0 {
		return nil, Commit{}, fmt.Errorf("schema %d, this program knows %d: %w", version, SchemaVersion, ErrOlderSchema)
	}
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

// Cranks is the number of deliveries committed since the state was begun.
func (m *Machine) Cranks() uint64 { return m.cranks }

// Hash is the chained hash of all writes up to the last commit: two runs that differ can be bisected.
func (m *Machine) Hash() uint64 { return m.hash }

// NewEpoch begins another epoch: every ticket handed out before is unknown from now on
// (their calls go on, and expire as usual).
func (m *Machine) NewEpoch(epoch string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	m.epoch = epoch
	t.set(keyEpoch, []byte(epoch))
	return t.done(), nil
}

// seal numbers a commit and chains its hash. It is the last thing that a transaction does. A commit that no
// store would take is not made: it panics with a *Refusal, which caught returns, and nothing has changed. For a
// crank that is the vat's fault (Finish), for another input an answer to whoever gave it.
func (m *Machine) seal(t *tx) Commit {
	writes := t.writes()
	size := 0
	for _, w := range writes {
		size += w.Size()
	}
	if len(writes)+headRows > m.limits.Rows || size+headBytes > m.limits.Bytes {
		panic(refuse(capdata.CodeLimit, "it would write %d rows and %d bytes at once, the limits are %d and %d", len(writes), size, m.limits.Rows, m.limits.Bytes))
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
