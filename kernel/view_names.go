package kernel

import "ocapkernel.dev/wire"

// Names are what the kernel has noted of a vat's references, for a comparison with the vat's own store.
type Names struct {
	// Known are the vat's names of objects and promises, with whether the vat's entry is reachable: that of an export is not
	// once the vat was told that nobody can reach the object.
	Known map[wire.Ref]bool
	// Uncounted says that the vat's worker is, or was lately, one that counts no references: the vat will be told to count anew.
	Uncounted bool
}

// Names reads all names of a vat. A vat that does not exist has none.
func (q *View) Names(v VatID) (out Names, err error) {
	defer caught(&err)
	t := q.begin(0)
	out.Known = map[wire.Ref]bool{}
	for name, b := range t.all(prefixCList(v), "") {
		if name[0] == 'k' && isEntry(b) {
			out.Known[wire.Ref(b[1:])] = b[0] == 'r'
		}
	}
	if u := t.lookRun(v); u != nil {
		out.Uncounted = u.isOldWorker() || u.rounds.anew
	}
	return out, nil
}
