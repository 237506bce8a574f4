package kernel

// Settled promises whose values mention each other in a circle keep each other's counts above 0. A promise that is held by
// values of settled promises alone is suspected: the row circle. of it has the kernel's work look whether nothing but values
// leads to it. (A trial of deletion, as in Bacon and Rajan, "Concurrent Cycle Collection in Reference Counted Systems", 2001.)
//
// The trial follows values from the suspects on, and counts the mentions that it meets. Example: p1 is in the value of p2, and p2
// in that of p1; no c-list holds either.
//
//	promise  count  mentions met
//	p1       1      1
//	p2       1      1    none has another holder: the circle goes
//
// A promise with more holders than mentions that were met is alive, and so is what its value leads to. Where the trial did not
// get to, it errs on that side: it follows no promise that something else than a value holds, since that one is suspected in its
// turn when it has lost its other holders. A promise that is not alive loses its value, which nobody can see any more, and with that its
// holds; counts do the rest. A slice of the work follows maxCircle promises: a circle of more is kept, and so may be one to which
// as many others lead.

const maxCircle = 200

// mentioned counts the mentions of promises in the value of a settled promise, which has come (by 1), or goes (by -1).
func (t *tx) mentioned(slots []KRef, by int) {
	for _, s := range slots {
		if !s.IsPromise() {
			continue
		}
		p := t.promise(s)
		if by > 0 {
			p.mentions++
		} else if p.mentions > 0 { // an earlier version did not count
			p.mentions--
		}
	}
}

// suspectCircles notes the promises that are held by values alone, among those that have lost a holder.
func (t *tx) suspectCircles() {
	for _, k := range t.maybeCircle {
		p := t.promises.look(t, k)
		if p == nil || p.state == unresolved || p.refs != p.mentions || p.size > 0 && p.slots == 0 || t.has(keyCircle(k)) {
			continue
		}
		t.set(keyCircle(k), []byte{})
		if mark, ok := t.get(keyCircles); !ok {
			t.set(keyCircles, []byte{})
			t.addWork(work{kind: workCircles})
		} else if len(mark) == 0 {
			t.set(keyCircles, []byte{suspectsCame})
		}
	}
}

// suspectsCame is the mark that the work is there, when suspects have come since its pass over the suspects began: the pass may
// be beyond them, so that another follows.
const suspectsCame = 1

// breakCircles does one trial. It returns whether no suspect is left. A suspect may have gone meanwhile.
func (t *tx) breakCircles(w *work) (done bool) {
	if w.after == "" && t.has(keyCircles) {
		t.set(keyCircles, []byte{})
	}
	graph := map[KRef][]KRef{} // the promises that are followed, and the promises in their values
	over := true
	for begin := w.after; over; {
		key := ""
		for key = range t.scan(prefixCircle, &w.after) {
			break
		}
		if key == "" {
			over = !t.spent()
			break
		}
		k := KRef(key[len(prefixCircle):])
		met, whole := t.follow(k, graph)
		if whole {
			for _, m := range append(met, k) {
				if row := keyCircle(m); t.has(row) {
					t.delete(row)
				}
			}
			continue
		}
		over = false
		if begin == before(key) {
			t.delete(key) // a slice is not enough: the promise is kept
			break
		}
		for _, m := range met {
			delete(graph, m)
		}
		w.after = before(key) // the next slice has all its room for it
	}
	t.letGoOfDead(graph)
	if !over {
		return false
	}
	w.after = ""
	if mark, _ := t.get(keyCircles); len(mark) > 0 {
		return false
	}
	t.delete(keyCircles)
	return true
}

// before returns a cursor right before a key that ends in a digit.
func before(key string) string {
	last := len(key) - 1
	return key[:last] + string(key[last]-1) + "~"
}

// circlesAgain has the search for circles begin again if its item of work cannot be read. Two searches end with the first.
func (t *tx) circlesAgain() {
	if t.has(keyCircles) {
		t.addWork(work{kind: workCircles})
	}
}

// follow adds the promises to the graph to which values lead from k on, and returns those. whole is false if there are more than
// the slice has room for.
func (t *tx) follow(k KRef, graph map[KRef][]KRef) (met []KRef, whole bool) {
	todo := []KRef{k}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, known := graph[at]; known {
			continue
		}
		if len(graph) >= maxCircle || t.spent() {
			return met, false
		}
		graph[at] = nil
		met = append(met, at)
		p := t.promises.look(t, at)
		if p == nil || p.state == unresolved || p.refs > p.mentions {
			continue
		}
		for _, s := range t.slotsOf(p) {
			if s.IsPromise() {
				graph[at] = append(graph[at], s)
				todo = append(todo, s)
			}
		}
	}
	return met, true
}

// letGoOfDead takes the values from the promises of the graph that nothing but values of the graph leads to.
func (t *tx) letGoOfDead(graph map[KRef][]KRef) {
	met := map[KRef]uint64{}
	for _, leads := range sorted(graph) {
		for _, k := range leads {
			met[k]++
		}
	}
	alive := map[KRef]bool{}
	var todo []KRef
	for k := range sorted(graph) {
		if p := t.promises.look(t, k); p != nil && p.refs > met[k] {
			todo = append(todo, k)
		}
	}
	for len(todo) > 0 {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !alive[k] {
			alive[k] = true
			todo = append(todo, graph[k]...)
		}
	}
	for k := range sorted(graph) {
		p := t.promises.look(t, k)
		if alive[k] || p == nil || p.state == unresolved || len(graph[k]) == 0 {
			continue
		}
		p = t.promise(k)
		slots := t.slotsOf(p)
		p.value, p.known = Data{Body: "#null"}, true
		p.size, p.slots = 1+uint64(len(p.value.Body)), 0
		a := answer{p.value}
		t.set(keyValue(k), t.codec.encode(a.fields))
		t.mentioned(slots, -1)
		t.releaseData(Data{Slots: slots})
	}
}
