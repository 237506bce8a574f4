package host

import (
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// kindExport is the kind of objects that a call has made, and that end with the process.
const kindExport = "export"

// binding is the object behind a service object of the machine, in this run.
type binding struct {
	object service.Object
	sub    kernel.SubID
}

// resume makes the objects of an earlier run again, and decides what becomes of the calls that were under
// way when it ended.
func (k *Shell) resume() error {
	list, err := k.machine.Services()
	if err != nil {
		return err
	}
	for _, s := range list {
		k.forService(s.KRef, "resume", func() error { return k.resumeService(s) })
	}
	return nil
}

func (k *Shell) resumeService(s kernel.Service) error {
	if s.Corrupt != nil || s.Ended {
		return s.Corrupt
	}
	k.count(s.Sub, s.Kind, 1)
	if alive, err := k.alive(s.Sub); !alive || k.suspended[s.Sub] {
		return err
	}
	if s.Kind == kindExport { // it lived in the memory of an earlier run
		c, err := k.machine.EndService(s.KRef)
		if err == nil {
			k.apply(c)
		}
		return err
	}
	if k.canOpen(s) {
		k.open(s, nil)
	}
	return k.resumeCalls(s.KRef)
}

// traits are those of a method of a service object. Of a service that a program has registered nothing is known but by its
// object.
func (k *Shell) traits(kind, method string) service.Traits {
	return k.cfg.Kinds[kind].TraitsOf(method)
}

// resumeCalls begins the calls again that an earlier kernel has begun, in their order. The error is of a call that cannot be
// read: all others are begun.
func (k *Shell) resumeCalls(kref kernel.KRef) error {
	calls, err := k.machine.Outstanding(kref)
	for _, o := range calls {
		if o.Corrupt != nil {
			err = o.Corrupt
			continue
		}
		k.begin(o, true)
	}
	return err
}

// alive says whether a subcluster is there to stay; the kernel itself always is.
func (k *Shell) alive(id kernel.SubID) (bool, error) {
	if id == "" {
		return true, nil
	}
	sub, found, err := k.machine.Subcluster(id)
	return found && sub.State == kernel.SubRunning, err
}

func (k *Shell) opening(s kernel.Service) service.Opening {
	limits, waiting := k.cfg.Store.Limits(), &backlog{}
	return service.Opening{
		Name: s.Name, Subcluster: string(s.Sub), Config: s.Config, State: s.State, Holds: toStrings(s.Holds),
		Commit: func(state []byte, then func()) error {
			if err := kernel.CheckState(limits, s.KRef, state); err != nil {
				return err
			}
			return k.laterIfRoom(waiting, len(state), func() {
				stored := k.serviceInput(s.KRef, "store the state of", func() (kernel.Commit, error) { return k.machine.SetServiceState(s.KRef, state) })
				if stored && then != nil {
					k.whenDurable(func() { k.aside(then) })
				}
			})
		},
		Send: func(state []byte, target string, methArgs service.Data) error {
			data := toData(methArgs)
			if err := kernel.CheckState(limits, s.KRef, state); err != nil {
				return err
			}
			if err := kernel.CheckMessage(limits, data); err != nil {
				return err
			}
			return k.laterIfRoom(waiting, len(state)+len(data.Body), func() {
				if k.diskFull() {
					return // what is missed comes with the next one
				}
				k.serviceInput(s.KRef, "send for", func() (kernel.Commit, error) {
					return k.machine.Emit(s.KRef, state, kernel.KRef(target), data, nowMillis())
				})
			})
		},
		End: func() {
			k.services.later(func() {
				k.whenRoom(0, func() {
					k.serviceInput(s.KRef, "end", func() (kernel.Commit, error) { return k.machine.EndService(s.KRef) })
				}) // behind what it has stored
			})
		},
	}
}

func objectOf(b *binding) service.Object {
	if b == nil {
		return nil
	}
	return b.object
}

// goneReply says why there is nothing to call.
func (k *Shell) goneReply(s kernel.Service, ambiguous bool) service.Reply {
	kind := k.cfg.Kinds[s.Kind]
	switch {
	case ambiguous:
		return service.Reject(capdata.CodeAmbiguous, "the kernel died during the call: whether it happened is not known")
	case kind.Lost != "":
		return service.Reject(kind.Lost, "%s", kind.Why)
	case s.Kind == kernel.GlobalKind:
		return service.Reject(capdata.CodeServiceGone, "the service %s is not registered in this run of the kernel", s.Name)
	}
	return service.Reject(capdata.CodeServiceGone, "the service %s is not there", s.Name)
}
