package ocapkernel

import (
	"slices"
	"sync"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/backend"
)

// held are the references in answers of [Kernel.Call] that this program has not released. The kernel holds the references of
// an answer for as long as it keeps the answer, and that lasts until the answer is acknowledged, or its time is over.
type held struct {
	sync.Mutex
	keep time.Duration // how long the kernel keeps an answer
	of   map[Ref][]*heldAnswer
	n    int // answers in of, each once for each of its references
	most int // of them at which those are dropped that the kernel has forgotten
}

// heldAnswer is an answer that refers to objects.
type heldAnswer struct {
	ticket control.Ticket
	refs   int // those of its references that are not released yet
	until  time.Time
}

// minHeld is the least number of references at which forgotten ones are looked for.
const minHeld = 1000

func newHeld(keep time.Duration) *held {
	return &held{keep: backend.KeepAnswers(keep), of: map[Ref][]*heldAnswer{}, most: minHeld}
}

// note notes the references of an answer.
func (h *held) note(a control.Answer) {
	h.Lock()
	defer h.Unlock()
	now := time.Now()
	slots := slices.Compact(slices.Sorted(slices.Values(a.Value.Slots)))
	answer := &heldAnswer{ticket: a.Ticket, refs: len(slots), until: now.Add(h.keep)}
	for _, s := range slots {
		h.of[Ref(s)] = append(h.of[Ref(s)], answer)
	}
	if h.n += len(slots); h.n < h.most {
		return
	}
	h.n = 0
	for ref, list := range h.of {
		list = slices.DeleteFunc(list, func(a *heldAnswer) bool { return now.After(a.until) })
		h.n += len(list)
		if h.of[ref] = list; len(list) == 0 {
			delete(h.of, ref)
		}
	}
	h.most = max(minHeld, 2*h.n)
}

// release returns the tickets of the answers of which no reference is left.
func (h *held) release(refs []Ref) (done []control.Ticket) {
	h.Lock()
	defer h.Unlock()
	for _, r := range refs {
		h.n -= len(h.of[r])
		for _, a := range h.of[r] {
			if a.refs--; a.refs == 0 {
				done = append(done, a.ticket)
			}
		}
		delete(h.of, r)
	}
	return done
}

// Release tells the kernel that this program does not need references any more that answers of [Kernel.Call] have brought, all
// of them, however often each came. Once every reference of an answer is released, the kernel lets go of the objects that the
// answer referred to: those that no vat holds either are forgotten, their owners may delete them, and an object of a service ends
// (it is closed, if it is an io.Closer). Calls of such an object are rejected with [ErrObjectDeleted] or
// [ErrServiceGone].
//
// A reference that is not released is kept until Options.KeepAnswers is over; so is one of a run of the program that has died.
// References that are not known are ignored: Release may be called twice. It does not wait.
func (k *Kernel) Release(refs ...Ref) {
	for _, t := range k.held.release(refs) {
		k.b.Release(t)
	}
}
