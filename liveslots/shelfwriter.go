package liveslots

import (
	"slices"
	"strings"

	"ocapkernel.dev/wire"
)

// A shelfWriter writes and removes rows together with their links.
type shelfWriter struct {
	v *Vat
	// placed are the sources whose settled promises were written; loose are the sources that lost a link.
	placed map[string]bool
	loose  []string
}

func (w *shelfWriter) call(c *call) {
	if c.target != nil {
		c.ref = w.v.objectName(c.target)
	}
	words := []string{c.kind.String(), string(c.ref)}
	if c.aside {
		words[0] += asideMark
	}
	for _, p := range c.result.named {
		if p.ours && p.ref != "" {
			words = append(words, string(p.ref))
		}
	}
	w.place(callKey(c.number), callWatcher(c.number), strings.Join(words, " "), c.slots, c.body)
	for _, s := range c.slots {
		if p, ok := s.(*promise); ok && p.settled {
			w.settled(w.source(p), p)
		}
	}
}

// settled writes the row of a settled promise, and of the settled promises in its value.
func (w *shelfWriter) settled(source string, p *promise) {
	if w.placed[source] {
		return
	}
	w.placed[source] = true
	how := "f"
	if p.rejected {
		how = "r"
	}
	w.place(settledKey(source), settledWatcher(source), how, p.val.slots, p.val.body)
	for _, s := range p.val.slots {
		if q, ok := s.(*promise); ok && q.settled {
			w.settled(w.source(q), q)
		}
	}
}

func (w *shelfWriter) source(p *promise) string {
	v := w.v
	if p.settled {
		if p.source == "" {
			if p.source = p.resultSource(); p.source == "" {
				p.source = "l" + utoa(v.nextNumber())
			}
		}
		return p.source
	}
	l := p.leader()
	if v.ids.rules() >= rulesOfChains {
		if w := p.way(); w != nil { // messages to the promise go the same way when the call has been read again
			return string(w.ref)
		}
	}
	if l.ofStored() {
		return resultSource(l.call.number)
	}
	return string(l.ref)
}

// place writes a row and its links, as far as they differ from the stored ones.
//
// It subscribes to the unsettled promises of a call, and tells the kernel that the waiting call is stored and
// so outlives memory. If this vat's own memory decides such a promise and is lost, the kernel settles the
// promise.
func (w *shelfWriter) place(key, watcher, head string, slots []any, body string) {
	v := w.v
	words := make([]string, len(slots))
	for i, s := range slots {
		if p, ok := s.(*promise); ok {
			words[i] = w.source(p)
		} else {
			words[i] = string(v.name(s))
		}
	}
	row := head + "\n" + strings.Join(words, " ") + "\n" + body
	old, found := v.rows.get(key)
	if found && string(old) == row {
		return
	}
	v.rows.set(key, []byte(row))
	v.shelfChanged(key, string(old), row)
	v.shelved().size(len(row) - len(old))
	had := sourcesIn(string(old))
	for _, s := range sourcesOf(words) {
		if slices.Contains(had, s) {
			continue
		}
		v.rows.set(linksOf(s)+watcher, []byte{})
		if p := v.promises[wire.Ref(s)]; p != nil && !p.settled && watcher[0] != 's' {
			v.subscribe(p, true)
		}
	}
	for _, s := range had {
		if !slices.Contains(words, s) {
			w.unlink(s, watcher)
		}
	}
}

// remove deletes a row and its links.
func (w *shelfWriter) remove(key, watcher string) {
	old, found := w.v.rows.get(key)
	if !found {
		return
	}
	w.v.rows.delete(key)
	w.v.shelfChanged(key, string(old), "")
	w.v.shelved().size(-len(old))
	for _, s := range sourcesIn(string(old)) {
		w.unlink(s, watcher)
	}
}

func (w *shelfWriter) unlink(source, watcher string) {
	w.v.rows.delete(linksOf(source) + watcher)
	w.loose = append(w.loose, source)
}

// sweep removes the values of settled promises that no call mentions any more. Such values may still mention
// each other, in a circle.
func (w *shelfWriter) sweep() {
	for len(w.loose) > 0 {
		loose := sourcesOf(w.loose)
		w.loose = nil
		for _, s := range loose {
			if _, found := w.v.rows.get(settledKey(s)); !found {
				continue
			}
			mentioned := false
			for range w.v.watchers(due{s, 0}) {
				mentioned = true
				break
			}
			if !mentioned {
				w.remove(settledKey(s), settledWatcher(s))
			}
		}
	}
}

// sourcesIn returns the promises in a stored row, each once.
func sourcesIn(row string) []string {
	_, slots, _, _ := cutRow(row)
	if slots == "" {
		return nil
	}
	return sourcesOf(strings.Split(slots, " "))
}

func sourcesOf(words []string) []string {
	var list []string
	for _, w := range words {
		if isPromiseSource(w) {
			list = append(list, w)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
