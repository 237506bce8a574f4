package host

import (
	"fmt"
	"maps"
	"slices"

	"ocapkernel.dev/kernel"
)

// directory finds subclusters by the file that they were launched from, and vats by their names, so that no step of the
// loop reads the rows of all of them. It is filled when the state is opened, and follows each launch, each change and the
// end of each subcluster. It holds names and no states: a caller reads the row of the subcluster or vat that it finds, and
// passes over one that has no row any more.
type directory struct {
	*core
	running *vats // it holds back the vats of a subcluster that cannot be read

	entries map[kernel.SubID]kernel.Subcluster // Vats and Source alone are used
	sources map[string][]kernel.SubID          // in the order of launch
	vats    map[string][]directoryVat          // by name, in the order of launch
}

// directoryVat is a vat that has a name.
type directoryVat struct {
	sub kernel.SubID
	vat kernel.VatID
}

func newDirectory(c *core) *directory {
	return &directory{
		core: c, entries: map[kernel.SubID]kernel.Subcluster{}, sources: map[string][]kernel.SubID{}, vats: map[string][]directoryVat{},
	}
}

// put enters a subcluster into the directory, replacing its earlier entry.
func (d *directory) put(s kernel.Subcluster) {
	d.remove(s.ID)
	d.entries[s.ID] = s
	d.sources[s.Source] = insert(d.sources[s.Source], s.ID, func(id kernel.SubID) kernel.SubID { return id })
	for _, v := range s.Vats {
		d.vats[v.Name] = insert(d.vats[v.Name], directoryVat{s.ID, v.Vat}, func(v directoryVat) kernel.SubID { return v.sub })
	}
}

// insert puts an element into a list that is ordered by subcluster.
func insert[T any](list []T, x T, sub func(T) kernel.SubID) []T {
	i, _ := slices.BinarySearchFunc(list, x, func(a, b T) int { return compare(string(sub(a)), string(sub(b))) })
	return slices.Insert(list, i, x)
}

// remove takes a subcluster out of the directory, if it is there.
func (d *directory) remove(id kernel.SubID) {
	s, ok := d.entries[id]
	if !ok {
		return
	}
	delete(d.entries, id)
	without(d.sources, s.Source, func(other kernel.SubID) bool { return other == id })
	for _, v := range s.Vats {
		without(d.vats, v.Name, func(other directoryVat) bool { return other.sub == id })
	}
}

// without deletes elements from the list under a key, and the list with its last one.
func without[T any](lists map[string][]T, key string, gone func(T) bool) {
	if list := slices.DeleteFunc(lists[key], gone); len(list) > 0 {
		lists[key] = list
	} else {
		delete(lists, key)
	}
}

// list takes in a subcluster of which the row cannot be read, so that it is found by its id. It has no source and no names.
func (d *directory) list(s kernel.Subcluster) { d.entries[s.ID] = s }

// members lists the vats of a subcluster.
func (d *directory) members(id kernel.SubID) []kernel.SubclusterVat { return d.entries[id].Vats }

// all lists the subclusters, in the order of launch.
func (d *directory) all() []kernel.SubID {
	return slices.SortedFunc(maps.Keys(d.entries), func(a, b kernel.SubID) int { return compare(string(a), string(b)) })
}

// enter makes the directory's entry of a subcluster agree with its row.
func (d *directory) enter(id kernel.SubID) {
	sub, found, err := d.machine.Subcluster(id)
	if err != nil {
		d.checkStore()
		d.running.holdMembers(id, fmt.Errorf("read subcluster %s: %w", id, err))
		return
	}
	if found {
		d.put(sub)
	}
}

// fromSource returns the subclusters, but for system subclusters, that were launched from the file source, in the order of
// their launch.
func (d *directory) fromSource(source string) (subs []kernel.Subcluster, err error) {
	for _, id := range d.sources[source] {
		sub, found, err := d.machine.Subcluster(id)
		if err != nil {
			return nil, err
		}
		if found && sub.Source == source && sub.System == "" {
			subs = append(subs, sub)
		}
	}
	return subs, nil
}
