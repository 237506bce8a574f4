package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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

// callID names a call of a service object.
type callID struct {
	service kernel.KRef
	number  uint64
}

// running is a call that an object is performing.
type running struct {
	cancel context.CancelFunc
	method string
}

// services is what the loop knows of the service objects of this run.
type services struct {
	ctx    context.Context // ends with the kernel
	cancel context.CancelFunc
	bound  map[kernel.KRef]*binding
	calls  map[callID]*running
	// reopening are the objects that could not be made, and that a timer tries again for what waits for them; and
	// how often it did.
	reopening map[kernel.KRef]int
	// closing counts the objects of a subcluster that are being closed.
	closing map[kernel.SubID]int
	wg      sync.WaitGroup // of what opens and closes objects

	// Replies come from any goroutine, and must not wait for the loop. There are no more than calls.
	mu struct {
		sync.Mutex
		replies []func()
	}
	replied chan struct{}
}

func (s *services) init() {
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.bound, s.calls, s.closing = map[kernel.KRef]*binding{}, map[callID]*running{}, map[kernel.SubID]int{}
	s.reopening = map[kernel.KRef]int{}
	s.replied = make(chan struct{}, 1)
}

// later has the loop run f, without waiting for it: for what must not block, and is bounded otherwise.
func (s *services) later(f func()) {
	s.mu.Lock()
	s.mu.replies = append(s.mu.replies, f)
	s.mu.Unlock()
	select {
	case s.replied <- struct{}{}:
	default:
	}
}

// takeReplies runs what later was given.
func (k *Kernel) takeReplies() {
	s := &k.services
	s.mu.Lock()
	list := s.mu.replies
	s.mu.replies = nil
	s.mu.Unlock()
	for _, f := range list {
		k.guard(f)
	}
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
	return found && sub.State == "running"
}

