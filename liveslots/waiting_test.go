package liveslots_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Waiter takes arguments that are not there yet. It sends itself messages with the promises of gates.
type Waiter struct {
	vat.Durable
	B   vat.Ref
	Log []string
}

func NewWaiter() *Waiter { return &Waiter{} }

func (w *Waiter) Bootstrap(vats map[string]vat.Ref) { w.B = vats["b"] }
func (w *Waiter) GetLog() []string                  { return w.Log }

func (w *Waiter) Take(a, b string) string {
	w.Log = append(w.Log, a+b)
	return a + b
}

type Pair struct{ A, B string }

func (w *Waiter) TakePair(p *Pair, list []string) string { return fmt.Sprint(*p, list) }

func (w *Waiter) TakeAny(x any) string { return fmt.Sprint(x) }

// TakePromise waits for a, and gets p as it is.
func (w *Waiter) TakePromise(ctx context.Context, a string, p vat.Promise) (string, error) {
	b, err := vat.Await[string](ctx, p)
	return a + b, err
}

func (w *Waiter) gate(ctx context.Context, name string) vat.Promise {
	return vat.Send(ctx, w.B, "gate", name)
}

func (w *Waiter) Two(ctx context.Context) vat.Promise {
	return vat.Send(ctx, w, "take", w.gate(ctx, "a"), w.gate(ctx, "b"))
}

func (w *Waiter) Nested(ctx context.Context) vat.Promise {
	return vat.Send(ctx, w, "takePair", w.gate(ctx, "a"), []any{"x", w.gate(ctx, "b")})
}

func (w *Waiter) Any(ctx context.Context) vat.Promise {
	return vat.Send(ctx, w, "takeAny", w.gate(ctx, "a"))
}

func (w *Waiter) Mixed(ctx context.Context) vat.Promise {
	return vat.Send(ctx, w, "takePromise", w.gate(ctx, "a"), w.gate(ctx, "b"))
}

func (w *Waiter) Hit(ctx context.Context) vat.Promise {
	return vat.Send(ctx, &Item{Name: "i"}, "link", w.gate(ctx, "a"))
}

// Chain is of calls that wait for each other's results.
func (w *Waiter) Chain(ctx context.Context) vat.Promise {
	p := w.gate(ctx, "a")
	for i := range 4 {
		p = vat.Send(ctx, w, "take", p, fmt.Sprint(i))
	}
	return p
}

// Combined awaits nothing itself: combined promises are awaited in the store.
func (w *Waiter) Combined(ctx context.Context) vat.Promise {
	all := vat.All(ctx, w.gate(ctx, "a"), w.gate(ctx, "b"), w.gate(ctx, "a2"))
	return vat.When(ctx, all, w, "OnAll")
}

func (w *Waiter) OnAll(x vat.Outcome[[]string]) string { return fmt.Sprint(x.Value, x.Err) }

func (w *Waiter) Raced(ctx context.Context) vat.Promise {
	return vat.Race(ctx, w.gate(ctx, "never"), w.gate(ctx, "a"))
}

// SentOn sends to the result of another call's continuation.
func (w *Waiter) SentOn(ctx context.Context) vat.Promise {
	return vat.Send(ctx, vat.When(ctx, w.gate(ctx, "a"), w, "helper"), "echo", "hello")
}

// TakeItem makes Item known.
func (w *Waiter) TakeItem(*Item) {}

func (w *Waiter) Helper(x string) vat.Ref { return w.B }

