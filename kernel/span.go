package kernel

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// A vat's memory is a function of its deliveries, so the kernel can make it again: design section 5a. A
// span begins whenever the vat is quiescent, that is when all of its state is in its store. Each crank
// that does not end so appends a record to the span's transcript, and keeps what the rows of the store
// were before the span wrote them first. A fresh worker that gets the records in order, over the store
// as it was, has the memory that was lost.

const (
	// MaxRecords and MaxTranscriptBytes bound the transcript of a span. Beyond, recording stops until the
	// vat is quiescent, and it would start from its durable state.
	MaxRecords         = 100_000
	MaxTranscriptBytes = 64 << 20
	// wholeFrameBytes is up to which size a frame is recorded itself, and not its hash.
	wholeFrameBytes = 4 << 10
	// forgetAtOnce is up to how many rows of a span that is over go with the crank that ends it: those
	// of a short span were never durable, and leave no trace at all.
	forgetAtOnce = 64
)

// endCrank ends the span if the vat is quiescent now, and records the crank if it is not.
func (t *tx) endCrank(c *Crank, u *run, done wire.Done, frame []byte, written []string) {
	switch {
	case done.Outcome.Parked == 0 && u.decides == 0 && u.ephemerals == 0:
		t.nextSpan(c.Vat, u)
	case !u.lost:
		t.record(c, u, done, frame, written)
	}
}

// nextSpan begins a span, from the vat's durable state as it is now.
func (t *tx) nextSpan(v VatID, u *run) {
	u.spanObject, u.spanPromise = u.highObject, u.highPromise
	if u.records == 0 && !u.lost {
		return // the span was empty, and goes on as the new one
	}
	t.forgetSpan(v, u)
	u.span++
	u.records, u.recordBytes, u.lost = 0, 0, false
}

// forgetSpan removes the transcript of the present span, at once if it is short.
func (t *tx) forgetSpan(v VatID, u *run) {
	if u.records == 0 {
		return
	}
	left := uint64(forgetAtOnce)
	if u.records <= left && !u.lost {
		for n := range u.records {
			t.delete(keyRecord(v, u.span, n))
		}
		for after := ""; ; left-- {
			key, _ := t.next(prefixFormer(v, u.span), after)
			if key == "" {
				return
			}
			if left == 0 || t.spent() {
				break
			}
			t.delete(key)
			after = key
		}
	}
	t.addWork(work{kind: workForget, vat: v, span: u.span})
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
	row := t.m.enc.row(3, func() {
		t.m.enc.bytes(down[wire.HeaderBytes:])
		t.m.enc.bool(whole)
		t.m.enc.bytes(up)
	})
	size := len(row)
	type former struct {
		key   string
		value []byte
	}
	var formers []former
	for _, key := range written {
		at := prefixFormer(c.Vat, u.span) + key
		if _, ok := t.get(at); ok {
			continue
		}
		value, found, err := t.m.reader.Get(keyStore(c.Vat, key)) // as it was before this crank
		if err != nil {
			panic(failure{err})
		}
		b := t.m.enc.row(2, func() { t.m.enc.bool(found); t.m.enc.bytes(value) })
		size += len(at) + len(b)
		formers = append(formers, former{at, b})
		if t.ownBytes+size > t.m.limits.Bytes/2 {
			break // it cannot be recorded: the other rows, which may be as large, are not read
		}
	}
	if u.records >= min(u.maxRecords, MaxRecords) || u.recordBytes+uint64(size) > MaxTranscriptBytes || t.ownBytes+size > t.m.limits.Bytes/2 ||
		t.ownRows+len(formers) > t.m.limits.Rows/2 {
		u.lost = true
		if u.maxRecords > 0 { // else nothing was to be recorded
			t.event(TranscriptFull{c.Vat, u.records, u.recordBytes})
		}
		return
	}
	t.create(keyRecord(c.Vat, u.span, u.records), row)
	for _, f := range formers {
		t.set(f.key, f.value)
	}
	if u.records == 0 {
		u.spanAt = uint64(t.now)
	}
	u.records++
	u.recordBytes += uint64(size)
}

// Replay makes the memory of a vat's incarnation again, in a fresh worker: for each Next the worker gets
// the delivery, reads the store through Get and After, and its answer is put to Answer. It sees the
// vat's store as it was when the span began, with what the replayed cranks wrote since. It changes
// nothing. It holds until the vat's next crank, or the end of its incarnation.
type Replay struct {
	m       *Machine
	v       VatID
	span    uint64
	records uint64
	// n is the next delivery, answered the one whose answer comes next: those between are ahead.
	n, answered uint64
	ahead       []transcriptRecord
	// written are the rows that the replayed cranks have written, in order; keys are sorted.
	written map[string][]version
	keys    []string
}

// version is what a row was after the n-th delivery of the span; nil: deleted.
type version struct {
	n     uint64
	value []byte
}

