package liveslots

import (
	"context"
	"errors"
	"fmt"

	"ocapkernel.dev/wire"
)

func (v *Vat) deliver(d wire.Delivery) {
	switch d := d.(type) {
	case wire.StartVat:
		v.tally.starting = true
		v.startVat()
	case wire.Call:
		v.call(d)
	case wire.Notify:
		v.notify(d)
	case wire.DropExports:
		v.dropExports(d.Refs)
	case wire.RetireExports:
		v.retireExports(d.Refs)
	case wire.RetireImports:
		v.retireImports(d.Refs)
	case wire.BringOutYourDead:
		v.bringOutYourDead(d)
	default:
		v.fail(fmt.Sprintf("delivery %T is unknown", d))
	}
}

// startVat makes the root. This happens once in the vat's life; later workers load it.
func (v *Vat) startVat() {
	ended := false
	v.startTurn(v.module.name+": constructor", nil, func(ctx context.Context) {
		root, err := v.module.construct(ctx, v)
		ended = true
		if err != nil {
			v.fail(fmt.Sprintf("module %s: %v", v.module.name, err))
			return
		}
		h, err := headOf(v.module.root, root)
		switch {
		case err == nil && h.ref != "" && h.ref != wire.RootRef:
			err = errors.New("the root was passed by its constructor, before it is the root")
		case err == nil && h.presence != nil:
			h.presence.ref, h.presence.own = wire.RootRef, nil
			v.own[wire.RootRef] = h.presence
			h.presence = nil
		}
		if err != nil {
			v.fail(fmt.Sprintf("module %s: %v", v.module.name, err))
			return
		}
		h.ref = wire.RootRef
		v.ids.setRoot(h.kind)
		v.objects[h.ref] = h
		v.loaded = append(v.loaded, h)
	})
	if !ended && v.broken == "" {
		v.fail(fmt.Sprintf("module %s: its constructor awaits a promise; a vat must have its root first: do so in bootstrap", v.module.name))
	}
}

// notify settles promises. The kernel has forgotten their names, and so does the vat.
func (v *Vat) notify(d wire.Notify) {
	v.notified = true
	type settled struct {
		p   *promise
		val value
		err error
	}
	list := make([]settled, len(d.Resolutions))
	// The values may mention the promises of the batch, so all values are read before any name is forgotten.
	for i, r := range d.Resolutions {
		// A promise may be unknown because memory was lost. It is known from here on: other values may mention
		// it.
		list[i].p = v.remotePromise(r.Promise)
		list[i].val, list[i].err = v.take(r.Value)
	}
	v.notified = false
	for i, r := range d.Resolutions {
		p := list[i].p
		if p.ours { // the kernel decided in this vat's stead
			v.endsDecider(p)
		}
		delete(v.promises, r.Promise)
		p.ref, p.source = "", string(r.Promise)
		val, rejected := list[i].val, r.Rejected
		if list[i].err != nil {
			val, rejected = errorValue(list[i].err), true
		}
		if rejected {
			v.noteLoss(r.Promise, p)
		}
		v.settle(p, val, rejected)
		if r.Promise == v.shelved().Nudge {
			v.nudgeRefused(val)
		}
	}
}

// dropExports notes that these objects cannot be reached from outside. They keep their names until they are
// retired.
func (v *Vat) dropExports(refs []wire.Ref) {
	v.setFlags(refs, flag.droppedOutside)
	for _, ref := range refs {
		if h := v.objects[ref]; h != nil && h.kind.ephemeral && !h.dropped {
			h.dropped = true
			v.ephemerals--
		}
	}
}

// retireExports forgets the names of ephemeral objects: an ephemeral object that is passed again gets a new name. A
// durable object has its name for ever.
func (v *Vat) retireExports(refs []wire.Ref) {
	v.setFlags(refs, flag.retiredOutside)
	for _, ref := range refs {
		p := v.own[ref]
		if v.ids.rules() < rulesOfNames {
			delete(v.own, ref)
			p = nil
		}
		h := v.objects[ref]
		if h == nil || !h.kind.ephemeral {
			continue
		}
		if !h.dropped {
			v.ephemerals--
		}
		delete(v.objects, ref)
		h.ref, h.dropped = "", false
		if p != nil { // turns may hold the reference: it is one to an object without a name now
			delete(v.own, ref)
			p.ref, p.own, h.presence = "", h, p
		}
	}
}

// retireImports forgets imports that no longer exist. Nothing is left to be dropped then.
func (v *Vat) retireImports(refs []wire.Ref) {
	for _, ref := range refs {
		delete(v.imports, ref)
		if l := v.readLedger(); l.counting {
			if l.Unlearned {
				v.unlearn(ref)
			}
			if _, found := v.rows.get(candidateKey(ref)); found {
				v.rows.delete(candidateKey(ref))
			}
		}
	}
}
