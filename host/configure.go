package host

import (
	"bytes"
	"time"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// configure gives the object behind a service object its stored configuration, if the object was made from another one. An
// object that is not there yet is made from the stored configuration anyway.
func (obs *objects) configure(kref kernel.KRef, made []byte) {
	s, found, err := obs.machine.Service(kref)
	b := obs.bound[kref]
	switch {
	case err != nil:
		obs.holdService(kref, err)
	case found && b != nil && !bytes.Equal(s.Config, made):
		if take := obs.configurable(s.Kind, b.object, s.Config); take != nil {
			take()
		} else {
			obs.log.Warn("service object goes on as it is until the kernel is started again", "service", s.Name, "kref", kref)
		}
	}
}

// configurable returns the function that has an object work by a configuration, or nil.
func (obs *objects) configurable(kind string, o service.Object, config []byte) (take func()) {
	if configure := obs.cfg.Kinds[kind].Configure; configure != nil {
		return configure(o, config)
	}
	return nil
}

// addedTime is how long the answer to Apply waits for channels and services that are slow to open.
const addedTime = 10 * time.Second

// openAdded makes the objects that were added to a running subcluster, and calls done once when each was tried, or addedTime
// has passed. It notes in added which of them could not be made. The next kernel makes them if this one dies; one that
// cannot be made now is tried again when it is called.
func (obs *objects) openAdded(added []AddedService, done func()) {
	left, told := 1, false // told says that added is the caller's
	tried := func() {
		if left--; left == 0 {
			done()
		}
	}
	for i := range added {
		kref := added[i].KRef
		s, found, err := obs.machine.Service(kref)
		if err != nil {
			obs.holdService(kref, err)
		}
		if found && obs.canOpen(s) && obs.bound[kref] == nil {
			left++
			obs.open(s, func(err error) {
				if err != nil && !told {
					added[i].Problem = oneLine(err)
				}
				tried()
			})
		}
	}
	if left > 1 {
		obs.after(addedTime, func() {
			told = true
			done()
		})
	}
	tried()
}
