package kernel

import "ocapkernel.dev/wire"

// Inspection describes a reference: its target, its owner and its holders.
type Inspection struct {
	KRef KRef
	// Owner is the vat that exports an object; empty if none does.
	Owner VatID
	// Service is the name of a service object, IsService says that it is one; a connection has no name.
	Service   string
	IsService bool
	Revoked   bool
	// Reachable and Recognizable count the holders of an object; a promise counts in Recognizable.
	Reachable, Recognizable uint64
	// State and Decider are those of a promise, Value that of a settled one.
	State       string
	Decider     VatID
	Subscribers []VatID
	Parked      uint64
	Value       Data
	// Holders are the vats that know it, the owner among them; see [View.HoldersAfter].
	Holders []Holder
}

// Holder is a vat that knows a reference.
type Holder struct {
	Vat       VatID
	Name      string
	Ref       wire.Ref
	Reachable bool
}

// Inspect returns all about a reference but its holders; found is false if there is no such object or promise.
func (q *View) Inspect(k KRef) (in Inspection, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	in.KRef = k
	if k.IsPromise() {
		p := t.promises.look(t, k)
		if p == nil {
			return Inspection{}, false, nil
		}
		in.State, in.Decider, in.Subscribers, in.Parked, in.Recognizable = p.state.String(), p.decider, p.subscribers, p.tail-p.head, p.refs
		if p.state != unresolved {
			in.Value = t.value(p)
		}
	} else {
		o := t.objects.look(t, k)
		if o == nil {
			return Inspection{}, false, nil
		}
		in.Owner, in.Revoked, in.Reachable, in.Recognizable, in.IsService = o.owner, o.revoked, o.reachable, o.recognizable, o.service
		if s := t.services.look(t, k); s != nil {
			in.Service = s.name
		}
	}
	return in, true, nil
}

// HoldersAfter returns the holders of a reference among one page of the vats; see [View.VatsAfter].
func (q *View) HoldersAfter(k KRef, after VatID) (out []Holder, next VatID, err error) {
	defer caught(&err)
	t := q.page()
	next = rowsAfter(t, "v.", after, func(v VatID, b []byte) {
		var ref wire.Ref
		var reachable, ok bool
		if ref, reachable, ok = t.vref(v, k); ok {
			var row vatRow
			q.codec.decode(keyVat(v), b, row.fields)
			out = append(out, Holder{v, row.name, ref, reachable})
		}
	})
	return out, next, nil
}
