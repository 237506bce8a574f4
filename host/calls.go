package host

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// callID names a call of a service object.
type callID = kernel.CallID

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

// backlog counts the states and messages that one object has given to the loop by itself, and that the loop has not taken.
type backlog struct {
	mu struct {
		sync.Mutex
		n, bytes int
	}
}

// add counts a state or message of a size in bytes, and returns the number and bytes that wait. Beyond the bounds it counts
// nothing, and ok is false.
func (b *backlog) add(size int) (n, bytes int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.n >= maxBacklog || b.mu.bytes >= maxBacklogBytes {
		return b.mu.n, b.mu.bytes, false
	}
	b.mu.n++
	b.mu.bytes += size
	return b.mu.n, b.mu.bytes, true
}

// remove takes one out of the count.
func (b *backlog) remove(size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.n--
	b.mu.bytes -= size
}

// The bounds of a backlog. The last one may be large.
const (
	maxBacklog      = 1000
	maxBacklogBytes = 16 << 20
)

// laterIfRoom lists a step, as later does, for a request that an object makes by itself, of a size in bytes. It refuses the
// request beyond the bounds of the backlog.
func (obs *objects) laterIfRoom(b *backlog, bytes int, f func()) error {
	if n, waiting, ok := b.add(bytes); !ok {
		return &kernel.Refusal{Code: errcode.Limit, Detail: fmt.Sprintf(
			"%d states and messages of this service object, of %d bytes, wait for the kernel, the limits are %d and %d: try again later", n, waiting, maxBacklog, maxBacklogBytes)}
	}
	obs.later(func() {
		obs.whenRoom(bytes, func() {
			b.remove(bytes)
			f()
		})
	})
	return nil
}

func toData(d service.Data) kernel.Data {
	out := kernel.Data{Body: d.Body}
	for _, s := range d.Slots {
		out.Slots = append(out.Slots, kernel.KRef(s))
	}
	return out
}

// invoke performs a call that is begun, durably.
func (obs *objects) invoke(e kernel.Invoke) {
	o, found, err := obs.machine.ServiceCall(e.Call)
	if err != nil {
		obs.holdService(e.Call.Service, err)
		return
	}
	if found && (!obs.stopping || obs.finishing) { // else it was cancelled meanwhile, or is for the next kernel
		obs.begin(o, false)
	}
}

// begin hands a call to its object. With again an earlier kernel has begun it.
func (obs *objects) begin(o kernel.Outstanding, again bool) {
	s, found, err := obs.machine.Service(o.ID.Service)
	if err != nil {
		obs.holdService(o.ID.Service, err)
		return
	}
	id := o.ID
	if !found || obs.calls[id] != nil {
		return
	}
	if obs.subs.isSuspended(s.Sub) && !again {
		obs.complete(id, service.Reject(errcode.ServiceGone, "the system subcluster of %s is not declared in this run", s.Name), nil)
		return
	}
	method := methodOf(o.MethArgs)
	b := obs.bound[o.ID.Service]
	switch r := obs.registry.registered()[s.Name]; {
	case b != nil || s.Ended:
	case obs.canOpen(s):
		obs.waitForObject(s, madeCall{o.ID.N, method, again})
		return
	case s.Kind == kernel.GlobalKind && r.Object != nil:
		b = &binding{r.Object, s.Sub}
		obs.bound[o.ID.Service] = b
	}
	switch {
	case b == nil && obs.traits(s.Kind, method).EndsObject:
		obs.complete(id, service.Fulfil(capdata.Undefined{}), nil)
		obs.serviceInput(o.ID.Service, "end", func() (kernel.Commit, error) { return obs.machine.EndService(o.ID.Service) })
		return
	case b == nil:
		obs.refuseGone(s, refusedCall{o, again}, again && !obs.traits(s.Kind, method).WaitsForInput)
		return
	case again && !isIdempotent(b, method):
		obs.complete(id, service.Reject(errcode.Ambiguous, "the kernel died during the call of %s: whether it happened is not known", method), nil)
		return
	}
	ctx, cancel := context.WithCancel(obs.ctx)
	obs.calls[id] = &running{cancel, method}
	if s.Units > 0 {
		// The unit is for the call that has waited longest, which may be another one.
		if obs.unitBack(o.ID.Service); obs.calls[id] == nil {
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
			obs.later(func() {
				cancel()
				obs.whenRoom(len(r.Value.Body)+len(r.State), func() { obs.finishCall(id, r) })
			})
		})
	}
	defer func() {
		if p := recover(); p != nil {
			obs.log.Error("service object panicked", "service", s.Name, "kref", s.KRef, "method", method, "err", p)
			reply(service.Fail(fmt.Errorf("the service failed in %s", method)))
		}
	}()
	fault.Point(fault.CallBegun)
	b.object.Begin(ctx, call, reply)
}

