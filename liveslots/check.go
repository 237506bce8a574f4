package liveslots

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// Outside is what the kernel knows of the vat of a store.
type Outside struct {
	// Known are the vat's names that the kernel has, with whether the entry is reachable.
	Known map[wire.Ref]bool
	// Uncounted says that the counts of the store are those of an earlier program, and will be made anew.
	Uncounted bool
}

// CheckStore compares a vat's bookkeeping in its store with the rest of the store, and with what the kernel knows of the vat. It
// returns a line for each thing that is wrong: a row that cannot be read or is of no kind, a count of mentions that is wrong, a
// flag that is not as the kernel has it, an object that nothing holds and that no candidate will find, a call that waits for a
// promise which nothing will settle, a link without its call. It changes nothing, and needs no program of the vat. Of a store that
// this package has not laid out it says nothing. next returns the row that follows a key, the first for an empty one.
func CheckStore(next func(after string) (key string, row []byte, found bool, err error), k Outside) (problems []string, err error) {
	c := storeChecker{k: k, mentions: map[string]int{}, rows: map[string][]byte{}}
	for key := ""; ; {
		var row []byte
		var found bool
		if key, row, found, err = next(key); err != nil {
			return nil, err
		} else if !found {
			break
		}
		c.rows[key] = row
		c.keys = append(c.keys, key)
	}
	switch root := c.has(wire.StateKey(wire.RootRef)); {
	case !c.has(idsKey) && root && c.has(ledgerKey):
		return []string{"the row " + idsKey + " is missing, with the kinds of the objects"}, nil
	case !c.has(idsKey):
		return nil, nil
	case !root:
		c.bad("the root has no row")
	}
	for _, part := range []func(){c.read, c.shelf, c.counts, c.candidates, c.lengths} {
		part()
	}
	return c.problems, nil
}

type storeChecker struct {
	k        Outside
	rows     map[string][]byte
	keys     []string // in order
	mentions map[string]int
	ids      ids
	ledger   ledger
	shelved  shelf
	problems []string
}

