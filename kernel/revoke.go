package kernel

import "ocapkernel.dev/errcode"

// Revoke makes an object refuse every message from now on, and the messages in queues. It cannot be undone.
func (m *Machine) Revoke(k KRef) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if k.IsPromise() {
		return Commit{}, refuse(errcode.BadTarget, "%s is a promise; only an object can be revoked", k)
	}
	if err := t.exists(k); err != nil {
		return Commit{}, err
	}
	t.object(k).revoked = true
	if s := t.services.edit(t, k); s != nil {
		t.beginMore(s) // the object is revoked, so that this rejects its queue
	}
	return m.done(t), nil
}

// Revoked reports whether an object is revoked.
func (q *View) Revoked(k KRef) (revoked bool, err error) {
	defer caught(&err)
	if k.IsPromise() {
		return false, refuse(errcode.BadTarget, "%s is a promise; only an object can be revoked", k)
	}
	o := q.begin(0).objects.look(q.tx, k)
	if o == nil {
		return false, refuse(errcode.NotFound, "there is no object %s", k)
	}
	return o.revoked, nil
}
