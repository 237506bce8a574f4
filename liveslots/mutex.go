package liveslots

import "context"

// Mutex excludes other turns of the same vat across an [Await]. (Between two awaits a turn has the vat to
// itself and needs no lock.) It parks the turn, where a sync.Mutex would block the vat for ever.
//
// The zero Mutex is unlocked. It may be a field of any object. It is not saved: the turns that hold or await it
// live in memory, and so does the Mutex.
type Mutex struct {
	holder  bool
	waiters []*turn
}

// Lock waits until no other turn holds the mutex. Turns get the mutex in the order of their calls of Lock.
func (m *Mutex) Lock(ctx context.Context) {
	t := running(ctx)
	if !m.holder {
		m.holder = true
		return
	}
	m.waiters = append(m.waiters, t)
	t.park()
	t.handed = nil
}

// Unlock hands the mutex to the turn that waited longest. It panics if the mutex is not locked.
func (m *Mutex) Unlock(ctx context.Context) {
	v := running(ctx).v
	if !m.holder {
		panic("vat: unlock of a Mutex that is not locked")
	}
	m.handOn(v)
}

func (m *Mutex) handOn(v *Vat) {
	if len(m.waiters) == 0 {
		m.holder = false
		return
	}
	t := m.waiters[0]
	m.waiters = m.waiters[1:]
	t.handed = m
	v.tasks = append(v.tasks, task{turn: t})
}
