package kernel

import (
	"fmt"
	"slices"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
)

// A service object is an object without a vat: a service of the kernel, an IO channel, a connection. The caller of the
// machine performs its calls outside of the machine; their results are inputs like others.
//
// A call is begun when its row a. is written. The effect of that is Invoke: it is performed only if the row is durable.
// The call is over when Complete removes the row, in the commit that settles the result. A crash in between leaves a
// row whose call may have been performed or not: see [View.Outstanding]. A call that has no row yet was never begun.
//
// A unit is one piece of input that a channel has read. unit.go has its life.

// NewService describes a service object to make.
type NewService struct {
	// Kind and Config describe the object to the performer of its calls; the machine does not read them.
	Kind   string
	Config []byte
	// State is the stored state of the object; it changes with [Completion.State].
	State []byte
	// Holds are references that it keeps while it exists.
	Holds []KRef
}

// service returns a service object for changing. It must exist.
func (t *tx) service(k KRef) *service {
	s := t.services.edit(t, k)
	if s == nil && t.salvaging {
		s = t.services.invent(t, k)
	}
	if t.services.isGuess(k) {
		t.guessService(k, s)
	}
	if s == nil {
		panic(fmt.Sprintf("kernel: service object %s does not exist", k))
	}
	return s
}

// newService makes a service object. It is pinned until it is ended.
func (t *tx) newService(name string, sub SubID, n NewService) KRef {
	k := KRef("ko" + num(t.allocate("o")))
	t.objects.create(k, &object{service: true})
	t.services.create(k, &service{id: k, name: name, kind: n.Kind, sub: sub, config: n.Config, state: n.State, holds: slices.Clone(n.Holds)})
	t.hold(k)
	if name == "" {
		t.maybeFree = append(t.maybeFree, k)
	}
	for _, h := range n.Holds {
		t.hold(h)
	}
	t.create(keyServiceOf(sub, k), []byte{})
	if name != "" {
		t.set(keyServiceName(name), []byte(k))
	}
	return k
}

// gone returns why a service object is unreachable, in words; it is empty if the object can be reached.
func (t *tx) gone(s *service) string {
	switch {
	case s == nil:
		return "the service is gone"
	case s.ended:
		return s.goneText()
	case s.sub == "":
		return ""
	}
	if sub := t.sub(s.sub); sub == nil || sub.state == SubFailed || sub.state == SubTerminating {
		return fmt.Sprintf("the subcluster %s of the service is gone", s.sub)
	}
	return ""
}

func (s *service) goneText() string {
	if s.name == "" {
		return "the service is gone"
	}
	return fmt.Sprintf("the service %s is gone", s.name)
}

// Emit sends a message on behalf of a service object, without a result, and changes the object's state. It is refused
// if the object is gone, or with [errcode.Limit] if [CheckState] or [CheckMessage] refuse the state or the message.
// A message that refers to something that is gone is not sent.
func (m *Machine) Emit(k KRef, state []byte, target KRef, methArgs Data, now int64) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(now)
	s := t.services.edit(t, k)
	if t.gone(s) != "" {
		return Commit{}, refuse(errcode.ServiceGone, "there is no service object %s", k)
	}
	if err := CheckState(m.limits, k, state); err != nil {
		return Commit{}, err
	}
	if err := CheckMessage(m.limits, methArgs); err != nil {
		return Commit{}, err
	}
	s.state = state
	if t.admit(target, methArgs) == nil {
		t.route(message{target: target, methArgs: methArgs}, true)
	}
	t.maybeFree = append(t.maybeFree, k) // it may be kept for that target alone, which is gone
	return m.done(t), nil
}

// SetServiceState changes the state of a service object; nothing happens if the object is gone. A state that
// [CheckState] refuses changes nothing.
func (m *Machine) SetServiceState(k KRef, state []byte) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	s := t.services.edit(t, k)
	if s == nil {
		return Commit{}, nil
	}
	if err := CheckState(m.limits, k, state); err != nil {
		return Commit{}, err
	}
	s.state = state
	return m.done(t), nil
}

// CheckState refuses, with [errcode.Limit], a state of a service object that is longer than a quarter of the bytes
// of one commit. limits are those of the store. It may be called from any goroutine.
func CheckState(limits storage.Limits, k KRef, state []byte) error {
	if most := maxState(limits); len(state) > most {
		return refuse(errcode.Limit, "a state of %d bytes for service object %s, the limit is %d: keep what is large elsewhere, and here where it is", len(state), k, most)
	}
	return nil
}

// maxState is the length of the longest state of a service object.
func maxState(limits storage.Limits) int { return limits.Bytes / 4 }