// isIdempotent reports whether the next kernel may begin a call again that this one has begun.
func isIdempotent(b *binding, method string) bool {
	o, ok := objectOf(b).(service.Idempotent)
	return ok && o.Idempotent(method)
}

// methodOf returns the name of the called method; empty if the body is no call.
func methodOf(d kernel.Data) string {
	method, _, err := capdata.DecodeCall(d.Body, len(d.Slots))
	if err != nil {
		return ""
	}
	return method
}

// refuseGone rejects a call of an object that is not there. A loop that goes on after each rejection, as one that
// reads a connection does, is slowed down.
func (obs *objects) refuseGone(s kernel.Service, c refusedCall, ambiguous bool) {
	id := c.call.ID
	pace := obs.lost[id.Service]
	if pace == nil {
		pace = &service.Pace{}
		if !s.Ended {
			obs.lost[id.Service] = pace
		}
	}
	now := obs.now()
	refuse := func() {
		pace.Next(obs.now())
		obs.complete(id, obs.goneReply(s, ambiguous), nil)
	}
	if d := pace.Wait(now); d > 0 {
		obs.refusing[id] = c
		obs.workAfter(d, func() {
			if _, waits := obs.refusing[id]; waits {
				delete(obs.refusing, id)
				refuse()
			}
		})
		return
	}
	refuse()
}

// beginRefused hands the calls that wait to be refused to their object, which is there now, in the order in which they were
// made. All other calls of the object are answered already, or begin when their rows are durable.
func (obs *objects) beginRefused(kref kernel.KRef) {
	delete(obs.lost, kref)
	var list []refusedCall
	for id, c := range obs.refusing { // sorted below
		if id.Service == kref {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b refusedCall) int { return cmp.Compare(a.call.ID.N, b.call.ID.N) })
	for _, c := range list {
		delete(obs.refusing, c.call.ID)
		obs.begin(c.call, c.again)
	}
}

// finishCall takes the reply to a call.
func (obs *objects) finishCall(id callID, r service.Reply) {
	call := obs.calls[id]
	delete(obs.calls, id)
	fault.Point(fault.CallReplied)
	if obs.stops() && r.Unit == "" && r.State == nil && (obs.ctx.Err() != nil || obs.againLater(id, call, r)) {
		return // the end of the kernel cut the call short: the next kernel decides about it
	}
	obs.complete(id, r, r.Exports)
}

// againLater reports whether the next kernel does a call again instead of keeping this reply, which came while the kernel
// stops. A failure of the method may be due to the stop: this kernel takes no more requests, and its standard input may be
// closed. So the rejection of a method that can be done again is not kept.
func (obs *objects) againLater(id callID, call *running, r service.Reply) bool {
	return r.Rejected && call != nil && isIdempotent(obs.bound[id.Service], call.method)
}

