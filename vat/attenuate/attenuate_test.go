package attenuate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/attenuate"
	"ocapkernel.dev/vat/vattest"
)

// Box is the target of the attenuators: an object of the vat that makes the attenuators, or the root of another
// vat.
type Box struct {
	vat.Durable
	Value int
	Log   []string

	open vat.Resolver `vat:"-"`
}

func NewBox() *Box { return &Box{} }

func (b *Box) Get() int                  { return b.Value }
func (b *Box) Put(n int)                 { b.Value = n }
func (b *Box) Fail(text string) error    { return errors.New(text) }
func (b *Box) Echo(x any) any            { return x }
func (b *Box) Self() *Box                { return b }
func (b *Box) Note(text string)          { b.Log = append(b.Log, text) }
func (b *Box) Notes() string             { return strings.Join(b.Log, " ") }
func (b *Box) Forward() string           { return "the target's own forward" }
func (b *Box) Type(p vat.Promise) string { return fmt.Sprintf("%T", p) }
func (b *Box) Bootstrap(map[string]any)  {}
func (b *Box) Open(ctx context.Context)  { b.open.Resolve(ctx, 7) }
func (b *Box) Is(x vat.Ref, y *Box) bool { return !x.IsZero() && y == b }
func (b *Box) Later(ctx context.Context) vat.Promise {
	p, r := vat.NewPromise(ctx)
	b.open = r
	return p
}

// Owner makes attenuators of a box of its own, and of one in another vat.
type Owner struct {
	vat.Durable
	Box     *Box
	Foreign vat.Ref
}

func NewOwner() *Owner { return &Owner{Box: &Box{}} }

func (o *Owner) Bootstrap(vats map[string]vat.Ref) { o.Foreign = vats["box"] }

func (o *Owner) target(which string) any {
	switch which {
	case "own":
		return o.Box
	case "nil":
		return (*Box)(nil)
	case "none":
		return nil
	case "zero":
		return vat.Ref{}
	}
	return o.Foreign
}

func (o *Owner) Caretaker(ctx context.Context, which string) []any {
	f, gate := attenuate.Caretaker(ctx, o.target(which))
	return []any{f, gate}
}

func (o *Owner) ReadOnly(ctx context.Context, which string, methods []string) *attenuate.Forwarder {
	return attenuate.ReadOnly(ctx, o.target(which), methods...)
}

func (o *Owner) Times(ctx context.Context, which string, n int) *attenuate.Forwarder {
	return attenuate.Times(ctx, o.target(which), n)
}

func (o *Owner) Until(ctx context.Context, which string, ms int) *attenuate.Forwarder {
	return attenuate.Until(ctx, o.target(which), vat.Now(ctx).Add(time.Duration(ms)*time.Millisecond))
}

// Both lets the methods through n times, and can be revoked.
func (o *Owner) Both(ctx context.Context, which string, n int, methods []string) []any {
	inner, gate := attenuate.Caretaker(ctx, o.target(which))
	return []any{attenuate.ReadOnly(ctx, attenuate.Times(ctx, inner, n), methods...), gate}
}

func (o *Owner) BoxOf() *Box { return o.Box }

// Client is another vat, which has a reference and nothing more.
type Client struct {
	vat.Durable
	Box vat.Ref
}

func NewClient() *Client { return &Client{} }

func (c *Client) Bootstrap(vats map[string]vat.Ref) {}
func (c *Client) Meet(box vat.Ref)                  { c.Box = box }

// Try returns the outcome of a call.
func (c *Client) Try(ctx context.Context, target vat.Ref, method string) string {
	n, err := vat.Call[int](ctx, target, method)
	return fmt.Sprintf("%d %v, revoked: %t", n, err, errors.Is(err, vat.ErrRevoked))
}

// Pipeline sends to an answer that the target has not given yet.
func (c *Client) Pipeline(ctx context.Context, target vat.Ref) vat.Promise {
	self := vat.Send(ctx, target, "self")
	vat.Send(ctx, self, "put", 5)
	return vat.Send(ctx, self, "get")
}

// Order sends many messages at once, and does not wait for their answers.
func (c *Client) Order(ctx context.Context, target vat.Ref, n int) vat.Promise {
	for i := range n {
		vat.Send(ctx, target, "note", fmt.Sprint(i))
	}
	return vat.Send(ctx, target, "notes")
}

// Promised sends a promise that box opens, and returns the outcome of the message.
func (c *Client) Promised(ctx context.Context, target vat.Ref, method string) vat.Promise {
	return vat.Send(ctx, target, method, vat.Send(ctx, c.Box, "later"))
}

// world is an owner, a box in another vat, and a client, in one of the ways in which a vat can die.
type world struct {
	*vattest.Kernel
	t    *testing.T
	each func()
}

func eachWay(t *testing.T, test func(t *testing.T, w *world, which string)) {
	t.Helper()
	for _, way := range []string{"alive", "killed", "restarted"} {
		for _, which := range []string{"own", "foreign"} {
			t.Run(way+" "+which, func(t *testing.T) { test(t, newWorld(t, way), which) })
		}
	}
}

