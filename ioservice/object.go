package ioservice

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/service"
)

// ConnectionKind is the kind of the service objects that accept makes. They end with the process.
const ConnectionKind = "conn"

// ConfigOf returns the config of a channel of a cluster's configuration.
func ConfigOf(c cluster.Channel) Config {
	return Config{
		Name: c.Name, Type: Type(c.Type), Path: c.Path, HostPort: c.HostPort, Direction: Direction(c.Direction), Unit: UnitKind(c.Unit),
		MaxUnitBytes: c.MaxUnitBytes, WriteTime: c.WriteTime,
	}
}

// Object is a stream as a kernel service. Its methods, for vats, are read(), which is fulfilled with a unit, or
// with null at the end of the stream; write(data); on a channel to which clients connect accept(), which is
// fulfilled with a connection; and on such a connection close(). The result of a read is a unit of input in the
// sense of [service.Reply]; reads and accepts may be begun again.
type Object struct {
	stream  *Stream
	channel *Channel // nil for a connection
	end     func()   // ends a connection, once it is bound
	once    sync.Once
	closed  func() // called when the channel is closed; nil: nothing is to be done
}

// NewObject returns the channel as a kernel service. Closing it closes the channel.
func NewObject(c *Channel) *Object { return &Object{stream: &c.Stream, channel: c} }

// Configure calls [Channel.Configure]. A connection, which no configuration names, cannot be configured.
func (o *Object) Configure(cfg Config) error {
	if o.channel == nil {
		return fmt.Errorf("channel %s: a connection has the configuration of its channel", o.stream.cfg.Name)
	}
	return o.channel.Configure(cfg)
}

// Bind is part of [service.Bound].
func (o *Object) Bind(end func()) { o.end = end }

// Close closes the channel or connection. It is part of io.Closer.
func (o *Object) Close() error {
	if o.channel == nil {
		return o.stream.Close()
	}
	err := o.channel.Close()
	if o.closed != nil {
		o.closed()
	}
	return err
}

// Idempotent is part of [service.Idempotent].
func (o *Object) Idempotent(method string) bool { return ChannelTraits(method).Idempotent }

// ChannelTraits is the [service.Kind.Traits] of channels. A unit is consumed only when the kernel has stored it, so
// that reads and accepts may be begun again.
func ChannelTraits(method string) service.Traits {
	input := method == "read" || method == "accept"
	return service.Traits{Idempotent: input, WaitsForInput: input}
}

// ConnectionTraits is the [service.Kind.Traits] of connections.
func ConnectionTraits(method string) service.Traits {
	t := ChannelTraits(method)
	t.EndsObject = method == "close"
	return t
}

// Where returns the address of the channel: the address on which it listens, or the address in its
// configuration.
func (o *Object) Where() string {
	cfg := o.stream.cfg
	switch {
	case o.channel == nil:
		return cfg.Name
	case o.channel.Addr() != "":
		return o.channel.Addr()
	case cfg.HostPort != "":
		return cfg.HostPort
	}
	return cfg.Path
}

// Connected reports whether there is another end.
func (o *Object) Connected() bool { return o.stream.Connected() }

// Begin is part of [service.Object].
func (o *Object) Begin(ctx context.Context, c service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	name := o.stream.cfg.Name
	switch {
	case err != nil:
		reply(service.Fail(fmt.Errorf("channel %s: the message is no call: %w", name, err)))
	case method == "read" && len(args) == 0:
		o.read(ctx, reply)
	case method == "write" && len(args) == 1:
		data, ok := args[0].(string)
		if !ok {
			reply(service.Fail(fmt.Errorf("channel %s: write takes a string", name)))
			return
		}
		o.stream.Write(data, func(err error) {
			if err != nil {
				reply(failed(err))
				return
			}
			reply(service.Fulfil(capdata.Undefined{}))
		})
	case method == "accept" && len(args) == 0 && o.channel != nil:
		o.accept(ctx, reply)
	case method == "close" && len(args) == 0 && o.channel == nil:
		reply(service.Fulfil(capdata.Undefined{}))
		o.once.Do(func() {
			if o.end != nil {
				o.end()
			}
		})
	default:
		reply(service.Fail(fmt.Errorf("channel %s: there is no method %.80q of %d arguments; there are %s", name, method, len(args), o.methods())))
	}
}

func (o *Object) methods() string {
	switch {
	case o.channel == nil:
		return "read(), write(data), close()"
	case o.stream.cfg.accepts():
		return "read(), write(data), accept()"
	}
	return "read(), write(data)"
}

func (o *Object) read(ctx context.Context, reply func(service.Reply)) {
	w := &withdrawal{ctx: ctx}
	w.arm()
	w.set(o.stream.Read(func(u Unit, err error) {
		w.stop()
		if errors.Is(err, ErrCanceled) {
			return // the call has ended
		}
		var r service.Reply
		switch {
		case err != nil:
			r = failed(err)
		case u.End:
			r = service.Fulfil(nil)
			r.Unit = "read"
		default:
			r = unitReply(u.Value)
		}
		r.State = u.State
		reply(r)
	}))
}

// unitReply returns the reply with a unit. The bound on the results of other services does not apply to units:
// the channel bounds them itself.
func unitReply(value string) service.Reply {
	body, err := capdata.Encode(value)
	if err != nil {
		return service.Fail(fmt.Errorf("what was read cannot be passed: %w", err))
	}
	return service.Reply{Value: service.Data{Body: body}, Unit: "read"}
}

// withdrawal withdraws a read or an accept when its call ends before it.
type withdrawal struct {
	ctx  context.Context
	stop func() bool
	mu   struct {
		sync.Mutex
		cancel func()
	}
}

func (w *withdrawal) arm() {
	w.stop = context.AfterFunc(w.ctx, func() { w.set(nil) })
}

// set takes the function that withdraws, and calls it at once if the call has ended.
func (w *withdrawal) set(cancel func()) {
	w.mu.Lock()
	if cancel != nil {
		w.mu.cancel = cancel
	}
	cancel = w.mu.cancel
	w.mu.Unlock()
	if w.ctx.Err() != nil && cancel != nil {
		cancel()
	}
}

func (o *Object) accept(ctx context.Context, reply func(service.Reply)) {
	w := &withdrawal{ctx: ctx}
	w.arm()
	w.set(o.channel.Accept(func(s *Stream, err error) {
		w.stop()
		if errors.Is(err, ErrCanceled) {
			return
		}
		if err != nil {
			reply(failed(err))
			return
		}
		reply(service.Reply{
			Value:   service.Data{Body: `#"$0.Alleged: connection"`, Slots: []string{"new0"}},
			Exports: []service.Export{{Object: &Object{stream: s}, Kind: ConnectionKind}},
			Unit:    "accept",
		})
	}))
}

// Connected reports whether the stream has another end now.
func (s *Stream) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.peer != nil
}

// failed returns the rejection that vats get for an error.
func failed(err error) service.Reply {
	code := errcode.Code("")
	switch {
	case errors.Is(err, ErrConnectionLost):
		code = errcode.ConnectionLost
	case errors.Is(err, ErrClosed):
		code = errcode.ServiceGone
	case errors.Is(err, ErrLimit):
		code = errcode.Limit
	default:
		return service.Fail(err)
	}
	return service.Reject(code, "%s", err.Error())
}
