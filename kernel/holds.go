package kernel

import (
	"cmp"
	"strings"

	"ocapkernel.dev/wire"
)

// HoldKind says in which way a [Hold] holds.
type HoldKind string

// The kinds of holds: a closed set.
const (
	HeldAsRoot     HoldKind = "root"     // it is the root of Vat
	HeldByVat      HoldKind = "vat"      // Vat has a name for it, Ref
	HeldInQueue    HoldKind = "queue"    // a message, or a notification, is queued for Vat
	HeldAsPoisoned HoldKind = "poisoned" // a poisoned message of Vat
	HeldByExit     HoldKind = "exit"     // the value with which Vat has ended
	HeldByValue    HoldKind = "value"    // the value of the promise In
	HeldParked     HoldKind = "parked"   // a message is parked on the promise In
	HeldAsService  HoldKind = "service"  // it is a service object, and not ended
	HeldByService  HoldKind = "holds"    // the service object In holds it
	HeldByCall     HoldKind = "call"     // a call of the service object In, which waits or was begun
	HeldByUnit     HoldKind = "unit"     // a unit of input that goes back to the service object In
	HeldByTicket   HoldKind = "ticket"   // a host call waits for it, or has it in its answer: Name is the ticket
	HeldByLaunch   HoldKind = "launch"   // the launch of the subcluster Name waits for it
	HeldByResult   HoldKind = "result"   // the answer of the bootstrap of the subcluster Name
	HeldByWork     HoldKind = "work"     // the kernel's own work is about it
)

// Hold is one of the reasons why the kernel keeps an object or a promise. A message that mentions it twice is two.
type Hold struct {
	Kind HoldKind
	Vat  VatID
	Ref  wire.Ref
	// Reachable is false if Vat only recognizes it.
	Reachable bool
	In        KRef
	Name      string
}

// holdRows are the rows that hold references, by prefix, in the order of the prefixes. refs calls hold for each reference of a
// row, and fills in the kind and more of what is known of the holder; owner is the first part of the key behind the prefix.
var holdRows = [...]struct {
	prefix string
	refs   func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef))
}{
	{"a.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.In = HeldByCall, KRef(owner)
		var c serviceCall
		t.codec.decode(key, b, c.fields)
		holdMessage(c.msg, hold)
	}},
	{"b.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.In = HeldByValue, KRef(owner)
		var a answer
		t.codec.decode(key, b, a.fields)
		hold(a.value.Slots...)
	}},
	{"exit.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.Vat = HeldByExit, VatID(owner)
		var e exit
		t.codec.decode(key, b, e.fields)
		hold(e.value.Slots...)
	}},
	{"i.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.In = HeldByCall, KRef(owner)
		holdItem(t, key, b, hold)
	}},
	{"j.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.In = HeldByUnit, KRef(owner)
		var u unit
		t.codec.decode(key, b, u.fields)
		hold(u.value.Slots...)
	}},
	{"k.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.In = HeldByService, KRef(owner)
		var s service
		t.codec.decode(key, b, s.fields)
		h.Name = s.name
		hold(s.holds...)
	}},
	{"m.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.In = HeldParked, KRef(owner)
		var m message
		t.codec.decode(key, b, m.fields)
		holdMessage(m, hold)
	}},
	{"q.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.Vat = HeldInQueue, VatID(owner)
		holdItem(t, key, b, hold)
	}},
	{"result.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.Name = HeldByResult, owner
		var a answer
		t.codec.decode(key, b, a.fields)
		hold(a.value.Slots...)
	}},
	{"t.", func(t *tx, key, _ string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.Name = HeldByTicket, key[len("t."):]
		var c ticket
		t.codec.decode(key, b, c.fields)
		hold(c.value.Slots...)
		if c.isElsewhere() {
			hold(c.promise)
		}
	}},
	{"u.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.Name = HeldByResult, owner
		var s subcluster
		t.codec.decode(key, b, s.fields)
		if !s.apart {
			hold(s.result.Slots...)
		}
	}},
	{"w.", func(t *tx, key, _ string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind = HeldByWork
		var w work
		t.codec.decode(key, b, w.fields)
		if w.promise != "" && w.kind != workRetire {
			hold(w.promise)
		}
	}},
	{"x.", func(t *tx, key, owner string, b []byte, h *Hold, hold func(...KRef)) {
		h.Kind, h.Vat = HeldAsPoisoned, VatID(owner)
		var p poisoned
		t.codec.decode(key, b, p.fields)
		holdMessage(p.msg, hold)
	}},
}

