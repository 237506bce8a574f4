package liveslots

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// Calls that wait are kept in the store, so that a vat which waits for nothing else is at rest:
//
//	w                    JSON: the last number given out, how many calls are stored, what is due
//	w.<n>                call n: kind, object, names of the result; slots; body. "!" behind the kind says that the
//	                     call was given up, and waits for a person; see due.go
//	s.<source>           a promise that is settled: f or r; slots; body of the value or reason
//	p.<source>.<n>       call n has the promise among its slots; n in 16 hexadecimal digits
//	p.<source>.s<source> the value of that settled promise has it
//
// A promise is a slot under its source, which is
//
//	p-5, p+5   the name by which the kernel knows it, or did: names are not used again
//	w7         it is the result of stored call 7
//	l9         none of these, and settled
//
// Whatever has a source in the row of a call has one of three: the kernel notifies this vat of it, or it is the
// result of a stored call, or it is settled and has a row. Of one in the value of a settled promise the kernel
// notifies this vat only if a call waits for it. A promise that only memory will settle is made known to the
// kernel: should memory get lost, it says so.
//
// Within a crank, calls are in memory. When a promise settles, every stored call that mentions it is
// read and tried. When the crank ends, those that wait still are stored; what the store has of them
// already is not written again.

const shelfKey = "w"

// shelf is the vat's durable bookkeeping of calls that wait.
type shelf struct {
	loaded, changed bool
	Last            uint64 `json:"last,omitempty"`
	// Calls counts the stored calls that messages asked for, Others all others.
	Calls  int `json:"calls,omitempty"`
	Others int `json:"others,omitempty"`
	// Bytes is the size of their rows, and of those of the values that they mention.
	Bytes int `json:"bytes,omitempty"`
	// Due, Nudge, Plain, Most and One are about what is left to later cranks; see due.go.
	Due   []due    `json:"due,omitempty"`
	Nudge wire.Ref `json:"nudge,omitempty"`
	Plain bool     `json:"plain,omitempty"`
	// InStore says that the message has the number of a call, and Held are the numbers of calls that wait for a person.
	InStore bool     `json:"inStore,omitempty"`
	Held    []uint64 `json:"held,omitempty"`
	Most    int      `json:"most,omitempty"`
	One     uint64   `json:"one,omitempty"`
}

// shelved returns the bookkeeping, which is read once.
func (v *Vat) shelved() *shelf {
	s := &v.shelf
	if s.loaded {
		return s
	}
	s.loaded = true
	if row, found := v.rows.get(shelfKey); found {
		if err := json.Unmarshal(row, s); err != nil {
			panic(fault("stored state: " + shelfKey + ": " + err.Error()))
		}
	}
	return s
}

func (s *shelf) count(c *call, by int) {
	s.changed = true
	if c.kind == byMessage {
		s.Calls += by
	} else {
		s.Others += by
	}
}

func (s *shelf) size(by int) { s.Bytes, s.changed = s.Bytes+by, s.changed || by != 0 }

func (s *shelf) save(r *rows) {
	if !s.changed {
		return
	}
	s.changed = false
	row, err := json.Marshal(s)
	if err != nil {
		panic(fault("shelf: " + err.Error()))
	}
	r.set(shelfKey, row)
}

func callKey(n uint64) string             { return "w." + utoa(n) }
func callWatcher(n uint64) string         { return fmt.Sprintf("%016x", n) }
func resultSource(n uint64) string        { return "w" + utoa(n) }
func linksOf(source string) string        { return "p." + source + "." }
func settledKey(source string) string     { return "s." + source }
func settledWatcher(source string) string { return "s" + source }
func isPromiseSource(slot string) bool    { return slot != "" && slot[0] != 'o' }

// waits says whether a call waits in memory.
func (c *call) waits() bool { return c.on != nil }

// ofStored says whether a promise is the result of a stored call.
func (p *promise) ofStored() bool { return p.call != nil && p.call.stored }

// wakeStored has the stored calls tried that mention a promise, which is settled now.
func (v *Vat) wakeStored(p *promise) {
	s := v.shelved()
	if s.Calls+s.Others == 0 && len(v.calls) == 0 {
		return
	}
	for _, source := range []string{p.source, p.resultSource()} {
		if source == "" {
			continue
		}
		v.noteSettled(source, p)
		// Not at once: other promises of the same notification are settled first.
		v.tasks = append(v.tasks, task{run: func() { v.wake(due{source, 0}) }})
	}
}

// noteSettled notes the promise of a source until the crank ends, if it is settled.
func (v *Vat) noteSettled(source string, p *promise) {
	if v.settledIn == nil {
		v.settledIn = map[string]*promise{}
	}
	v.settledIn[source] = p
}

// resultSource is the source of a promise that is the result of a call which was stored.
func (p *promise) resultSource() string {
	if p.call == nil || p.call.number == 0 || p.call.result != p {
		return ""
	}
	return resultSource(p.call.number)
}

// unshelveWatchers reads stored calls that mention a promise, directly or in the value of another, in the
// order in which they were stored. It returns at most limit of them, and what is left.
func (v *Vat) unshelveWatchers(d due, limit int) (calls []*call, more due) {
	for n := range v.watchers(d) {
		if len(calls) == limit {
			return calls, d
		}
		if c := v.unshelve(n); c != nil {
			calls = append(calls, c)
		}
		d.Above = n
	}
	return calls, due{}
}

