package vattest

import (
	"encoding/json"
	"fmt"
	"slices"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
)

// Service is a kernel service, or an IO channel, that the test plays: the calls of vats wait until the test
// answers them.
//
//	console := k.Service("console")
//	k.Launch("repl", vattest.Vat{Name: "repl", Module: "repl"})
//	console.Call("read").Unit(`"set x 2"`)
//	k.Run()
//	got := console.Call("write").Args[0]
type Service struct {
	k    *Kernel
	name string
	kref kernel.KRef
}

// ServiceCall is a call of a [Service] that waits for its answer.
type ServiceCall struct {
	Method string
	// Args are JSON.
	Args []string

	s  *Service
	id kernel.CallID
	at int64
}

// Service adds a service to those that the bootstrap method of the next Launch gets, under this name, and
// returns it.
func (k *Kernel) Service(name string) *Service {
	s := &Service{k: k, name: name}
	k.services = append(k.services, s)
	return s
}

// launchServices adds the services to a launch. It returns the function that finds their objects once the
// launch is made.
func (k *Kernel) launchServices(l *kernel.Launch) (found func(kernel.SubID)) {
	added := k.services
	k.services, k.played = nil, append(k.played, added...)
	for _, s := range added {
		l.Services = append(l.Services, kernel.LaunchService{Name: s.name, New: kernel.NewService{Kind: "test"}})
	}
	return func(sub kernel.SubID) {
		for _, s := range added {
			var err error
			if s.kref, err = k.machine.ServiceNamed("test:" + string(sub) + ":" + s.name); err != nil {
				k.tb.Fatal(err)
			}
		}
	}
}

// Calls returns the calls that wait, in the order in which they were sent.
func (s *Service) Calls() (calls []*ServiceCall) {
	s.k.tb.Helper()
	list, err := s.k.machine.Outstanding(s.kref)
	if err != nil {
		s.k.tb.Fatal(err)
	}
	for _, o := range list {
		slot := func(i int) string { return string(o.MethArgs.Slots[i]) }
		c := &ServiceCall{s: s, id: o.ID, at: o.At}
		var args []any
		if c.Method, args, err = capdata.DecodeCall(o.MethArgs.Body, len(o.MethArgs.Slots)); err != nil {
			s.k.tb.Fatal(err)
		}
		for _, a := range args {
			text, err := capdata.ToJSON(a, slot)
			if err != nil {
				s.k.tb.Fatal(err)
			}
			c.Args = append(c.Args, string(text))
		}
		calls = append(calls, c)
	}
	return calls
}

// Call returns the first waiting call of a method; it fails the test if there is none.
func (s *Service) Call(method string) *ServiceCall {
	s.k.tb.Helper()
	for _, c := range s.Calls() {
		if c.Method == method {
			return c
		}
	}
	s.k.tb.Fatalf("no call of %s.%s waits", s.name, method)
	return nil
}

// Answer fulfils the call with a value, which is JSON.
func (c *ServiceCall) Answer(value string) {
	c.s.k.tb.Helper()
	c.complete(value, kernel.Completion{})
}

// Unit fulfils a read or an accept as an IO channel does: if the vat loses its memory before it is notified,
// and its store does not wait for the answer, the unit goes to the next call of the method.
func (c *ServiceCall) Unit(value string) {
	c.s.k.tb.Helper()
	c.complete(value, kernel.Completion{Unit: c.Method})
	c.s.k.giveUnits()
}

// Connection fulfils a call, of accept say, with a new object, and returns the object: a connection from which
// vats read. The connection is a unit of input, like the value of [ServiceCall.Unit].
func (c *ServiceCall) Connection() *Service {
	c.s.k.tb.Helper()
	s := c.made("connection", kernel.Completion{Unit: c.Method, New: []kernel.NewService{{Kind: "test"}}})
	c.s.k.giveUnits()
	return s
}

// made fulfils a call with the one new object of a completion.
func (c *ServiceCall) made(name string, done kernel.Completion) *Service {
	k := c.s.k
	k.tb.Helper()
	var err error
	if done.Value.Body, err = capdata.Encode(capdata.Remotable{Slot: 0, Iface: "Alleged: " + c.Method}); err != nil {
		k.tb.Fatal(err)
	}
	done.Value.Slots = []kernel.KRef{""}
	commit, made, err := k.machine.Complete(c.id, done, k.now)
	k.do(commit, err)
	s := &Service{k: k, name: c.s.name + " " + name, kref: made[0]}
	k.played = append(k.played, s)
	return s
}

// giveUnits gives units that went back to calls that wait for them, as a channel does.
func (k *Kernel) giveUnits() {
	k.tb.Helper()
	for len(k.back) > 0 {
		s := &Service{k: k, kref: k.back[0]}
		k.back = k.back[1:]
		for _, c := range s.Calls() {
			commit, taken, err := k.machine.TakeUnit(c.id, c.Method, k.now)
			if taken || err != nil {
				k.do(commit, err)
			}
		}
	}
}

// Reject rejects the call with an error of this text. An error of the kernel is written with its code, as in
// "[KERNEL:CONNECTION_LOST] the client is gone".
func (c *ServiceCall) Reject(message string) {
	c.s.k.tb.Helper()
	text, err := json.Marshal(message)
	if err != nil {
		c.s.k.tb.Fatal(err)
	}
	c.complete(fmt.Sprintf(`{"$error":%s,"name":"Error"}`, text), kernel.Completion{Rejected: true})
}

func (c *ServiceCall) complete(value string, done kernel.Completion) {
	k := c.s.k
	k.tb.Helper()
	v, err := capdata.FromJSON([]byte(value), func(ref string) (int, error) {
		i := slices.Index(done.Value.Slots, kernel.KRef(ref))
		if i < 0 {
			done.Value.Slots = append(done.Value.Slots, kernel.KRef(ref))
			i = len(done.Value.Slots) - 1
		}
		return i, nil
	})
	if err != nil {
		k.tb.Fatalf("%s: %v", value, err)
	}
	if done.Value.Body, err = capdata.Encode(v); err != nil {
		k.tb.Fatal(err)
	}
	commit, _, err := k.machine.Complete(c.id, done, k.now)
	k.do(commit, err)
}
