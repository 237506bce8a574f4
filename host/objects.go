package host

import (
	"fmt"
	"io"
	"runtime/debug"

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
	// Open makes the object, at the launch of its subcluster and again in each later run. If the object is
	// an [io.Closer] it is closed when the kernel or the subcluster ends.
	Open func(Opening) (service.Object, error)
	// Service says that a configuration can name it among its services.
	Service bool
	// Remove, which may be nil, removes what an earlier run has left of an object that is not made again.
	Remove func(name string, config []byte)
	// Lost, if not empty, is what calls of an object are rejected with that was made by a call and cannot be
	// made again in a later run: its code, and Why.
	Lost capdata.Code
	Why  string
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
	// Commit stores a state, and calls then, if that is not nil, when it is durable.
	Commit func(state []byte, then func())
	// Send stores a state and sends a message, in one commit.
	Send func(state []byte, target string, methArgs service.Data)
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
func (k *Kernel) resume() error {
	list, err := k.machine.Services()
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Ended || !k.alive(s.Sub) || k.suspended[s.Sub] {
			continue
		}
		if s.Kind == kindExport { // it lived in the memory of an earlier run
			c, err := k.machine.EndService(s.KRef)
			k.input(c, err)
			continue
		}
		_ = k.bind(s) // it is tried again by the calls
		k.resumeCalls(s.KRef, func(string) bool { return true })
	}
	return nil
}

// waitsForInput says of a method that its calls wait for something from outside, and can do so again.
func waitsForInput(method string) bool { return method == "read" || method == "accept" }

// resumeCalls begins the calls of some methods again that an object is not performing, in their order.
func (k *Kernel) resumeCalls(kref kernel.KRef, which func(method string) bool) {
	calls, err := k.machine.Outstanding(kref)
	if err != nil {
		k.fail(err)
		return
	}
	for _, o := range calls {
		if which(methodOf(o.MethArgs)) {
			k.begin(o, true)
		}
	}
}

// alive says whether a subcluster is there to stay; the kernel itself always is.
func (k *Kernel) alive(id kernel.SubID) bool {
	if id == "" {
		return true
	}
	sub, found, err := k.machine.Subcluster(id)
	if err != nil {
		k.fail(err)
	}
	return found && sub.State == kernel.SubRunning
}

// open makes an object. What a program has registered may panic.
func (k *Kernel) open(kind Kind, s kernel.Service) (o service.Object, err error) {
	defer func() {
		if p := recover(); p != nil {
			k.log.Error("service object panicked when it was made", "service", s.Name, "kref", s.KRef, "err", p, "stack", string(debug.Stack()))
			o, err = nil, fmt.Errorf("it panicked: %v", p)
		}
	}()
	return kind.Open(k.opening(s))
}

// closed says that an object of a subcluster, or all that were being made for it, is closed.
func (k *Kernel) closed(id kernel.SubID) {
	if k.services.closing[id]--; k.services.closing[id] == 0 {
		delete(k.services.closing, id)
		k.tellGone(id)
	}
}

// bind makes the object behind a service object, if this run can. An object that cannot be made now, because its
// path or port is taken for a moment, say, is tried again when it is called.
func (k *Kernel) bind(s kernel.Service) error {
	var object service.Object
	if s.Kind == kernel.GlobalKind {
		object = k.registered()[s.Name].Object
	} else if kind := k.cfg.Kinds[s.Kind]; kind.Open != nil {
		var err error
		if object, err = k.open(kind, s); err != nil {
			k.log.Warn("service object cannot be made", "service", s.Name, "kref", s.KRef, "err", err)
			return err
		}
	}
	if object != nil {
		k.services.bound[s.KRef] = &binding{object, s.Sub}
	}
	return nil
}

func (k *Kernel) opening(s kernel.Service) Opening {
	return Opening{
		Name: s.Name, Subcluster: string(s.Sub), Config: s.Config, State: s.State, Holds: toStrings(s.Holds),
		Commit: func(state []byte, then func()) {
			k.services.later(func() {
				c, err := k.machine.SetServiceState(s.KRef, state)
				if err != nil {
					k.fail(err)
					return
				}
				k.apply(c)
				if then != nil {
					k.whenDurable(func() { k.aside(then) })
				}
			})
		},
		Send: func(state []byte, target string, methArgs service.Data) {
			k.services.later(func() {
				if k.diskFull {
					return // what is missed comes with the next one
				}
				c, err := k.machine.Emit(s.KRef, state, kernel.KRef(target), toData(methArgs), nowMillis())
				k.input(c, err)
			})
		},
		End: func() {
			k.services.later(func() {
				c, err := k.machine.EndService(s.KRef)
				k.input(c, err)
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
func (k *Kernel) goneReply(s kernel.Service, ambiguous bool) service.Reply {
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

// waitForObject decides what becomes of a call whose object cannot be made now. What waits for input goes on
// waiting, in its order; what is to be done now cannot be.
func (k *Kernel) waitForObject(id callID, s kernel.Service, method string, again bool, why error) {
	switch {
	case waitsForInput(method):
		k.reopen(s.KRef, 1)
	case again:
		k.complete(id, k.goneReply(s, true), nil)
	default:
		k.complete(id, service.Fail(fmt.Errorf("%s cannot be opened: %w", s.Name, why)), nil)
	}
}

// reopen tries to make an object for those that wait for it, with growing waits.
func (k *Kernel) reopen(kref kernel.KRef, attempt int) {
	k.services.reopening[kref] = attempt
	k.after(wait(attempt+2), func() {
		s, found, err := k.machine.Service(kref)
		switch {
		case err != nil:
			k.fail(err)
		case k.stopping || k.services.reopening[kref] != attempt:
		case !found || s.Ended:
			delete(k.services.reopening, kref)
		case k.bind(s) != nil:
			k.reopen(kref, attempt+1)
		default:
			delete(k.services.reopening, kref)
			k.resumeCalls(kref, waitsForInput)
		}
	})
}

// endService closes what is behind a service object.
func (k *Kernel) endService(e kernel.EndService) {
	for id, r := range k.services.calls { // in any order: each only hears that it is over
		if id.service == e.Service {
			r.cancel()
			delete(k.services.calls, id)
		}
	}
	b := k.services.bound[e.Service]
	delete(k.services.bound, e.Service)
	if b == nil {
		if kind := k.cfg.Kinds[e.Kind]; kind.Remove != nil {
			kind.Remove(e.Name, e.Config)
		}
		return
	}
	closer, ok := b.object.(io.Closer)
	if !ok {
		return
	}
	k.services.closing[e.Sub]++
	k.aside(func() {
		err := closer.Close()
		k.services.later(func() {
			if err != nil {
				k.log.Warn("service object did not close", "service", e.Name, "err", err)
			}
			k.closed(e.Sub)
		})
	})
}
