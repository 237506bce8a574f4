package host

import (
	"cmp"
	"context"
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

// refusedCall is a call that will be refused, unless its object is there by then.
type refusedCall struct {
	call  kernel.Outstanding
	again bool // an earlier kernel has begun it
}

// services is what the loop knows of the service objects of this run.
type services struct {
	ctx    context.Context // ends with the kernel
	cancel context.CancelFunc
	bound  map[kernel.KRef]*binding
	calls  map[callID]*running
	// making are the objects that are not there yet, attempts counts those that are being made now.
	making   map[kernel.KRef]*making
	attempts int
	// lost paces the calls of objects that cannot be made again, refusing are those that wait for it.
	lost     map[kernel.KRef]*service.Pace
	refusing map[callID]refusedCall
	// closing counts the objects of a subcluster that are being closed, counts those of the kinds whose number is
	// bounded.
	closing map[kernel.SubID]int
	counts  map[objectCount]int
	wg      sync.WaitGroup // of what opens and closes objects

	// Replies come from any goroutine, and must not wait for the loop. There are no more than calls, but for what
	// laterIfRoom admits.
	mu struct {
		sync.Mutex
		replies []func()
	}
	replied chan struct{}
}

func (s *services) init() {
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.bound, s.calls, s.closing = map[kernel.KRef]*binding{}, map[callID]*running{}, map[kernel.SubID]int{}
	s.making, s.lost, s.counts = map[kernel.KRef]*making{}, map[kernel.KRef]*service.Pace{}, map[objectCount]int{}
	s.refusing = map[callID]refusedCall{}
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

// backlog counts the states and messages that one object has given to the loop by itself, and that the loop has not taken.
// It is guarded by the mutex of services.
type backlog struct{ n, bytes int }

// The bounds of a backlog. The last one may be large.
const (
	maxBacklog      = 1000
	maxBacklogBytes = 16 << 20
)

// laterIfRoom is later for what an object asks for by itself, of a size in bytes. Beyond the bounds of the backlog it is
// refused.
func (k *Shell) laterIfRoom(b *backlog, bytes int, f func()) error {
	s := &k.services
	s.mu.Lock()
	if b.n >= maxBacklog || b.bytes >= maxBacklogBytes {
		defer s.mu.Unlock()
		return &kernel.Refusal{Code: capdata.CodeLimit, Detail: fmt.Sprintf(
			"%d states and messages of this service object, of %d bytes, wait for the kernel, the limits are %d and %d: try again later", b.n, b.bytes, maxBacklog, maxBacklogBytes)}
	}
	b.n++
	b.bytes += bytes
	s.mu.Unlock()
	s.later(func() {
		k.whenRoom(bytes, func() {
			s.mu.Lock()
			b.n--
			b.bytes -= bytes
			s.mu.Unlock()
			f()
		})
	})
	return nil
}

// takeReplies runs what later was given.
func (k *Shell) takeReplies() {
	s := &k.services
	s.mu.Lock()
	list := s.mu.replies
	s.mu.replies = nil
	s.mu.Unlock()
	for _, f := range list {
		k.guard(f)
	}
}

// aside runs what must not hold up the loop.
func (k *Shell) aside(f func()) {
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
func (k *Shell) invoke(e kernel.Invoke) {
	o, found, err := k.machine.ServiceCall(e.Service, e.Call)
	if err != nil {
		k.holdService(e.Service, err)
		return
	}
	if found && (!k.stopping || k.finishing) { // else it was cancelled meanwhile, or is for the next kernel
		k.begin(o, false)
	}
}

// begin hands a call to its object. With again an earlier kernel has begun it.
func (k *Shell) begin(o kernel.Outstanding, again bool) {
	s, found, err := k.machine.Service(o.Service)
	if err != nil {
		k.holdService(o.Service, err)
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
	b := k.services.bound[o.Service]
	switch r := k.registered()[s.Name]; {
	case b != nil || s.Ended:
	case k.canOpen(s):
		k.waitForObject(s, madeCall{o.Call, method, again})
		return
	case s.Kind == kernel.GlobalKind && r.Object != nil:
		b = &binding{r.Object, s.Sub}
		k.services.bound[o.Service] = b
	}
	switch {
	case b == nil && k.traits(s.Kind, method).EndsObject:
		k.complete(id, service.Fulfil(capdata.Undefined{}), nil)
		k.serviceInput(o.Service, "end", func() (kernel.Commit, error) { return k.machine.EndService(o.Service) })
		return
	case b == nil:
		k.refuseGone(s, refusedCall{o, again}, again && !k.traits(s.Kind, method).WaitsForInput)
		return
	case again && !isIdempotent(b, method):
		k.complete(id, service.Reject(capdata.CodeAmbiguous, "the kernel died during the call of %s: whether it happened is not known", method), nil)
		return
	}
	ctx, cancel := context.WithCancel(k.services.ctx)
	k.services.calls[id] = &running{cancel, method}
	if s.Units > 0 {
		// The unit is for the call that has waited longest, which may be another one.
		if k.unitBack(o.Service); k.services.calls[id] == nil {
			return
		}
	}
	call := service.Call{
		MethArgs: service.Data{Body: o.MethArgs.Body, Slots: toStrings(o.MethArgs.Slots)}, At: time.UnixMilli(o.At), Again: again,
		Vat: string(o.From), Subcluster: string(o.Sub), ID: id.String(),
	}
	var once sync.Once
	reply := func(r service.Reply) {
		once.Do(func() {
			k.services.later(func() {
				cancel()
				k.whenRoom(len(r.Value.Body)+len(r.State), func() { k.finishCall(id, r) })
			})
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

// isIdempotent reports whether the next kernel may begin a call again that this one has begun.
func isIdempotent(b *binding, method string) bool {
	o, ok := objectOf(b).(service.Idempotent)
	return ok && o.Idempotent(method)
}

// methodOf is the name of the method that is called, empty if the body is no call.
func methodOf(d kernel.Data) string {
	method, _, err := capdata.DecodeCall(d.Body, len(d.Slots))
	if err != nil {
		return ""
	}
	return method
}

// refuseGone rejects a call of an object that is not there. A loop that goes on after each rejection, as one that
// reads a connection does, is slowed down.
func (k *Shell) refuseGone(s kernel.Service, c refusedCall, ambiguous bool) {
	id := callID{c.call.Service, c.call.Call}
	pace := k.services.lost[id.service]
	if pace == nil {
		pace = &service.Pace{}
		if !s.Ended {
			k.services.lost[id.service] = pace
		}
	}
	now := time.Now()
	refuse := func() {
		pace.Next(time.Now())
		k.complete(id, k.goneReply(s, ambiguous), nil)
	}
	if d := pace.Wait(now); d > 0 {
		k.services.refusing[id] = c
		k.after(d, func() {
			if _, waits := k.services.refusing[id]; waits {
				delete(k.services.refusing, id)
				refuse()
			}
		})
		return
	}
	refuse()
}

// beginRefused hands the calls that wait to be refused to their object, which is there now, in the order in which they were
// made. All others of the object are answered, or begin when their beginning is durable.
func (k *Shell) beginRefused(kref kernel.KRef) {
	delete(k.services.lost, kref)
	var list []refusedCall
	for id, c := range k.services.refusing { // sorted below
		if id.service == kref {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b refusedCall) int { return cmp.Compare(a.call.Call, b.call.Call) })
	for _, c := range list {
		delete(k.services.refusing, callID{kref, c.call.Call})
		k.begin(c.call, c.again)
	}
}

// finishCall takes the reply to a call.
func (k *Shell) finishCall(id callID, r service.Reply) {
	call := k.services.calls[id]
	delete(k.services.calls, id)
	if k.stops() && r.Unit == "" && r.State == nil && (k.services.ctx.Err() != nil || k.againLater(id, call, r)) {
		return // it was cut short by the end of the kernel: what becomes of it is for the next one to say
	}
	k.complete(id, r, r.Exports)
}

// againLater reports whether the next kernel does a call again instead of keeping this reply, which came while the kernel
// stops. What a method could not do may be due to the stop: this kernel takes no more requests, and its standard input may
// be closed. So a rejection says nothing of a method that can be done again.
func (k *Shell) againLater(id callID, call *running, r service.Reply) bool {
	return r.Rejected && call != nil && isIdempotent(k.services.bound[id.service], call.method)
}

// complete settles a call in the machine.
func (k *Shell) complete(id callID, r service.Reply, exports []service.Export) {
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
	if len(c.New) > 0 {
		s, _, err := k.machine.Service(id.service)
		if err != nil {
			k.holdService(id.service, err)
			k.closeExports(exports)
			return
		}
		if r := k.tooMany(s.Sub, c.New); r != nil {
			k.complete(id, *r, nil)
			k.closeExports(exports)
			return
		}
	}
	var commit kernel.Commit
	var made []kernel.KRef
	if err := k.isolated(func() (err error) {
		commit, made, err = k.machine.Complete(id.service, id.number, c, nowMillis())
		return err
	}); err != nil {
		k.callFailed(id, err)
		k.closeExports(exports)
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
		k.count(s.Sub, s.Kind, 1)
		if exports[x].Object == nil {
			if k.canOpen(s) {
				k.open(s, nil)
			}
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
func (k *Shell) closeExports(exports []service.Export) {
	for _, e := range exports {
		if closer, ok := e.Object.(io.Closer); ok {
			k.aside(func() { _ = closer.Close() }) // nobody has seen it
		}
	}
}

// unitBack gives a unit that has come back to the first call that waits for one.
func (k *Shell) unitBack(kref kernel.KRef) {
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
		var c kernel.Commit
		var taken bool
		if err := k.isolated(func() (err error) {
			c, taken, err = k.machine.TakeUnit(kref, id.number, r.method, nowMillis())
			return err
		}); err != nil {
			k.holdService(kref, fmt.Errorf("give back a unit of %s: %w", kref, err))
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
func (k *Shell) forgetCall(id callID) {
	if r := k.services.calls[id]; r != nil {
		r.cancel()
		delete(k.services.calls, id)
	}
	delete(k.services.refusing, id)
	if m := k.services.making[id.service]; m != nil {
		m.calls = slices.DeleteFunc(m.calls, func(c madeCall) bool { return c.number == id.number })
	}
}

// cancelCall ends a call that nobody waits for. What it has read meanwhile still comes, and is kept.
func (k *Shell) cancelCall(e kernel.CancelCall) {
	k.forgetCall(callID{e.Service, e.Call})
}

// onlyOnce counts the calls under way that the next kernel cannot begin again.
func (k *Shell) onlyOnce() (n int) {
	for id, r := range k.services.calls {
		if !isIdempotent(k.services.bound[id.service], r.method) {
			n++
		}
	}
	return n
}

// closeServices ends what this run has made. The calls under way stay as they are stored. What runs of them has
// a moment to see the end of its context.
func (k *Shell) closeServices() {
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
func (k *Shell) waitAside() {
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
