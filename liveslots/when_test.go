package liveslots_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "ocapkernel.dev/liveslots/internal/v1/shop"
	v2 "ocapkernel.dev/liveslots/internal/v2/shop"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// Watcher uses When in every way there is.
type Watcher struct {
	vat.Durable
	B, C vat.Ref
	Log  []string

	resolver vat.Resolver `vat:"-"`
}

func NewWatcher() *Watcher { return &Watcher{} }

func (w *Watcher) Bootstrap(vats map[string]vat.Ref) { w.B, w.C = vats["b"], vats["c"] }

func (w *Watcher) note(format string, args ...any) {
	w.Log = append(w.Log, fmt.Sprintf(format, args...))
}

func (w *Watcher) GetLog() []string { return w.Log }

// On is called with either outcome, Value with a value only.
func (w *Watcher) On(ctx context.Context, x vat.Outcome[string], tag string) (string, error) {
	if x.Err != nil {
		w.note("%s failed: %v", tag, x.Err)
		return "", fmt.Errorf("%s: %w", tag, x.Err)
	}
	w.note("%s: %s", tag, x.Value)
	return tag + "!" + x.Value, nil
}

func (w *Watcher) Value(x, tag string) string {
	w.note("%s= %s", tag, x)
	return tag + "=" + x
}

func (w *Watcher) gate(ctx context.Context, name string) vat.Promise {
	return vat.Send(ctx, w.B, "gate", name)
}

// Start watches an answer that comes when the test opens the gate.
func (w *Watcher) Start(ctx context.Context, name string) {
	vat.When(ctx, w.gate(ctx, name), w, "On", name)
}

func (w *Watcher) Result(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "On", name)
}

func (w *Watcher) ResultOfValue(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "value", name)
}

// Chain: the result of one is watched by the next.
func (w *Watcher) Chain(ctx context.Context, name string) vat.Promise {
	p := w.gate(ctx, name)
	for _, tag := range []string{"x", "y", "z"} {
		p = vat.When(ctx, p, w, "On", tag)
	}
	return p
}

// Nest: the method returns another When's result.
func (w *Watcher) Nest(ctx context.Context, name string, depth int) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "OnNest", name, depth)
}

func (w *Watcher) OnNest(ctx context.Context, x vat.Outcome[string], name string, depth int) (vat.Promise, error) {
	w.note("%s %d: %s", name, depth, x.Value)
	if depth == 0 {
		p, r := vat.NewPromise(ctx)
		r.Resolve(ctx, "end "+x.Value)
		return p, x.Err
	}
	return w.Nest(ctx, name, depth-1), nil
}

// Forward: the method returns another vat's promise.
func (w *Watcher) Forward(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "OnForward")
}

func (w *Watcher) OnForward(ctx context.Context, x vat.Outcome[string]) vat.Promise {
	return vat.Send(ctx, w.C, "echo", "forwarded "+x.Value)
}

// Awaits: the method is a turn that awaits in turn.
func (w *Watcher) Awaits(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "OnAwait", name)
}

func (w *Watcher) OnAwait(ctx context.Context, x vat.Outcome[string], tag string) (string, error) {
	sum := ""
	for i := range 3 {
		s, err := vat.Call[string](ctx, w.C, "echo", fmt.Sprint(x.Value, i))
		if err != nil {
			w.note("%s lost: %v", tag, err)
			return "", err
		}
		sum += s
	}
	w.note("%s: %s", tag, sum)
	return sum, nil
}

// Argument passes the result of a When to others, and to itself.
func (w *Watcher) Argument(ctx context.Context, name string) vat.Promise {
	p := vat.When(ctx, w.gate(ctx, name), w, "On", name)
	vat.Send(ctx, w.B, "note", p)
	return vat.Send(ctx, w, "value", p, "self")
}