func TestCallsWaitInTheStore(t *testing.T) {
	for _, c := range []struct {
		method string
		open   []string // gate and value, in order
		want   string
	}{
		{"two", []string{"a", `"1"`, "b", `"2"`}, `"12"`},
		{"two", []string{"b", `"2"`, "a", `"1"`}, `"12"`},
		{"two", []string{"b", `"2"`, "a", `!no`}, `error: no`},
		{"two", []string{"b", `!never`, "a", `"1"`}, `error: never`},
		{"two", []string{"b", `2`, "a", `"1"`}, `error: liveslots_test.Waiter.take: argument 2: want string, got number 2; it takes take(string, string)`},
		{"nested", []string{"b", `"2"`, "a", `{"a":"p","b":"q"}`}, `"{p q} [x 2]"`},
		{"any", []string{"a", `[1,"x"]`}, `"[1 x]"`},
		{"chain", []string{"a", `"v"`}, `"v0123"`},
		{"chain", []string{"a", `!no`}, `error: no`},
		{"hit", []string{"a", `!no`}, `error: no`},
		{"combined", []string{"b", `"2"`, "a2", `"3"`, "a", `"1"`}, `"[1 2 3] \u003cnil\u003e"`},
		{"combined", []string{"b", `!no`}, `"[] no"`},
		{"raced", []string{"a", `"first"`}, `"first"`},
		{"sentOn", []string{"a", `"x"`}, `"hello"`},
	} {
		for _, m := range modes {
			t.Run(fmt.Sprint(c.method, " ", m.name, " ", c.open), func(t *testing.T) {
				k := m.launch(t, NewWaiter)
				a := m.call(k, "lab", c.method)
				for i := 0; i < len(c.open); i += 2 {
					if a.Done() {
						t.Fatalf("before %s: %s", c.open[i], result(a.Result()))
					}
					wantQuiescent(t, k, "lab")
					k.Restart("lab")
					if why, reject := strings.CutPrefix(c.open[i+1], "!"); reject {
						m.call(k, "b", "shut", fmt.Sprintf("%q", c.open[i]), fmt.Sprintf("%q", why))
					} else {
						m.call(k, "b", "open", fmt.Sprintf("%q", c.open[i]), c.open[i+1])
					}
				}
				if got := strings.NewReplacer(`<`, `\u003c`, `>`, `\u003e`).Replace(result(a.Result())); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				wantQuiescent(t, k, "lab")
				wantNothingStored(t, k, "lab")
			})
		}
	}
}

// A promise that is handed to the method as it is waits in the store with the others, and is there.
func TestPromiseArgumentsAreStored(t *testing.T) {
	for _, m := range modes[:2] {
		for _, order := range []string{"ab", "ba"} {
			t.Run(m.name+" "+order, func(t *testing.T) {
				k := m.launch(t, NewWaiter)
				a := m.call(k, "lab", "mixed")
				wantQuiescent(t, k, "lab")
				for _, g := range order {
					k.Restart("lab")
					m.call(k, "b", "open", fmt.Sprintf("%q", string(g)), fmt.Sprintf("%q", strings.ToUpper(string(g))))
					if order == "ab" && g == 'a' { // the method awaits b: restart would lose it
						m.call(k, "b", "open", `"b"`, `"B"`)
						break
					}
				}
				if got, want := result(a.Result()), `"AB"`; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				wantQuiescent(t, k, "lab")
				wantNothingStored(t, k, "lab")
			})
		}
	}
}

// Arguments come from other vats, which can promise values that hold promises, and settle them in any order.
func TestStoredValuesHoldPromises(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewWaiter, store)
	n := uint64(1)
	deliver := func(d wire.Delivery, restart bool) wire.Done {
		t.Helper()
		if restart {
			m, err := liveslots.Compile("m", NewWaiter)
			if err != nil {
				t.Fatal(err)
			}
			v = newVat(t, m, wire.Start{HighPromise: 100}, store, nil)
			t.Cleanup(v.Close)
		}
		n++
		done := v.Deliver(wire.Deliver{Number: n, Delivery: d})
		if done.Outcome.Fault != "" {
			t.Fatal(done.Outcome.Fault)
		}
		if done.Outcome.Parked != 0 {
			t.Errorf("delivery %d: %d turns wait", n, done.Outcome.Parked)
		}
		store.apply(done.Syscalls)
		return done
	}
	for _, restart := range []bool{false, true} {
		deliver(wire.Call{Target: wire.RootRef, Message: wire.Message{
			MethArgs: wire.CapData{Body: `#["takePair",["&0",["&1"]]]`, Slots: []wire.Ref{"p-1", "p-2"}}, Result: "p-3",
		}}, restart)
		// p-1 is a record that holds p-4, unsettled, twice.
		deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-1", Value: wire.CapData{Body: `#{"a":"&0","b":"&0"}`, Slots: []wire.Ref{"p-4"}}}}}, restart)
		deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-2", Value: wire.CapData{Body: `#"two"`}}}}, restart)
		done := deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-4", Value: wire.CapData{Body: `#"four"`}}}}, restart)
		r, ok := done.Syscalls[0].(wire.Resolve)
		if !ok || r.Resolutions[0].Promise != "p-3" || r.Resolutions[0].Value.Body != `#"{four four} [two]"` {
			t.Errorf("restart %t: got %+v", restart, done.Syscalls)
		}
		for key := range store {
			if strings.HasPrefix(key, "w.") || strings.HasPrefix(key, "p.") || strings.HasPrefix(key, "s.") {
				t.Errorf("restart %t: left in the store: %s", restart, key)
			}
		}
	}
}

