package liveslots_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Proxy forwards messages for which it has no method to the vat b.
type Proxy struct {
	vat.Durable
	B    vat.Ref
	Item *Item
	Kept []string

	last vat.Message `vat:"-"`
}

func NewProxy() *Proxy { return &Proxy{} }

func (p *Proxy) Bootstrap(vats map[string]vat.Ref) { p.B = vats["b"] }
func (p *Proxy) Own(x string) string               { return "own " + x }
func (p *Proxy) GetItem() *Item {
	if p.Item == nil {
		p.Item = &Item{Name: "i"}
	}
	return p.Item
}

// Rest is not called as "rest".
func (p *Proxy) Rest(ctx context.Context, m vat.Message) (vat.Promise, error) {
	if strings.HasPrefix(m.Method(), "not") && m.Method() != "note" {
		return vat.Promise{}, fmt.Errorf("%s: not that", m.Method())
	}
	p.last = m
	return vat.Forward(ctx, p.B, m), nil
}

// Again forwards the message of another turn.
func (p *Proxy) Again(ctx context.Context) vat.Promise { return vat.Forward(ctx, p.B, p.last) }

// Hold keeps the vat from rest, so that it has its memory.
func (p *Proxy) Hold(ctx context.Context) vat.Promise {
	never, _ := vat.NewPromise(ctx)
	return never
}

func (p *Proxy) Watch(ctx context.Context) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, p.B, "echo", 1), p, "Rest")
}

func TestMessagesWithoutAMethodGoToTheOneForThem(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewProxy)
			item := call(t, k, "lab", "getItem")
			for _, c := range []struct {
				method, want string
				args         []string
			}{
				{"own", `"own x"`, []string{`"x"`}},
				{"own", `error: liveslots_test.Proxy.own: got 2 arguments (string "x", number 1), want 1: own(string)`, []string{`"x"`, "1"}},
				{"add", "5", []string{"2", "3"}},
				{"echo", `{"a":[1,"x",null]}`, []string{`{"a":[1,"x",null]}`}},
				{"echo", item, []string{item}},
				{"note", `{"$undefined":true}`, []string{`"noted"`}},
				{"fail", "error: because", []string{`"because"`}},
				{"nothing", "error: nothing: not that", nil},
				{"notes", "error: notes: not that", nil},
				{"rest", `error: liveslots_test.Helper has no method "rest"; it has `, nil},
				{"", `error: liveslots_test.Helper has no method ""; it has `, nil},
				{"bootstrap", "error: [KERNEL:BAD_TARGET] bootstrap is for the kernel to call, once", []string{"{}", "{}"}},
			} {
				got := result(m.call(k, "lab", c.method, c.args...).Result())
				if got != c.want && !(strings.HasSuffix(c.want, "it has ") && strings.HasPrefix(got, c.want)) {
					t.Errorf("%s%v\n got %s\nwant %s", c.method, c.args, got, c.want)
				}
				wantQuiescent(t, k, "lab")
			}
			want(t, k, `["noted"]`, "b", "notes")
			wantNothingStored(t, k, "lab")
		})
	}
}

// The answer to a forwarded message is awaited in no turn, and comes after any loss of memory.
func TestForwardedMessageLeavesTheVatAtRest(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewProxy)
			a := m.call(k, "lab", "gate", `"g"`)
			wantQuiescent(t, k, "lab")
			m.call(k, "b", "open", `"g"`, `"there"`)
			if got, want := result(a.Result()), `"there"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantQuiescent(t, k, "lab")
			wantNothingStored(t, k, "lab")
		})
	}
}

// A message is forwarded with the same body, and with the same things in its slots.
func TestForwardedArguments(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewProxy, store)
	number := uint64(1)
	deliver := func(d wire.Delivery) []wire.Syscall {
		t.Helper()
		number++
		done := v.Deliver(wire.Deliver{Number: number, Delivery: d})
		if done.Outcome.Fault != "" {
			t.Fatal(done.Outcome.Fault)
		}
		store.apply(done.Syscalls)
		return done.Syscalls
	}
	call := func(result wire.Ref, body string, slots ...wire.Ref) []wire.Syscall {
		t.Helper()
		return deliver(wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: body, Slots: slots}, Result: result}})
	}
	sent := func(syscalls []wire.Syscall) wire.Send {
		t.Helper()
		i := slices.IndexFunc(syscalls, func(s wire.Syscall) bool { _, ok := s.(wire.Send); return ok })
		if i < 0 {
			t.Fatalf("nothing is sent: %+v", syscalls)
		}
		return syscalls[i].(wire.Send)
	}
	call("p-1", `#["hold",[]]`)
	call("", `#["bootstrap",[{"b":"$0"},{}]]`, "o-1")
	call("p-2", `#["getItem",[]]`)

	// An import twice, an object of this vat, an unsettled promise of others, one in a record, and a slot that the body does not use.
	body := `#["mixed",["$0.Alleged: X","$1","$0",{"a":"&2","b":["&3",{"#error":"e","name":"Error"},"!text","+5"]}]]`
	slots := []wire.Ref{"o-7", "o+d2/1", "p-8", "p-9", "o-1"}
	got := call("p-3", body, slots...)
	if s := sent(got); s.Target != "o-1" || s.Message.MethArgs.Body != body || !slices.Equal(s.Message.MethArgs.Slots, slots) {
		t.Errorf("got %+v", s)
	}
	for _, s := range got {
		if r, ok := s.(wire.Resolve); ok {
			t.Errorf("the result is settled before the answer is there: %+v", r)
		}
	}

	// A promise that has settled has lost its name: it is forwarded under another one, which is resolved.
	deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-9", Rejected: true, Value: rejection("no")}}})
	got = call("p-4", `#["one",["&0","&1"]]`, "p-10", "p-8")
	if s := sent(got); !slices.Equal(s.Message.MethArgs.Slots, []wire.Ref{"p-10", "p-8"}) {
		t.Errorf("got %+v", s)
	}

	// The answer is the sender's, unread.
	answer := wire.CapData{Body: `#{"x":"$0","y":"&1"}`, Slots: []wire.Ref{"o-20", "p-8"}}
	got = deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: sent(got).Message.Result, Value: answer}}})
	want := wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p-4", Value: answer}}}
	if !slices.ContainsFunc(got, func(s wire.Syscall) bool { return cmp.Equal(s, wire.Syscall(want)) }) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	// One without a result.
	if s := sent(call("", `#["go",[]]`)); s.Message.MethArgs.Body != `#["go",[]]` {
		t.Errorf("got %+v", s)
	}
}

