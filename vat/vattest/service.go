package vattest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/service"
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
	k      *Kernel
	name   string
	number string // among all that were played

	mu struct {
		sync.Mutex
		calls []*ServiceCall // those that this kernel has begun, in the order in which they were sent
	}
}

// ServiceCall is a call of a [Service] that waits for its answer.
type ServiceCall struct {
	Method string
	// Args are JSON.
	Args []string

	s  *Service
	id string
	// ctx ends when no vat waits for the answer any more, and reply takes the answer. Both are the kernel's that began it.
	ctx   context.Context
	reply func(service.Reply)
}

// played are the services that the test plays.
type played struct {
	// next are the services of the next launch.
	next []cluster.Service

	mu struct {
		sync.Mutex
		all []*Service
		// waiting are those of the next launch, by their names; found those that were launched, by their full names.
		waiting, found map[string]*Service
	}
}

// kindPlayed is the kind of services that the test plays.
const kindPlayed = "played"

// Service adds a service to those that the bootstrap method of the next Launch gets, under this name, and
// returns it.
func (k *Kernel) Service(name string) *Service {
	k.played.next = append(k.played.next, cluster.Service{Name: name, Service: kindPlayed})
	return k.played.add(k, name)
}

// add returns a new service, which the next launch opens under its name.
func (p *played) add(k *Kernel, name string) *Service {
	s := p.make(k, name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.waiting == nil {
		p.mu.waiting, p.mu.found = map[string]*Service{}, map[string]*Service{}
	}
	p.mu.waiting[name] = s
	return s
}

// make returns a new service.
func (p *played) make(k *Kernel, name string) *Service {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &Service{k: k, name: name, number: fmt.Sprint(len(p.mu.all))}
	p.mu.all = append(p.mu.all, s)
	return s
}

// open is [service.Kind.Open]: it returns the service for a service object, at its launch and in each later kernel.
func (p *played) open(o service.Opening) (service.Object, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.Name == "" { // a connection
		n, err := strconv.Atoi(string(o.Config))
		if err != nil {
			return nil, err
		}
		return p.mu.all[n], nil
	}
	s := p.mu.found[o.Name]
	if s == nil {
		name := o.Name[strings.LastIndex(o.Name, ":")+1:]
		if s = p.mu.waiting[name]; s == nil {
			return nil, fmt.Errorf("the test does not play %s", name)
		}
		delete(p.mu.waiting, name)
		p.mu.found[o.Name] = s
	}
	return s, nil
}

// forget drops the calls that a kernel has begun which is dead. The next one begins them again.
func (p *played) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.mu.all {
		s.mu.Lock()
		s.mu.calls = nil
		s.mu.Unlock()
	}
}

// asked reports whether a call waits for an answer of the test.
func (p *played) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.mu.all, func(s *Service) bool { return len(s.Calls()) > 0 })
}

// Begin is part of being a [service.Object].
func (s *Service) Begin(ctx context.Context, c service.Call, reply func(service.Reply)) {
	call := &ServiceCall{s: s, id: c.ID, ctx: ctx, reply: reply}
	var args []any
	var err error
	if call.Method, args, err = capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots)); err != nil {
		reply(service.Fail(fmt.Errorf("%s: the message is no call: %w", s.name, err)))
		return
	}
	for _, a := range args {
		text, err := capdata.ToJSON(a, func(slot int) string { return c.MethArgs.Slots[slot] })
		if err != nil {
			reply(service.Fail(fmt.Errorf("%s.%s: %w", s.name, call.Method, err)))
			return
		}
		call.Args = append(call.Args, string(text))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.calls = append(s.mu.calls, call)
}

// Idempotent is part of being a [service.Idempotent]: the next kernel begins each call again.
func (s *Service) Idempotent(string) bool { return true }

// Calls returns the calls that wait, in the order in which they were sent.
func (s *Service) Calls() (calls []*ServiceCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mu.calls {
		if c.ctx.Err() == nil {
			calls = append(calls, c)
		}
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
	c.complete(value, service.Reply{})
}

// Unit fulfils a read or an accept as an IO channel does: if the vat loses its memory before it is notified,
// and its store does not wait for the answer, the unit goes to the next call of the method.
func (c *ServiceCall) Unit(value string) {
	c.s.k.tb.Helper()
	c.complete(value, service.Reply{Unit: c.Method})
}

// Connection fulfils a call, of accept say, with a new object, and returns the object: a connection from which
// vats read. The connection is a unit of input, like the value of [ServiceCall.Unit].
func (c *ServiceCall) Connection() *Service {
	k := c.s.k
	k.tb.Helper()
	conn := k.played.make(k, c.s.name+" connection")
	body, err := capdata.Encode(capdata.Remotable{Slot: 0, Iface: "Alleged: " + c.Method})
	if err != nil {
		k.tb.Fatal(err)
	}
	c.end(service.Reply{
		Unit: c.Method, Value: service.Data{Body: body, Slots: []string{"new0"}},
		Exports: []service.Export{{Object: conn, Kind: kindPlayed, Config: []byte(conn.number)}},
	})
	return conn
}

// Reject rejects the call with an error of this text. An error of the kernel is written with its code, as in
// "[KERNEL:CONNECTION_LOST] the client is gone".
func (c *ServiceCall) Reject(message string) {
	c.s.k.tb.Helper()
	text, err := json.Marshal(message)
	if err != nil {
		c.s.k.tb.Fatal(err)
	}
	c.complete(fmt.Sprintf(`{"$error":%s,"name":"Error"}`, text), service.Reply{Rejected: true})
}

// complete replies with a value, which is JSON.
func (c *ServiceCall) complete(value string, r service.Reply) {
	c.s.k.tb.Helper()
	v, err := fromJSON(value, &r.Value.Slots)
	if err != nil {
		c.s.k.tb.Fatalf("%s: %v", value, err)
	}
	if r.Value.Body, err = capdata.Encode(v); err != nil {
		c.s.k.tb.Fatal(err)
	}
	c.end(r)
}

// end ends the call. It does nothing if the call is over, or was begun by a kernel that is dead and is not begun again.
func (c *ServiceCall) end(r service.Reply) {
	c.s.k.tb.Helper()
	c.s.mu.Lock()
	reply := func(service.Reply) {}
	c.s.mu.calls = slices.DeleteFunc(c.s.mu.calls, func(b *ServiceCall) bool {
		if b.id == c.id {
			reply = b.reply
		}
		return b.id == c.id
	})
	c.s.mu.Unlock()
	reply(r)
	c.s.k.settle()
}