// A circle of promises does not stay in the store when the call that had it is over.
func TestStoredCircle(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewWaiter, store)
	for n, d := range []wire.Delivery{
		wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: `#["takePromise",["&0","&1"]]`, Slots: []wire.Ref{"p-1", "p-2"}}, Result: "p-3"}},
		wire.Notify{Resolutions: []wire.Resolution{
			{Promise: "p-2", Value: wire.CapData{Body: `#["&0","&1"]`, Slots: []wire.Ref{"p-4", "p-5"}}},
			{Promise: "p-4", Value: wire.CapData{Body: `#["&0","&1"]`, Slots: []wire.Ref{"p-2", "p-4"}}},
		}},
		wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-1", Rejected: true, Value: rejection("no")}}},
	} {
		done := v.Deliver(wire.Deliver{Number: uint64(n + 2), Delivery: d})
		if done.Outcome != (wire.Outcome{}) {
			t.Fatalf("%d: got %+v", n, done.Outcome)
		}
		store.apply(done.Syscalls)
		if n == 1 && (store["s.p-2"] == nil || store["s.p-4"] == nil) {
			t.Errorf("the values are not stored: %q", store)
		}
	}
	for key := range store {
		if strings.HasPrefix(key, "p.") || strings.HasPrefix(key, "s.") {
			t.Errorf("left in the store: %s", key)
		}
	}
	if got, want := string(store["w"]), `{"last":1}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Calls that wait for their arguments cost room, and anybody can make them.
func TestWaitingCallsAreBounded(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewHelper, store)
	call := func(n uint64) wire.Done {
		c := wire.Call{Target: wire.RootRef, Message: wire.Message{
			MethArgs: wire.CapData{Body: `#["note",["&0"]]`, Slots: []wire.Ref{"p-1"}}, Result: wire.Ref(fmt.Sprint("p-", n)),
		}}
		d := v.Deliver(wire.Deliver{Number: n, Delivery: c})
		store.apply(d.Syscalls)
		return d
	}
	n := uint64(2)
	for ; n < 10_002; n++ {
		if d := call(n); d.Outcome.Parked != 0 || d.Syscalls[1] != any(wire.Keep{Promise: wire.Ref(fmt.Sprint("p-", n)), Stored: true}) {
			t.Fatalf("delivery %d: got %+v", n, d)
		}
	}
	d := call(n)
	r, ok := d.Syscalls[1].(wire.Resolve)
	if !ok || !r.Resolutions[0].Rejected || !strings.Contains(r.Resolutions[0].Value.Body, "[KERNEL:LIMIT]") {
		t.Errorf("got %+v", d)
	}
	d = v.Deliver(wire.Deliver{Number: n + 1, Delivery: message(t, "p-99999", "notes")})
	if r, ok := d.Syscalls[0].(wire.Resolve); !ok || r.Resolutions[0].Rejected {
		t.Errorf("a call that need not wait: got %+v", d)
	}
}

func TestBytesOfWaitingCallsAreBounded(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewHelper, store)
	big := strings.Repeat("x", 1<<20)
	for n := uint64(2); ; n++ {
		d := v.Deliver(wire.Deliver{Number: n, Delivery: wire.Call{Target: wire.RootRef, Message: wire.Message{
			MethArgs: wire.CapData{Body: `#["add",["&0","` + big + `"]]`, Slots: []wire.Ref{"p-1"}}, Result: "p-2",
		}}})
		store.apply(d.Syscalls)
		if r, ok := d.Syscalls[1].(wire.Resolve); ok {
			if !strings.Contains(r.Resolutions[0].Value.Body, "[KERNEL:LIMIT] an argument is not there yet, and calls of 67") || n != 66 {
				t.Errorf("delivery %d: got %s", n, r.Resolutions[0].Value.Body)
			}
			return
		}
	}
}

