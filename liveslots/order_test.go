package liveslots_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
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

// FollowOne lets the promise follow another one.
func (o *Orderly) FollowOne(ctx context.Context, name, other string) {
	o.resolvers[name].Resolve(ctx, o.promises[other])
}

// FollowStored lets the promise follow the result of a continuation.
func (o *Orderly) FollowStored(ctx context.Context, name, gate string) {
	o.promises[gate] = vat.When(ctx, vat.Send(ctx, o.B, "gate", gate), o, "Which")
	o.resolvers[name].Resolve(ctx, o.promises[gate])
}

// MakeOwn makes a promise that is the answer to a message of this vat to itself, and follows what Give resolves.
func (o *Orderly) MakeOwn(ctx context.Context, name, given string) {
	_ = o.Make(ctx, given)
	o.promises[name] = vat.Send(ctx, o, "give", given)
}

func (o *Orderly) Give(given string) vat.Promise { return o.promises[given] }

// Name makes the promise known to b.
func (o *Orderly) Name(ctx context.Context, name string) {
	vat.Send(ctx, o.B, "keep", o.promises[name])
}

// Chain sends lines to a promise that follows the result of a continuation, and to others that follow it, and has Late
// called with each of them once gate b is open. The vat is at rest then.
func (o *Orderly) Chain(ctx context.Context, names []string) {
	stored := vat.When(ctx, vat.Send(ctx, o.B, "gate", "a"), o, "Which")
	p, pr := vat.NewPromise(ctx)
	q, qr := vat.NewPromise(ctx)
	all := map[string]vat.Promise{"p": p, "q": q, "stored": stored}
	qr.Resolve(ctx, p)
	gate := vat.Send(ctx, o.B, "gate", "b")
	sent, late := map[string]int{}, map[string]int{}
	line := func(n map[string]int, name string) string { n[name]++; return fmt.Sprintf("%s %d", name, n[name]-1) }
	for _, step := range names {
		late[step]++ // calls of Late come behind all others
	}
	for _, step := range names {
		what, name, _ := strings.Cut(step, " ")
		switch what {
		case "follow":
			pr.Resolve(ctx, stored)
		case "late":
			vat.Send(ctx, o, "lateLine", all[name], line(late, name), gate)
		case "name":
			vat.Send(ctx, o.B, "keep", all[name])
		default:
			o.note(ctx, all[what], line(sent, what))
		}
	}
}

// SendLate has a line sent to the promise by the method of a call that waits for a gate.
func (o *Orderly) SendLate(ctx context.Context, name, gate, line string) {
	vat.Send(ctx, o, "lateLine", o.promises[name], line, vat.Send(ctx, o.B, "gate", gate))
}

// LateLine sends a line to a promise.
func (o *Orderly) LateLine(ctx context.Context, p vat.Promise, line, _ string) { o.note(ctx, p, line) }

// Take sends a line to a promise that comes back from another vat.
func (o *Orderly) Take(ctx context.Context, p vat.Promise) { o.note(ctx, p, "p 2") }

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

// A promise that follows another can be sent to by the names of both, and by names that they get later. What is sent to the
// one promise comes in its order nevertheless. Each step is a method with its arguments; "send p" sends the next number.
func TestSendsToPromisesThatFollowOthersKeepTheirOrder(t *testing.T) {
	for _, c := range []struct{ name, steps string }{
		{"it follows one that comes to follow the result of a continuation", "make p; make q; send q; followOne p q; send p; followStored q g; send p; b.open g x; send p"},
		{"it follows one that comes to follow one of memory", "make p; make q; make r; send q; followOne p q; send p; followOne q r; send p; resolve r; send p"},
		{"it follows one that comes to follow one of another vat", "make p; make q; send q; followOne p q; send p; follow q g; send p; name p; send p; b.openB; send p"},
		{"it follows one of another vat", "make p; make q; followOne p q; follow q g; send p; name p; send p; send q; name q; send q; b.openB; send p; send q"},
		{"those in between get names later", "make p; make q; make r; followOne p q; followOne q r; send p; send q; name q; send p; send q; send r; name p; send p; send q; send r; resolve r; send p; send q"},
		{"the followers have names before", "make p; make q; name p; send p; followOne p q; send p; send q; name q; send p; send q; resolve q; send p; send q"},
		{"it gets its name before the one that it follows", "make p; make q; make r; followOne p q; name p; send p; send q; name q; send q; send p; followOne q r; send q; send p; send r; name r; send r; send q; send p; resolve r"},
		{"it follows the answer to an own message", "make p; make q; makeOwn r s; followOne p q; followOne q r; send p; send r; name p; send p; send q; resolve s; send p; send q; send r"},
		{"a chain that grows at its end", "make p; make q; make r; make s; send p; followOne p q; send p; send q; followOne q r; send p; send q; send r; followOne r s; send p; send q; send r; resolve s; send p"},
		{"a chain that grows at its beginning", "make p; make q; make r; make s; followOne r s; send r; name r; followOne q r; send q; send r; followOne p q; send p; send q; name p; send p; resolve s; send p"},
		{"a crank without room", "make big; note big never; make p; make q; make r; send q; followOne p q; send p; send q; followOne q r; send p; resolveLate big r; send p; send q; send r"},
		{"a call that waits while it comes to follow another", "make p; make q; send p; sendLate p g; followOne p q; b.open g x; send p; resolve q; send p"},
		{"a call that waits while it follows another", "make p; make q; send p; followOne p q; sendLate p g; b.open g x; send p; resolve q; send p"},
		{"a call that waits while it follows another without a name", "make p; make q; make r; followOne p q; name r; followOne r q; send p; sendLate p g; name q; b.open g x; send p; resolve q; send p"},
		{"a call that waits while it gets a name", "make p; make q; make r; followOne p q; followOne q r; send p; sendLate p g; name q; name p; b.open g x; send p; resolve r; send p"},
		{"a call that waits while another comes to follow the same", "make p; make q; make r; send r; followOne p q; send p; sendLate p g; followOne r q; b.open g x; send p; send r; resolve q; send p"},
		{"a call that waits for the result of a continuation", "make p; make q; send q; followOne p q; send p; followStored q g; sendLate p h; b.open h x; send p; sendLate p i; sendLate q j; b.open j x; send q; b.open i x; send p; b.open g x; send p"},
		{"a call that waits, and the answer to an own message", "make p; makeOwn r s; followOne p r; send p; sendLate p g; name p; b.open g x; send p; resolve s; send p"},
		{"a call that waits for a promise of another vat", "make p; make q; followOne p q; follow q g; send p; name p; sendLate p h; send q; sendLate q i; b.open i x; send q; b.open h x; send p; b.openB; send p"},
		{"a turn that waits for it", "make p; make q; make r; then p; send q; followOne p q; send p; followOne q r; send r; send q; send p; resolve r"},
	} {
		for _, m := range modes[:2] {
			t.Run(c.name+" "+m.name, func(t *testing.T) {
				k := m.launch(t, NewOrderly)
				sent := map[string]int{}
				for _, step := range strings.Split(c.steps, "; ") {
					words := strings.Fields(step)
					target, method, other := strings.Cut(words[0], ".")
					if !other {
						target, method = "lab", words[0]
					}
					args := []string{}
					for _, w := range words[1:] {
						args = append(args, fmt.Sprintf("%q", w))
					}
					switch method {
					case "send":
						method, args = "note", append(args, fmt.Sprintf(`["%s %d"]`, words[1], sent[words[1]]))
						sent[words[1]]++
					case "sendLate":
						args = append(args, fmt.Sprintf(`"%s %d"`, words[1], sent[words[1]]))
						sent[words[1]]++
					case "then":
						args = append(args, fmt.Sprintf(`["%s after %d"]`, words[1], strings.Count(c.steps, "send "+words[1])))
					case "note":
						args[1] = "[" + args[1] + "]"
					}
					m.call(k, target, method, args...)
				}
				wantInOrder(t, k)
			})
		}
	}
}