// complete settles a call in the machine.
func (obs *objects) complete(id callID, r service.Reply, exports []service.Export) {
	c := kernel.Completion{Rejected: r.Rejected, Value: toData(r.Value), Unit: r.Unit, State: r.State}
	var used []int
	for i, slot := range r.Value.Slots {
		n, isNew := strings.CutPrefix(slot, "new")
		if !isNew {
			continue
		}
		x, err := strconv.Atoi(n)
		if err != nil || x < 0 || x >= len(exports) || slices.Contains(used, x) {
			obs.complete(id, service.Reject(errcode.Limit, "the service answered with a reference to nothing"), nil)
			obs.closeExports(exports)
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
		s, _, err := obs.machine.Service(id.Service)
		if err != nil {
			obs.holdService(id.Service, err)
			obs.closeExports(exports)
			return
		}
		if r := obs.tooMany(s.Sub, c.New); r != nil {
			obs.complete(id, *r, nil)
			obs.closeExports(exports)
			return
		}
	}
	var commit kernel.Commit
	var made []kernel.KRef
	if err := obs.isolated(func() (err error) {
		commit, made, err = obs.machine.Complete(id, c, obs.nowMillis())
		return err
	}); err != nil {
		obs.callFailed(id, err)
		obs.closeExports(exports)
		return
	}
	obs.apply(commit)
	fault.Point(fault.CallSettled)
	for i, kref := range made {
		s, found, err := obs.machine.Service(kref)
		if err != nil || !found {
			obs.fail(err)
			continue
		}
		x := used[i]
		obs.count(s.Sub, s.Kind, 1)
		if exports[x].Object == nil {
			if obs.canOpen(s) {
				obs.open(s, nil)
			}
			continue
		}
		obs.bound[kref] = &binding{exports[x].Object, s.Sub}
		if b, ok := exports[x].Object.(service.Bound); ok {
			b.Bind(obs.opening(s).End)
		}
		exports[x].Object = nil
	}
	obs.closeExports(exports)
}

// closeExports closes the objects that no service object stands for.
func (obs *objects) closeExports(exports []service.Export) {
	for _, e := range exports {
		if closer, ok := e.Object.(io.Closer); ok {
			obs.aside(func() { _ = closer.Close() }) // no caller has seen the object
		}
	}
}

// unitBack gives a unit that has come back to the first call that waits for one.
func (obs *objects) unitBack(kref kernel.KRef) {
	var waiting []callID
	for id := range obs.calls {
		if id.Service == kref {
			waiting = append(waiting, id)
		}
	}
	slices.SortFunc(waiting, func(a, b callID) int { return cmp.Compare(a.N, b.N) })
	for _, id := range waiting {
		r := obs.calls[id]
		if r == nil {
			continue // over meanwhile
		}
		var c kernel.Commit
		var taken bool
		if err := obs.isolated(func() (err error) {
			c, taken, err = obs.machine.TakeUnit(id, r.method, obs.nowMillis())
			return err
		}); err != nil {
			obs.holdService(kref, fmt.Errorf("give back a unit of %s: %w", kref, err))
			return
		}
		if taken {
			r.cancel()
			delete(obs.calls, id)
			obs.apply(c)
		}
	}
}

// forgetCall removes a call from the loop's tables and cancels it, after the machine has ended it.
func (obs *objects) forgetCall(id callID) {
	if r := obs.calls[id]; r != nil {
		r.cancel()
		delete(obs.calls, id)
	}
	delete(obs.refusing, id)
	if m := obs.making[id.Service]; m != nil {
		m.calls = slices.DeleteFunc(m.calls, func(c madeCall) bool { return c.number == id.N })
	}
}

// cancelCall ends a call whose result has no listener. Input that the call has already read still comes, and is kept.
func (obs *objects) cancelCall(e kernel.CancelCall) {
	obs.forgetCall(e.Call)
}

// onlyOnce counts the calls under way that the next kernel cannot begin again.
func (obs *objects) onlyOnce() (n int) {
	for id, r := range obs.calls {
		if !isIdempotent(obs.bound[id.Service], r.method) {
			n++
		}
	}
	return n
}

// closeAll closes the objects of this run. The calls under way stay as they are stored. Their methods have a moment to see
// the end of their contexts.
func (obs *objects) closeAll() {
	obs.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, b := range obs.bound { // in any order
		if w, ok := b.object.(service.Waiter); ok {
			obs.aside(func() {
				if w.Wait(ctx) != nil {
					obs.log.Warn("service object is still at work when the kernel ends")
				}
			})
		}
	}
	for _, b := range obs.bound { // in any order
		if closer, ok := b.object.(io.Closer); ok {
			obs.aside(func() { _ = closer.Close() }) // the process ends
		}
	}
	obs.waitAside()
	obs.takeReplies() // objects that were opened too late are closed here
	obs.waitAside()
}
