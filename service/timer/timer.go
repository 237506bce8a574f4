// Package timer is the built-in service timer, and the repetitions that it makes.
//
// The timer is durable: a delay ends at its time, even if the kernel was started anew meanwhile, and a repetition goes on.
// Neither waits longer because the wall clock is set back, nor because the machine sleeps (see clock). Its methods, for
// vats:
//
//	now()                     milliseconds since 1970
//	delay(ms)                 is fulfilled with now() when ms have passed since it was called
//	repeat(ms, target)        sends target.tick(now()) each ms, and returns an object with cancel(). All ticks that
//	                          were missed while no kernel ran become one
package timer

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/service"
)

// Kind is the kind of the timer, by which configurations name it.
const Kind = "timer"

// kindRepeat is the kind of repetitions. It is stored with them.
const kindRepeat = "repeat"

// The bounds of a delay: the shortest repetition, and a limit beyond which milliseconds do not fit a time; and how
// many repetitions a subcluster may have.
const (
	minRepeat  = limits.Repetition
	maxDelay   = 100 * 365 * 24 * time.Hour
	maxRepeats = limits.Repetitions
)

// Clock is the time by which timers wait for vats. Its methods are called from any goroutine.
type Clock interface {
	// Wall returns the time of the wall clock, which can be set. Vats get it.
	Wall() time.Time
	// Now returns a time that never goes back, and is never behind the wall clock.
	Now() time.Time
	// At sets an alarm: it makes the clock call f when Now has reached t, or soon after. f does not block, and may set an alarm.
	// Calling stop takes the alarm back, unless f is being called. At does not call f itself.
	At(t time.Time, f func()) (stop func())
}

// Kinds returns the kind of the timer and the kind of its repetitions, by their names. Both use the clock of the system.
func Kinds() map[string]service.Kind { return KindsBy(newClock()) }

// KindsBy is Kinds with another clock, for tests.
func KindsBy(c Clock) map[string]service.Kind {
	return map[string]service.Kind{
		Kind: {Service: true, Open: func(service.Opening) (service.Object, error) { return timer{c}, nil }},
		kindRepeat: {
			Open: func(o service.Opening) (service.Object, error) { return openRepeat(o, c) },
			Most: maxRepeats, TooMany: fmt.Sprintf("timer.repeat: %d repetitions are under way, which is the limit: cancel some", maxRepeats),
		},
	}
}

type timer struct{ clock Clock }

// Idempotent is part of service.Idempotent. The commit that answers a call of repeat also makes the repetition: a call that
// has no answer yet has made none.
func (timer) Idempotent(string) bool { return true }

// Begin is part of service.Object.
func (t timer) Begin(ctx context.Context, c service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	if err != nil {
		reply(service.Fail(fmt.Errorf("timer: the message is no call: %w", err)))
		return
	}
	switch {
	case method == "now" && len(args) == 0:
		reply(service.Fulfil(t.clock.Wall().UnixMilli()))
	case method == "delay" && len(args) == 1:
		d, err := millis(args[0], 0)
		if err != nil {
			reply(service.Fail(fmt.Errorf("timer.delay: %w", err)))
			return
		}
		due := t.clock.Now().Add(remaining(t.clock.Wall(), c.At, d))
		context.AfterFunc(ctx, t.clock.At(due, func() { reply(service.Fulfil(t.clock.Wall().UnixMilli())) }))
	case method == "repeat" && len(args) == 2:
		d, err := millis(args[0], minRepeat)
		target, ok := args[1].(capdata.Remotable)
		switch {
		case err != nil:
			reply(service.Fail(fmt.Errorf("timer.repeat: %w", err)))
			return
		case !ok:
			reply(service.Fail(fmt.Errorf("timer.repeat: the second argument is no reference to an object")))
			return
		}
		config, _ := json.Marshal(repeatConfig{EveryMS: d.Milliseconds(), From: c.At.UnixMilli()}) // of numbers: cannot fail
		reply(service.Reply{
			Value:   service.Data{Body: `#"$0.Alleged: repetition"`, Slots: []string{"new0"}},
			Exports: []service.Export{{Kind: kindRepeat, Config: config, Holds: []string{c.MethArgs.Slots[target.Slot]}}},
		})
	default:
		reply(service.Fail(fmt.Errorf("timer: there is no method %s of %d arguments; there are now(), delay(ms), repeat(ms, target)", method, len(args))))
	}
}

