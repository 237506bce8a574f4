package liveslots_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Orderly sends lines to b in various ways.
type Orderly struct {
	vat.Durable
	B vat.Ref

	promises  map[string]vat.Promise  `vat:"-"`
	resolvers map[string]vat.Resolver `vat:"-"`
}

func NewOrderly() *Orderly { return &Orderly{} }

// TakeWeak makes Weak known.
func (o *Orderly) TakeWeak(*Weak) {}

func (o *Orderly) Bootstrap(vats map[string]vat.Ref) { o.B = vats["b"] }

func (o *Orderly) note(ctx context.Context, to any, lines ...string) {
	for _, l := range lines {
		vat.Send(ctx, to, "note", l)
	}
}

// Make makes a promise that Resolve settles. It never answers, so that the vat does not come to rest.
func (o *Orderly) Make(ctx context.Context, name string) vat.Promise {
	if o.promises == nil {
		o.promises, o.resolvers = map[string]vat.Promise{}, map[string]vat.Resolver{}
	}
	o.promises[name], o.resolvers[name] = vat.NewPromise(ctx)
	never, _ := vat.NewPromise(ctx)
	return never
}

// Note sends lines to the promise.
func (o *Orderly) Note(ctx context.Context, name string, lines []string) {
	o.note(ctx, o.promises[name], lines...)
}

// NoteWeak does the same, with an object that lives in memory.
func (o *Orderly) NoteWeak(ctx context.Context, name, line string) {
	vat.Send(ctx, o.promises[name], "noteAbout", &Weak{}, line)
}

// Notes sends many lines.
func (o *Orderly) Notes(ctx context.Context, name, line string, n int) {
	o.note(ctx, o.promises[name], many(line, n)...)
}

func many(line string, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprint(line, i)
	}
	return lines
}

// Then waits for the promise, and sends lines to what it is.
func (o *Orderly) Then(ctx context.Context, name string, lines []string) error {
	to, err := vat.Await[vat.Ref](ctx, o.promises[name])
	if err == nil {
		o.note(ctx, to, lines...)
	}
	return err
}

// Resolve fulfils the promise with b.
func (o *Orderly) Resolve(ctx context.Context, name string) { o.resolvers[name].Resolve(ctx, o.B) }

// ResolveLate does the same after another one, which takes all the room of the crank.
func (o *Orderly) ResolveLate(ctx context.Context, first, name string) {
	o.resolvers[first].Resolve(ctx, strings.Repeat("x", 1600<<10))
	o.resolvers[name].Resolve(ctx, o.B)
	o.note(ctx, o.B, "direct")
}

// Follow lets the promise follow a gate of b.
func (o *Orderly) Follow(ctx context.Context, name, gate string) {
	o.promises[gate] = vat.Send(ctx, o.B, "gate", gate)
	o.resolvers[name].Resolve(ctx, o.promises[gate])
}

// Ends returns promises for the end of b, of which there may be one.
func (o *Orderly) Ends(ctx context.Context) []vat.Promise {
	return []vat.Promise{vat.Done(ctx, o.B), vat.Done(ctx, o.B)}
}

// Store sends lines to the result of a continuation; and sends itself a message with that result, which is made
// once another gate is open.
func (o *Orderly) Store(ctx context.Context, n int) {
	p := vat.When(ctx, vat.Send(ctx, o.B, "gate", "a"), o, "Which")
	o.note(ctx, p, many("stored", n)...)
	vat.Send(ctx, o, "late", p, vat.Send(ctx, o.B, "gate", "b"))
}

func (o *Orderly) Which(_ string) vat.Ref { return o.B }

// Late sends a line to a promise.
func (o *Orderly) Late(ctx context.Context, p vat.Promise, line string) { o.note(ctx, p, line) }

func (h *Helper) NoteAbout(w vat.Ref, text string) { h.Note(text) }