type transcriptRecord struct {
	deliver wire.Deliver
	whole   bool
	up      []byte
	done    wire.Done // if whole
}

// Rehearse is Replay for a worker that is not to become the vat's: it also tells that worker's first frame.
func (m *Machine) Rehearse(v VatID) (start wire.Start, r *Replay, err error) {
	defer caught(&err)
	if r, err = m.Replay(v); r == nil || err != nil {
		return wire.Start{}, nil, err
	}
	t := m.begin(0)
	return t.startFrame(v, t.lookRun(v)), r, nil
}

// Replay returns what is to be replayed to a fresh worker of a vat; nil if there is nothing.
func (m *Machine) Replay(v VatID) (r *Replay, err error) {
	defer caught(&err)
	u := m.begin(0).lookRun(v)
	if u == nil || u.phase != live || u.inc == u.deadInc || u.records == 0 {
		return nil, nil
	}
	return &Replay{m: m, v: v, span: u.span, records: u.records, written: map[string][]version{}}, nil
}

// Records is the number of deliveries to replay.
func (r *Replay) Records() uint64 { return r.records }

// MaxAhead bounds the deliveries that Next hands out before the first of them is answered.
const MaxAhead = 16

// Done says whether every delivery was handed out and answered.
func (r *Replay) Done() bool { return r.answered == r.records }

// Next returns the next delivery. It need not wait for the answer to the one before, whose effect is known
// from the record; where it is not (only the hash of the frame was kept), or where there are enough ahead,
// or no more, ready is false.
func (r *Replay) Next() (d wire.Deliver, ready bool, err error) {
	defer caught(&err)
	if n := len(r.ahead); r.n == r.records || n >= MaxAhead || (n > 0 && !r.ahead[n-1].whole) {
		return wire.Deliver{}, false, nil
	}
	t := r.m.begin(0)
	key := keyRecord(r.v, r.span, r.n)
	b, ok := t.get(key)
	if !ok {
		r.m.dec.key = key
		r.m.dec.corrupt(errMissing)
	}
	r.m.dec.open(key, b, 3)
	down := r.m.dec.bytes()
	rec := transcriptRecord{whole: r.m.dec.bool(), up: r.m.dec.bytes()}
	f, err := wire.DecodeDown(down)
	if err != nil {
		r.m.dec.corrupt(err)
	}
	rec.deliver = f.(wire.Deliver)
	d = rec.deliver
	if call, ok := d.Delivery.(wire.Call); ok {
		d.State = prefetch(call, func(key string) ([]byte, bool) {
			return r.row(key, r.n)
		})
	}
	if rec.whole {
		up, err := wire.DecodeUp(rec.up, wire.Limits{})
		done, ok := up.(wire.Done)
		if err != nil || !ok {
			r.m.dec.corrupt(errors.Join(err, errMissing))
		}
		rec.done = done
		r.apply(r.n, done)
	}
	r.ahead = append(r.ahead, rec)
	r.n++
	return d, true, nil
}

// Divergence says that a replayed crank came out other than it was recorded.
type Divergence struct {
	// Delivery is the number of the delivery, What it is.
	Delivery uint64
	What     string
	// Recorded and Came describe the first syscall, or the outcome, that differs.
	Recorded, Came string
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("delivery %d (%s) was recorded with %s, and replayed with %s", d.Delivery, d.What, d.Recorded, d.Came)
}

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

// apply does to the view of the store what the n-th crank of the span did.
func (r *Replay) apply(n uint64, done wire.Done) {
	for _, s := range done.Syscalls {
		switch s := s.(type) {
		case wire.StoreSet:
			r.write(n, s.Key, append([]byte{}, s.Value...))
		case wire.StoreDelete:
			r.write(n, s.Key, nil)
		case wire.Send, wire.Subscribe, wire.Resolve, wire.Keep, wire.Exit, wire.DropImports, wire.RetireImportsCall,
			wire.RetireExportsCall, wire.AbandonExports:
			// The kernel has done these; the view is of the store alone.
		}
	}
}

func (r *Replay) write(n uint64, key string, value []byte) {
	if i, found := slices.BinarySearch(r.keys, key); !found {
		r.keys = slices.Insert(r.keys, i, key)
	}
	r.written[key] = append(r.written[key], version{n, value})
}

