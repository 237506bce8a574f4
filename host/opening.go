package host

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// The object behind a service object is made beside the loop, whether a launch, the start of the kernel, a call, or a reply
// that exports it needs it. Making it may take long, or for ever: a name that does not resolve, a directory on a file
// system that hangs.
//
//	none ── open ──► under way ──► bound ── endService ──► closing ──► none
//	                  ▲    │
//	                  │    └─► failed: calls that wait for input wait on, all other calls are rejected
//	                  └── retry ┘
//
// Calls that come before the object is there wait in the making, in their order. A service object may end while an attempt
// is under way: the object is closed when the attempt is over.

// making is the entry of a service object while the object behind it is not there.
type making struct {
	// underWay says that an attempt runs beside the loop.
	underWay bool
	// failures counts the attempts that failed in a row.
	failures int
	// calls begin when the object is there.
	calls []madeCall
	// then are told how the attempt under way ends.
	then []func(error)
	// closed, if not nil, says that the service object has ended, and is called when nothing of it is left.
	closed func()
}

// madeCall is a call that waits for its object.
type madeCall struct {
	number uint64
	method string
	again  bool
}

// errEnded is told when a service object ends while it is opened.
var errEnded = errors.New("it has ended meanwhile")

// closeTime is how long the end of a subcluster waits for an object that does not close, or an attempt that does not end.
const closeTime = 30 * time.Second

// canOpen reports whether this run can make the objects of a service object.
func (obs *objects) canOpen(s kernel.Service) bool {
	return !s.Ended && obs.cfg.Kinds[s.Kind].Open != nil
}

// open begins to make the object behind a service object, if no attempt is under way. then, which may be nil, is
// called in the loop when the attempt is over.
func (obs *objects) open(s kernel.Service, then func(error)) {
	m := obs.entry(s.KRef)
	if then != nil {
		m.then = append(m.then, then)
	}
	if m.underWay {
		return
	}
	m.underWay = true
	obs.attempts++
	opening := obs.opening(s)
	obs.aside(func() {
		object, err := obs.makeObject(s, opening)
		obs.later(func() { obs.opened(s, m, object, err) })
	})
}

func (obs *objects) entry(kref kernel.KRef) *making {
	m := obs.making[kref]
	if m == nil {
		m = &making{}
		obs.making[kref] = m
	}
	return m
}

// makeObject makes an object, beside the loop. It turns a panic of a registered kind into an error.
func (obs *objects) makeObject(s kernel.Service, opening service.Opening) (o service.Object, err error) {
	defer func() {
		if p := recover(); p != nil {
			obs.log.Error("service object panicked when it was made", "service", s.Name, "kref", s.KRef, "err", p, "stack", string(debug.Stack()))
			o, err = nil, fmt.Errorf("it panicked: %v", p)
		}
	}()
	if o, err = obs.cfg.Kinds[s.Kind].Open(opening); o == nil && err == nil {
		err = errors.New("there is no object")
	}
	return o, err
}

// opened takes the end of an attempt.
func (obs *objects) opened(s kernel.Service, m *making, object service.Object, err error) {
	fault.Point(fault.ServiceMade)
	m.underWay = false
	obs.attempts--
	told := m.then
	m.then = nil
	switch {
	case m.closed != nil:
		obs.closeObject(s.Name, s.Kind, s.Config, object, m.closed)
		err = errEnded
	case obs.stopping:
		if object != nil {
			obs.closeObject(s.Name, s.Kind, s.Config, object, func() {})
		}
		return // the waiting calls are for the next kernel
	case err != nil:
		m.failures++
		obs.log.Warn("service object cannot be made", "service", s.Name, "kref", s.KRef, "err", err)
		obs.notOpened(s, m, err)
	default:
		delete(obs.making, s.KRef)
		obs.bound[s.KRef] = &binding{object, s.Sub}
		obs.configure(s.KRef, s.Config)
		for _, c := range m.calls {
			obs.beginAgain(callID{Service: s.KRef, N: c.number}, c.again)
		}
	}
	for _, f := range told {
		obs.soon(func() { f(err) })
	}
}

// notOpened ends the calls of an object that cannot be made now. Calls of methods that wait for input wait on, in their
// order; all other calls are rejected.
func (obs *objects) notOpened(s kernel.Service, m *making, why error) {
	calls := m.calls
	m.calls = slices.DeleteFunc(slices.Clone(calls), func(c madeCall) bool { return !obs.traits(s.Kind, c.method).WaitsForInput })
	if len(m.calls) == 0 {
		delete(obs.making, s.KRef) // the next call tries again
	} else {
		obs.retry(s.KRef, m)
	}
	for _, c := range calls {
		switch id := (callID{Service: s.KRef, N: c.number}); {
		case obs.traits(s.Kind, c.method).WaitsForInput:
		case c.again && !obs.traits(s.Kind, c.method).Idempotent:
			obs.complete(id, obs.goneReply(s, true), nil)
		default:
			obs.complete(id, service.Fail(fmt.Errorf("%s cannot be opened: %w", s.Name, why)), nil)
		}
	}
}

// retry tries again to make an object for which calls wait, some time after the attempt that failed last.
func (obs *objects) retry(kref kernel.KRef, m *making) {
	failures := m.failures
	obs.after(wait(failures+2), func() {
		if obs.stopping || obs.making[kref] != m || m.underWay || m.failures != failures {
			return
		}
		s, found, err := obs.machine.Service(kref)
		switch {
		case err != nil:
			obs.holdService(kref, err)
		case found && !s.Ended:
			obs.open(s, nil)
		}
	})
}

