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
//	w                    JSON: the last number given out, how many calls are stored, which calls are due
//	w.<n>                call n: kind, object, names of the result; slots; body. "!" behind the kind means that the
//	                     call was given up, and is set aside for an operator; see due.go
//	s.<source>           a promise that is settled: f or r; slots; body of the value or reason
//	p.<source>.<n>       a link: call n has the promise among its slots; n in 16 hexadecimal digits
//	p.<source>.s<source> a link: the value of that settled promise has it among its slots
//
// In slots, an object stands under its name and a promise under its source, which is
//
//	p-5, p+5   the name to which messages to the promise go (see promise.way), or did: names are not used again
//	w7         for the result of stored call 7, while it has no such name
//	l9         for a settled promise that is neither
//
// A promise in the row of a call can always be found again: the kernel notifies this vat of it, or it is the
// result of a stored call, or it is settled and has a row. The kernel notifies this vat of a promise in the value of a
// settled one only if a call waits for it. A promise that only memory will settle is made known to the
// kernel, which rejects it if memory is lost.
//
// Within a crank, calls are in memory. When a promise settles, every stored call that mentions it is
// read and tried. When the crank ends, the calls that still wait are stored again; rows that are already
// in the store unchanged are not written.
//
// # An example
//
// The object o+0 has a method sell(item, buyer). Another vat calls it with two promises, p-1 and p-2, and awaits the
// result in p-3. The store has no such rows before. Below each delivery are the syscalls of its crank, and the rows
// after it; ⏎ is the end of a line.
// TestExampleOfTheShelf runs it.
//
// The first crank cannot make the call. It stores the row of the call, with a link for each promise that the call waits
// for, subscribes to both promises, and tells the kernel that the store will settle p-3. The vat is at rest then: its
// worker may be killed, and loses nothing.
//
//	call o+0.sell(p-1, p-2), result p-3
//	  subscribe to p-1, stored
//	  subscribe to p-2, stored
//	  keep p-3, stored
//	  row p.p-1.0000000000000001  (empty)
//	  row p.p-2.0000000000000001  (empty)
//	  row w                       {"last":1,"calls":1,"bytes":42}
//	  row w.1                     call o+0 p-3 ⏎ p-1 p-2 ⏎ #["sell",["&0","&1"]]
//
// In the second crank the link p.p-1.… leads to call 1, which is read and tried. It still waits for p-2, and its row
// stays as it is. The kernel has forgotten the name p-1, so the value of p-1 is stored for the call.
//
//	notify p-1 fulfilled "tea"
//	  row p.p-1.0000000000000001  (empty)
//	  row p.p-2.0000000000000001  (empty)
//	  row s.p-1                   f ⏎  ⏎ #"tea"
//	  row w                       {"last":1,"calls":1,"bytes":51}
//	  row w.1                     call o+0 p-3 ⏎ p-1 p-2 ⏎ #["sell",["&0","&1"]]
//
// In the third crank the link p.p-2.… leads to call 1 again, and s.p-1 has its other argument. The method is called,
// and p-3 is resolved. The rows and links of the call are deleted, and s.p-1 with them, since no call mentions it.
//
//	notify p-2 fulfilled "ann"
//	  resolve p-3 to #"tea for ann"
//	  row w                       {"last":1}

const shelfKey = "w"

// shelf is the vat's durable bookkeeping of calls that wait: the row w.
type shelf struct {
	loaded, changed bool
	Last            uint64 `json:"last,omitempty"`
	// Calls counts the stored calls that messages asked for, Others all other stored calls.
	Calls  int `json:"calls,omitempty"`
	Others int `json:"others,omitempty"`
	// Bytes is the size of the rows of stored calls, and of the values that they mention.
	Bytes int `json:"bytes,omitempty"`
	// Due, Nudge, Plain, Most and One describe the work that is left to later cranks; see due.go.
	Due   []due    `json:"due,omitempty"`
	Nudge wire.Ref `json:"nudge,omitempty"`
	Plain bool     `json:"plain,omitempty"`
	// InStore is set if the nudge has only the number of a call. Aside are the numbers of calls that are set
	// aside.
	InStore bool     `json:"inStore,omitempty"`
	Aside   []uint64 `json:"held,omitempty"`
	Most    int      `json:"most,omitempty"`
	One     uint64   `json:"one,omitempty"`
}

