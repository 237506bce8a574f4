package kernel

// Some answers are requested again and again, and are therefore counted or indexed: the number of vats (count.v), and
// the subclusters that are to be launched again (reload.). A state of an earlier version has neither, which the absence
// of count.v tells: then the answer is found by scanning, until index has written both. That is done once in the life
// of a state.

// indexed reports whether the counter and the index are there.
func (t *tx) indexed() bool {
	_, ok := t.uintRow(keyCount)
	return ok
}

// index writes the counter and the index, which a state of an earlier version lacks.
func (t *tx) index() {
	if t.indexed() {
		return
	}
	reloads := t.reloads()
	t.setUint(keyCount, t.countVats())
	for _, s := range reloads {
		t.set(keyReload(s), []byte{})
	}
}

// countVats returns the number of vats, those that are being removed included.
func (t *tx) countVats() (n uint64) {
	if n, ok := t.uintRow(keyCount); ok {
		return n
	}
	for range t.all("v.", "") {
		n++
	}
	return n
}

// lessVats counts a vat that is removed.
func (t *tx) lessVats() {
	if n, ok := t.uintRow(keyCount); ok {
		t.setUint(keyCount, n-1)
	}
}

// reloads lists the subclusters that are to be launched again, in the order of their keys, including those whose
// configuration cannot be read.
func (t *tx) reloads() (out []SubID) {
	prefix := "reload."
	if !t.indexed() {
		prefix = "h."
	}
	for rest := range t.all(prefix, "") {
		s := SubID(rest)
		var listed bool
		if err := readable(func() {
			c := t.config(s)
			listed = c != nil && c.reload
		}); listed || err != nil && prefix == "reload." {
			out = append(out, s)
		}
	}
	return out
}

func (t *tx) setConfig(s SubID, c *config) { t.set(keyConfig(s), t.codec.encode(c.fields)) }

// setReload writes the configuration of a subcluster that is to be launched again, and the index.
func (t *tx) setReload(s SubID, c *config, source string) {
	t.setConfig(s, c)
	t.index()
	p := pendingReload{c.system, source, c.by}
	t.set(keyReload(s), t.codec.encode(p.fields))
}

// deleteConfig removes the configuration of a subcluster, and its row of the index.
func (t *tx) deleteConfig(s SubID) {
	t.delete(keyConfig(s))
	if _, ok := t.get(keyReload(s)); ok {
		t.delete(keyReload(s))
	}
}
