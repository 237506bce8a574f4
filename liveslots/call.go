package liveslots

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// A call is work that this vat does as soon as certain promises are settled: above all, the call of a method of
// an object of its own. A call that waits is no turn: at the end of the crank it is stored, if its object is
// durable and if no promise that it waits for depends on memory; see shelf.go.
type call struct {
	kind callKind
	// ref is the object's name, and target the object. target is nil if the call was read from the store; ref
	// is empty if the object has no name yet.
	ref    wire.Ref
	target *head
	method string
	// body is the marshalled [method, [arguments]]; args and slots are its arguments and its references.
	body   string
	args   []any
	slots  []any
	result *promise
	// on is the promise that the call waits for now, in memory. It is nil when the call has started, and when
	// it waits in the store.
	on *promise
	// left is set while the call can be tried, and is left to a later crank; see later.go.
	left bool
	// aside is set when the call was given up: it waits until an operator has its message delivered again.
	aside bool
	// crowded is set if the crank at hand has no room to store the call.
	crowded bool
	// queue is the promise to which the call sends, while the call waits in memory to do so; see promise.sends.
	queue *promise
	// waited is set once the call has waited: the bounds of waiting calls do not apply to it again.
	waited bool

	// number is the call's number in the store, or 0 if it was never stored.
	number uint64
	stored bool
	// listed is set while the call is in Vat.calls.
	listed bool
	// verdict is whether the call can be stored, as found in the epoch of the vat that epoch names.
	verdict verdict
	epoch   uint64
}

// callKind tells the work of a call, and its origin.
type callKind uint8

const (
	// byMessage calls a method, once the promises among the arguments are settled.
	byMessage callKind = iota
	// byWhen calls a method for [When]. Its first argument is the promise that was to settle; the method may be
	// one that takes an Outcome.
	byWhen
	// forward settles the result like the promise in its only slot.
	forward
	// sendOn sends a message to the promise in its last slot, which the kernel does not know. Only spans of
	// earlier versions make such calls, see [rulesOfOrder], and their stores may still have some.
	sendOn
	// allOf and raceOf combine the promises in their slots.
	allOf
	raceOf
)

var callKinds = []string{"call", "when", "forward", "send", "all", "race"}

// asideMark follows the kind in the row of a stored call that is set aside.
const asideMark = "!"

func (k callKind) String() string { return callKinds[k] }

// callsMethod reports whether calls of this kind call a method.
func (k callKind) callsMethod() bool { return k == byMessage || k == byWhen }

// isLatent reports whether calls of this kind matter only if another call waits for their result.
func (k callKind) isLatent() bool { return k == allOf || k == raceOf }

// maxWaiting bounds the calls and turns that wait when another call wants to wait for its arguments, and
// maxWaitingBytes the bytes of stored ones. Any caller of the vat can make it wait; beyond the bounds the calls
// that would wait are rejected, and all others go on.
const (
	maxWaiting      = 10_000
	maxWaitingBytes = 64 << 20
)

// admitWaiting returns an error unless one more call may wait for its arguments.
func (v *Vat) admitWaiting() error {
	s := v.shelved()
	what := ""
	switch {
	case len(v.parked)+len(v.calls)+s.Calls >= maxWaiting:
		what = fmt.Sprintf("%d calls", maxWaiting)
	case s.Bytes >= maxWaitingBytes:
		what = fmt.Sprintf("calls of %d bytes", s.Bytes)
	default:
		return nil
	}
	return errorOf(kernelError(errcode.Limit, "an argument is not there yet, and "+what+" wait in this vat already"))
}

// call takes a message.
func (v *Vat) call(d wire.Call) {
	slots := v.takeSlots(d.Message.MethArgs.Slots)
	result := v.resultPromise(d.Message.Result)
	name, args, err := capdata.DecodeCall(d.Message.MethArgs.Body, len(slots))
	if err == nil {
		err = slotsFit(args, slots)
	}
	if err != nil {
		v.settle(result, errorValue(fmt.Errorf("unreadable message: %w", err)), true)
		return
	}
	switch {
	case v.isNudge(d, name):
		result.settled, result.val, result.named = true, undefined, nil
		v.untold = slices.Insert(v.untold, 0, result)
		v.tellOne() // before other promises, which may be left to later cranks
		v.goesOn()
		return
	case d.Target == goOnRef:
		v.callAgain(name, args, slots, result)
		return
	}
	h := v.local(d.Target)
	if h == nil {
		v.settle(result, goneValue(d.Target), true)
		return
	}
	c := &call{ref: d.Target, target: h, method: name, body: d.Message.MethArgs.Body, args: args, slots: slots, result: result}
	result.call = c
	v.try(c)
}

// goneValue returns the answer to a message whose target the vat does not have.
func goneValue(ref wire.Ref) value {
	if isDurable(string(ref)) {
		return deletedValue()
	}
	return kernelError(errcode.ObjectDeleted, "the object lived in memory that is lost")
}

