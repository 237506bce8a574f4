package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

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
		defer func() { // what a program has registered may panic
			if p := recover(); p != nil {
				k.log.Error("service object panicked", "err", p, "stack", string(debug.Stack()))
			}
		}()
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
	if found && (!k.stopping || k.finishing) { // else it was cancelled meanwhile, or is for the next kernel
		k.begin(o, false)
	}
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

func (id callID) String() string { return string(id.service) + "." + strconv.FormatUint(id.number, 10) }

// methodOf is the name of the method that is called, empty if the body is no call.
func methodOf(d kernel.Data) string {
	method, _, err := capdata.DecodeCall(d.Body, len(d.Slots))
	if err != nil {
		return ""
	}
	return method
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
		if r == nil {
			continue // over meanwhile
		}
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
	k.waitAside()
	k.takeReplies() // what was opened and is not wanted any more is closed here
	k.waitAside()
}

// waitAside waits for what was begun aside, but not for ever: a file system that hangs must not keep the process.
func (k *Kernel) waitAside() {
	done := make(chan struct{})
	go func() {
		k.services.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		k.log.Error("something that services do does not end: it is left behind")
	}
}