func holdMessage(m message, hold func(...KRef)) {
	hold(m.target)
	if m.result != "" {
		hold(m.result)
	}
	hold(m.methArgs.Slots...)
}

// holdItem calls hold for the references of an item of a queue.
func holdItem(t *tx, key string, b []byte, hold func(...KRef)) {
	var it item
	t.codec.decode(key, b, it.fields)
	switch it.kind {
	case itemMessage:
		holdMessage(it.msg, hold)
	case itemNotify, itemDrain:
		hold(it.promise)
	}
}

// HoldsAfter returns the holds of a reference that one page of the state's rows has, from the start if after is empty. The next
// page follows next; there is none if that is empty. There are as many holds as the reference counts: Recognizable of
// [View.Inspect]. A row that cannot be read is passed over: that is for Check to say.
func (q *View) HoldsAfter(k KRef, after string) (out []Hold, next string, err error) {
	defer caught(&err)
	t := q.page()
	if after == "" {
		t.ownHolds(k, &out)
	}
	for _, rows := range holdRows {
		if after > rows.prefix && !strings.HasPrefix(after, rows.prefix) {
			continue // they lie before after
		}
		cursor := after
		if after < rows.prefix {
			cursor = ""
		}
		for key, b := range t.scan(rows.prefix, &cursor) {
			owner, _, _ := strings.Cut(key[len(rows.prefix):], ".")
			_ = readable(func() {
				var h Hold
				n := 0
				rows.refs(t, key, owner, b, &h, func(refs ...KRef) {
					for _, r := range refs {
						if r == k {
							n++
						}
					}
				})
				for range n {
					out = append(out, h)
				}
			})
		}
		if t.spent() {
			return out, cmp.Or(cursor, rows.prefix), nil // the prefix, if its rows are still to be read
		}
	}
	return out, "", nil
}

// ownHolds adds the holds that the row of the reference itself tells of.
func (t *tx) ownHolds(k KRef, out *[]Hold) {
	if s := t.services.look(t, k); s != nil {
		*out = append(*out, Hold{Kind: HeldAsService, In: k, Name: s.name})
	}
	if !k.IsPromise() {
		return
	}
	switch p := t.promises.look(t, k); {
	case p == nil:
	case p.ticket != "":
		*out = append(*out, Hold{Kind: HeldByTicket, Name: p.ticket})
	case p.launch != "":
		*out = append(*out, Hold{Kind: HeldByLaunch, Name: string(p.launch)})
	}
}

// VatHoldsAfter returns the holds of a reference that one page of the vats has; see [View.VatsAfter]. The owner of an object does
// not hold it by the name that it has for the object.
func (q *View) VatHoldsAfter(k KRef, after VatID) (out []Hold, next VatID, err error) {
	defer caught(&err)
	t := q.page()
	next = rowsAfter(t, "v.", after, func(v VatID, b []byte) {
		_ = readable(func() {
			var row vatRow
			t.codec.decode(keyVat(v), b, row.fields)
			if row.root == k && t.alive(v) {
				out = append(out, Hold{Kind: HeldAsRoot, Vat: v, Name: row.name})
			}
			if ref, reachable, ok := t.vref(v, k); ok && (k.IsPromise() || !isExport(ref)) {
				out = append(out, Hold{Kind: HeldByVat, Vat: v, Name: row.name, Ref: ref, Reachable: reachable})
			}
		})
	})
	return out, next, nil
}
