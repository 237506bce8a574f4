package kernel

import (
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// loseMemory ends an incarnation although other vats may rely on its memory.
func (t *tx) loseMemory(u *run, why string) {
	t.event(MemoryLost{u.id, why})
	t.endIncarnation(u)
}

// endIncarnation marks the vat's incarnation as dead. reap removes the rest of it before the vat's next crank. The next
// incarnation starts a span, from the durable state.
func (t *tx) endIncarnation(u *run) {
	u.memory.deadInc = u.memory.inc
	u.memory.reap, u.memory.reapAfter = reapDecides, ""
	u.memory.owed += u.memory.decides
	u.memory.decides, u.memory.ephemerals, u.memory.replays, u.memory.replayKills = 0, 0, 0, 0
	t.nextSpan(u)
	t.effect(Wake{u.id})
}

// The stages of reaping a dead incarnation. Earlier versions did the last two as one.
const (
	reaped uint64 = iota
	reapDecides
	reapExports
	reapUnits
)

// reap removes the latest dead incarnation of a vat, a slice at a time: the promises that it decided are rejected, the
// objects that lived in its memory are orphaned, and its calls of service objects are cancelled.
func (t *tx) reap(v VatID) {
	u := t.run(v)
	defer t.wakeMore(v)
	if u.memory.reap == reapDecides {
		if t.touchDecided(v, &u.memory.reapAfter); t.spent() { // those that the store decides stay
			return
		}
		u.memory.reap, u.memory.reapAfter = reapExports, ""
	}
	if u.memory.reap == reapExports {
		// Ephemeral exports are o+1 and up. In the order of keys they lie between the root, o+0, and the durable ones,
		// o+d…, which are not read.
		prefix := prefixCList(v)
		u.memory.reapAfter = max(u.memory.reapAfter, prefix+string(wire.RootRef))
		durable := false
		for key, value := range t.scan(prefix+"o+", &u.memory.reapAfter) {
			if durable = key[len(prefix+"o+")] > '9'; durable {
				break
			}
			t.orphan(v, KRef(value), wire.Ref(key[len(prefix):]))
		}
		if t.spent() && !durable {
			return
		}
		u.memory.reap, u.memory.reapAfter = reapUnits, ""
	}
	if t.giveBack(v, errcode.VatRestarted, &u.memory.reapAfter) {
		u.memory.reap, u.memory.reapAfter = reaped, ""
		if u.memory.owed > 0 { // the index of deciders lacks rows
			u.memory.owed = 0
			t.addWork(work{kind: workStranded})
		}
	}
}
