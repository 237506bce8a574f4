package kernel

import (
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// StartWorker returns the start frame for a fresh worker of a vat. The worker is to have the memory of the live
// incarnation, which Replay makes again; if there is none, it starts a new incarnation. The caller fills in the module
// and the limits of the frame. StartWorker is refused if the vat is not live.
func (m *Machine) StartWorker(v VatID) (start wire.Start, c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	u := t.runs.edit(t, v)
	if u == nil || u.phase != live || u.memory.reap != 0 {
		return wire.Start{}, Commit{}, refuse(errcode.Invalid, "vat %s cannot be started now", v)
	}
	if u.memory.inc != u.memory.deadInc {
		return t.startFrame(u), Commit{}, nil
	}
	u.memory.inc++
	start = t.startFrame(u)
	return start, m.done(t), nil
}

func (t *tx) startFrame(u *run) wire.Start {
	return wire.Start{
		Vat: string(u.id), Name: t.vat(u.id).name, Incarnation: u.memory.inc,
		HighObject: u.span.objects, HighPromise: u.span.promises,
	}
}

// StoreGet reads a row of a vat's own store, for a worker that requests it during a crank.
func (q *View) StoreGet(v VatID, key string) (wire.Row, error) {
	value, found, err := q.reader.Get(keyStore(v, key))
	return wire.Row{Key: key, Value: value, Found: found}, err
}

// StoreNext returns the row of a vat's own store after `after` among those with the prefix. It may pass over any number
// of removed rows; see StoreStep.
func (q *View) StoreNext(v VatID, prefix, after string) (wire.Row, error) {
	for {
		row, reached, ready, err := q.StoreStep(v, prefix, after)
		if ready || err != nil {
			return row, err
		}
		after = reached
	}
}

// StoreStep is StoreNext, but passes over a bounded number of removed rows. If that was not enough, ready is false, and
// a StoreStep after the returned key goes on there.
func (q *View) StoreStep(v VatID, prefix, after string) (row wire.Row, reached string, ready bool, err error) {
	base := keyStore(v, "")
	key, value, found, ready, err := storage.Step(q.reader, base+prefix, base+after, stepRows)
	switch {
	case err != nil:
		return wire.Row{}, "", false, err
	case !ready:
		return wire.Row{}, key[len(base):], false, nil
	case !found:
		return wire.Row{}, "", true, nil
	}
	return wire.Row{Key: key[len(base):], Value: value, Found: true}, "", true, nil
}
