package kernel

import "ocapkernel.dev/errcode"

// A search finds the promises that can never be settled, and rejects them. Such a promise is stranded: it has no decider
// and is the result of no message, because its message was in a row that could not be read; or it has a decider that
// was removed without it, because the row of the index was missing.
//
// A search is work in slices, while messages move from row to row. It goes through the promises first: each that has no
// decider, most of which are results of messages under way, is a suspect, and gets a row. Then the search goes through
// the rows of messages, and clears the suspects that are results of these. Whoever writes a message while there is a
// search clears the result of that message. So a message that moves, from rows that the search has not yet reached to
// rows that it has passed, is not missed. The suspects that are left are stranded.
//
// A commit asks for a search if it sees that promises may be stranded: a salvage that meets a row it cannot read, and the
// last slice that puts a dead incarnation, or a dead vat, away, if the vat has counted more promises than the slices found
// in the index of deciders.
//
// There is one search at a time. All items of workStranded take its next slice. An item that finds a search under way
// when its turn comes first has the search start again at its end: the rows for which the item was made may be some
// that the search has passed.

// search is the row of the search.
type search struct {
	stage uint8
	after string // where the last slice ended
	again bool
}

func (s *search) fields(c *codec) {
	number(c, "stage", searchTickets, &s.stage)
	text(c, "after", &s.after)
	c.bool("again", &s.again)
}

// The stages of a search. The numbers are stored.
const (
	searchPromises uint8 = iota // for suspects
	searchQueues                // for messages, as in the three stages that follow
	searchItems
	searchCalls
	searchParked
	searchSuspects // that are left
	searchTickets  // that their promise does not name
)

// messageRows are the prefixes of the rows that hold messages with results.
var messageRows = map[uint8]string{searchQueues: "q.", searchItems: "i.", searchCalls: "a.", searchParked: "m."}

// The stages of an item of workStranded. The first is that of items of an earlier version, too.
const (
	strandedFirst uint8 = iota
	strandedUnderWay
)

// findStranded does a slice of the search, of which it may be the first.
func (t *tx) findStranded(w *work) (done bool) {
	s := t.search()
	switch {
	case s == nil && w.stage == strandedUnderWay:
		if suspect, _ := t.next(prefixSuspects, ""); suspect == "" {
			return true // the search is over
		}
		s = &search{} // its row was lost
	case s == nil:
		s = &search{}
	case w.stage == strandedFirst:
		s.again = true
	default:
		if t.searchSlice(s); s.stage > searchTickets && s.again {
			*s = search{}
		}
	}
	w.stage = strandedUnderWay
	if s.stage > searchTickets {
		t.delete(keySearch)
		return true
	}
	t.set(keySearch, t.codec.encode(s.fields))
	return false
}

// search returns the row of the search under way; nil if there is none. If the row cannot be read, the search starts
// again.
func (t *tx) search() *search {
	b, ok := t.get(keySearch)
	if !ok {
		return nil
	}
	s := &search{}
	if !t.decoded(keySearch, func() { t.codec.decode(keySearch, b, s.fields) }) {
		return &search{}
	}
	return s
}

// searchSlice takes the search one slice further. It passes over rows that cannot be read, and does not note them: a
// note would have the search start again, and so without end.
func (t *tx) searchSlice(s *search) {
	switch s.stage {
	case searchPromises:
		for key := range t.scan("p.", &s.after) {
			if k := KRef(idIn(key)); t.isForsaken(k) {
				t.set(keySuspect(k), []byte{})
			}
		}
	case searchQueues, searchItems, searchCalls, searchParked:
		for key, b := range t.scan(messageRows[s.stage], &s.after) {
			t.clearSuspect(t.resultIn(key, b))
		}
	case searchSuspects:
		for key := range t.scanByNumber(prefixSuspects+"kp", &s.after) {
			t.delete(key)
			if k := KRef(idIn(key)); t.isForsaken(k) && t.promise(k).state == unresolved { // also after this slice
				t.rejectStranded(k)
			}
		}
	case searchTickets:
		for key, b := range t.scan("t.", &s.after) {
			var tk ticket
			if t.peek(key, b, tk.fields) && tk.state == ticketPending && t.isLost(&tk) {
				t.settleLostTicket(idIn(key))
			}
		}
	}
	if !t.spent() {
		s.stage, s.after = s.stage+1, ""
	}
}

// resultIn returns the result of the message in a row. It is empty if there is none, or the row cannot be read.
func (t *tx) resultIn(key string, b []byte) KRef {
	var it item
	var call serviceCall
	var m message
	switch {
	case key[0] == 'a' && t.peek(key, b, call.fields):
		return call.msg.result
	case key[0] == 'm' && t.peek(key, b, m.fields):
		return m.result
	case (key[0] == 'q' || key[0] == 'i') && t.peek(key, b, it.fields):
		return it.msg.result
	}
	return ""
}

// clearSuspect notes that a message with this result is under way; the result may be empty.
func (t *tx) clearSuspect(result KRef) {
	if !t.searching || result == "" {
		return
	}
	if _, ok := t.get(keySuspect(result)); ok {
		t.delete(keySuspect(result))
	}
}

// isForsaken reports whether a promise is stranded if no message has it as result: it is unresolved, and its decider, if
// it has one, settles it no more. While slices are due that settle what a vat decided, the vat's promises are not
// forsaken. Nor is a promise whose row cannot be read.
func (t *tx) isForsaken(k KRef) bool {
	key, p := keyPromise(k), promise{}
	b, there := t.get(key)
	switch {
	case !there || !t.peek(key, b, p.fields) || p.state != unresolved:
		return false
	case p.decider == "":
		return true
	}
	key, u := keyRun(p.decider), run{}
	switch b, there = t.get(key); {
	case !there:
		return !t.lacksRun(p.decider)
	case !t.peek(key, b, u.fields):
		return false
	}
	return u.phase != dead && u.memory.reap == reaped && p.inc != 0 && p.inc <= u.memory.deadInc
}

// rejectStranded rejects a stranded promise.
func (t *tx) rejectStranded(k KRef) {
	switch p := t.promise(k); {
	case p.awaitsEnd:
		t.settleEnd(k, p.decider)
	case p.decider != "":
		t.touch(k)
	case p.tie.call.Service != "":
		t.untie(k)
		t.settle(k, true, t.reason(errcode.ServiceGone, strandedWhy))
	default:
		t.settle(k, true, t.reason(errcode.VatTerminated, strandedWhy))
	}
}

const strandedWhy = "the message could not be read, and was removed with its receiver"

// isLost reports whether nothing will settle a pending host call: its promise does not exist, or is settled.
func (t *tx) isLost(tk *ticket) bool {
	key, p := keyPromise(tk.promise), promise{}
	b, there := t.get(key)
	return !there || t.peek(key, b, p.fields) && p.state != unresolved
}

// settleLostTicket settles a host call that its promise does not name any more.
func (t *tx) settleLostTicket(id string) {
	k := t.ticket(id).promise
	p := t.promises.look(t, k)
	if p == nil {
		k = t.newPromise("", 0)
		p = t.promise(k)
		t.hold(k)
		p.ticket = id
		t.settle(k, true, t.reason(errcode.VatTerminated, strandedWhy))
		return
	}
	p = t.promise(k)
	p.ticket = id
	t.value(p)
	t.hold(k) // as the ticket does
	t.settleTicket(p)
}

// peek reads a row into fields that are zero, and reports whether it can be read.
func (t *tx) peek(key string, b []byte, fields func(*codec)) bool {
	return readable(func() { t.codec.decode(key, b, fields) }) == nil
}