func newWorld(t *testing.T, way string) *world {
	t.Helper()
	k := vattest.New(t, vat.Modules{"owner": vat.Module(NewOwner, (*attenuate.Gate)(nil)), "box": NewBox, "client": NewClient})
	k.KillAlways = way == "killed"
	err := k.Launch("owner", vattest.Vat{Name: "owner", Module: "owner"}, vattest.Vat{Name: "box", Module: "box"}, vattest.Vat{Name: "client", Module: "client"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Kernel: k, t: t}
	if way == "restarted" {
		w.each = func() { k.Restart("owner") }
	}
	w.want(`{"$undefined":true}`, "client", "meet", ref(k.Root("box")))
	return w
}

func ref(k string) string { return fmt.Sprintf(`{"$ref":%q}`, k) }

// send sends a message and runs, with the owner losing its memory after each crank if it is to.
func (w *world) send(target, method string, args ...string) *vattest.Answer {
	w.t.Helper()
	a := w.Send(target, method, args...)
	for w.Step() {
		if w.each != nil {
			w.each()
		}
	}
	if n, parked := w.Records("owner"), w.Parked("owner"); n != 0 || parked != 0 {
		w.t.Errorf("after %s: the owner is not at rest: %d deliveries would be replayed, %d turns wait", method, n, parked)
	}
	return a
}

func text(a *vattest.Answer) string {
	got, err := a.Result()
	if err != nil {
		return "error: " + err.Error()
	}
	return got
}

// want sends a message and compares the answer, or the rejection as "error: …".
func (w *world) want(want, target, method string, args ...string) {
	w.t.Helper()
	if got := text(w.send(target, method, args...)); got != want {
		w.t.Errorf("%s.%s%v\n got %s\nwant %s", target, method, args, got, want)
	}
}

// refs returns the references in an answer.
func (w *world) refs(target, method string, args ...string) []string {
	w.t.Helper()
	got := text(w.send(target, method, args...))
	var refs []string
	for i, part := range strings.Split(got, `"`) {
		if strings.HasPrefix(part, "ko") && i%2 == 1 {
			refs = append(refs, part)
		}
	}
	if len(refs) == 0 {
		w.t.Fatalf("%s.%s%v: got %s", target, method, args, got)
	}
	return refs
}

// wantTargets checks how many attenuators the owner has that still hold their targets.
func (w *world) wantTargets(want int) {
	w.t.Helper()
	got := 0
	for line := range strings.Lines(w.Store("owner")) {
		if strings.HasPrefix(line, "o.o+d") && strings.Contains(line, `\"rule\":`) && strings.Contains(line, `\"target\":`) {
			got++
		}
	}
	if got != want {
		w.t.Errorf("%d attenuators hold their targets, want %d:\n%s", got, want, w.Store("owner"))
	}
}

const done = `{"$undefined":true}`

func TestCaretaker(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		made := w.refs("owner", "caretaker", `"`+which+`"`)
		f, gate := made[0], made[1]
		w.wantTargets(1)
		w.want(done, f, "put", "3")
		w.want("3", f, "get")
		w.want("error: because", f, "fail", `"because"`)
		w.want(`"the target's own forward"`, f, "forward")
		w.want(`error: attenuate.Gate has no method "get"; it has revoke`, gate, "get")
		later := w.send("client", "promised", ref(f), `"put"`)
		w.want(done, gate, "revoke")
		w.want(done, gate, "revoke")
		for range 2 {
			w.want(`error: [KERNEL:REVOKED] "get" was refused by Caretaker of vat "owner": it was revoked`, f, "get")
		}
		w.want(`"0 [KERNEL:REVOKED] \"get\" was refused by Caretaker of vat \"owner\": it was revoked, revoked: true"`, "client", "try", ref(f), `"get"`)
		// A forwarded message goes on.
		w.want(done, "box", "open")
		if got := text(later); got != done {
			t.Errorf("the message from before: got %s", got)
		}
		w.wantTargets(0)
	})
}

func TestReadOnly(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "readOnly", `"`+which+`"`, `["get","echo"]`)[0]
		w.want("0", f, "get")
		w.want(`{"a":["x",null]}`, f, "echo", `{"a":["x",null]}`)
		refused := `"put" was refused by ReadOnly of vat "owner": it forwards get, echo only`
		w.want("error: "+refused, f, "put", "1")
		w.want(fmt.Sprintf("%q", "0 "+refused+", revoked: false"), "client", "try", ref(f), `"put"`)
		w.want(`error: "Get" was refused by ReadOnly of vat "owner": it forwards get, echo only`, f, "Get")
		long := strings.Repeat("x", 100)
		w.want(`error: "`+long+`" was refused by ReadOnly of vat "owner": it forwards get, echo only`, f, long+"yyyyyy")
		w.want("0", f, "get")
		none := w.refs("owner", "readOnly", `"`+which+`"`, `[]`)[0]
		w.want(`error: "get" was refused by ReadOnly of vat "owner": it forwards nothing`, none, "get")
	})
}