// bind makes the object behind a service object, if this run can. An object that cannot be made now, because its
// path or port is taken for a moment, say, is tried again when it is called.
func (k *Kernel) bind(s kernel.Service) error {
	var object service.Object
	if s.Kind == kernel.GlobalKind {
		object = k.registered()[s.Name].Object
	} else if kind := k.cfg.Kinds[s.Kind]; kind.Open != nil {
		var err error
		if object, err = kind.Open(k.opening(s)); err != nil {
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

// input applies what an input gave. A refusal changes nothing.
func (k *Kernel) input(c kernel.Commit, err error) {
	var refusal *kernel.Refusal
	if err != nil && !errors.As(err, &refusal) {
		k.fail(err)
		return
	}
	if err == nil {
		k.apply(c)
	}
}

// aside runs what must not hold up the loop.
func (k *Kernel) aside(f func()) {
	k.services.wg.Add(1)
	go func() {
		defer k.services.wg.Done()
		f()
	}()
}

func toData(d service.Data) kernel.Data {
	out := kernel.Data{Body: d.Body}
	for _, s := range d.Slots {
		out.Slots = append(out.Slots, kernel.KRef(s))
	}
	return out
}

// invoke performs a call that is begun, durably.
func (k *Kernel) invoke(e kernel.Invoke) {
	o, found, err := k.machine.ServiceCall(e.Service, e.Call)
	if err != nil {
		k.fail(err)
		return
	}
	if found && !k.stopping { // else it was cancelled meanwhile, or is for the next kernel
		k.begin(o, false)
	}
}

// takesIn says that a call may begin before it is durable: a kernel that dies has taken in nothing that it had
// stored, and what it took from a connection is lost with that in any case.
func (k *Kernel) takesIn(e kernel.Invoke) bool {
	in, ok := objectOf(k.services.bound[e.Service]).(service.Input)
	if !ok {
		return false
	}
	o, found, err := k.machine.ServiceCall(e.Service, e.Call)
	if err != nil {
		k.fail(err)
	}
	return found && in.Input(methodOf(o.MethArgs))
}

// begin hands a call to its object. With again an earlier kernel has begun it.
func (k *Kernel) begin(o kernel.Outstanding, again bool) {
	s, found, err := k.machine.Service(o.Service)
	if err != nil {
		k.fail(err)
		return
	}
	id := callID{o.Service, o.Call}
	if !found || k.services.calls[id] != nil {
		return
	}
	if k.suspended[s.Sub] && !again {
		k.complete(id, service.Reject(capdata.CodeServiceGone, "the system subcluster of %s is not declared in this run", s.Name), nil)
		return
	}
	method := methodOf(o.MethArgs)
	if k.services.bound[o.Service] == nil && !s.Ended {
		if k.services.reopening[o.Service] > 0 && waitsForInput(method) {
			return // behind those that wait already
		}
		if err := k.bind(s); err != nil {
			k.waitForObject(id, s, method, again, err)
			return
		}
		if k.services.reopening[o.Service] > 0 {
			delete(k.services.reopening, o.Service)
			k.resumeCalls(o.Service, waitsForInput)
		}
	}
	b := k.services.bound[o.Service]
	switch idempotent, ok := objectOf(b).(service.Idempotent); {
	case b == nil && method == "close" && k.cfg.Kinds[s.Kind].Lost != "":
		k.complete(id, service.Fulfil(capdata.Undefined{}), nil)
		c, err := k.machine.EndService(o.Service)
		k.input(c, err)
		return
	case b == nil:
		k.complete(id, k.goneReply(s, again && !waitsForInput(method)), nil)
		return
	case again && (!ok || !idempotent.Idempotent(method)):
		k.complete(id, service.Reject(capdata.CodeAmbiguous, "the kernel died during the call of %s: whether it happened is not known", method), nil)
		return
	}
	if s.Units > 0 {
		c, taken, err := k.machine.TakeUnit(o.Service, o.Call, method, nowMillis())
		if err != nil {
			k.fail(err)
			return
		}
		if taken {
			k.apply(c)
			return
		}
	}
	ctx, cancel := context.WithCancel(k.services.ctx)
	k.services.calls[id] = &running{cancel, method}
	call := service.Call{
		MethArgs: service.Data{Body: o.MethArgs.Body, Slots: toStrings(o.MethArgs.Slots)}, At: time.UnixMilli(o.At), Again: again,
		Vat: string(o.From), Subcluster: string(o.Sub), ID: id.String(),
	}
	var once sync.Once
	reply := func(r service.Reply) {
		once.Do(func() {
			k.services.later(func() { cancel(); k.finishCall(id, r) })
		})
	}
	defer func() {
		if p := recover(); p != nil {
			k.log.Error("service object panicked", "service", s.Name, "kref", s.KRef, "method", method, "err", p)
			reply(service.Fail(fmt.Errorf("the service failed in %s", method)))
		}
	}()
	b.object.Begin(ctx, call, reply)
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

func (id callID) String() string { return string(id.service) + "." + strconv.FormatUint(id.number, 10) }

func objectOf(b *binding) service.Object {
	if b == nil {
		return nil
	}
	return b.object
}

// methodOf is the name of the method that is called, empty if the body is no call.
func methodOf(d kernel.Data) string {
	method, _, err := capdata.DecodeCall(d.Body, len(d.Slots))
	if err != nil {
		return ""
	}
	return method
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

// finishCall takes the reply to a call.
func (k *Kernel) finishCall(id callID, r service.Reply) {
	delete(k.services.calls, id)
	if k.stopping && r.Unit == "" && r.State == nil && k.services.ctx.Err() != nil {
		return // it was cut short by the end of the kernel: what becomes of it is for the next one to say
	}
	k.complete(id, r, r.Exports)
}

// complete settles a call in the machine.
func (k *Kernel) complete(id callID, r service.Reply, exports []service.Export) {
	c := kernel.Completion{Rejected: r.Rejected, Value: toData(r.Value), Unit: r.Unit, State: r.State}
	var used []int
	for i, slot := range r.Value.Slots {
		n, isNew := strings.CutPrefix(slot, "new")
		if !isNew {
			continue
		}
		x, err := strconv.Atoi(n)
		if err != nil || x < 0 || x >= len(exports) || slices.Contains(used, x) {
			k.complete(id, service.Reject(capdata.CodeLimit, "the service answered with a reference to nothing"), nil)
			k.closeExports(exports)
			return
		}
		used = append(used, x)
		e := exports[x]
		spec := kernel.NewService{Kind: e.Kind, Config: e.Config}
		if spec.Kind == "" {
			spec.Kind = kindExport
		}
		for _, h := range e.Holds {
			spec.Holds = append(spec.Holds, kernel.KRef(h))
		}
		c.New = append(c.New, spec)
		c.Value.Slots[i] = ""
	}
	commit, made, err := k.machine.Complete(id.service, id.number, c, nowMillis())
	if err != nil {
		k.fail(err)
		return
	}
	k.apply(commit)
	for i, kref := range made {
		s, found, err := k.machine.Service(kref)
		if err != nil || !found {
			k.fail(err)
			continue
		}
		x := used[i]
		if exports[x].Object == nil {
			_ = k.bind(s) // it is tried again by its calls
			continue
		}
		k.services.bound[kref] = &binding{exports[x].Object, s.Sub}
		if b, ok := exports[x].Object.(service.Bound); ok {
			b.Bind(k.opening(s).End)
		}
		exports[x].Object = nil
	}
	k.closeExports(exports)
}

// closeExports closes the objects that no service object stands for.
func (k *Kernel) closeExports(exports []service.Export) {
	for _, e := range exports {
		if closer, ok := e.Object.(io.Closer); ok {
			k.aside(func() { _ = closer.Close() }) // nobody has seen it
		}
	}
}

// unitBack gives a unit that has come back to the first call that waits for one.
func (k *Kernel) unitBack(kref kernel.KRef) {
	var waiting []callID
	for id := range k.services.calls {
		if id.service == kref {
			waiting = append(waiting, id)
		}
	}
	slices.SortFunc(waiting, func(a, b callID) int { return int(int64(a.number) - int64(b.number)) })
	for _, id := range waiting {
		r := k.services.calls[id]
		c, taken, err := k.machine.TakeUnit(kref, id.number, r.method, nowMillis())
		if err != nil {
			k.fail(err)
			return
		}
		if taken {
			r.cancel()
			delete(k.services.calls, id)
			k.apply(c)
		}
	}
}

// forgetCall ends what the loop knows of a call that the machine has ended.
func (k *Kernel) forgetCall(id callID) {
	if r := k.services.calls[id]; r != nil {
		r.cancel()
		delete(k.services.calls, id)
	}
}

// cancelCall ends a call that nobody waits for. What it has read meanwhile still comes, and is kept.
func (k *Kernel) cancelCall(e kernel.CancelCall) {
	k.forgetCall(callID{e.Service, e.Call})
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
			if k.services.closing[e.Sub]--; k.services.closing[e.Sub] == 0 {
				delete(k.services.closing, e.Sub)
				k.tellGone(e.Sub)
			}
		})
	})
}

// onlyOnce counts the calls under way that the next kernel cannot begin again.
func (k *Kernel) onlyOnce() (n int) {
	for id, r := range k.services.calls {
		o, ok := objectOf(k.services.bound[id.service]).(service.Idempotent)
		if !ok || !o.Idempotent(r.method) {
			n++
		}
	}
	return n
}

// closeServices ends what this run has made. The calls under way stay as they are stored. What runs of them has
// a moment to see the end of its context.
func (k *Kernel) closeServices() {
	k.services.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, b := range k.services.bound { // in any order
		if w, ok := b.object.(service.Waiter); ok {
			k.aside(func() {
				if w.Wait(ctx) != nil {
					k.log.Warn("service object is still at work when the kernel ends")
				}
			})
		}
	}
	for _, b := range k.services.bound { // in any order
		if closer, ok := b.object.(io.Closer); ok {
			k.aside(func() { _ = closer.Close() }) // the process ends
		}
	}
	k.services.wg.Wait()
	k.takeReplies() // what was opened and is not wanted any more is closed here
	k.services.wg.Wait()
}
