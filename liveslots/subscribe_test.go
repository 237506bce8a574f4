package liveslots_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Subscriber waits for promises in every way there is.
type Subscriber struct {
	vat.Durable
	B vat.Ref

	kept vat.Promise `vat:"-"`
}

func NewSubscriber() *Subscriber { return &Subscriber{} }

func (s *Subscriber) Bootstrap(vats map[string]vat.Ref) { s.B = vats["b"] }
func (s *Subscriber) Take(a, b string)                  {}
func (s *Subscriber) TakeList(list []string)            {}
func (s *Subscriber) Keep(p vat.Promise)                { s.kept = p }
func (s *Subscriber) On(x vat.Outcome[string])          {}
func (s *Subscriber) Weak() *WeakTaker                  { return &WeakTaker{} }
func (s *Subscriber) Send(ctx context.Context)          { vat.Send(ctx, s.B, "x") }

func (s *Subscriber) Forward(ctx context.Context) vat.Promise { return vat.Send(ctx, s.B, "x") }

func (s *Subscriber) Await(ctx context.Context, p vat.Promise) (string, error) {
	return vat.Await[string](ctx, p)
}

func (s *Subscriber) WhenKept(ctx context.Context) { vat.When(ctx, s.kept, s, "On") }

func (s *Subscriber) WhenSent(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, s.B, "x"), s, "On")
}

func (s *Subscriber) WhenTwice(ctx context.Context, p vat.Promise) {
	vat.When(ctx, p, s, "On")
	vat.When(ctx, p, s, "On")
}

// Mine is a promise that this vat's memory decides, and that the kernel knows because another vat has it.
func (s *Subscriber) Mine(ctx context.Context) {
	s.kept, _ = vat.NewPromise(ctx)
	vat.Send(ctx, s.B, "x", s.kept)
}

type WeakTaker struct{ vat.Ephemeral }

func (w *WeakTaker) Take(a, b string) {}

// The kernel is told, in the crank that stores it, that something in the store waits for a promise.
func TestSubscribeSaysWhatIsStored(t *testing.T) {
	type calls []wire.Delivery
	call := func(target wire.Ref, body string, slots ...wire.Ref) wire.Delivery {
		return wire.Call{Target: target, Message: wire.Message{MethArgs: wire.CapData{Body: body, Slots: slots}, Result: "p-1000"}}
	}
	root := func(body string, slots ...wire.Ref) wire.Delivery { return call(wire.RootRef, body, slots...) }
	memory := func(ref wire.Ref) wire.Subscribe { return wire.Subscribe{Promise: ref} }
	stored := func(ref wire.Ref) wire.Subscribe { return wire.Subscribe{Promise: ref, Stored: true} }
	// awaiting keeps the vat from rest, so that it remembers its subscriptions.
	awaiting := call(wire.RootRef, `#["await",["&0"]]`, "p-99")
	for _, c := range []struct {
		name  string
		given calls
		want  []wire.Subscribe // of the last delivery
	}{
		{"both arguments of a call", calls{root(`#["take",["&0","&1"]]`, "p-1", "p-2")}, []wire.Subscribe{stored("p-1"), stored("p-2")}},
		{"the same promise twice", calls{root(`#["take",["&0","&0"]]`, "p-1")}, []wire.Subscribe{stored("p-1")}},
		{"a promise in a list", calls{root(`#["takeList",[["x","&0"]]]`, "p-1")}, []wire.Subscribe{stored("p-1")}},
		{"a second call, after a rest", calls{root(`#["take",["&0",""]]`, "p-1"), root(`#["take",["&0",""]]`, "p-1")}, []wire.Subscribe{stored("p-1")}},
		{
			"a second call, before a rest",
			calls{awaiting, root(`#["take",["&0",""]]`, "p-1"), root(`#["take",["&0",""]]`, "p-1")},
			[]wire.Subscribe{stored("p-1")},
		},
		{"a turn that awaits", calls{awaiting}, []wire.Subscribe{memory("p-99")}},
		{"a call that waits for what a turn awaits", calls{awaiting, root(`#["take",["&0",""]]`, "p-99")}, []wire.Subscribe{stored("p-99")}},
		{"an ephemeral object's call", calls{awaiting, root(`#["weak",[]]`), call("o+1", `#["take",["&0",""]]`, "p-1")}, []wire.Subscribe{memory("p-1")}},
		{"a promise that is kept", calls{root(`#["keep",["&0"]]`, "p-1")}, []wire.Subscribe{memory("p-1")}},
		{"and watched later", calls{awaiting, root(`#["keep",["&0"]]`, "p-1"), root(`#["whenKept",[]]`)}, []wire.Subscribe{stored("p-1")}},
		{"two continuations", calls{root(`#["whenTwice",["&0"]]`, "p-1")}, []wire.Subscribe{stored("p-1")}},
		{"an answer that is watched", calls{root(`#["whenSent",[]]`)}, []wire.Subscribe{stored("p+1")}},
		{"an answer that is ours", calls{root(`#["forward",[]]`)}, []wire.Subscribe{stored("p+1")}},
		{"an answer that nobody wants", calls{root(`#["send",[]]`)}, []wire.Subscribe{memory("p+1")}},
		{"a promise of this vat's memory", calls{root(`#["mine",[]]`), root(`#["whenKept",[]]`)}, []wire.Subscribe{stored("p+1")}},
		{
			"one in the value of another",
			calls{
				root(`#["takeList",["&0"]]`, "p-1"),
				wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-1", Value: wire.CapData{Body: `#["x","&0"]`, Slots: []wire.Ref{"p-2"}}}}},
			},
			[]wire.Subscribe{stored("p-2")},
		},
		{
			"a call that waits on, for what it waited for",
			calls{
				root(`#["take",["&0","&1"]]`, "p-1", "p-2"),
				wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-1", Value: wire.CapData{Body: `#"x"`}}}},
			},
			nil,
		},
		{
			"a call that has what it waits for",
			calls{awaiting, wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-99", Value: wire.CapData{Body: `#"x"`}}}}},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := testStore{}
			v := startedOn(t, NewSubscriber, store)
			given := append(calls{root(`#["bootstrap",[{"b":"$0"},{}]]`, "o-1")}, c.given...)
			var last wire.Done
			for i, d := range given {
				if m, ok := d.(wire.Call); ok {
					m.Message.Result += wire.Ref(rune('0' + i))
					d = m
				}
				last = v.Deliver(wire.Deliver{Number: uint64(i + 2), Delivery: d})
				if last.Outcome.Fault != "" {
					t.Fatal(last.Outcome.Fault)
				}
				store.apply(last.Syscalls)
			}
			var got []wire.Subscribe
			for _, s := range last.Syscalls {
				if s, ok := s.(wire.Subscribe); ok {
					got = append(got, s)
				}
			}
			slices.SortFunc(got, func(a, b wire.Subscribe) int { return strings.Compare(string(a.Promise), string(b.Promise)) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%+v", diff, last.Syscalls)
			}
		})
	}
}
