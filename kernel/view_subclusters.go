package kernel

import (
	"cmp"
	"slices"
)

// Subcluster is the description and state of a subcluster.
type Subcluster struct {
	ID   SubID
	Root KRef
	// Bootstrap is the bootstrap vat.
	Bootstrap VatID
	State     SubState
	// Why says why its launch failed, if it did.
	Why string
	// Vats are its members, in the order of their launch. While it leaves some of them may be removed already.
	Vats         []SubclusterVat
	Source, Hash string
	// Result is the answer of bootstrap.
	Result Data
	// System is the name of a system subcluster; empty for others.
	System string
	// By is the call that waits for the launch.
	By CallID
	// Corrupt says that the row of the subcluster cannot be read, and why. Then only ID is set.
	Corrupt error
}

// SubclusterVat is a member of a subcluster.
type SubclusterVat struct {
	Name string
	Vat  VatID
}

// Subcluster returns a subcluster; found is false if there is none of that id.
func (q *View) Subcluster(s SubID) (out Subcluster, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	sub := t.sub(s)
	if sub == nil {
		return Subcluster{}, false, nil
	}
	return t.export(sub), true, nil
}

func (t *tx) export(sub *subcluster) Subcluster {
	out := Subcluster{
		ID: sub.id, Root: sub.root, Bootstrap: sub.bootstrap, System: sub.system, By: sub.by, Source: sub.source, Hash: sub.hash, Result: t.resultOf(sub),
		State: sub.state, Why: sub.why,
	}
	for _, m := range sub.members {
		out.Vats = append(out.Vats, SubclusterVat{m.name, m.vat})
	}
	return out
}

// Subclusters lists all subclusters, in the order of their launch, including those whose row cannot be read.
func (q *View) Subclusters() (out []Subcluster, err error) {
	defer caught(&err)
	t := q.begin(0)
	for s, b := range t.all("u.", "") {
		out = append(out, t.listedSub(SubID(s), b))
	}
	slices.SortFunc(out, func(a, b Subcluster) int { return cmp.Compare(numberIn(string(a.ID[1:])), numberIn(string(b.ID[1:]))) })
	return out, nil
}

// SubclustersAfter lists a page of the subclusters, in the order of their keys; see [View.VatsAfter].
func (q *View) SubclustersAfter(after SubID) (out []Subcluster, next SubID, err error) {
	defer caught(&err)
	t := q.page()
	next = rowsAfter(t, "u.", after, func(s SubID, b []byte) {
		out = append(out, t.listedSub(s, b))
	})
	return out, next, nil
}

// listedSub is a subcluster in a list.
func (t *tx) listedSub(s SubID, b []byte) Subcluster {
	var out Subcluster
	if err := readable(func() {
		var sub subcluster
		t.codec.decode(keySub(s), b, sub.fields)
		out = t.export(&sub)
	}); err != nil {
		return Subcluster{ID: s, Corrupt: err}
	}
	return out
}

// Systems lists the system subclusters that are launching or running, in the order of their names, including those
// whose rows cannot be read.
func (q *View) Systems() (out []Subcluster, err error) {
	defer caught(&err)
	t := q.begin(0)
	for name, b := range t.all("g.", "") {
		if row, ok := t.get(keySub(SubID(b))); ok {
			sub := t.listedSub(SubID(b), row)
			sub.System = name
			out = append(out, sub)
		}
	}
	return out, nil
}

// SystemNamed returns the system subcluster of a name that is launching or running; found is false if there is none.
func (q *View) SystemNamed(name string) (out Subcluster, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	b, ok := t.get(keySystem(name))
	if !ok {
		return Subcluster{}, false, nil
	}
	sub := t.sub(SubID(b))
	if sub == nil {
		return Subcluster{}, false, nil
	}
	return t.export(sub), true, nil
}