// divergence finds the first difference, in words for the author of the vat.
func (r *transcriptRecord) divergence(came wire.Done) *Divergence {
	d := &Divergence{Delivery: r.deliver.Number, What: DescribeDelivery(r.deliver.Delivery)}
	d.Recorded, d.Came = "a frame too large to be kept", fmt.Sprintf("%d syscalls", len(came.Syscalls))
	if !r.whole {
		return d
	}
	was := r.done
	if came.Outcome.Fault != "" { // its syscalls are not worth anything
		d.Recorded, d.Came = fmt.Sprintf("%d syscalls", len(was.Syscalls)), "fault: "+clip(came.Outcome.Fault)
		return d
	}
	for i := range max(len(was.Syscalls), len(came.Syscalls)) {
		a, b := "no further syscall", "no further syscall"
		if i < len(was.Syscalls) {
			a = describeSyscall(was.Syscalls[i])
		}
		if i < len(came.Syscalls) {
			b = describeSyscall(came.Syscalls[i])
		}
		if a != b {
			a, b = clipAtDifference(a, b)
			d.Recorded, d.Came = fmt.Sprintf("syscall %d: %s", i, a), fmt.Sprintf("syscall %d: %s", i, b)
			return d
		}
	}
	d.Recorded = fmt.Sprintf("outcome %+v", was.Outcome)
	d.Came = fmt.Sprintf("outcome %+v", came.Outcome)
	return d
}

// DescribeDelivery tells a delivery in a line, its data cut to a length, for the author of the vat.
func DescribeDelivery(d wire.Delivery) string {
	switch d := d.(type) {
	case wire.StartVat:
		return "start"
	case wire.Call:
		return "message to " + string(d.Target) + ": " + clip(d.Message.MethArgs.Body)
	case wire.Notify:
		return fmt.Sprintf("notification of %s", d.Resolutions[0].Promise)
	case wire.BringOutYourDead, wire.DropExports, wire.RetireExports, wire.RetireImports:
		return strings.TrimPrefix(fmt.Sprintf("%T", d), "wire.")
	}
	panic(fmt.Sprintf("kernel: unknown delivery %T", d))
}

// DescribeSyscall tells a syscall in a line, its data cut to a length, for the author of the vat.
func DescribeSyscall(s wire.Syscall) string { return clip(describeSyscall(s)) }

func describeSyscall(s wire.Syscall) string {
	if set, ok := s.(wire.StoreSet); ok {
		return fmt.Sprintf("StoreSet {Key:%s Value:%q}", set.Key, set.Value)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", s), "wire.") + " " + fmt.Sprintf("%+v", s)
}

// clipAtDifference cuts two texts that differ so that the difference is seen.
func clipAtDifference(a, b string) (string, string) {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	if i < 100 {
		return clip(a), clip(b)
	}
	head, _, _ := strings.Cut(a, " ")
	return head + " … " + clip(a[i-60:]), head + " … " + clip(b[i-60:])
}

func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// Get reads a row of the vat's store as the replayed worker has to see it, who is doing the first delivery
// that was not answered.
func (r *Replay) Get(key string) (row wire.Row, err error) {
	defer caught(&err)
	value, found := r.row(key, r.answered)
	return wire.Row{Key: key, Value: value, Found: found}, nil
}

// row returns what a row was before the n-th delivery of the span.
func (r *Replay) row(key string, n uint64) ([]byte, bool) {
	for _, v := range slices.Backward(r.written[key]) {
		if v.n < n {
			return v.value, v.value != nil
		}
	}
	at := prefixFormer(r.v, r.span) + key
	b, found, err := r.m.reader.Get(at)
	if err != nil {
		panic(failure{err})
	}
	if found {
		return r.former(at, b)
	}
	value, found, err := r.m.reader.Get(keyStore(r.v, key))
	if err != nil {
		panic(failure{err})
	}
	return value, found
}

// former decodes what a row was before the span first wrote it. Of a row that was absent the value is nil, as
// everywhere: a frame cannot carry an absent row that has a value.
func (r *Replay) former(key string, b []byte) (value []byte, existed bool) {
	r.m.dec.open(key, b, 2)
	existed = r.m.dec.bool()
	value = r.m.dec.bytes()
	switch {
	case !existed:
		return nil, false
	case value == nil:
		return []byte{}, true
	}
	return value, true
}

// After reads the row after `after` among those that begin with prefix.
func (r *Replay) After(prefix, after string) (row wire.Row, err error) {
	defer caught(&err)
	for {
		key, ok := r.nextKey(prefix, after)
		if !ok {
			return wire.Row{}, nil
		}
		if value, found := r.row(key, r.answered); found {
			return wire.Row{Key: key, Value: value, Found: true}, nil
		}
		after = key
	}
}

// nextKey is the smallest key in any of the three layers, whether it exists or is deleted there.
func (r *Replay) nextKey(prefix, after string) (key string, found bool) {
	consider := func(k string) {
		if !found || k < key {
			key, found = k, true
		}
	}
	for _, base := range []string{prefixFormer(r.v, r.span), keyStore(r.v, "")} {
		k, _, ok, err := r.m.reader.Next(base+prefix, base+after)
		if err != nil {
			panic(failure{err})
		}
		if ok {
			consider(k[len(base):])
		}
	}
	i, there := slices.BinarySearch(r.keys, max(after, prefix))
	if there && r.keys[i] == after {
		i++
	}
	if i < len(r.keys) && strings.HasPrefix(r.keys[i], prefix) {
		consider(r.keys[i])
	}
	return key, found
}
