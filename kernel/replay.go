package kernel

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"ocapkernel.dev/wire"
)

// Replay makes the memory of a vat's incarnation again, in a fresh worker. For each Next the worker gets the delivery,
// reads the store through Get and After, and its answer is passed to Answer. It sees the vat's store as it was when the
// span started, changed by the replayed cranks. Replay changes nothing. It is valid until the vat's next crank, or the
// end of its incarnation.
//
// It keeps in memory the rows that the replayed cranks wrote, each once, which the transcript's bound counts, and the
// keys of these rows.
type Replay struct {
	view    *View
	v       VatID
	span    uint64
	records uint64
	// n is the next delivery, answered the one whose answer comes next. The deliveries between them are ahead.
	n, answered uint64
	ahead       []transcriptRecord
	store       *pastStore
}

type transcriptRecord struct {
	deliver wire.Deliver
	whole   bool
	up      []byte
	done    wire.Done // if whole
}

// Rehearse is Replay for a worker that is not to become the vat's: it also tells that worker's first frame.
func (q *View) Rehearse(v VatID) (start wire.Start, r *Replay, err error) {
	defer caught(&err)
	if r, err = q.Replay(v); r == nil || err != nil {
		return wire.Start{}, nil, err
	}
	t := q.begin(0)
	return t.startFrame(t.lookRun(v)), r, nil
}

// Replay returns the replay for a fresh worker of a vat; nil if there is nothing to replay.
func (q *View) Replay(v VatID) (r *Replay, err error) {
	defer caught(&err)
	u := q.begin(0).lookRun(v)
	if u == nil || u.phase != live || u.memory.inc == u.memory.deadInc || u.span.records == 0 {
		return nil, nil
	}
	return &Replay{view: q, v: v, span: u.span.number, records: u.span.records, store: newPastStore(q.base, v, u.span.number)}, nil
}

// Records is the number of deliveries to replay.
func (r *Replay) Records() uint64 { return r.records }

// maxAhead bounds the deliveries that Next hands out before the first of them is answered.
const maxAhead = 16

// Done reports whether every delivery was handed out and answered.
func (r *Replay) Done() bool { return r.answered == r.records }

// Next returns the next delivery. It need not wait for the answer to the one before: the record tells the effect of
// that, unless only the hash of its frame was kept. ready is false if Next has to wait for an answer, if enough
// deliveries are ahead, or if there are no more.
func (r *Replay) Next() (d wire.Deliver, ready bool, err error) {
	defer caught(&err)
	if n := len(r.ahead); r.n == r.records || n >= maxAhead || (n > 0 && !r.ahead[n-1].whole) {
		return wire.Deliver{}, false, nil
	}
	rec := r.view.begin(0).transcriptRecord(r.v, r.span, r.n)
	d = rec.deliver
	if call, ok := d.Delivery.(wire.Call); ok {
		d.State = prefetch(call, func(key string) ([]byte, bool) { return r.store.get(key, r.n) })
	}
	if rec.whole {
		r.apply(r.n, rec.done)
	}
	r.ahead = append(r.ahead, rec)
	r.n++
	return d, true, nil
}

// transcriptRecord reads the n-th record of a span.
func (t *tx) transcriptRecord(v VatID, span, n uint64) (rec transcriptRecord) {
	key := keyRecord(v, span, n)
	var e exchange
	t.codec.decode(key, t.must(key), e.fields)
	rec.whole, rec.up = e.whole, e.up
	f, err := wire.DecodeDown(e.down)
	deliver, ok := f.(wire.Deliver)
	if err != nil || !ok {
		t.codec.corrupt(errors.Join(err, errNoFrame))
	}
	rec.deliver = deliver
	if !rec.whole {
		return rec
	}
	up, err := wire.DecodeUp(rec.up, wire.Limits{})
	done, ok := up.(wire.Done)
	if err != nil || !ok {
		t.codec.corrupt(errors.Join(err, errNoFrame))
	}
	rec.done = done
	return rec
}

// errNoFrame says that a record holds something else than the frames of a crank.
var errNoFrame = errors.New("it is no crank")

// Answer compares a worker's answer to the first delivery ahead with the recorded one. The error is a
// *Divergence.
func (r *Replay) Answer(done wire.Done, frame []byte) error {
	rec := r.ahead[0]
	same := bytes.Equal(frame, rec.up)
	if !rec.whole {
		sum := sha256.Sum256(frame)
		same = bytes.Equal(sum[:], rec.up)
	}
	if !same {
		return rec.divergence(done)
	}
	if !rec.whole {
		r.apply(r.answered, done)
	}
	r.ahead = r.ahead[1:]
	r.answered++
	return nil
}

// apply applies the n-th crank of the span to the view of the store.
func (r *Replay) apply(n uint64, done wire.Done) {
	for _, s := range done.Syscalls {
		switch s := s.(type) {
		case wire.StoreSet:
			value := s.Value
			if value == nil {
				value = []byte{}
			}
			r.store.write(s.Key, version{n, value}, r.answered)
		case wire.StoreDelete:
			r.store.write(s.Key, version{n, nil}, r.answered)
		case wire.Send, wire.Subscribe, wire.Resolve, wire.Keep, wire.Watch, wire.Exit, wire.DropImports, wire.RetireImportsCall,
			wire.RetireExportsCall, wire.AbandonExports, wire.Collect:
			// The kernel has performed the other syscalls; the view is of the store alone.
		}
	}
	r.store.settle()
}

// Get reads a row of the vat's store as the replayed worker has to see it, which is doing the first delivery without an
// answer.
func (r *Replay) Get(key string) (row wire.Row, err error) {
	defer caught(&err)
	value, found := r.store.get(key, r.answered)
	return wire.Row{Key: key, Value: value, Found: found}, nil
}

// After returns the row after `after` among those with the prefix. It reads a bounded number of rows; ready is false if
// that was not enough to know. Then it is called again, and goes on where it was.
func (r *Replay) After(prefix, after string) (row wire.Row, ready bool, err error) {
	defer caught(&err)
	row, ready = r.store.next(prefix, after, r.answered)
	return row, ready, nil
}
