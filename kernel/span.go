package kernel

import (
	"crypto/sha256"
	"fmt"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// A vat's memory is a function of its deliveries, so the kernel can make it again: design section 5a. A span starts
// whenever the vat is at rest, that is when all of its state is in its store. Each crank after which the vat is not
// at rest appends a record to the span's transcript, and keeps each row of the store that the span writes for the
// first time as it was before. A fresh worker that gets the records in order, over the store as it was, has the memory
// that was lost.

const (
	// maxRecords and maxTranscriptBytes bound the transcript of a span. Beyond, recording stops until the vat is
	// at rest, and until then the vat would start from its durable state. The bytes are those of the transcript's
	// rows and those that a replay holds in memory: the last value that the span has written to each row of the store,
	// and rowBytes for the row itself.
	maxRecords         = limits.Transcript
	maxTranscriptBytes = limits.TranscriptBytes
	rowBytes           = 48
	// wholeFrameBytes is the size of the largest frame that is recorded itself, and not its hash.
	wholeFrameBytes = 4 << 10
	// forgetAtOnce is the number of rows of a span that are removed by the crank that ends it: the rows of a short span
	// were never durable, and leave no trace at all.
	forgetAtOnce = 64
)

// endCrank ends the span if the vat is at rest now, and records the crank if it is not.
func (t *tx) endCrank(c *Crank, u *run, done wire.Done, frame []byte, written []string) {
	switch {
	case done.Outcome.Parked == 0 && u.memory.decides == 0 && u.memory.ephemerals == 0:
		t.nextSpan(u)
	case !u.span.lost:
		t.record(c, u, done, frame, written)
	}
}

// nextSpan starts a span, from the vat's durable state as it is now.
func (t *tx) nextSpan(u *run) {
	u.span.objects, u.span.promises = u.names.objects, u.names.promises
	if u.span.records == 0 && !u.span.lost {
		return // the span was empty, and goes on as the new one
	}
	t.forgetSpan(u)
	u.span.number++
	u.span.records, u.span.bytes, u.span.lost = 0, 0, false
}

// forgetSpan removes the transcript of the present span, at once if it is short.
func (t *tx) forgetSpan(u *run) {
	if u.span.records == 0 {
		return
	}
	left := uint64(forgetAtOnce)
	if u.span.records <= left && !u.span.lost {
		for n := range u.span.records {
			t.delete(keyRecord(u.id, u.span.number, n))
		}
		done, prefix := true, prefixFormer(u.id, u.span.number)
		for key := range t.all(prefix, "") {
			if done = left > 0 && !t.spent(); !done {
				break
			}
			t.delete(prefix + key)
			left--
		}
		if done {
			return
		}
	}
	t.addWork(work{kind: workForget, vat: u.id, span: u.span.number})
}

// sweepSpan removes the transcript of a span that is over, a slice at a time.
func (t *tx) sweepSpan(w *work) (done bool) {
	prefix := prefixRecord(w.vat, w.span)
	if w.stage > 0 {
		prefix = prefixFormer(w.vat, w.span)
	}
	if t.deleteAll(prefix, &w.after); t.spent() {
		return false
	}
	w.stage, w.after = w.stage+1, ""
	return w.stage > 1
}

// record appends a crank to the transcript.
func (t *tx) record(c *Crank, u *run, done wire.Done, frame []byte, written []string) {
	d := c.Deliver
	d.State = nil // read again at replay, from the store as it was
	down, err := wire.AppendDown(nil, d)
	if err == nil && frame == nil {
		frame, err = wire.AppendUp(nil, done)
		frame = frame[min(len(frame), wire.HeaderBytes):]
	}
	if err != nil {
		panic(fmt.Sprintf("kernel: a crank that was exchanged cannot be encoded: %v", err))
	}
	up, whole := frame, len(frame) <= wholeFrameBytes
	if !whole {
		sum := sha256.Sum256(frame)
		up = sum[:]
	}
	e := exchange{down[wire.HeaderBytes:], whole, up}
	row := t.codec.encode(e.fields)
	size, held := len(row), 0
	var formers []storage.Write
	for _, key := range written {
		at := prefixFormer(c.Vat, u.span.number) + key
		value, found, err := t.reader.Get(keyStore(c.Vat, key)) // as it was before this crank
		if err != nil {
			panic(failure{err})
		}
		now, _ := t.get(keyStore(c.Vat, key))
		held += len(now)
		if _, ok := t.get(at); ok { // an earlier crank of the span wrote it, and a replay forgets that value
			held -= len(value)
			continue
		}
		held += len(key) + rowBytes
		f := former{found, value}
		b := t.codec.encode(f.fields)
		size += len(at) + len(b)
		formers = append(formers, storage.Write{Key: at, Value: b})
		if t.own.bytes+size > t.limits.Bytes/2 {
			break // it cannot be recorded: the other rows, which may be as large, are not read
		}
	}
	bytes := max(int64(u.span.bytes)+int64(size+held), 0)
	if u.span.records >= min(u.policy.maxRecords, maxRecords) || bytes > maxTranscriptBytes || t.own.bytes+size > t.limits.Bytes/2 ||
		t.own.rows+len(formers) > t.limits.Rows/2 {
		u.span.lost = true
		if u.policy.maxRecords > 0 { // else nothing was to be recorded
			t.event(TranscriptFull{c.Vat, u.span.records, u.span.bytes})
		}
		return
	}
	t.create(keyRecord(c.Vat, u.span.number, u.span.records), row)
	for _, f := range formers {
		t.set(f.Key, f.Value)
	}
	if u.span.records == 0 {
		u.span.at = uint64(t.now)
	}
	u.span.records++
	u.span.bytes = uint64(bytes)
}
