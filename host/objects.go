package host

import (
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// Service is a service of the kernel in this run, known to all subclusters by its name.
type Service struct {
	Object service.Object
	// SystemOnly services are given to system subclusters alone. Who is given one may pass it on.
	SystemOnly bool
}

// Kind makes the service objects of one kind: those that belong to one subcluster, such as its IO channels.
type Kind struct {
	// Open makes the object, at the launch of its subcluster and again in each later run. It is called beside
	// the loop, and may take its time. If the object is an [io.Closer] it is closed when the kernel or the
	// subcluster ends.
	Open func(Opening) (service.Object, error)
	// Idempotent, which may be nil, reports whether a method of any such object may be done twice without harm: for calls
	// that an earlier kernel has begun, whose object cannot be opened now and so cannot be asked. Its answers are those
	// of [service.Idempotent].
	Idempotent func(method string) bool
	// Service says that a configuration can name it among its services.
	Service bool
	// Configure, which may be nil, returns the function that has an object work by another configuration from its next
	// operation on; that function does not block. An object for which Configure returns nil goes on as it is until the
	// kernel is started the next time.
	Configure func(o service.Object, config []byte) (take func())
	// Remove, which may be nil, removes what an earlier run has left of an object that is not made again.
	Remove func(name string, config []byte)
	// Lost, if not empty, is what calls of an object are rejected with that was made by a call and cannot be
	// made again in a later run: its code, and Why.
	Lost capdata.Code
	Why  string
	// Most, if not zero, bounds the objects of a subcluster that calls have made; beyond it a call is rejected with
	// LIMIT and TooMany.
	Most    int
	TooMany string
}

// Opening is what an object is made from.
type Opening struct {
	// Name is the full name, KIND:SUBCLUSTER:NAME; empty for an object that a call has made. Subcluster is the
	// one that it belongs to.
	Name, Subcluster string
	Config           []byte
	// State is what was stored of it last; nil for a fresh one.
	State []byte
	// Holds are the references that the kernel keeps for it.
	Holds []string
	// Commit stores a state, and calls then, if that is not nil, when it is durable. A state that is longer than a quarter
	// of what one commit of the store takes (2.1 MB for Badger) is not stored, nor is one that finds 1000 states and
	// messages of this object, or 16 MiB of them, which the kernel has not taken yet: the error is a [*kernel.Refusal] with
	// [capdata.CodeLimit], nothing changes, and then is not called. Commit does not block.
	Commit func(state []byte, then func()) error
	// Send stores a state and sends a message, in one commit. It refuses a state as Commit does, and a message that has more
	// than [kernel.MaxSlots] references or is longer than half of what one commit takes (4.2 MB): then nothing is stored,
	// and nothing is sent. A message that names what is gone, or finds the queue of its target full, is not sent; the state
	// is stored all the same. While the disk is full nothing is stored or sent. Send does not block.
	Send func(state []byte, target string, methArgs service.Data) error
	// End removes the object: later calls are rejected.
	End func()
}

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

// waitsForInput says of a method that its calls wait for something from outside, and can do so again.
func waitsForInput(method string) bool { return method == "read" || method == "accept" }

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

func (k *Shell) opening(s kernel.Service) Opening {
	limits, waiting := k.cfg.Store.Limits(), &backlog{}
	return Opening{
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