// Both awaits the result of a When, and a promise that is watched too.
func (w *Watcher) Both(ctx context.Context, name string) (string, error) {
	g := w.gate(ctx, name)
	p := vat.When(ctx, g, w, "On", name)
	a, err := vat.Await[string](ctx, p)
	if err != nil {
		return "", err
	}
	b, err := vat.Await[string](ctx, g)
	return a + " " + b, err
}

// Settled watches a promise that is settled already.
func (w *Watcher) Settled(ctx context.Context, fail bool) vat.Promise {
	p, r := vat.NewPromise(ctx)
	if fail {
		r.Reject(ctx, errors.New("never"))
	} else {
		r.Resolve(ctx, "at once")
	}
	return vat.When(ctx, p, w, "On", "settled")
}

// Local watches a promise that memory decides; Decide settles it.
func (w *Watcher) Local(ctx context.Context) vat.Promise {
	p, r := vat.NewPromise(ctx)
	w.resolver = r
	return vat.When(ctx, p, w, "On", "local")
}

func (w *Watcher) Decide(ctx context.Context, x string) { w.resolver.Resolve(ctx, x) }

// DecideLater makes the local promise follow another vat's.
func (w *Watcher) DecideLater(ctx context.Context, name string) {
	w.resolver.Resolve(ctx, w.gate(ctx, name))
}

// Named watches a promise that memory decides and others know.
func (w *Watcher) Named(ctx context.Context) {
	p, r := vat.NewPromise(ctx)
	w.resolver = r
	vat.Send(ctx, w.B, "note", p)
	vat.When(ctx, p, w, "On", "named")
}

// Mine watches a promise of a message to itself.
func (w *Watcher) Mine(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, w, "result", name), w, "On", "mine")
}

func (w *Watcher) Order(ctx context.Context, name string) {
	g := w.gate(ctx, name)
	for i := range 12 {
		vat.When(ctx, g, w, "On", fmt.Sprint(i))
	}
}

// Items watches with an object other than the root, which is new.
func (w *Watcher) Items(ctx context.Context, name string) vat.Promise {
	it := &Item{Name: "it", Next: &Item{Name: "next"}}
	return vat.When(ctx, w.gate(ctx, name), it, "GotRef", w.C, it.Next)
}

func (i *Item) GotRef(ctx context.Context, x vat.Outcome[string], c vat.Ref, next *Item) (string, error) {
	i.Next = next
	s, err := vat.Call[string](ctx, c, "echo", x.Value)
	return i.Name + next.Name + s, err
}

// NewWeak makes the types known that it mentions.
func (w *Watcher) NewWeak(*Item) *Weak { return nil }

func (w *Watcher) Number(x int) int { return x }

func (w *Watcher) WrongType(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "number")
}

func (w *Watcher) OnNumber(x vat.Outcome[int]) string { return fmt.Sprint(x.Value, x.Err) }

func (w *Watcher) WrongOutcome(ctx context.Context, name string) vat.Promise {
	return vat.When(ctx, w.gate(ctx, name), w, "onNumber")
}

func (w *Watcher) Refused(ctx context.Context) string {
	p, _ := vat.NewPromise(ctx)
	var errs []error
	for _, q := range []vat.Promise{
		vat.When(ctx, vat.Promise{}, w, "On", "x"),
		vat.When(ctx, p, w, "Nothing"),
		vat.When(ctx, p, w, "On"),
		vat.When(ctx, p, w, "On", 3),
		vat.When(ctx, p, w, "On", p),
		vat.When(ctx, p, w, "On", &Weak{}),
		vat.When(ctx, p, &Weak{}, "hit"),
		vat.When(ctx, p, 3, "Hit"),
	} {
		_, err := vat.Await[vat.None](ctx, q)
		errs = append(errs, err)
	}
	return errors.Join(errs...).Error()
}

// at runs a scenario, and kills or restarts the lab after each of its deliveries in turn.
type mode struct {
	name string
	each func(k *vattest.Kernel)
	set  func(k *vattest.Kernel)
}