func TestSendsToOneTargetKeepTheirOrder(t *testing.T) {
	type do []string // vat, method, args
	for _, c := range []struct {
		name  string
		steps []do
		want  []string
	}{
		{"a promise that is sent to in several cranks", []do{
			{"lab", "make", `"p"`}, {"lab", "note", `"p"`, `["1"]`}, {"lab", "note", `"p"`, `["2","3"]`}, {"lab", "resolve", `"p"`}, {"lab", "note", `"p"`, `["4"]`},
		}, []string{"1", "2", "3", "4"}},
		{"a turn that waited before the message was sent", []do{
			{"lab", "make", `"p"`}, {"lab", "then", `"p"`, `["3"]`}, {"lab", "note", `"p"`, `["1","2"]`}, {"lab", "resolve", `"p"`},
		}, []string{"1", "2", "3"}},
		{"an argument that lives in memory", []do{
			{"lab", "make", `"p"`}, {"lab", "noteWeak", `"p"`, `"1"`}, {"lab", "note", `"p"`, `["2"]`}, {"lab", "noteWeak", `"p"`, `"3"`}, {"lab", "resolve", `"p"`},
		}, []string{"1", "2", "3"}},
		{"a settlement that has to wait", []do{
			{"lab", "make", `"big"`}, {"lab", "note", `"big"`, `["never"]`}, {"lab", "make", `"p"`}, {"lab", "note", `"p"`, `["1"]`}, {"lab", "resolveLate", `"big"`, `"p"`}, {"lab", "note", `"p"`, `["2"]`},
		}, []string{"1", "direct", "2"}},
		{"a promise that follows another", []do{
			{"lab", "make", `"p"`}, {"lab", "note", `"p"`, `["1"]`}, {"lab", "follow", `"p"`, `"g"`}, {"lab", "then", `"p"`, `["3"]`}, {"lab", "note", `"p"`, `["2"]`}, {"b", "openB"},
		}, []string{"1", "2", "3"}},
		{"many messages", []do{
			{"lab", "make", `"p"`}, {"lab", "notes", `"p"`, `"x"`, `30`}, {"lab", "note", `"p"`, `["1"]`}, {"lab", "then", `"p"`, `["2"]`}, {"lab", "resolve", `"p"`},
		}, append(many("x", 30), "1", "2")},
	} {
		for _, m := range modes[:2] { // memory that is lost loses the promises
			t.Run(c.name+" "+m.name, func(t *testing.T) {
				k := m.launch(t, NewOrderly)
				for _, s := range c.steps {
					m.call(k, s[0], s[1], s[2:]...)
				}
				notes, err := k.Call("b", "notes")
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf(`["%s"]`, strings.Join(c.want, `","`)); notes != want {
					t.Errorf("got %s\nwant %s", notes, want)
				}
			})
		}
	}
}

// A crank goes on with so many stored calls, and the rest is left to the next ones.
func TestMoreStoredMessagesThanACrankMakesKeepTheirOrder(t *testing.T) {
	k := launch(t, NewOrderly)
	for _, s := range [][]string{{"lab", "store", `600`}, {"b", "openBoth"}} {
		k.Send(s[0], s[1], s[2:]...)
		k.Run()
	}
	want(t, k, fmt.Sprintf(`["%s"]`, strings.Join(append(many("stored", 600), "late"), `","`)), "b", "notes")
}

// Calls of Done for one reference share a watch.
func TestOneWatchForEachReference(t *testing.T) {
	v := startedOn(t, NewOrderly, testStore{})
	v.Deliver(wire.Deliver{Number: 2, Delivery: message(t, "p-1", "make", "p")}) // the vat is not at rest
	bootstrap := wire.Message{MethArgs: wire.CapData{Body: `#["bootstrap",[{"b":"$0"}]]`, Slots: []wire.Ref{"o-1"}}, Result: "p-2"}
	v.Deliver(wire.Deliver{Number: 3, Delivery: wire.Call{Target: wire.RootRef, Message: bootstrap}})
	for n, watches := range []int{1, 0} {
		done := v.Deliver(wire.Deliver{Number: uint64(4 + n), Delivery: message(t, wire.Ref(fmt.Sprint("p-", 3+n)), "ends")})
		got := 0
		for _, s := range done.Syscalls {
			if _, ok := s.(wire.Watch); ok {
				got++
			}
		}
		if got != watches {
			t.Errorf("call %d makes %d watches, want %d: %+v", n, got, watches, done.Syscalls)
		}
	}
}

func (h *Helper) OpenB(ctx context.Context) error { return h.Open(ctx, "g", h) }

// OpenBoth opens the gates of Store in one crank.
func (h *Helper) OpenBoth(ctx context.Context) error {
	if err := h.Open(ctx, "a", "x"); err != nil {
		return err
	}
	return h.Open(ctx, "b", "late")
}