// wantInOrder checks that the notes to each promise have come in their order.
func wantInOrder(t *testing.T, k *vattest.Kernel) {
	t.Helper()
	text, err := k.Call("b", "notes")
	if err != nil {
		t.Fatal(err)
	}
	var notes, all []string
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if n != "direct" {
			notes = append(notes, n)
		}
	}
	if bad := misordered(notes); bad != "" || len(notes) == 0 {
		t.Errorf("%s\n%q", bad, notes)
	}
}

// What is sent to a promise by the method of a call that waited in the store comes behind what was sent before the vat was at
// rest.
func TestSendsAcrossRestKeepTheirOrder(t *testing.T) {
	for _, chain := range []string{
		`"stored","late stored"`,
		`"p","follow","late p"`,
		`"p","follow","p","late q","q"`,
		`"p","follow","q","stored","p","late q"`,
		`"stored","follow","q","stored","p","name q","late q","q","p"`,
		`"late q","follow","q","p","stored","name q","q"`,
		`"stored","p","follow","stored","q","p","late q","late p","late stored"`,
		`"name q","q","p","name p","follow","stored","name stored","p","stored","late p"`,
		`"name q","q","p","name p","q","p","follow","stored","p","q","late q"`,
	} {
		for _, open := range []string{"openBoth", "openLateFirst", "openLate"} {
			for _, m := range modes {
				t.Run(chain+" "+open+" "+m.name, func(t *testing.T) {
					k := m.launch(t, NewOrderly)
					m.call(k, "lab", "chain", "["+chain+"]")
					wantQuiescent(t, k, "lab")
					m.call(k, "b", open)
					if open == "openLate" {
						m.call(k, "b", "open", `"a"`, `"x"`)
					}
					wantInOrder(t, k)
				})
			}
		}
	}
}

// A promise that another vat passes back is the same promise: also when the vat was at rest meanwhile, and when a stored call
// mentions it.
func TestSendsToAPromiseThatComesBackKeepTheirOrder(t *testing.T) {
	for _, chain := range []string{
		`"p","name p","follow","stored","name stored","late p"`,
		`"name p","p","late p","follow","stored","name q","name p"`,
		`"name stored","follow","p","name p","late p"`,
	} {
		for _, m := range modes {
			t.Run(chain+" "+m.name, func(t *testing.T) {
				k := m.launch(t, NewOrderly)
				m.call(k, "lab", "chain", "["+chain+"]")
				wantQuiescent(t, k, "lab")
				m.call(k, "b", "openLate")
				m.call(k, "b", "passBack", `{"$ref":"`+k.Root("lab")+`"}`)
				m.call(k, "b", "open", `"a"`, `"x"`)
				wantInOrder(t, k)
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

// OpenLate opens the second of them.
func (h *Helper) OpenLate(ctx context.Context) error { return h.Open(ctx, "b", "late") }

// OpenLateFirst opens them in the other order.
func (h *Helper) OpenLateFirst(ctx context.Context) error {
	if err := h.Open(ctx, "b", "late"); err != nil {
		return err
	}
	return h.Open(ctx, "a", "x")
}
