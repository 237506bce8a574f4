package liveslots_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Fragile has methods that panic while it is broken.
type Fragile struct {
	vat.Durable
	Broken bool
	Log    []string
	Others []*Fragile
}

func NewFragile() *Fragile { return &Fragile{Broken: true} }

func (f *Fragile) Set(broken bool)  { f.Broken = broken }
func (f *Fragile) GetLog() []string { return f.Log }

func (f *Fragile) note(tag, x string) {
	if f.Broken {
		panic("broken")
	}
	f.Log = append(f.Log, tag+" "+x)
}

func (f *Fragile) On(x vat.Outcome[string], tag string, to *Fragile) {
	to.note(tag, fmt.Sprint(x.Value, x.Err))
}
func (f *Fragile) Take(x, y string)     { f.note("took", x+y) }
func (f *Fragile) Value(x, tag string)  { f.note(tag, x) }
func (f *Fragile) Fine(x string) string { return x }

func (f *Fragile) Watch(ctx context.Context, p vat.Promise) vat.Promise {
	other := &Fragile{}
	f.Others = append(f.Others, other)
	return vat.When(ctx, p, other, "On", "on", f)
}

func (f *Fragile) WatchValue(ctx context.Context, p vat.Promise) vat.Promise {
	return vat.When(ctx, p, f, "Value", "value")
}

// WatchLarge is called with as much as a message can hold.
func (f *Fragile) WatchLarge(ctx context.Context, p vat.Promise) vat.Promise {
	return vat.When(ctx, p, f, "Large", strings.Repeat("x", 2<<20-25))
}

func (f *Fragile) Large(x, _ string) { f.note("large", x) }

// Chain waits for the result of a continuation that does not fail.
func (f *Fragile) Chain(ctx context.Context, p vat.Promise) vat.Promise {
	return vat.When(ctx, vat.When(ctx, p, f, "Fine"), f, "Value", "chained")
}

// Wide waits with many continuations, of which the last one fails.
func (f *Fragile) Wide(ctx context.Context, p vat.Promise) vat.Promise {
	for range 700 {
		vat.When(ctx, p, f, "Fine")
	}
	return vat.When(ctx, p, f, "Value", "wide")
}

// fragile drives a vat as the kernel does, with a fresh worker after each fault.
type fragile struct {
	t     *testing.T
	store testStore
	v     *wired
	n     uint64
	high  uint64
}

func startFragile(t *testing.T) *fragile {
	store := testStore{}
	return &fragile{t: t, store: store, v: startedOn(t, NewFragile, store), n: 1}
}

func (f *fragile) fresh() {
	f.t.Helper()
	m, err := liveslots.Compile("m", NewFragile)
	if err != nil {
		f.t.Fatal(err)
	}
	f.v = newVat(f.t, m, wire.Start{HighPromise: f.high}, f.store, nil)
}

// try delivers once, and returns the outcome.
func (f *fragile) try(d wire.Delivery, attempt uint64) wire.Done {
	f.t.Helper()
	done := f.v.Deliver(wire.Deliver{Number: f.n + 1, Attempt: attempt, Delivery: d})
	if done.Outcome.Fault != "" {
		f.fresh()
		return done
	}
	f.n++
	f.high += 10_000
	f.store.apply(done.Syscalls)
	f.fresh() // a vat that is at rest may as well be another one
	return done
}

// must delivers, again and again, at most three times.
func (f *fragile) must(d wire.Delivery) wire.Done {
	f.t.Helper()
	for attempt := range uint64(3) {
		if done := f.try(d, attempt); done.Outcome.Fault == "" {
			return done
		}
	}
	f.t.Fatalf("%+v fails", d)
	return wire.Done{}
}

// sent returns the messages that the vat has sent to itself.
func sentToItself(done wire.Done) (list []wire.Send) {
	for _, s := range done.Syscalls {
		if s, ok := s.(wire.Send); ok && strings.HasPrefix(s.Message.MethArgs.Body, `#["vat: `) {
			list = append(list, s)
		}
	}
	return list
}

func fulfilled(ref wire.Ref, body string) wire.Delivery {
	return wire.Notify{Resolutions: []wire.Resolution{{Promise: ref, Value: wire.CapData{Body: body}}}}
}