// shelved returns the bookkeeping. The row is read once in the life of the memory.
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

func (s *shelf) save(v *Vat) {
	if !s.changed {
		return
	}
	s.changed = false
	row, err := json.Marshal(s)
	if err != nil {
		panic(fault("shelf: " + err.Error()))
	}
	if string(row) == "{}" && v.ids.rules() >= rulesOfChains {
		v.rows.delete(shelfKey)
		return
	}
	v.rows.set(shelfKey, row)
}

func callKey(n uint64) string             { return "w." + utoa(n) }
func callWatcher(n uint64) string         { return fmt.Sprintf("%016x", n) }
func resultSource(n uint64) string        { return "w" + utoa(n) }
func linksOf(source string) string        { return "p." + source + "." }
func settledKey(source string) string     { return "s." + source }
func settledWatcher(source string) string { return "s" + source }
func isPromiseSource(slot string) bool    { return slot != "" && slot[0] != 'o' }

// waits reports whether a call waits in memory.
func (c *call) waits() bool { return c.on != nil }

// ofStored reports whether a promise is the result of a stored call.
func (p *promise) ofStored() bool { return p.call != nil && p.call.stored }

// wakeStored has the stored calls tried that mention p, which is settled now.
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
		// Not at once: the other promises of the same notification are settled first.
		v.tasks = append(v.tasks, task{run: func() { v.wake(due{source, 0}) }})
	}
}

// noteSettled remembers the settled promise of a source until the crank ends.
func (v *Vat) noteSettled(source string, p *promise) {
	if v.settledIn == nil {
		v.settledIn = map[string]*promise{}
	}
	v.settledIn[source] = p
}

// resultSource returns the source of a promise that is the result of a call with a number, or "".
func (p *promise) resultSource() string {
	if p.call == nil || p.call.number == 0 || p.call.result != p {
		return ""
	}
	return resultSource(p.call.number)
}

// unshelveWatchers reads the stored calls that mention a promise, directly or in the value of another, in the
// order in which they were stored. It returns at most limit calls (-1: all), and the due that describes the
// rest.
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

// watchers iterates over the numbers of the stored calls that mention the promise of d, directly or in the
// value of another promise, and whose number is above d.Above.
func (v *Vat) watchers(d due) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		// The links of calls come first, in their order; the links of values follow them. Each read is a round
		// trip to the kernel, and most promises have no links at all.
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

// unshelve reads a stored call into memory, or returns nil if it is there already. The call's rows stay until
// the crank ends.
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
	v.nameResult(c, results)
	if c.result == nil {
		c.result = &promise{call: c}
	}
	v.list(c)
	return c
}

// nameResult makes the names of the result of a stored call known to memory. They follow the result, in their order.
func (v *Vat) nameResult(c *call, names []string) {
	for _, name := range names {
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
	word, aside := strings.CutSuffix(words[0], asideMark)
	kind := slices.Index(callKinds, word)
	c.aside = aside
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

// cutRow cuts a row into its three parts: head, slots, and body.
func cutRow(row string) (head, slots, body string, ok bool) {
	head, rest, ok1 := strings.Cut(row, "\n")
	slots, body, ok2 := strings.Cut(rest, "\n")
	return head, slots, body, ok1 && ok2
}

// sourceSlots returns the slots that a line of sources and object names stands for. The vat has subscribed to
// the promises among the slots of a call.
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
		v.noteSettled(source, p) // before its slots are read: they may lead back to it
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
			if row, found := v.rows.get(callKey(n)); found && v.ids.rules() >= rulesOfChains {
				head, _, _, _ := cutRow(string(row))
				if words := strings.Split(head, " "); len(words) > 2 {
					v.nameResult(c, words[2:]) // messages may be parked at one of the names
				}
			}
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
