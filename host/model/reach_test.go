package model_test

import (
	"slices"
)

// collect removes the things that nothing leads to but circles across vats: what is kept outside of a vat holds its things,
// and what is in a vat is followed.
func (m *model) collect() {
	for again := true; again; {
		again = false
		held := map[*entity]bool{}
		for _, o := range m.handles {
			held[o] = true
		}
		for _, v := range m.vats {
			for _, h := range v.kept() {
				for _, o := range h.held {
					if o.vat != v {
						held[o] = true
					}
				}
			}
		}
		for _, v := range m.vats {
			if v.dead {
				continue
			}
			reached := map[*entity]bool{}
			var reach func(o *entity)
			reach = func(o *entity) {
				if o.vat != v || reached[o] || o.deleted {
					return
				}
				reached[o] = true
				for _, next := range o.held {
					reach(next)
				}
			}
			reach(v.root)
			for _, t := range v.things {
				if held[t] {
					reach(t)
				}
			}
			for _, t := range v.things {
				if !reached[t] && !t.collected && !t.deleted {
					t.collected, again = true, true
				}
			}
		}
	}
}

// kept are the objects of a vat that are in its store.
func (v *modelVat) kept() (list []*entity) {
	if v.dead {
		return nil
	}
	list = append(list, v.root)
	for _, t := range v.things {
		if !t.deleted && !t.collected {
			list = append(list, t)
		}
	}
	return list
}

// reachable returns a path of keys to each object that can be reached from a root or from a handle of the host.
func (m *model) reachable() map[*entity]path {
	paths := map[*entity]path{}
	var todo []*entity
	see := func(o *entity, p path) {
		if _, known := paths[o]; !known && !o.isGone() {
			paths[o] = p
			todo = append(todo, o)
		}
	}
	for _, name := range sortedKeys(m.vats) {
		see(m.vats[name].root, path{vat: name}) // it is passed over if it is gone
	}
	for _, ticket := range sortedKeys(m.handles) {
		see(m.handles[ticket], path{ticket: ticket})
	}
	for len(todo) > 0 {
		o := todo[0]
		todo = todo[1:]
		for _, key := range sortedKeys(o.held) {
			p := paths[o]
			p.keys = append(slices.Clone(p.keys), key)
			see(o.held[key], p)
		}
	}
	return paths
}

// path leads to an object: from the root of a vat, or from a handle.
type path struct {
	vat, ticket string
	keys        []string
}

// looks returns what look says of an object.
func (o *entity) looks() []string {
	lines := []string{o.String()}
	for _, key := range sortedKeys(o.held) {
		who := o.held[key].String()
		if o.held[key].isGone() {
			who = "gone"
		}
		lines = append(lines, key+" "+who)
	}
	return lines
}

// counts are the rows that there are when all is at rest and collected.
type counts struct {
	Objects, Promises int
	Vats              map[string]vatCounts
}

// vatCounts are those of one vat; Counts are the rows in which it counts its references.
type vatCounts struct{ Held, Exported, Things, Entries, Counts int }

func (m *model) counts() counts {
	c := counts{Vats: map[string]vatCounts{}}
	named := map[*entity]bool{} // what a vat holds of another, or the host
	for _, o := range m.handles {
		named[o] = true
	}
	for name, v := range m.vats {
		if v.dead {
			continue
		}
		n := vatCounts{}
		named[v.root] = true
		imports, deleted := map[*entity]bool{}, map[*entity]bool{}
		for _, h := range v.kept() {
			n.Things++
			for key, o := range h.held {
				if key[0] == 'm' {
					n.Entries++
				}
				if o.vat != v {
					imports[o], named[o] = true, true
				} else if o.deleted {
					deleted[o] = true
				}
			}
		}
		n.Held, n.Counts = len(imports), len(imports)+n.Things-1+len(deleted)
		c.Vats[name] = n
	}
	c.Objects = len(named)
	for o := range named {
		if o.deleted {
			return c.withoutNames()
		}
	}
	for o := range named {
		if n, ok := c.Vats[o.vat.name]; ok && !o.isGone() {
			n.Exported++
			c.Vats[o.vat.name] = n
		}
	}
	return c
}

// withoutNames are the counts without those of names. An object that its vat deleted, and mentioned later, has two names for
// the kernel; which of them a vat holds is not in the model.
func (c counts) withoutNames() counts {
	c.Objects = 0
	for name, n := range c.Vats {
		n.Held, n.Exported, n.Counts = 0, 0, 0
		c.Vats[name] = n
	}
	return c
}
