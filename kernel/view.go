package kernel

import (
	"errors"
	"fmt"

	"ocapkernel.dev/storage"
)

// A View answers questions about a stored state, and changes nothing. [Machine] embeds the View over its own Reader. Any
// other Reader has a View of its own: over a snapshot, the questions are answered beside the goroutine of the Machine.
//
// Each answer is true of the state that the Reader shows at that moment. An answer's slices and bytes are the caller's to
// read, and not to change. The errors are those of the Reader, and [storage.ErrCorrupt] for a row that cannot be read.
//
// Methods whose name ends in After answer in pages, so that no question holds its goroutine for long: each page reads
// about pageReads rows.
//
// A View belongs to one goroutine.
type View struct {
	*base
	tx *tx // the transaction whose memory the next one uses
}

// NewView returns a View of the state that r reads.
func NewView(r storage.Reader) *View {
	return &View{base: &base{reader: r, codec: newCodec()}}
}

// pageReads bounds the rows that are read for one page.
const pageReads = 300

func (q *View) page() *tx {
	t := q.begin(0)
	t.left.reads = pageReads
	return t
}

// rowsAfter calls each for the rows of one page that follow after among those with the prefix. It returns the ID after
// which the following page starts; empty if there is none.
func rowsAfter[ID ~string](t *tx, prefix string, after ID, each func(id ID, value []byte)) (next ID) {
	cursor := ""
	if after != "" {
		cursor = prefix + string(after)
	}
	for key, value := range t.scan(prefix, &cursor) {
		each(ID(key[len(prefix):]), value)
	}
	if t.spent() {
		return ID(cursor[len(prefix):])
	}
	return ""
}

// Vat is the durable description and state of a vat.
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
	// Records is the length of the transcript that a fresh worker would be given; Lost says that the transcript is not
	// whole, so that the vat would start from its durable state.
	Records uint64
	Lost    bool
	// Dirt counts the reasons to ask it for references that it no longer holds, see [Machine.Collect].
	Dirt uint64
	// Asked says that it will be asked as soon as it is at rest.
	Asked bool
	// AtRest says that its store holds all of its state: only then can it be asked. OldWorker says that its worker speaks
	// version 1 of the protocol, which knows no names in the question: Dirt stays as it is.
	AtRest, OldWorker bool
	// SpanAt is when the first of the records was made, in milliseconds; 0 if there is none.
	SpanAt int64
	// HasWork says that Begin may have a step for it.
	HasWork bool
	// Corrupt tells which rows that describe the vat are wrong, and how; only ID is known then. Only Vats sets it.
	Corrupt error
}

// Vat returns one vat; found is false if there is none of that id.
func (q *View) Vat(v VatID) (out Vat, found bool, err error) {
	return q.vatOf(v, nil)
}

// vatOf is Vat for a caller that has read the vat's own row; nil if it has not.
func (q *View) vatOf(v VatID, row []byte) (out Vat, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	if row != nil {
		t.knows(keyVat(v), row)
	}
	if t.lookRun(v) == nil {
		return Vat{}, false, nil
	}
	return t.exportVat(v), true, nil
}

// Vats lists all vats, in the order of their keys, including those whose rows cannot be read.
func (q *View) Vats() (out []Vat, err error) {
	for after, first := VatID(""), true; first || after != ""; first = false {
		var page []Vat
		if page, after, err = q.VatsAfter(after); err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	return out, nil
}

// VatsAfter lists a page of the vats, in the order of their keys, from the start if after is empty, including those
// whose rows cannot be read. The next page follows next; there is none if that is empty.
func (q *View) VatsAfter(after VatID) (out []Vat, next VatID, err error) {
	const pageVats = pageReads / 3
	for range pageVats {
		from := ""
		if after != "" {
			from = keyVat(after)
		}
		key, row, found, err := q.nextRow("v.", from)
		if !found || err != nil {
			return out, "", err
		}
		after = VatID(key[len("v."):])
		v, found, err := q.vatOf(after, row)
		switch {
		case errors.Is(err, storage.ErrCorrupt):
			v = Vat{ID: after, Corrupt: err}
		case err != nil:
			return nil, "", err
		case !found:
			v = Vat{ID: after, Corrupt: fmt.Errorf("row %s: %w: %w", keyRun(after), errMissing, storage.ErrCorrupt)}
		}
		out = append(out, v)
	}
	return out, after, nil
}

// nextRow is the reader's Next, in steps: a question that passes over many removed rows can be given up in their middle.
func (q *View) nextRow(prefix, after string) (key string, value []byte, found bool, err error) {
	for {
		key, value, found, ready, err := storage.Step(q.reader, prefix, after, passRows)
		if ready || err != nil {
			return key, value, found, err
		}
		after = key
	}
}

func (t *tx) exportVat(v VatID) Vat {
	u, row := t.lookRun(v), t.vat(v)
	out := Vat{
		ID: v, Name: row.name, Sub: row.sub, Root: row.root, Config: row.config,
		Terminated: u.phase == dead, Incarnation: u.memory.inc, Live: u.memory.inc != u.memory.deadInc, Started: u.started,
		Queue: u.queue.items, Restarts: u.restarts, Deliveries: u.deliveries,
		Records: u.span.records, Lost: u.span.lost, Dirt: u.dirt(), Asked: u.rounds.due, AtRest: u.isAtRest(), OldWorker: u.isOldWorker(),
		HasWork: u.phase != dead && t.hasStep(u),
	}
	if u.phase == stopped {
		out.Stopped = u.why
	}
	if u.span.records > 0 {
		out.SpanAt = int64(u.span.at)
	}
	return out
}

func (t *tx) vat(v VatID) *vatRow {
	key := keyVat(v)
	r := &vatRow{}
	if !t.decoded(key, func() { t.codec.decode(key, t.must(key), r.fields) }) {
		return t.guessVat(v)
	}
	return r
}

func (t *tx) alive(v VatID) bool {
	u := t.lookRun(v)
	return u != nil && u.phase != dead
}
