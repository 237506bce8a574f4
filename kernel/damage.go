package kernel

import (
	"fmt"
	"slices"

	"ocapkernel.dev/wire"
)

// A Damage is a fault in the rows of a subcluster that no commit of a kernel leaves behind: rows are missing, or
// contradict each other. A kernel that ran on them would fail later, and less plainly.
type Damage struct {
	Sub SubID
	// System is the name of the subcluster if it is a system subcluster. If Sub is empty, it is a name that leads
	// to To, which is not there, or to no subcluster at all, if To is empty, too.
	System string
	To     SubID
	// What describes the damage.
	What string

	leaving bool // Sub is being removed
}

func (d Damage) String() string {
	switch {
	case d.Sub == "":
		return fmt.Sprintf("the name of the system subcluster %s: %s", d.System, d.What)
	case d.System != "":
		return fmt.Sprintf("system subcluster %s (%s): %s", d.System, d.Sub, d.What)
	}
	return fmt.Sprintf("subcluster %s: %s", d.Sub, d.What)
}

// Damages returns the damage of the system subclusters: of their names, their members and the roots of these. It reads
// a few rows for each vat. [Check] finds the same, of all subclusters, and more. Damage of any other vat costs that vat
// alone, and is found when it is to run. Damage of a subcluster that is being removed costs nothing: its vats run no more,
// and its name is free.
func (q *View) Damages() (out []Damage, err error) {
	defer caught(&err)
	return slices.DeleteFunc(q.begin(0).damages(), func(d Damage) bool { return d.System == "" || d.leaving }), nil
}

func (t *tx) damages() (out []Damage) {
	subs, unread := map[SubID]*subcluster{}, map[SubID]int{} // unread are places in out
	var order []SubID
	for rest, b := range t.all("u.", "") {
		sub, id := &subcluster{}, SubID(rest)
		if err := readable(func() { t.codec.decode(keySub(id), b, sub.fields) }); err != nil {
			unread[id] = len(out)
			out = append(out, Damage{Sub: id, What: err.Error()})
			continue
		}
		subs[id] = sub
		order = append(order, id)
	}
	for _, s := range order {
		what, sub := []string(nil), subs[s]
		if err := readable(func() { what = t.damage(sub) }); err != nil {
			what = []string{err.Error()}
		}
		for _, w := range what {
			out = append(out, Damage{Sub: s, System: sub.system, What: w, leaving: sub.state.Leaving()})
		}
	}
	for name, b := range t.all("g.", "") {
		if i, ok := unread[SubID(b)]; ok {
			out[i].System = name
			continue
		}
		if sub := subs[SubID(b)]; sub == nil || sub.system != name || sub.state.Leaving() {
			d := Damage{System: name, What: fmt.Sprintf("it leads to %.20q, which is not there under that name", b)}
			if to, isID := ParseSubID(string(b)); isID {
				d.To = to
			}
			out = append(out, d)
		}
	}
	for rest, b := range t.all("v.", "") {
		v := VatID(rest)
		var row vatRow
		if readable(func() { t.codec.decode(keyVat(v), b, row.fields) }) != nil {
			continue // its subcluster has it among its members
		}
		sub := subs[row.sub]
		if _, ok := unread[row.sub]; ok {
			continue // its damage is listed already
		}
		if sub == nil || !slices.ContainsFunc(sub.members, func(mb member) bool { return mb.vat == v }) {
			d := Damage{Sub: row.sub, What: fmt.Sprintf("vat %s (%s) says that it is a member, and is not listed", v, row.name)}
			if sub != nil {
				d.System, d.leaving = sub.system, sub.state.Leaving()
			}
			out = append(out, d)
		}
	}
	return out
}

// damage returns a description of each damage of one subcluster.
func (t *tx) damage(sub *subcluster) (out []string) {
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if _, ok := ParseKRef(string(sub.root)); !ok || sub.bootstrap == "" {
		bad("it has no bootstrap vat or no root")
	}
	if sub.system != "" && !sub.state.Leaving() {
		if b, _ := t.get(keySystem(sub.system)); SubID(b) != sub.id {
			bad("its name leads to %.20q", b)
		}
	}
	if len(sub.members) == 0 && !sub.state.Leaving() {
		bad("it has no vats")
	}
	_, counted := t.get(keyLeft(sub.id))
	for _, mb := range sub.members {
		name := fmt.Sprintf("vat %s (%s)", mb.vat, mb.name)
		b, ok := t.get(keyVat(mb.vat))
		if !ok && counted {
			continue // it is removed
		}
		if !ok {
			bad("%s has no row", name)
			continue
		}
		var row vatRow
		t.codec.decode(keyVat(mb.vat), b, row.fields)
		if row.sub != sub.id {
			bad("%s says that it is in %.20q", name, row.sub)
		}
		u := t.lookRun(mb.vat)
		switch {
		case u == nil:
			bad("%s has no state of running", name)
		case mb.vat == sub.bootstrap && row.root != sub.root:
			bad("its root is %s, and that of its bootstrap vat %s", sub.root, row.root)
		case u.phase == dead: // its c-list may have gone
		default:
			t.damagedRoot(mb.vat, row.root, func(what string) { bad("%s: its root %s %s", name, row.root, what) })
		}
	}
	return out
}

// damagedRoot checks the root object of a vat that lives.
func (t *tx) damagedRoot(v VatID, root KRef, bad func(string)) {
	o := t.objects.look(t, root)
	switch ref, _, found := t.vref(v, root); {
	case o == nil:
		bad("is not there")
		return
	case o.owner != v:
		bad(fmt.Sprintf("belongs to %.20q", o.owner))
	case !found || ref != wire.RootRef:
		bad("is not in its c-list")
	}
	if k, ok := t.kref(v, wire.RootRef); !ok || k != root {
		bad("is not in its c-list under " + string(wire.RootRef))
	}
}