// A stored call that fails is in the end in a message of its own, with all that it is called with. When that was
// given up, its result is rejected; when that message comes again, without a result, the call is made.
func TestCallThatFailsIsInAMessage(t *testing.T) {
	for _, c := range []struct{ method, message, log string }{
		{"watch", `#["vat: when on",["$0","&1","on","$2`, "on v\u003cnil\u003e"},
		{"watchValue", `#["vat: when value",["$0","&1","value"]]`, "value v"},
		{"chain", `#["vat: when value",["$0","&1","chained"]]`, "chained v"},
		{"wide", `#["vat: when value",["$0","&1","wide"]]`, "wide v"},
		{"take", `#["vat: call take",["$0","&1",`, "took vv"},
		{"watchLarge", `#["vat: stored",[1]]`, "large v"}, // which is too large for a message
	} {
		t.Run(c.method, func(t *testing.T) {
			f := startFragile(t)
			args := `"&0"`
			slots := []wire.Ref{"p-1"}
			if c.method == "take" {
				args += `,"&0"`
			}
			f.must(wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: `#["` + c.method + `",[` + args + `]]`, Slots: slots}, Result: "p-2"}})
			done := f.must(fulfilled("p-1", `#"v"`))
			// It goes on until it is about to make the call alone, which fails.
			var alone wire.Send
			for range 1000 {
				sent := sentToItself(done)
				if len(sent) != 1 {
					t.Fatalf("got %+v", done)
				}
				alone = sent[0]
				if strings.HasPrefix(alone.Message.MethArgs.Body, c.message) {
					break
				}
				done = f.must(wire.Call(alone))
			}
			if !strings.HasPrefix(alone.Message.MethArgs.Body, c.message) || alone.Target != "o+d0/1" {
				t.Fatalf("got %+v", alone)
			}
			call := wire.Call(alone)
			for attempt := range uint64(3) {
				if d := f.try(call, attempt); d.Outcome.Fault == "" {
					t.Fatalf("attempt %d: got %+v", attempt, d)
				}
			}
			done = f.must(wire.Notify{Resolutions: []wire.Resolution{{
				Promise: alone.Message.Result, Rejected: true, Value: rejection("[KERNEL:DELIVERY_POISONED] fault: panic"),
			}}})
			r, ok := done.Syscalls[0].(wire.Resolve)
			if !ok || r.Resolutions[0].Promise != "p-2" || !strings.Contains(r.Resolutions[0].Value.Body, "[KERNEL:DELIVERY_POISONED] fault: panic") {
				t.Errorf("got %+v", done)
			}
			for n := 0; len(sentToItself(done)) > 0; n++ { // the other calls that are due
				s := sentToItself(done)[0]
				done = f.must(wire.Call(s))
			}
			f.must(message(t, "p-3", "set", false))
			held := strings.HasPrefix(c.message, `#["vat: stored"`)
			if _, found := f.store["w.1"]; found != held {
				t.Errorf("the store has the call: %t", found)
			}
			for key := range f.store {
				if held {
					break
				}
				if strings.HasPrefix(key, "w.") || strings.HasPrefix(key, "p.") || strings.HasPrefix(key, "s.") {
					t.Errorf("left in the store: %s", key)
				}
			}
			// A person has it delivered again. The kernel has new names for things that were promises.
			call.Message.Result = ""
			for i, s := range call.Message.MethArgs.Slots {
				if s[0] == 'p' {
					call.Message.MethArgs.Slots[i] = wire.Ref(fmt.Sprint("p-9", i))
				}
			}
			f.must(call)
			for i, s := range call.Message.MethArgs.Slots {
				if s[0] == 'p' {
					f.must(fulfilled(wire.Ref(fmt.Sprint("p-9", i)), `#"v"`))
				}
			}
			done = f.must(message(t, "p-4", "getLog"))
			if got := done.Syscalls[0].(wire.Resolve).Resolutions[0].Value.Body; strings.ReplaceAll(got, "<nil>", "\u003cnil\u003e") != `#["`+c.log+`"]` {
				t.Errorf("got %s", got)
			}
			for key := range f.store {
				if strings.HasPrefix(key, "w.") || strings.HasPrefix(key, "p.") || strings.HasPrefix(key, "s.") {
					t.Errorf("left in the store: %s", key)
				}
			}
		})
	}
}

// The calls that are set aside are bounded, since the vat does not hear when the operator drops a message.
func TestHeldCallsAreBounded(t *testing.T) {
	f := startFragile(t)
	for i := range 12 {
		p, answer := wire.Ref(fmt.Sprint("p-", 2*i+1)), wire.Ref(fmt.Sprint("p-", 2*i+2))
		f.must(wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: `#["watchLarge",["&0"]]`, Slots: []wire.Ref{p}}, Result: answer}})
		done := f.must(fulfilled(p, `#"v"`))
		for range 10 {
			sent := sentToItself(done)
			if len(sent) == 0 {
				break
			}
			d, given := wire.Call(sent[0]), true
			for attempt := range uint64(3) {
				if done = f.try(d, attempt); done.Outcome.Fault == "" {
					given = false
					break
				}
			}
			if given {
				done = f.must(wire.Notify{Resolutions: []wire.Resolution{{
					Promise: d.Message.Result, Rejected: true, Value: rejection("[KERNEL:DELIVERY_POISONED] fault: panic"),
				}}})
			}
		}
	}
	var held []string
	for key := range f.store {
		if strings.HasPrefix(key, "w.") {
			held = append(held, key)
		}
	}
	if len(held) != 10 || f.store["w.1"] != nil || f.store["w.2"] != nil {
		t.Errorf("the store holds %q", held)
	}
	f.must(message(t, "p-98", "set", false))
	for _, n := range []int{1, 12} {
		f.must(wire.Call{Target: "o+d0/1", Message: wire.Message{MethArgs: wire.CapData{Body: fmt.Sprintf(`#["vat: stored",[%d]]`, n)}}})
	}
	done := f.must(message(t, "p-99", "getLog"))
	if got := done.Syscalls[0].(wire.Resolve).Resolutions[0].Value.Body; got != `#["large v"]` {
		t.Errorf("got %s, want that the youngest is called, and the oldest not", got)
	}
}