func TestTimes(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "times", `"`+which+`"`, "3")[0]
		w.want("0", f, "get")
		w.want("error: because", f, "fail", `"because"`)
		w.wantTargets(1)
		w.want("0", f, "get")
		w.wantTargets(0)
		for range 2 {
			w.want(`error: [KERNEL:REVOKED] "get" was refused by Times(3) of vat "owner": it has forwarded all that it may`, f, "get")
		}
		for _, n := range []string{"0", "-1"} {
			never := w.refs("owner", "times", `"`+which+`"`, n)[0]
			w.want(`error: [KERNEL:REVOKED] "get" was refused by Times(0) of vat "owner": it has forwarded all that it may`, never, "get")
		}
	})
}

// Of any number of messages at once, and through any deaths, n get through and no more.
func TestTimesCountsInABurst(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		w.OnComplaint = func(vat, text string) { // of ten notes six are refused, and their results are not used
			if vat != "client" || text != "note was rejected, and nothing uses the answer" {
				t.Errorf("vat %s: %s", vat, text)
			}
		}
		f := w.refs("owner", "times", `"`+which+`"`, "4")[0]
		w.want(`error: [KERNEL:REVOKED] "notes" was refused by Times(4) of vat "owner": it has forwarded all that it may`, "client", "order", ref(f), "10")
		box := w.Root("box")
		if which == "own" {
			box = w.refs("owner", "boxOf")[0]
		}
		w.want(`"0 1 2 3"`, box, "notes")
	})
}

// The clock of vattest goes on by a millisecond each crank.
func TestUntil(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "until", `"`+which+`"`, "20")[0]
		forwarded := 0
		for text(w.send(f, "get")) == "0" {
			if forwarded++; forwarded > 20 {
				t.Fatal("it does not end")
			}
		}
		if forwarded < 3 {
			t.Errorf("it forwarded %d messages", forwarded)
		}
		w.wantTargets(0)
		for range 2 {
			if got, want := text(w.send(f, "get")), `error: [KERNEL:REVOKED] "get" was refused by Until of vat "owner": its time ended at 2023-11-14T`; !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want %s…", got, want)
			}
		}
	})
}

func TestAttenuatorsCombine(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "both", `"`+which+`"`, "2", `["get"]`)[0]
		w.want("0", f, "get")
		w.want(`error: "put" was refused by ReadOnly of vat "owner": it forwards get only`, f, "put", "1")
		w.want("0", f, "get")
		w.want(`error: [KERNEL:REVOKED] "get" was refused by Times(2) of vat "owner": it has forwarded all that it may`, f, "get")
		made := w.refs("owner", "both", `"`+which+`"`, "2", `["get"]`)
		w.want(done, made[1], "revoke")
		w.want(`error: [KERNEL:REVOKED] "get" was refused by Caretaker of vat "owner": it was revoked`, made[0], "get")
	})
}

// A target can come from a message, and be nothing.
func TestAttenuatorOfNothing(t *testing.T) {
	for _, which := range []string{"nil", "none", "zero"} {
		w := newWorld(t, "alive")
		f := w.refs("owner", "caretaker", `"`+which+`"`)[0]
		for range 2 {
			w.want(`error: [KERNEL:REVOKED] "get" was refused by Caretaker of vat "owner": it was made without a target`, f, "get")
		}
	}
}

func TestMessagesToAnswersTravelOn(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "times", `"`+which+`"`, "1")[0]
		w.want("5", "client", "pipeline", ref(f))
	})
}

func TestOrderIsKept(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "caretaker", `"`+which+`"`)[0]
		w.want(`"0 1 2 3 4 5 6 7 8 9"`, "client", "order", ref(f), "10")
	})
}

// An argument is not awaited on its way: it gets to the target as a promise, which the target awaits.
func TestPromisesAreForwarded(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world, which string) {
		f := w.refs("owner", "caretaker", `"`+which+`"`)[0]
		w.want(`"vat.Promise"`, "client", "promised", ref(f), `"type"`)
		a := w.send("client", "promised", ref(f), `"put"`)
		if a.Done() {
			t.Fatalf("got %s before the argument is there", text(a))
		}
		w.want(done, "box", "open")
		if got := text(a); got != done {
			t.Errorf("got %s", got)
		}
		w.want("7", f, "get")
	})
}

// References to objects of the attenuator's vat, and to others, arrive as the same references.
func TestReferencesAreForwarded(t *testing.T) {
	w := newWorld(t, "killed")
	f := w.refs("owner", "caretaker", `"own"`)[0]
	box := w.refs("owner", "boxOf")[0]
	w.want("true", f, "is", ref(w.Root("box")), ref(box))
	w.want("true", f, "is", ref(f), ref(box))
	w.want(`error: attenuate_test.Box.is: argument 2: want *attenuate_test.Box, got a *attenuate.Forwarder; it takes is(vat.Ref, *attenuate_test.Box)`, f, "is", ref(box), ref(f))
	w.want(ref(w.Root("box")), f, "echo", ref(w.Root("box")))
}
