package liveslots

import (
	"encoding/json"

	"ocapkernel.dev/wire"
)

// A durable object goes from the store when nothing can reach it any more, and an import is let go of when the store
// does not hold it. To know that without a look at all rows, the vat counts references:
//
//	g          JSON: how far counting has come; while this row is absent, the vat counts nothing
//	c.<ref>    how many stored mentions an import (o-N) or a durable object (o+dN/M) has, its flag, and the number of the
//	           count; see count
//	g.<ref>    a candidate: an import or object that is to be looked at, since its count was 0
//	j.<n>      changes of counts that one crank was too large to make; see journal.go
//	k.<n>      empty: the keys of the Map with number n are references
//	x.<n>      empty: the object of that Map is gone, and the rows of the Map are being deleted; see collect.go
//	t. u.      a search for objects that hold each other in a circle; see trace.go
//
// A mention is a slot in the row of an object, of a Map's entry, of a call that waits or of a promise's value, a key of a
// Map, or the object of a call that waits. Counts change with the rows that hold the mentions, in the same crank. An
// object without mentions and without a flag is garbage once the vat is at rest, for then no memory holds it.
//
// # When the vat counts
//
// Frames have to be the same in a replay. The store of a vat of an earlier version has no row g, and the vat may be in a
// span whose frames that version has recorded: as long as it is, nothing is counted. The row is first written by a crank
// after which the vat is at rest. The kernel records no such crank. A new vat counts from its first crank if it is at rest
// after that. In any other vat the rows that are there are counted later, in slices; see recount.go.
//
// The counts are right only as long as every program that writes the store counts. A program of an earlier version does not.
// It speaks version 1 of the worker protocol: the kernel sees that, and tells the next program by the root at the head of a
// page. Then all is counted anew, and nothing is deleted until that is done.

const ledgerKey = "g"

// ledger is the vat's durable bookkeeping of counting: the row g.
type ledger struct {
	loaded, changed bool
	// counting is set if the row exists.
	counting bool
	// Asked is set while the kernel is asked for a bring out your dead.
	Asked bool `json:"asked,omitempty"`
	// Stage and After say how far the rows were counted that were there when counting began: see recount.go.
	Stage int    `json:"stage"`
	After string `json:"after,omitempty"`
	// Exports is set once the kernel has told which objects are exported.
	Exports bool `json:"exports,omitempty"`
	// Spills is the number of the last row j, and Pending the number of such rows. Those up to the number Void are of an
	// earlier count. Unlearned is set while such rows may have names that the kernel has told.
	Spills    uint64 `json:"spills,omitempty"`
	Pending   int    `json:"pending,omitempty"`
	Void      uint64 `json:"void,omitempty"`
	Unlearned bool   `json:"unlearned,omitempty"`
	// Again is how often counting was begun anew. The rows c of an earlier count are void; see count.
	Again int `json:"again,omitempty"`
	// Trace is the search for circles that goes on, or nil. Traced is how many objects had been made when the last one
	// began, and Live how many it found alive; see trace.go.
	Trace  *trace `json:"trace,omitempty"`
	Traced uint64 `json:"traced,omitempty"`
	Live   uint64 `json:"live,omitempty"`
	// Loose counts the objects with mentions that others have dropped since the last search began.
	Loose uint64 `json:"loose,omitempty"`
	// Deleted counts the objects that were deleted since then, but for those that the search itself has deleted, and those that
	// the vat has deleted by name: it changes at rest only, so that it is the same in a replay.
	Deleted uint64 `json:"deleted,omitempty"`
}

// readLedger returns the bookkeeping. The row is read once in the life of the memory.
func (v *Vat) readLedger() *ledger {
	l := &v.tally.ledger
	if l.loaded {
		return l
	}
	l.loaded = true
	if row, found := v.rows.get(ledgerKey); found {
		l.counting = true
		if err := json.Unmarshal(row, l); err != nil {
			panic(fault("stored state: " + ledgerKey + ": " + err.Error()))
		}
	}
	return l
}

func (l *ledger) save(r *rows) {
	if !l.changed {
		return
	}
	l.changed = false
	row, err := json.Marshal(l)
	if err != nil {
		panic(fault("ledger: " + err.Error()))
	}
	r.set(ledgerKey, row)
}

// begin begins to count. complete says that the store has no rows that were not counted.
func (l *ledger) begin(complete bool) {
	l.counting, l.changed = true, true
	if complete {
		l.Stage, l.Exports = stageCounted, true
	}
}

// beginAgain begins to count anew: a program that does not count has changed the store. What is in the rows of the present
// count becomes void, and the rows are deleted by and by.
func (l *ledger) beginAgain() {
	l.Again, l.Void, l.changed = l.Again+1, l.Spills, true
	l.Stage, l.After, l.Exports, l.Unlearned = 0, "", false, false
	if l.Trace != nil {
		l.Trace.Phase, l.Trace.After = traceForget, ""
	}
}

// isComplete reports whether the counts are those of all rows, and all exported objects have their flags.
func (l *ledger) isComplete() bool {
	return l.counting && l.Stage >= stageUnheld && l.Exports && l.Pending == 0
}

// askCollect asks the kernel for a bring out your dead, unless it is asked already.
func (v *Vat) askCollect() {
	if l := v.readLedger(); !l.Asked && !v.tally.collecting {
		l.Asked, l.changed = true, true
		v.syscall(wire.Collect{})
	}
}