func TestMessageBelongsToItsTurn(t *testing.T) {
	k := launch(t, NewProxy)
	k.Send("lab", "hold") // the vat does not rest: it holds the message that it kept
	want(t, k, "3", "lab", "add", "1", "2")
	want(t, k, "error: forward: the message came to another turn: it can be forwarded only by the turn that got it", "lab", "again")
	k.Restart("lab")
	want(t, k, "error: forward: the zero Message", "lab", "again")
}

func TestForwardRefusesWhatCannotBeSent(t *testing.T) {
	long := strings.Repeat("x", 1100)
	v := started(t, NewProxy, wire.Start{MaxFrameBytes: 2000})
	for n, c := range []struct {
		body  string
		slots []wire.Ref
		want  string
	}{
		{`#["m",["` + long + `"]]`, nil, "forward: a message of 1111 bytes is too large to send: the limit is 1000"},
		{`#["m",[]]`, nil, "forward: the target is the zero Ref"},
		{`#["m",[]]`, slices.Repeat([]wire.Ref{"o-1"}, 1001), "forward: a message with 1001 references: the limit is 1000"},
	} {
		d := v.Deliver(wire.Deliver{Number: uint64(n + 2), Delivery: wire.Call{Target: wire.RootRef, Message: wire.Message{
			MethArgs: wire.CapData{Body: c.body, Slots: c.slots}, Result: "p-1",
		}}})
		r, ok := d.Syscalls[0].(wire.Resolve)
		if !ok || !r.Resolutions[0].Rejected || !strings.Contains(r.Resolutions[0].Value.Body, c.want) {
			t.Errorf("got %+v, want %s", d, c.want)
		}
	}
}

// When calls methods by their names, and this one has none.
func TestWhenDoesNotCallTheMethodForMessages(t *testing.T) {
	k := launch(t, NewProxy)
	want(t, k, `error: when Rest: liveslots_test.Proxy has no method "rest"; it has again, bootstrap, getItem, hold, own, watch`, "lab", "watch")
}

// An object with a method for all messages can be ephemeral as well.
type Fleeting struct{ vat.Ephemeral }

func (f *Fleeting) All(ctx context.Context, m vat.Message) string { return "got " + m.Method() }

type FleetingRoot struct{ vat.Durable }

func (r *FleetingRoot) Get() *Fleeting { return &Fleeting{} }

func TestEphemeralObjectGetsMessages(t *testing.T) {
	k := launch(t, func() *FleetingRoot { return &FleetingRoot{} })
	ref := strings.Split(call(t, k, "lab", "get"), `"`)[3]
	want(t, k, `"got anything"`, ref, "anything", "1")
}

// A vat's error that wraps one of the kernel's has the kernel's code for the receiver.
type Refuser struct {
	vat.Durable
	B vat.Ref
}

func (r *Refuser) Bootstrap(vats map[string]vat.Ref) { r.B = vats["b"] }
func (r *Refuser) Refuse() error                     { return fmt.Errorf("not now: %w", vat.ErrRevoked) }

func TestErrorThatWrapsOneOfTheKernels(t *testing.T) {
	k := launch(t, func() *Refuser { return &Refuser{} })
	want(t, k, "error: [KERNEL:REVOKED] not now: kernel: REVOKED", "lab", "refuse")
}

type BadProxy struct {
	vat.Durable
	M vat.Message
}

func (*BadProxy) A(vat.Message)                         {}
func (*BadProxy) B(context.Context, vat.Message) error  { return nil }
func (*BadProxy) C(x int, m vat.Message)                {}
func (*BadProxy) D(m vat.Message, x int)                {}
func (*BadProxy) E(m []vat.Message)                     {}
func (*BadProxy) F() (m vat.Message)                    { return }
func (*BadProxy) G(vat.Outcome[int], vat.Message)       {}
func (*BadProxy) H(vat.Message, vat.Message, ...string) {}

func TestMessageIsTheOnlyParameter(t *testing.T) {
	_, err := liveslots.Compile("bad", func() *BadProxy { return nil })
	want := `liveslots_test.BadProxy.M: a Message cannot be passed: forward it
a and b of liveslots_test.BadProxy both take a Message: one method gets what there is no method for
liveslots_test.BadProxy.C: a Message must be the only parameter, after the context
liveslots_test.BadProxy.D: a Message must be the only parameter, after the context
liveslots_test.BadProxy.E: parameter 1: a Message cannot be passed: forward it
liveslots_test.BadProxy.F: result: a Message cannot be passed: forward it
liveslots_test.BadProxy.G: a Message must be the only parameter, after the context
liveslots_test.BadProxy.H: a variadic method cannot be called by a message: take a slice`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(fmt.Sprint(err), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