// waitForObject has a call wait until its object is there. A call that waits for input makes the next attempt no sooner.
func (obs *objects) waitForObject(s kernel.Service, call madeCall) {
	m := obs.entry(s.KRef)
	if slices.ContainsFunc(m.calls, func(c madeCall) bool { return c.number == call.number }) {
		return
	}
	m.calls = append(m.calls, call)
	if m.failures == 0 || !obs.traits(s.Kind, call.method).WaitsForInput {
		obs.open(s, nil)
	}
}

// beginAgain begins a call that has waited, if it is still to be performed.
func (obs *objects) beginAgain(id callID, again bool) {
	o, found, err := obs.machine.ServiceCall(id)
	switch {
	case err != nil:
		obs.holdService(id.Service, err)
	case found:
		obs.begin(o, again)
	}
}

// endService cancels the calls of a service object, and closes the object behind it.
func (obs *objects) endService(e kernel.EndService) {
	fault.Point(fault.ServiceEnds)
	for id, r := range obs.calls { // in any order: each only hears that it is over
		if id.Service == e.Service {
			r.cancel()
			delete(obs.calls, id)
		}
	}
	b, m := obs.bound[e.Service], obs.making[e.Service]
	delete(obs.bound, e.Service)
	delete(obs.making, e.Service)
	delete(obs.lost, e.Service)
	obs.count(e.Sub, e.Kind, -1)
	if m != nil && m.underWay {
		m.calls, m.closed = nil, obs.startClosing(e.Sub, e.Name)
		return
	}
	if kind := obs.cfg.Kinds[e.Kind]; b == nil && kind.Remove == nil {
		return
	}
	obs.closeObject(e.Name, e.Kind, e.Config, objectOf(b), obs.startClosing(e.Sub, e.Name))
}

// isClosing reports whether something of a subcluster is being closed.
func (obs *objects) isClosing(sub kernel.SubID) bool { return obs.closing[sub] > 0 }

// object returns the object behind a service object; nil if there is none.
func (obs *objects) object(kref kernel.KRef) service.Object { return objectOf(obs.bound[kref]) }

// all returns the object behind each service object.
func (obs *objects) all() map[kernel.KRef]service.Object {
	out := make(map[kernel.KRef]service.Object, len(obs.bound))
	for kref, b := range obs.bound { // into another map: order does not matter
		out[kref] = b.object
	}
	return out
}

// startClosing notes that an object of a subcluster is being closed, and returns a function that the loop calls when it is
// closed. Until then tellGone does not run for the subcluster. After closeTime the object is left behind.
func (obs *objects) startClosing(sub kernel.SubID, name string) (closed func()) {
	obs.closing[sub]++
	var timer *time.Timer
	over := false
	end := func() {
		if over {
			return
		}
		over = true
		timer.Stop()
		if obs.closing[sub]--; obs.closing[sub] == 0 {
			delete(obs.closing, sub)
			obs.subs.tellGone(sub)
		}
	}
	timer = time.AfterFunc(closeTime, func() {
		obs.post(func() {
			if !over {
				obs.log.Error("service object does not close: it is left behind", "service", name, "subcluster", sub)
				end()
			}
		})
	})
	return end
}

// closeObject closes an object beside the loop. If there is no object, it removes the leftovers of an earlier run.
func (obs *objects) closeObject(name, kind string, config []byte, object service.Object, closed func()) {
	obs.aside(func() {
		var err error
		defer func() {
			obs.later(func() {
				if err != nil {
					obs.log.Warn("service object did not close", "service", name, "err", err)
				}
				closed()
			})
		}()
		closer, ok := object.(io.Closer)
		switch remove := obs.cfg.Kinds[kind].Remove; {
		case ok:
			err = closer.Close()
		case object == nil && remove != nil && !obs.cfg.Paused:
			remove(name, config)
		}
	})
}

// openTime is how long a start of the kernel waits for the objects that it makes again, before it serves its first caller.
// So an object that opens at once is there when the first question comes.
const openTime = 250 * time.Millisecond

// awaitObjects waits until no attempt is under way, but for openTime at most.
func (obs *objects) awaitObjects() {
	timeUp := time.After(openTime)
	for obs.fatal == nil && obs.attempts > 0 {
		select {
		case <-obs.replied:
			obs.takeReplies()
		case <-timeUp:
			return
		case <-obs.stop:
			return
		}
	}
}

// objectCount names the objects of one kind in one subcluster.
type objectCount struct {
	sub  kernel.SubID
	kind string
}

// count adds n to the number of objects of a kind, if that number is bounded.
func (obs *objects) count(sub kernel.SubID, kind string, n int) {
	if obs.cfg.Kinds[kind].Most == 0 {
		return
	}
	c := objectCount{sub, kind}
	if obs.counts[c] += n; obs.counts[c] <= 0 {
		delete(obs.counts, c)
	}
}

// tooMany returns a rejection if the objects of a reply exceed the bound of their kind, nil otherwise. The objects of a
// bounded kind belong to the subcluster of the service that makes them.
func (obs *objects) tooMany(sub kernel.SubID, news []kernel.NewService) *service.Reply {
	for i, n := range news {
		kind := obs.cfg.Kinds[n.Kind]
		if kind.Most > 0 && obs.counts[objectCount{sub, n.Kind}]+i+1 > kind.Most {
			r := service.Reject(errcode.Limit, "%s", kind.TooMany)
			return &r
		}
	}
	return nil
}
