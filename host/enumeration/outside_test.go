package enumeration_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
)

// outside is the world beyond the kernels of a play: it outlives them, and notes what they did to it. What a kernel does
// that is dead does not happen.
type outside struct {
	mu    sync.Mutex
	store *mortalStore // of the present kernel
	done  map[string]int
	over  bool
	lines int
	// open are the connections that the present kernel has.
	open map[*connection]bool
	// waiting are the calls that wait for the scenario, which it lets go on once and for all.
	waiting []func()
	going   bool
}

func newOutside() *outside {
	return &outside{done: map[string]int{}, open: map[*connection]bool{}, lines: 1 << 30}
}

// limit has channels end after so many lines.
func (o *outside) limit(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = n
}

// kernel says that another kernel is there. The connections of the last one were closed with it.
func (o *outside) kernel(store *mortalStore) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range o.open {
		o.done[closed]++
	}
	clear(o.open)
	o.store, o.waiting = store, nil
}

const closed = "a connection is closed"

func (o *outside) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// does notes an effect of a kernel, unless that is dead. It reports whether the kernel lives.
func (o *outside) does(store *mortalStore, what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over || store != o.store || store.isDead() {
		return false
	}
	o.done[what]++
	return true
}

// later keeps a call until the scenario lets it go on.
func (o *outside) later(store *mortalStore, f func()) {
	o.mu.Lock()
	going := o.going
	if !going && store == o.store {
		o.waiting = append(o.waiting, f)
	}
	o.mu.Unlock()
	if going {
		f()
	}
}

// goOn lets the calls go on that wait, and all later ones.
func (p *play) goOn() {
	p.out.mu.Lock()
	list := p.out.waiting
	p.out.waiting, p.out.going = nil, true
	p.out.mu.Unlock()
	for _, f := range list {
		f()
	}
	p.run()
}

// services are the services of the kernel with a store: the ledger, whose methods pay and look write what they are given,
// pay once for each call that is begun, and look as often as it is begun. hold answers when the scenario says so.
func (o *outside) services(store *mortalStore) map[string]service.Registration {
	return map[string]service.Registration{"ledger": {Object: &book{o, store}}}
}

type book struct {
	*outside
	store *mortalStore
}

// Idempotent is part of [service.Idempotent].
func (*book) Idempotent(method string) bool { return strings.HasPrefix(method, "look") }

// Begin is part of [service.Object].
func (b *book) Begin(ctx context.Context, c service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	if err != nil || len(args) != 1 {
		reply(service.Fail(fmt.Errorf("no call of the ledger: %w", err)))
		return
	}
	what := fmt.Sprintf("%s %v", method, args[0])
	switch {
	case strings.HasSuffix(method, "Later"):
		b.later(b.store, func() {
			if ctx.Err() == nil && b.does(b.store, what) {
				reply(service.Fulfil("done " + what))
			}
		})
	case method == "fail":
		if b.does(b.store, what) {
			reply(service.Fail(errors.New("the ledger fails")))
		}
	case b.does(b.store, what):
		reply(service.Fulfil("done " + what))
	}
}

// kinds are the kinds of service objects of the present kernel.
func (o *outside) kinds() map[string]service.Kind {
	kinds := timer.Kinds()
	store := func() *mortalStore {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.store
	}
	kinds[host.KindIO] = service.Kind{
		Traits: func(method string) service.Traits {
			return service.Traits{WaitsForInput: method == "read" || method == "accept"}
		},
		Open: func(opening service.Opening) (service.Object, error) {
			c := &channel{outside: o, store: store(), name: opening.Name[strings.LastIndex(opening.Name, ":")+1:]}
			if opening.State != nil {
				var err error
				if c.next, err = strconv.Atoi(string(opening.State)); err != nil {
					return nil, err
				}
			}
			return c, nil
		},
	}
	kinds["connection"] = service.Kind{
		Traits: func(method string) service.Traits {
			return service.Traits{WaitsForInput: method == "read", EndsObject: method == "close"}
		},
		Lost: errcode.ConnectionLost, Why: "the connection was lost with an earlier kernel",
	}
	return kinds
}

// channel is an IO channel. Its n-th line, and its n-th connection, is n.
type channel struct {
	*outside
	store *mortalStore
	name  string
	lock  sync.Mutex
	next  int
}

// Idempotent is part of [service.Idempotent].
func (*channel) Idempotent(method string) bool { return method == "read" || method == "accept" }

// ends reports whether there are no more lines.
func (c *channel) ends(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n >= c.lines
}

// Begin is part of [service.Object].
func (c *channel) Begin(_ context.Context, call service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(call.MethArgs.Body, len(call.MethArgs.Slots))
	if err != nil {
		reply(service.Fail(err))
		return
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	n := c.next
	switch method {
	case "read":
		if c.ends(n) {
			reply(service.Fulfil(nil))
			return
		}
		c.next++
		r := service.Fulfil(fmt.Sprintf("line %d", n))
		r.Unit, r.State = "read", []byte(strconv.Itoa(c.next))
		reply(r)
	case "accept":
		c.next++
		body, err := capdata.Encode(capdata.Remotable{Slot: 0, Iface: "Alleged: connection"})
		if err != nil {
			reply(service.Fail(err))
			return
		}
		conn := &connection{c.outside, c.store}
		c.mu.Lock()
		c.open[conn] = true
		c.mu.Unlock()
		reply(service.Reply{
			Unit: "accept", State: []byte(strconv.Itoa(c.next)), Value: service.Data{Body: body, Slots: []string{"new0"}},
			Exports: []service.Export{{Object: conn, Kind: "connection", Config: []byte(strconv.Itoa(n))}},
		})
	case "write":
		if len(args) == 1 && c.does(c.store, fmt.Sprintf("%s writes %v", c.name, args[0])) {
			reply(service.Fulfil(nil))
		}
	default:
		reply(service.Fail(fmt.Errorf("a channel has no method %s", method)))
	}
}

// connection is a connection that a channel has accepted.
type connection struct {
	*outside
	store *mortalStore
}

// Idempotent is part of [service.Idempotent].
func (*connection) Idempotent(method string) bool { return method == "read" }

// Begin is part of [service.Object].
func (c *connection) Begin(_ context.Context, call service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(call.MethArgs.Body, len(call.MethArgs.Slots))
	switch {
	case err != nil:
		reply(service.Fail(err))
	case method == "write" && len(args) == 1:
		if c.does(c.store, fmt.Sprintf("a connection gets %v", args[0])) {
			reply(service.Fulfil(nil))
		}
	default:
		reply(service.Fail(fmt.Errorf("a connection has no method %s", method)))
	}
}

// Close is part of [io.Closer].
func (c *connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[c] {
		delete(c.open, c)
		c.done[closed]++
	}
	return nil
}