// resultPromise returns the promise by which a message is answered. The vat may know the promise already,
// because it sent the message to itself.
func (v *Vat) resultPromise(ref wire.Ref) *promise {
	if ref == "" {
		return &promise{} // no answer is wanted
	}
	p := v.promises[ref]
	if p == nil {
		p = &promise{ref: ref}
		v.promises[ref] = p
	}
	if !p.ours {
		v.becomesDecider(p)
		if n := len(p.named) - 1; n > 0 && v.ids.rules() >= rulesOfChains {
			// Others decided the promise so far, and messages to the promises that it leads went to its name.
			p.named = append([]*promise{p}, p.named[:n]...)
		}
	}
	return p
}

// try does the work of a call, or makes the call wait.
func (v *Vat) try(c *call) {
	c.on = nil
	if c.result.settled {
		c.leaveQueue()
		return // the kernel settled the result, in this vat's stead
	}
	if c.aside {
		c.on = &promise{}
		v.list(c)
		return
	}
	switch c.kind {
	case byMessage, byWhen:
		v.tryMethod(c)
	case forward:
		if p := c.slots[0].(*promise); p.settled {
			v.finish(c.result, p.val, p.rejected)
		} else {
			v.await(c, p)
		}
	case sendOn:
		last := len(c.slots) - 1
		if p := c.slots[last].(*promise); p.settled {
			c.leaveQueue()
			v.adopt(c.result, v.sendNow(p, value{body: c.body, slots: c.slots[:last]}))
		} else {
			v.await(c, p)
		}
	case allOf:
		v.tryAll(c)
	case raceOf:
		for _, s := range c.slots {
			if p := s.(*promise); p.settled {
				v.settle(c.result, p.val, p.rejected)
				return
			}
		}
		v.awaitAny(c)
	}
}

func (v *Vat) tryAll(c *call) {
	settled := true
	for _, s := range c.slots {
		switch p := s.(*promise); {
		case p.rejected:
			v.settle(c.result, p.val, true)
			return
		case !p.settled:
			settled = false
		}
	}
	if !settled {
		v.awaitAny(c)
		return
	}
	var list encoder
	tree := make([]any, len(c.slots))
	for i, s := range c.slots {
		p := s.(*promise)
		tree[i] = list.include(p.val.tree, p.val.slots)
	}
	x, err := list.seal(tree)
	if err != nil {
		v.settle(c.result, errorValue(err), true)
		return
	}
	v.settle(c.result, x, false)
}

// tryMethod calls the method as a new turn.
func (v *Vat) tryMethod(c *call) {
	h := c.target
	if h == nil {
		if h = v.local(c.ref); h == nil {
			v.settle(c.result, goneValue(c.ref), true)
			return
		}
	}
	if h.deleted {
		v.settle(c.result, deletedValue(), true)
		return
	}
	if c.kind == byWhen {
		if err := v.checkContinuation(h.kind, c); err != nil {
			// A fault of the delivery: the call is given up only after some attempts, and set aside for a
			// better program.
			panic(fault(err.Error()))
		}
	}
	v.startTurn(h.kind.name+"."+c.method, c, func(ctx context.Context) {
		v.fill()
		val, pending, err := running(ctx).invoke(ctx, h, c)
		switch {
		case pending != nil:
			v.await(c, pending)
		case err != nil:
			if c.kind == byWhen && len(c.result.waiters) == 0 && len(c.result.named) == 0 {
				v.log.Warn("a continuation failed, and nobody waits for its result", "method", h.kind.name+"."+c.method, "err", err)
				v.codecs.complain(fmt.Sprintf("%s.%s failed, and nobody waits for its result: %v", h.kind.name, c.method, err))
			}
			v.settle(c.result, v.reason(err), true)
		default:
			v.settle(c.result, val, false)
		}
	})
}

// checkContinuation returns an error if the program cannot make the call of a continuation. The program may be
// another than the one that stored it.
func (v *Vat) checkContinuation(k *kind, c *call) error {
	m := k.method(c.method, true)
	switch {
	case m == nil:
		return k.noMethod(c.method, true)
	case len(m.params) != len(c.args):
		return fmt.Errorf("%s.%s is to be called with an outcome and %d arguments; it takes %s", k.name, m.name, len(c.args)-1, m.signature())
	}
	for i, a := range c.args[1:] {
		into := m.params[i+1]
		if _, err := v.argument(into, a, c.slots, reflect.New(into.typ).Elem(), true); err != nil {
			return fmt.Errorf("%s.%s: argument %d: %w; it takes %s", k.name, m.name, i+2, err, m.signature())
		}
	}
	return nil
}

// await makes a call wait for a promise.
func (v *Vat) await(c *call, p *promise) {
	if c.kind == byMessage && !c.waited {
		if err := v.admitWaiting(); err != nil {
			v.settle(c.result, errorValue(err), true)
			return
		}
	}
	c.waited = true
	c.on = p
	v.wait(p, waiter{call: c})
	if !c.kind.isLatent() {
		v.list(c)
	}
}