var modes = []mode{
	{name: "alive"},
	{name: "killed", set: func(k *vattest.Kernel) { k.KillAlways = true }},
	{name: "forgetful", each: func(k *vattest.Kernel) { k.Restart("lab") }},
}

func (m mode) launch(t *testing.T, lab any) *vattest.Kernel {
	k := launch(t, lab)
	if m.set != nil {
		m.set(k)
	}
	return k
}

func (m mode) run(k *vattest.Kernel) {
	for k.Step() {
		if m.each != nil {
			m.each(k)
		}
	}
}

func (m mode) call(k *vattest.Kernel, target, method string, args ...string) *vattest.Answer {
	a := k.Send(target, method, args...)
	m.run(k)
	return a
}

// wantQuiescent checks that nothing of a vat lives in its memory only.
func wantQuiescent(t *testing.T, k *vattest.Kernel, name string) {
	t.Helper()
	if n, parked := k.Records(name), k.Parked(name); n != 0 || parked != 0 {
		t.Errorf("vat %s: %d deliveries would be replayed, %d turns wait; want it at rest", name, n, parked)
	}
}

func TestWhen(t *testing.T) {
	for _, c := range []struct {
		method, want, rejected string
		args                   []string
		log, rejectedLog       string
	}{
		{method: "result", want: `"g!v"`, rejected: "error: g: no", log: `["g: v"]`, rejectedLog: `["g failed: no"]`},
		{method: "resultOfValue", want: `"g=v"`, rejected: "error: no", log: `["g= v"]`, rejectedLog: `[]`},
		{
			method: "chain", want: `"z!y!x!v"`, rejected: "error: z: y: x: no",
			log: `["x: v","y: x!v","z: y!x!v"]`, rejectedLog: `["x failed: no","y failed: x: no","z failed: y: x: no"]`,
		},
		{method: "forward", want: `"forwarded v"`, rejected: `"forwarded "`, log: `[]`, rejectedLog: `[]`},
		{method: "argument", want: `"self=g!v"`, rejected: "error: g: no", log: `["g: v","self= g!v"]`, rejectedLog: `["g failed: no"]`},
		{method: "mine", want: `"mine!g!v"`, rejected: "error: mine: g: no", log: `["g: v","mine: g!v"]`, rejectedLog: `["g failed: no","mine failed: g: no"]`},
		{method: "wrongType", want: `error: liveslots_test.Watcher.number: argument 1: want int, got string "v"; it takes number(int)`, rejected: "error: no", log: `[]`, rejectedLog: `[]`},
		{method: "wrongOutcome", want: `"0 want int, got string \"v\""`, rejected: `"0 no"`, log: `[]`, rejectedLog: `[]`},
	} {
		for _, m := range modes {
			for _, reject := range []bool{false, true} {
				t.Run(fmt.Sprint(c.method, " ", m.name, " ", reject), func(t *testing.T) {
					k := m.launch(t, NewWatcher)
					a := m.call(k, "lab", c.method, `"g"`)
					if a.Done() {
						t.Fatal(result(a.Result()))
					}
					wantQuiescent(t, k, "lab")
					want, log := c.want, c.log
					if reject {
						want, log = c.rejected, c.rejectedLog
						m.call(k, "b", "shut", `"g"`, `"no"`)
					} else {
						m.call(k, "b", "open", `"g"`, `"v"`)
					}
					if got := result(a.Result()); got != want {
						t.Errorf("got  %s\nwant %s", got, want)
					}
					if got := result(m.call(k, "lab", "getLog").Result()); got != log {
						t.Errorf("log\ngot  %s\nwant %s", got, log)
					}
					wantQuiescent(t, k, "lab")
					wantNothingStored(t, k, "lab")
				})
			}
		}
	}
}

// wantNothingStored checks that no call is left in the store, nor anything that belonged to one.
func wantNothingStored(t *testing.T, k *vattest.Kernel, name string) {
	t.Helper()
	for line := range strings.Lines(k.Store(name)) {
		if key, _, _ := strings.Cut(line, " "); strings.HasPrefix(key, "w.") || strings.HasPrefix(key, "p.") || strings.HasPrefix(key, "s.") {
			t.Errorf("left in the store: %s", line)
		}
	}
}