// remaining returns the rest of a delay of d that a vat asked for at a time of the wall clock. The rest is never longer than
// d, although the wall clock may have been set back since.
func remaining(wall, asked time.Time, d time.Duration) time.Duration {
	return min(max(asked.Add(d).Sub(wall), 0), d)
}

func millis(v any, least time.Duration) (time.Duration, error) {
	ms, ok := v.(float64)
	if !ok || !(ms >= float64(least.Milliseconds()) && ms <= float64(maxDelay.Milliseconds())) {
		return 0, fmt.Errorf("want a number of milliseconds from %d to %d", least.Milliseconds(), maxDelay.Milliseconds())
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

type repeatConfig struct {
	EveryMS int64 `json:"everyMs"`
	From    int64 `json:"from"`
}

// repeat ticks. Its state is the time of the last tick.
type repeat struct {
	o     service.Opening
	clock Clock
	every time.Duration
	mu    struct {
		sync.Mutex
		last time.Time
		stop func() // nil if the repetition is closed
	}
}

func openRepeat(o service.Opening, c Clock) (service.Object, error) {
	var config repeatConfig
	if err := json.Unmarshal(o.Config, &config); err != nil || config.EveryMS <= 0 || len(o.Holds) != 1 {
		return nil, fmt.Errorf("repetition: bad configuration %q", o.Config)
	}
	r := &repeat{o: o, clock: c, every: time.Duration(config.EveryMS) * time.Millisecond}
	r.mu.last = time.UnixMilli(config.From)
	if string(o.State) == cancelled {
		o.End() // the kernel died after the answer of cancel, before the end
		return r, nil
	}
	if o.State != nil {
		var last int64
		if err := json.Unmarshal(o.State, &last); err != nil {
			return nil, fmt.Errorf("repetition: bad state %q", o.State)
		}
		r.mu.last = time.UnixMilli(last)
	}
	if now := c.Now(); r.mu.last.After(now) {
		r.mu.last = now // the clock was set back meanwhile
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.stop = c.At(r.mu.last.Add(r.every), r.tick)
	return r, nil
}

func (r *repeat) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.stop == nil {
		return
	}
	now := r.clock.Now()
	// Ticks stay at whole multiples of the interval after the beginning, however late this tick is.
	if due := now.Sub(r.mu.last) / r.every; due > 0 {
		r.mu.last = r.mu.last.Add(due * r.every)
		state, _ := json.Marshal(r.mu.last.UnixMilli())                                   // a number: cannot fail
		body, _ := capdata.EncodeCall("tick", []any{float64(r.clock.Wall().UnixMilli())}) // likewise
		_ = r.o.Send(state, r.o.Holds[0], service.Data{Body: body})                       // small; if it finds no room, the next tick makes up for it
	}
	r.mu.stop = r.clock.At(r.mu.last.Add(r.every), r.tick)
}

// Idempotent is part of service.Idempotent.
func (r *repeat) Idempotent(method string) bool { return method == "cancel" }

// Begin is part of service.Object.
func (r *repeat) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	if method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots)); err != nil || method != "cancel" || len(args) > 0 {
		reply(service.Fail(fmt.Errorf("a repetition has one method: cancel()")))
		return
	}
	_ = r.Close() // cannot fail
	answer := service.Fulfil(capdata.Undefined{})
	answer.State = []byte(cancelled) // stored with the answer, so that no later kernel ticks again
	reply(answer)
	r.o.End()
}

// cancelled is the state of a repetition that is over.
const cancelled = "cancelled"

// Close is part of io.Closer.
func (r *repeat) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.stop != nil {
		r.mu.stop()
		r.mu.stop = nil
	}
	return nil
}
