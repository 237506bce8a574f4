package host

import (
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// objects are the objects behind service objects in this run, and the calls of them.
type objects struct {
	*core
	vats     *vats
	subs     *subclusters
	registry *registry

	bound map[kernel.KRef]*binding
	calls map[callID]*running
	// making has the service objects whose object is not there yet. attempts counts the attempts under way.
	making   map[kernel.KRef]*making
	attempts int
	// lost paces the calls of objects that cannot be made again. refusing are the calls that wait for their pace.
	lost     map[kernel.KRef]*service.Pace
	refusing map[callID]refusedCall
	// closing counts the objects of a subcluster that are being closed. counts has the number of objects of each bounded kind.
	closing map[kernel.SubID]int
	counts  map[objectCount]int
}

func newObjects(c *core) *objects {
	return &objects{
		core: c, bound: map[kernel.KRef]*binding{}, calls: map[callID]*running{}, making: map[kernel.KRef]*making{},
		lost: map[kernel.KRef]*service.Pace{}, refusing: map[callID]refusedCall{}, closing: map[kernel.SubID]int{},
		counts: map[objectCount]int{},
	}
}

// kindExport is the kind of objects that a call has made, and that end with the process.
const kindExport = "export"

// binding is the object behind a service object of the machine, in this run.
type binding struct {
	object service.Object
	sub    kernel.SubID
}

// resume makes the objects of an earlier run again, and decides for each call that was under way at the end of that run
// whether it is begun again.
func (obs *objects) resume() error {
	list, err := obs.machine.Services()
	if err != nil {
		return err
	}
	for _, s := range list {
		obs.forService(s.KRef, "resume", func() error { return obs.resumeService(s) })
	}
	return nil
}

func (obs *objects) resumeService(s kernel.Service) error {
	if s.Corrupt != nil || s.Ended {
		return s.Corrupt
	}
	obs.count(s.Sub, s.Kind, 1)
	if alive, err := obs.alive(s.Sub); !alive || obs.subs.isSuspended(s.Sub) {
		return err
	}
	if s.Kind == kindExport { // it lived in the memory of an earlier run
		c, err := obs.machine.EndService(s.KRef)
		if err == nil {
			obs.apply(c)
		}
		return err
	}
	if obs.canOpen(s) {
		obs.open(s, nil)
	}
	return obs.resumeCalls(s.KRef)
}

// traits returns the traits of a method of a kind of service objects. The kinds do not know the traits of a service that a
// program has registered: only its object does.
func (obs *objects) traits(kind, method string) service.Traits {
	return obs.cfg.Kinds[kind].TraitsOf(method)
}

// resumeCalls begins the calls again that an earlier kernel has begun, in their order. The error is of a call that cannot be
// read: all others are begun.
func (obs *objects) resumeCalls(kref kernel.KRef) error {
	calls, err := obs.machine.Outstanding(kref)
	for _, o := range calls {
		if o.Corrupt != nil {
			err = o.Corrupt
			continue
		}
		obs.begin(o, true)
	}
	return err
}

// alive reports whether a subcluster is there to stay; the kernel itself always is.
func (obs *objects) alive(id kernel.SubID) (bool, error) {
	if id == "" {
		return true, nil
	}
	sub, found, err := obs.machine.Subcluster(id)
	return found && sub.State == kernel.SubRunning, err
}

func (obs *objects) opening(s kernel.Service) service.Opening {
	limits, waiting := obs.cfg.Store.Limits(), &backlog{}
	return service.Opening{
		Name: s.Name, Subcluster: string(s.Sub), Config: s.Config, State: s.State, Holds: toStrings(s.Holds),
		Commit: func(state []byte, then func()) error {
			if err := kernel.CheckState(limits, s.KRef, state); err != nil {
				return err
			}
			return obs.laterIfRoom(waiting, len(state), func() {
				stored := obs.serviceInput(s.KRef, "store the state of", func() (kernel.Commit, error) { return obs.machine.SetServiceState(s.KRef, state) })
				if stored && then != nil {
					obs.whenDurable(func() { obs.aside(then) })
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
			return obs.laterIfRoom(waiting, len(state)+len(data.Body), func() {
				if obs.diskFull() {
					return // the next message carries the state of this one
				}
				obs.serviceInput(s.KRef, "send for", func() (kernel.Commit, error) {
					return obs.machine.Emit(s.KRef, state, kernel.KRef(target), data, obs.nowMillis())
				})
			})
		},
		End: func() {
			obs.later(func() {
				obs.whenRoom(0, func() {
					obs.serviceInput(s.KRef, "end", func() (kernel.Commit, error) { return obs.machine.EndService(s.KRef) })
				}) // after the states that the object has stored
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

// goneReply returns the rejection of a call whose object is gone.
func (obs *objects) goneReply(s kernel.Service, ambiguous bool) service.Reply {
	kind := obs.cfg.Kinds[s.Kind]
	switch {
	case ambiguous:
		return service.Reject(errcode.Ambiguous, "the kernel died during the call: whether it happened is not known")
	case kind.Lost != "":
		return service.Reject(kind.Lost, "%s", kind.Why)
	case s.Kind == kernel.GlobalKind:
		return service.Reject(errcode.ServiceGone, "the service %s is not registered in this run of the kernel", s.Name)
	}
	return service.Reject(errcode.ServiceGone, "the service %s is not there", s.Name)
}