func TestWhenResultIsAnotherWhen(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			a := m.call(k, "lab", "nest", `"g"`, "3")
			for i := range 4 {
				wantQuiescent(t, k, "lab")
				m.call(k, "b", "open", `"g"`, fmt.Sprintf(`"v%d"`, i))
			}
			if got, want := result(a.Result()), `"end v3"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got, want := result(m.call(k, "lab", "getLog").Result()), `["g 3: v0","g 2: v1","g 1: v2","g 0: v3"]`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantNothingStored(t, k, "lab")
		})
	}
}

// The turn that a continuation parks is memory like any other.
func TestWhenAwaits(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			a := m.call(k, "lab", "awaits", `"g"`)
			k.Restart("lab")
			m.call(k, "b", "open", `"g"`, `"v"`)
			if got, want := result(a.Result()), `"v0v1v2"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantQuiescent(t, k, "lab")
		})
	}
	t.Run("lost", func(t *testing.T) {
		k := launch(t, NewWatcher)
		a := modes[0].call(k, "lab", "awaits", `"g"`)
		k.Send("b", "open", `"g"`, `"v"`)
		for k.Step() && k.Parked("lab") == 0 {
		}
		k.Restart("lab")
		k.Run()
		if got, want := result(a.Result()), "error: [KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		wantQuiescent(t, k, "lab")
		wantNothingStored(t, k, "lab")
	})
}