func (c *storeChecker) bad(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// each calls do for the rows with a prefix.
func (c *storeChecker) each(prefix string, do func(rest string, row []byte)) {
	at, _ := slices.BinarySearch(c.keys, prefix)
	for _, key := range c.keys[at:] {
		if !strings.HasPrefix(key, prefix) {
			return
		}
		do(key[len(prefix):], c.rows[key])
	}
}

func (c *storeChecker) has(key string) bool { _, ok := c.rows[key]; return ok }

// read reads the rows that are one of a kind, and looks at the form of the others.
func (c *storeChecker) read() {
	c.ids.loaded, c.ledger.loaded, c.shelved.loaded = true, true, true
	for key, into := range map[string]any{idsKey: &c.ids, ledgerKey: &c.ledger, shelfKey: &c.shelved} {
		if row, found := c.rows[key]; found {
			if err := json.Unmarshal(row, into); err != nil {
				c.bad("row %s cannot be read: %v", key, err)
			}
		}
	}
	slices.Sort(c.problems)
	c.ledger.counting = c.has(ledgerKey)
	d := NewDescriber(c.rows[idsKey])
	for _, key := range c.keys {
		switch is := d.Describe(key, c.rows[key], true); {
		case is.Kind == RowOther:
			c.bad("row %.100q is of no kind that this version writes", key)
		case is.Kind != RowOwn && is.Problem != "":
			c.bad("row %.100q cannot be read: %s", key, is.Problem)
		case is.Kind == RowObject && is.Type == "":
			c.bad("row %.100q is of an object of no kind", key)
		}
		_, names := d.Mentions(key, c.rows[key])
		for _, name := range names {
			c.mentions[name]++
		}
	}
}

// shelf checks that each stored call can be found when what it waits for comes, and that all of that will come.
func (c *storeChecker) shelf() {
	calls := 0
	watch := func(key, watcher string) {
		for _, source := range sourcesIn(string(c.rows[key])) {
			if !c.has(linksOf(source) + watcher) {
				c.bad("row %s mentions %s, and has no link from it: it will not be found when that is settled", key, source)
			}
			known := c.has(settledKey(source))
			switch {
			case source[0] == 'w':
				known = known || c.has("w."+source[1:])
			case source[0] == 'p':
				_, named := c.k.Known[wire.Ref(source)]
				known = known || named
			}
			if !known {
				c.bad("row %s waits for %s, which is not settled, and nobody knows", key, source)
			}
		}
	}
	c.each("w.", func(rest string, _ []byte) {
		calls++
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil || n > c.shelved.Last {
			c.bad("row w.%s is of no call: the last has the number %d", rest, c.shelved.Last)
			return
		}
		watch("w."+rest, callWatcher(n))
	})
	c.each("s.", func(source string, _ []byte) { watch("s."+source, settledWatcher(source)) })
	if n := c.shelved.Calls + c.shelved.Others; n != calls {
		c.bad("%d calls wait, the counters in the row w say %d", calls, n)
	}
	c.each("p.", func(rest string, _ []byte) {
		source, watcher, _ := strings.Cut(rest, ".")
		key := "s." + strings.TrimPrefix(watcher, "s")
		if n, err := strconv.ParseUint(watcher, 16, 64); err == nil {
			key = callKey(n)
		}
		if !slices.Contains(sourcesIn(string(c.rows[key])), source) {
			c.bad("row p.%s is a link to %s, which does not mention %s", rest, key, source)
		}
	})
}

// counts compares the counts of mentions, and the flags of exported objects, with the store and the kernel. What is in the journal
// still is to be added.
func (c *storeChecker) counts() {
	l := &c.ledger
	if !l.counting {
		c.each("c.", func(ref string, row []byte) {
			if now, _, err := parseCount(row); err != nil || now.mentions != 0 {
				c.bad("there is a row c.%s, and no row g: it is not known what was counted", ref)
			}
		})
		return
	}
	if l.Stage < len(countedRows) || c.k.Uncounted {
		return
	}
	counted, flags := map[string]int{}, map[string]flag{}
	c.each("c.", func(ref string, row []byte) {
		now, again, err := parseCount(row)
		if err != nil {
			c.bad("row c.%s cannot be read: %v", ref, err)
			return
		}
		if again != l.Again {
			now = now.void()
		}
		counted[ref], flags[ref] = now.mentions, now.flag
	})
	journal := 0
	c.each(journalPrefix, func(rest string, row []byte) {
		journal++
		n, err := strconv.ParseUint(rest, 10, 64)
		words := strings.Fields(string(row))
		if err == nil && n <= l.Void {
			return
		}
		for ; len(words) > 1; words = words[2:] {
			by, err := strconv.Atoi(words[1])
			if err != nil && words[1] != known {
				c.bad("row j.%s cannot be read: %v", rest, err)
			}
			counted[words[0]] += by
		}
	})
	if journal != l.Pending {
		c.bad("%d rows of the journal are left, the row g says %d", journal, l.Pending)
	}
	refs := maps.Clone(c.mentions)
	for ref := range counted {
		refs[ref] += 0
	}
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if isCounted(ref) && counted[ref] != refs[ref] {
			c.bad("%s is mentioned %d times, the row c.%s says %d", ref, refs[ref], ref, counted[ref])
		}
	}
	if !l.Exports || l.Unlearned {
		return
	}
	for _, ref := range slices.Sorted(maps.Keys(c.k.Known)) {
		reachable := c.k.Known[wire.Ref(ref)]
		if !isDurable(string(ref)) {
			continue
		}
		want := recognizable
		if reachable {
			want = exported
		}
		if f := flags[string(ref)]; f != want && f != ghost {
			c.bad("%s is reachable from outside: %t, and its row c.%s has the flag %q", ref, reachable, ref, string(rune(f)))
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(flags)) {
		if _, named := c.k.Known[wire.Ref(ref)]; !named && (flags[ref] == exported || flags[ref] == recognizable || flags[ref] == ghost) {
			c.bad("%s has the flag %q in its row c.%s, and the kernel has no name for it", ref, string(rune(flags[ref])), ref)
		}
	}
}

// candidates checks that each object and import which nothing in the store holds is looked at at the next bring out your dead, and
// that what is mentioned is there.
func (c *storeChecker) candidates() {
	l := &c.ledger
	if !l.isComplete() || l.Stage < stageCounted || c.k.Uncounted {
		return
	}
	flagOf := func(ref string) flag {
		now, _, _ := parseCount(c.rows["c."+ref])
		return now.flag
	}
	c.each("o.", func(ref string, _ []byte) {
		if isDurable(ref) && c.mentions[ref] == 0 && flagOf(ref) != exported && !c.has(candidatePrefix+ref) {
			c.bad("nothing holds the object %s, and there is no row g.%s from which the vat would find that", ref, ref)
		}
	})
	for _, ref := range slices.Sorted(maps.Keys(c.mentions)) {
		if isDurable(ref) && !c.has("o."+ref) && !flagOf(ref).isGone() {
			c.bad("the object %s is mentioned, and has no row", ref)
		}
		if _, named := c.k.Known[wire.Ref(ref)]; strings.HasPrefix(ref, "o-") && !named {
			c.bad("the object %s of another vat is mentioned, and the kernel has no such name", ref)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(c.k.Known)) {
		if isDurable(string(ref)) && !c.has("o."+string(ref)) && !flagOf(string(ref)).isGone() {
			c.bad("the object %s is known outside, and has no row", ref)
		}
	}
}

// lengths checks the numbers of entries of Maps. That of a Map whose entries were counted when it was older than that number
// may lack the entry with an empty key.
func (c *storeChecker) lengths() {
	c.each("n.", func(rest string, row []byte) {
		number, err := strconv.ParseUint(rest, 10, 64)
		length, err2 := strconv.Atoi(string(row))
		if err != nil || err2 != nil || number == 0 || number > c.ids.LastMap {
			c.bad("row n.%s is of no Map, or cannot be read", rest)
			return
		}
		if c.has(doomedKey(number)) {
			return // entries are being deleted, and not counted
		}
		n := 0
		c.each(entryPrefix(number), func(string, []byte) { n++ })
		if length != n && (!c.has(entryPrefix(number)) || length != n-1) {
			c.bad("the Map %d has %d entries, the row n.%s says %d", number, n, rest, length)
		}
	})
	c.each("m.", func(rest string, _ []byte) {
		digits, _, _ := strings.Cut(rest, ".")
		if number, err := strconv.ParseUint(digits, 10, 64); err != nil || number == 0 || number > c.ids.LastMap {
			c.bad("row m.%.100s is of no Map: the last is %d", rest, c.ids.LastMap)
		}
	})
}