// awaitAny makes a call wait for all of its promises that are not settled: the call is tried at each. Where the
// call waits already it is not added again, or each try would double the tries to come.
func (v *Vat) awaitAny(c *call) {
	for _, s := range c.slots {
		p := s.(*promise)
		switch {
		case p.settled:
		case slices.ContainsFunc(p.waiters, func(w waiter) bool { return w.call == c }):
			c.on = p
		default:
			v.await(c, p)
		}
	}
}

// list notes that the stored row of a call may have to change when the crank ends.
func (v *Vat) list(c *call) {
	if !c.listed {
		c.listed = true
		v.calls = append(v.calls, c)
	}
}

// invoke calls a method of an object, or returns the promise that has to be settled first.
func (t *turn) invoke(ctx context.Context, h *head, c *call) (val value, pending *promise, err error) {
	v, k := t.v, h.kind
	m := k.method(c.method, c.kind == byWhen)
	args := c.args
	if h.ref == wire.RootRef && c.method == "bootstrap" && c.kind == byMessage {
		// A root's bootstrap takes a prefix of its arguments (vats, services), and a root need not have the
		// method at all.
		if m == nil {
			return undefined, nil, nil
		}
		args = args[:min(len(args), len(m.params))]
	}
	if m == nil && c.kind == byMessage {
		m = k.others
	}
	if m == nil {
		return value{}, nil, k.noMethod(c.method, c.kind == byWhen)
	}
	if m.message {
		args = nil // the method gets the arguments unread
	}
	if len(args) != len(m.params) {
		return value{}, nil, &Error{Name: "TypeError", Message: fmt.Sprintf("%s.%s: got %d arguments (%s), want %d: %s",
			k.name, m.name, len(args), capdata.DescribeAll(args, describer(c.slots)), len(m.params), m.signature())}
	}
	in := make([]reflect.Value, 0, len(args)+2)
	in = append(in, h.self)
	if m.ctx {
		in = append(in, reflect.ValueOf(ctx))
	}
	t.starting = true
	for i, a := range args {
		p := m.params[i]
		arg := reflect.New(p.typ).Elem()
		for {
			pending, err = v.argument(p, a, c.slots, arg, c.kind == byWhen && i > 0)
			if pending == nil {
				break
			}
			if !k.ephemeral {
				return value{}, pending, nil
			}
			// An ephemeral object's call waits in memory too.
			if err = t.wait(pending); err != nil {
				break
			}
			arg.SetZero()
		}
		if err != nil {
			if _, rejected := err.(*Error); rejected {
				return value{}, nil, err // a rejected promise as an argument rejects the call
			}
			return value{}, nil, &Error{Name: "TypeError", Message: fmt.Sprintf("%s.%s: argument %d: %v; it takes %s", k.name, m.name, i+1, err, m.signature())}
		}
		in = append(in, arg)
	}
	t.starting = false
	if m.message {
		fn := m.fn.Type()
		m := reflect.ValueOf(Message{method: c.method, body: c.body, slots: c.slots, t: t})
		in = append(in, m.Convert(fn.In(fn.NumIn()-1)))
	}
	out := m.fn.Call(in)
	if m.fails {
		if err, _ := out[len(out)-1].Interface().(error); err != nil {
			return value{}, nil, err
		}
	}
	if m.result == nil {
		return undefined, nil, nil
	}
	val, err = v.encode(m.result, out[0])
	if err != nil {
		err = fmt.Errorf("%s.%s: the result cannot be passed: %w", k.name, m.name, err)
	}
	return val, nil, err
}

// argument decodes one argument, or returns the promise that has to be settled first. A promise is awaited
// unless the parameter is a Promise; unlike inside a value, it is awaited also where the parameter is any.
// stored is set for an argument that this vat itself has stored.
func (v *Vat) argument(p *codec, arg any, slots []any, out reflect.Value, stored bool) (pending *promise, err error) {
	x := value{tree: arg, slots: slots}
	if p.outcome != nil {
		return v.outcome(p, x, out)
	}
	if p.typ == typeAny {
		for pr := x.lonePromise(); pr != nil; pr = x.lonePromise() {
			switch {
			case !pr.settled:
				return pr, nil
			case pr.rejected:
				return nil, errorOf(pr.val)
			}
			x = pr.val
		}
	}
	return v.decodeAs(p, x, out, stored)
}

// method returns the method that messages call by a name. With when set, it also returns a method that takes an
// Outcome.
func (k *kind) method(name string, when bool) *method {
	m := k.methods[name]
	if m == nil || m.outcome && !when {
		return nil
	}
	return m
}

func (k *kind) noMethod(name string, when bool) error {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(k.methods)) {
		if k.method(n, when) != nil {
			names = append(names, n)
		}
	}
	return &Error{Name: "TypeError", Message: fmt.Sprintf("%s has no method %.100q; it has %s", k.name, name, strings.Join(names, ", "))}
}