// watchers iterates over the numbers of these calls.
func (v *Vat) watchers(d due) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		// The links of calls come first, in their order, those of values after them. Each read is a question to the
		// kernel, and most promises have no links at all.
		sources, firsts := []string{d.Source}, []string{}
		for i := 0; i < len(sources); i++ {
			prefix := linksOf(sources[i])
			first, _, found := v.rows.next(prefix, prefix+callWatcher(d.Above))
			if firsts = append(firsts, first); !found {
				continue
			}
			for after := prefix + "g"; ; {
				key, _, found := v.rows.next(prefix, after)
				if !found {
					break
				}
				after = key
				if s := key[len(prefix)+1:]; !slices.Contains(sources, s) {
					sources = append(sources, s)
				}
			}
		}
		var numbers []uint64
		for i, source := range sources {
			prefix := linksOf(source)
			for key, found := firsts[i], firsts[i] != ""; found && key[len(prefix)] != 's'; key, _, found = v.rows.next(prefix, key) {
				n, err := strconv.ParseUint(key[len(prefix):], 16, 64)
				switch {
				case err != nil:
					panic(fault("stored state: " + key))
				case len(sources) > 1:
					numbers = append(numbers, n)
				case !yield(n):
					return
				}
			}
		}
		slices.Sort(numbers)
		for _, n := range slices.Compact(numbers) {
			if !yield(n) {
				return
			}
		}
	}
}

// unshelve reads a stored call into memory; nil if it is there already. Its rows stay until the crank ends.
func (v *Vat) unshelve(n uint64) *call {
	c := v.onShelf[n]
	if c != nil && !c.stored {
		return nil
	}
	if c == nil {
		c = &call{number: n}
	}
	results, found := v.readCall(c)
	if !found {
		return nil
	}
	v.shelfMap()[n] = c
	c.stored, c.waited = false, true
	v.shelved().count(c, -1)
	for _, name := range results {
		p := v.promises[wire.Ref(name)]
		if p == nil {
			p = &promise{ref: wire.Ref(name)}
			v.promises[p.ref] = p
		}
		if c.result == nil {
			c.result = p
			p.call = c
		}
		if !p.ours {
			p.ours, p.keeper = true, c
			l := p.leader()
			l.named = append(l.named, p)
		}
		v.touch(p)
		if p.leader() != c.result.leader() {
			v.follow(p, c.result)
		}
	}
	if c.result == nil {
		c.result = &promise{call: c}
	}
	v.list(c)
	return c
}

// readCall fills in a call from its row, and returns the names of its result.
func (v *Vat) readCall(c *call) (results []string, found bool) {
	row, found := v.rows.get(callKey(c.number))
	if !found {
		return nil, false
	}
	bad := func(err any) { panic(fault(fmt.Sprintf("stored call %d: %v", c.number, err))) }
	head, slots, body, ok := cutRow(string(row))
	words := strings.Split(head, " ")
	if !ok || len(words) < 2 {
		bad("not in the form of this program")
	}
	word, held := strings.CutSuffix(words[0], heldMark)
	kind := slices.Index(callKinds, word)
	c.held = held
	if kind < 0 {
		bad("a " + words[0] + " is unknown to this program")
	}
	c.kind, c.ref, c.body, c.slots = callKind(kind), wire.Ref(words[1]), body, v.sourceSlots(slots, true)
	if c.kind.callsMethod() {
		var err error
		if c.method, c.args, err = capdata.DecodeCall(body, len(c.slots)); err != nil {
			bad(err)
		}
	}
	return words[2:], true
}

func (v *Vat) shelfMap() map[uint64]*call {
	if v.onShelf == nil {
		v.onShelf = map[uint64]*call{}
	}
	return v.onShelf
}

// cutRow cuts a row into its lines: head, slots, and the body.
func cutRow(row string) (head, slots, body string, ok bool) {
	head, rest, ok1 := strings.Cut(row, "\n")
	slots, body, ok2 := strings.Cut(rest, "\n")
	return head, slots, body, ok1 && ok2
}

// sourceSlots returns what the slots of a stored row are. The vat has subscribed to those of a call.
func (v *Vat) sourceSlots(line string, ofCall bool) []any {
	if line == "" {
		return nil
	}
	words := strings.Split(line, " ")
	slots := make([]any, len(words))
	for i, w := range words {
		if isPromiseSource(w) {
			p := v.promiseAt(w)
			p.subscribed = p.subscribed || ofCall
			slots[i] = p
		} else {
			slots[i] = v.presence(wire.Ref(w))
		}
	}
	return slots
}

// promiseAt returns the promise with a source.
func (v *Vat) promiseAt(source string) *promise {
	if p := v.settledIn[source]; p != nil {
		p.used = true
		return p
	}
	if row, found := v.rows.get(settledKey(source)); found {
		p := &promise{settled: true, source: source}
		v.noteSettled(source, p) // before its slots: they may lead back to it
		how, slots, body, ok := cutRow(string(row))
		p.rejected = how == "r"
		p.val = value{body: body, slots: v.sourceSlots(slots, false)}
		var err error
		if p.val.tree, err = capdata.Decode(body, len(p.val.slots)); err != nil || !ok {
			panic(fault(fmt.Sprintf("stored value of %s: %v", source, err)))
		}
		return p
	}
	if source[0] == 'w' {
		n, err := strconv.ParseUint(source[1:], 10, 64)
		if err != nil {
			panic(fault("stored state: a promise " + source))
		}
		c := v.onShelf[n]
		if c == nil {
			c = &call{number: n, stored: true, result: &promise{}}
			c.result.call = c
			v.shelfMap()[n] = c
		}
		return c.result
	}
	ref := wire.Ref(source)
	p := v.promises[ref]
	if p == nil {
		p = &promise{ref: ref}
		v.promises[ref] = p
	}
	return p
}
