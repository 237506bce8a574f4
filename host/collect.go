package host

import "time"

// idleTime is how long a vat is without a delivery until it is asked for the references that it no longer holds.
const idleTime = time.Second

// soiled notes whether a vat may no longer hold references that it was given, and has it asked for them once it is idle.
func (vs *vats) soiled(v *vat, dirty bool) {
	v.dirty = dirty
	if dirty && !v.idling {
		v.idling = true
		vs.whenIdle(v, idleTime)
	}
}

// whenIdle looks after a while whether the vat is idle. There is one timer for a vat, however many deliveries it gets.
func (vs *vats) whenIdle(v *vat, wait time.Duration) {
	vs.after(wait, func() {
		rest := idleTime - time.Since(v.used)
		switch {
		case vs.table[v.id] != v || !v.dirty || v.worker == nil: // the next delivery sets another timer
			v.idling = false
		case v.crank != nil || rest > 0:
			vs.whenIdle(v, max(rest, idleTime/10))
		default:
			v.idling = false
			vs.collect(v)
		}
	})
}

// collect asks a vat for the references that it no longer holds as soon as it is at rest. It returns whether it did: false
// if there is nothing to ask for, or if the vat is to be asked already.
func (vs *vats) collect(v *vat) (asked bool) {
	vs.forVat(v, "ask it for its dead", func() error {
		c, err := vs.machine.Collect(v.id, false)
		if err != nil {
			return err
		}
		vs.apply(c)
		asked = c.Number != 0
		return nil
	})
	return asked
}