func TestAwaitBesideWhen(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			a := m.call(k, "lab", "both", `"g"`)
			if k.Records("lab") == 0 {
				t.Error("a turn waits, and the vat is at rest")
			}
			m.call(k, "b", "open", `"g"`, `"v"`)
			if got, want := result(a.Result()), `"g!v v"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantQuiescent(t, k, "lab")
			wantNothingStored(t, k, "lab")
		})
	}
	t.Run("forgetful", func(t *testing.T) { // the turn is lost, the continuation is not
		k := launch(t, NewWatcher)
		a := modes[0].call(k, "lab", "both", `"g"`)
		k.Restart("lab")
		k.Run()
		if got := result(a.Result()); !strings.Contains(got, "VAT_RESTARTED") {
			t.Errorf("got %s", got)
		}
		k.Call("b", "open", `"g"`, `"v"`)
		want(t, k, `["g: v"]`, "lab", "getLog")
		wantNothingStored(t, k, "lab")
	})
}

func TestWhenOfSettledPromise(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			if got := result(m.call(k, "lab", "settled", "false").Result()); got != `"settled!at once"` {
				t.Errorf("got %s", got)
			}
			if got := result(m.call(k, "lab", "settled", "true").Result()); got != "error: settled: never" {
				t.Errorf("got %s", got)
			}
			wantNothingStored(t, k, "lab")
		})
	}
}

// A promise that only memory will settle keeps the vat from rest, and does not keep the store's calls from
// waiting for it.
func TestWhenOfLocalPromise(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			a := m.call(k, "lab", "local")
			if k.Records("lab") == 0 {
				t.Error("the vat is at rest")
			}
			m.call(k, "lab", "decide", `"v"`)
			if got, want := result(a.Result()), `"local!v"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantQuiescent(t, k, "lab")
			wantNothingStored(t, k, "lab")
		})
		t.Run(m.name+" later", func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			a := m.call(k, "lab", "local")
			m.call(k, "lab", "decideLater", `"g"`)
			wantQuiescent(t, k, "lab") // for now the kernel tells of it
			k.Restart("lab")
			m.call(k, "b", "open", `"g"`, `"v"`)
			if got, want := result(a.Result()), `"local!v"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantQuiescent(t, k, "lab")
			wantNothingStored(t, k, "lab")
		})
	}
}

// A promise of memory is rejected when memory is lost, and the store's calls get the rejection.
func TestWhenOfPromiseThatIsLost(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			m.call(k, "lab", "named")
			if k.Records("lab") == 0 {
				t.Error("the vat is at rest")
			}
			k.Restart("lab")
			m.run(k)
			if got, want := result(m.call(k, "lab", "getLog").Result()), `["named failed: [KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered"]`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			m.call(k, "lab", "named")
			m.call(k, "lab", "decide", `"v"`)
			if got := result(m.call(k, "lab", "getLog").Result()); !strings.HasSuffix(got, `,"named: v"]`) {
				t.Errorf("got %s", got)
			}
			wantQuiescent(t, k, "lab")
			wantNothingStored(t, k, "lab")
		})
	}
}

func TestWhenOrder(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			m.call(k, "lab", "order", `"g"`)
			m.call(k, "b", "open", `"g"`, `"v"`)
			want := `["0: v","1: v","2: v","3: v","4: v","5: v","6: v","7: v","8: v","9: v","10: v","11: v"]`
			if got := result(m.call(k, "lab", "getLog").Result()); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			wantNothingStored(t, k, "lab")
		})
	}
}

func TestWhenOfNewObjects(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewWatcher)
			a := m.call(k, "lab", "items", `"g"`)
			k.Restart("lab")
			m.call(k, "b", "open", `"g"`, `"v"`)
			if got, want := result(a.Result()), `"itnextv"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestWhenIsRefused(t *testing.T) {
	k := launch(t, NewWatcher)
	got := result(k.Call("lab", "refused"))
	for i, want := range []string{
		`when On: the promise is the zero Promise`,
		`when Nothing: liveslots_test.Watcher has no method \"nothing\"; it has allOfAll, allOfOwn, `,
		`when On: liveslots_test.Watcher.on: got an outcome and 0 arguments, want 2 in all: on(vat.Outcome[string], string)`,
		`when On: liveslots_test.Watcher.on: argument 1: want string, got number 3; it takes on(vat.Outcome[string], string)`,
		`when On: argument 1: a promise lives in memory and cannot be saved`,
		`when On: argument 1: liveslots_test.Weak is ephemeral and cannot be saved`,
		`when hit: liveslots_test.Weak is ephemeral: only durable objects can be called later`,
		`when Hit: int is not an object of this vat`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%d: want %s in\n%s", i, want, got)
		}
	}
}

// No vat can pretend that a promise has settled.
func TestContinuationIsNoMethodForMessages(t *testing.T) {
	k := launch(t, NewWatcher)
	got := result(k.Call("lab", "on", `"forged"`, `"x"`))
	if !strings.HasPrefix(got, `error: liveslots_test.Watcher has no method "on"; it has allOfAll, `) || strings.Contains(got, "onAwait") {
		t.Errorf("got %s", got)
	}
}

// A program that has changed meanwhile may not be able to make the call, and rejects its result.
func TestContinuationIsGone(t *testing.T) {
	for _, c := range []struct{ method, want string }{
		{"watch", `error: [KERNEL:DELIVERY_POISONED] fault: shop.Stock has no method "onGate"; it has show`},
		{"watchItem", `error: [KERNEL:DELIVERY_POISONED] fault: stored objects are of type shop.Item, which module lab does not have: name it in vat.Module, as (*shop.Item)(nil), or if it was renamed, say so where the new type embeds vat.Durable, by the tag ` + "`vat:\"formerly shop.Item\"`"},
	} {
		t.Run(c.method, func(t *testing.T) {
			k := launch(t, v1.New)
			a := k.Send("lab", c.method, `{"$ref":"`+k.Root("b")+`"}`)
			k.Run()
			wantQuiescent(t, k, "lab")
			k.Upgrade(modules(v2.New)) // which loses the gate
			k.Run()
			if got := result(a.Result()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			wantNothingStored(t, k, "lab")
		})
	}
}