// A vat's log of a replay is marked, since the lines were logged before.
func TestLogsOfReplayAreMarked(t *testing.T) {
	var out bytes.Buffer
	m, err := liveslots.Compile("m", func(ctx context.Context) *Logging {
		vat.Log(ctx).Info("made")
		return &Logging{}
	})
	if err != nil {
		t.Fatal(err)
	}
	log := logging.NewText(&out, slog.LevelInfo)
	v := newVat(t, m, wire.Start{Replays: 2}, testStore{}, log)
	defer v.Close()
	v.Deliver(wire.Deliver{Number: 1, Delivery: wire.StartVat{}})
	for n := uint64(2); n <= 3; n++ {
		v.Deliver(wire.Deliver{Number: n, Delivery: message(t, "p-1", "say", fmt.Sprint(n))})
	}
	if got, want := out.String(), "[INFO]  made: replay=true\n[INFO]  say: replay=true what=2\n[INFO]  say: what=3\n"; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

type Logging struct{ vat.Durable }

func (l *Logging) Say(ctx context.Context, what string) { vat.Log(ctx).Info("say", "what", what) }

// Flood makes itself wait for one promise many times.
type Flood struct {
	vat.Durable
	B     vat.Ref
	Made  vat.Promise `vat:"-"`
	Count int
	Order bool
}

func (f *Flood) Bootstrap(vats map[string]vat.Ref) { f.B, f.Order = vats["b"], true }

func (f *Flood) Fill(ctx context.Context, gate vat.Promise, from, n int) {
	for i := range n {
		vat.Send(ctx, f, "hit", gate, from+i)
	}
}

func (f *Flood) Start(ctx context.Context, n, rounds int) {
	gate := vat.Send(ctx, f.B, "gate", "g")
	for i := range rounds {
		vat.Send(ctx, f, "fill", gate, i*n, n)
	}
}

// Hit does more than a crank may do ten thousand times.
func (f *Flood) Hit(ctx context.Context, x string, i int) error {
	if x == "panic" && i == 700 {
		panic("seven")
	}
	f.Order = f.Order && i == f.Count
	f.Count++
	vat.Send(ctx, f.B, "echo", x)
	return nil
}

func (f *Flood) State() []any { return []any{f.Count, f.Order} }

func TestManyCallsWaitForOnePromise(t *testing.T) {
	calls, all := "600", "[1200,true]"
	if underRace {
		calls, all = "60", "[120,true]"
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, func() *Flood { return &Flood{} })
			k.KillAlways = false
			if _, err := k.Call("lab", "start", calls, "2"); err != nil {
				t.Fatal(err)
			}
			wantQuiescent(t, k, "lab")
			k.KillAlways = m.name == "killed"
			m.call(k, "b", "open", `"g"`, `"x"`)
			if got := result(m.call(k, "lab", "state").Result()); got != all {
				t.Errorf("got %s", got)
			}
			wantQuiescent(t, k, "lab")
			wantNothingStored(t, k, "lab")
		})
	}
}

// Rester comes to rest while other vats hold its references.
type Rester struct {
	vat.Durable
	B vat.Ref
}

func (r *Rester) Bootstrap(vats map[string]vat.Ref) { r.B = vats["b"] }

// Fire leaves a promise with another vat, which may pass it back.
func (r *Rester) Fire(ctx context.Context) {
	p := vat.Send(ctx, r.B, "gate", "g")
	vat.Send(ctx, r.B, "keep", p)
}

func (r *Rester) Take(x vat.Promise) {}

func (r *Rester) Echo(x any) any { return x }

// A vat at rest knows nothing but its store, so that it makes no difference whether its worker lives. (vattest
// checks that when a test is over.)
func TestRestForgets(t *testing.T) {
	k := launch(t, func() *Rester { return &Rester{} })
	call(t, k, "lab", "fire")
	wantQuiescent(t, k, "lab")
	call(t, k, "b", "passBack", "{\"$ref\":\""+k.Root("lab")+"\"}")
}

// After a rest, the first interface name of an object counts anew.
func TestRestForgetsInterfaceNames(t *testing.T) {
	v := startedOn(t, func() *Rester { return &Rester{} }, testStore{})
	echo := func(n uint64, name string) string {
		d := v.Deliver(wire.Deliver{Number: n, Delivery: wire.Call{Target: wire.RootRef, Message: wire.Message{
			MethArgs: wire.CapData{Body: `#["echo",["$0.Alleged: ` + name + `"]]`, Slots: []wire.Ref{"o-1"}}, Result: wire.Ref(fmt.Sprint("p-", n)),
		}}})
		return d.Syscalls[0].(wire.Resolve).Resolutions[0].Value.Body
	}
	for n, name := range []string{"A", "B"} {
		if got, want := echo(uint64(n+2), name), `#"$0.Alleged: `+name+`"`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A call that panics takes no other with it, and not the vat's memory.
func TestCallThatPanicsAmongMany(t *testing.T) {
	k := launch(t, func() *Flood { return &Flood{} })
	if _, err := k.Call("lab", "start", "400", "2"); err != nil {
		t.Fatal(err)
	}
	a := k.Send("lab", "hold") // a turn that waits
	k.Run()
	if _, err := k.Call("b", "open", `"g"`, `"panic"`); err != nil {
		t.Fatal(err)
	}
	want(t, k, "[799,false]", "lab", "state")
	if _, err := k.Call("b", "open", `"h"`, `"held"`); err != nil {
		t.Fatal(err)
	}
	if got := result(a.Result()); got != `"held"` {
		t.Errorf("got %s", got)
	}
	wantQuiescent(t, k, "lab")
	wantNothingStored(t, k, "lab")
}

func (f *Flood) Hold(ctx context.Context) (string, error) {
	return vat.Call[string](ctx, f.B, "gate", "h")
}
