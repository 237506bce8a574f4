package liveslots_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"ocapkernel.dev/vat"
)

type Peers struct {
	vat.Durable
	B, C vat.Ref
	Log  []string

	mu vat.Mutex
}

func NewPeers() *Peers { return &Peers{} }

func (l *Peers) Bootstrap(vats map[string]vat.Ref) { l.B, l.C = vats["b"], vats["c"] }

func (l *Peers) Sum(ctx context.Context, n int64) (int64, error) {
	var sum int64
	for i := range n {
		var err error
		if sum, err = vat.Call[int64](ctx, l.B, "add", sum, i); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// Pipeline sends a message to the answer of a message, before it is there.
func (l *Peers) Pipeline(ctx context.Context) (string, error) {
	item := vat.Send(ctx, l.B, "make", "pipe")
	vat.Send(ctx, item, "hit")
	hits := vat.Send(ctx, item, "hit")
	name := vat.Send(ctx, item, "getName")
	h, err := vat.Await[int](ctx, hits)
	if err != nil {
		return "", err
	}
	n, err := vat.Await[string](ctx, name)
	return fmt.Sprint(n, h), err
}

// Pass sends an unsettled answer of one vat to another.
func (l *Peers) Pass(ctx context.Context) (int64, error) {
	three := vat.Send(ctx, l.B, "add", 1, 2)
	return vat.Call[int64](ctx, l.C, "add", three, three)
}

// Forward answers with the answer of another.
func (l *Peers) Forward(ctx context.Context, text string) vat.Promise {
	return vat.Send(ctx, l.B, "echo", text)
}

func (l *Peers) ForwardFailure(ctx context.Context) vat.Promise {
	return vat.Send(ctx, l.B, "fail", "no luck")
}

func (l *Peers) Chain(ctx context.Context, n int) vat.Promise {
	if n == 0 {
		return vat.Send(ctx, l.B, "add", 20, 22)
	}
	return vat.Send(ctx, l, "chain", n-1)
}

func (l *Peers) All(ctx context.Context) ([]string, error) {
	return vat.Await[[]string](ctx, vat.All(ctx,
		vat.Send(ctx, l.B, "echo", "one"), vat.Send(ctx, l.C, "echo", "two"), vat.Send(ctx, l.B, "echo", "three")))
}

// AllOfMany waits for promises that are settled one after the other.
func (l *Peers) AllOfMany(ctx context.Context, n int) (int, error) {
	var ps []vat.Promise
	for i := range n {
		ps = append(ps, vat.Send(ctx, l.B, "add", i, 0))
	}
	list, err := vat.Await[[]int](ctx, vat.All(ctx, ps...))
	return len(list), err
}

func (l *Peers) AllRefs(ctx context.Context) ([]string, error) {
	items, err := vat.Await[[]vat.Ref](ctx, vat.All(ctx, vat.Send(ctx, l.B, "make", "x"), vat.Send(ctx, l.C, "make", "y")))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, it := range items {
		n, err := vat.Call[string](ctx, it, "getName")
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}

func (l *Peers) AllFails(ctx context.Context) ([]string, error) {
	return vat.Await[[]string](ctx, vat.All(ctx, vat.Send(ctx, l.B, "gate", "never"), vat.Send(ctx, l.C, "fail", "early")))
}

func (l *Peers) AllNone(ctx context.Context) ([]string, error) {
	return vat.Await[[]string](ctx, vat.All(ctx))
}

func (l *Peers) Race(ctx context.Context) (string, error) {
	return vat.Await[string](ctx, vat.Race(ctx, vat.Send(ctx, l.B, "gate", "slow"), vat.Send(ctx, l.C, "echo", "fast")))
}

// Local sends to a promise that only this vat knows.
func (l *Peers) Local(ctx context.Context) (int64, error) {
	p, r := vat.NewPromise(ctx)
	answer := vat.Send(ctx, p, "add", 4, 5)
	r.Resolve(ctx, l.B)
	r.Resolve(ctx, l.C) // does not count
	return vat.Await[int64](ctx, answer)
}

func (l *Peers) LocalPassed(ctx context.Context) (string, error) {
	p, r := vat.NewPromise(ctx)
	answer := vat.Send(ctx, l.B, "echo", p)
	r.Resolve(ctx, vat.Send(ctx, l.C, "echo", "through"))
	return vat.Await[string](ctx, answer)
}

// Settled passes promises that are settled already, one within the other.
func (l *Peers) Settled(ctx context.Context) (string, error) {
	inner, r := vat.NewPromise(ctx)
	r.Resolve(ctx, "deep")
	outer, r := vat.NewPromise(ctx)
	r.Resolve(ctx, []any{inner, inner})
	if _, err := vat.Await[[]string](ctx, outer); err != nil {
		return "", err
	}
	list, err := vat.Call[[]string](ctx, l.B, "echo", outer)
	return fmt.Sprint(list), err
}

func (l *Peers) Broken(ctx context.Context) error {
	p, r := vat.NewPromise(ctx)
	r.Reject(ctx, errors.New("broken"))
	_, err := vat.Call[string](ctx, l.B, "echo", p)
	return err
}

func (l *Peers) Circle(ctx context.Context) error {
	p, rp := vat.NewPromise(ctx)
	q, rq := vat.NewPromise(ctx)
	rp.Resolve(ctx, q)
	rq.Resolve(ctx, p)
	_, err := vat.Await[string](ctx, p)
	return err
}

func (l *Peers) Data(ctx context.Context) error {
	_, err := vat.Call[string](ctx, vat.Send(ctx, l.B, "echo", "data"), "anything")
	if !errors.Is(err, vat.ErrBadTarget) {
		return fmt.Errorf("not a bad target: %w", err)
	}
	p, r := vat.NewPromise(ctx)
	r.Resolve(ctx, 3)
	_, err = vat.Call[string](ctx, p, "anything")
	if !errors.Is(err, vat.ErrBadTarget) {
		return fmt.Errorf("not a bad target: %w", err)
	}
	return err
}

func (l *Peers) WrongType(ctx context.Context) (int, error) {
	return vat.Call[int](ctx, l.B, "echo", "text")
}

func (l *Peers) Unsendable(ctx context.Context) error {
	_, err := vat.Call[int](ctx, l.B, "echo", make(chan int))
	return err
}

func (l *Peers) Zero(ctx context.Context) error {
	_, err1 := vat.Call[int](ctx, vat.Ref{}, "x")
	_, err2 := vat.Await[int](ctx, vat.Promise{})
	_, err3 := vat.Call[int](ctx, 3, "x")
	return errors.Join(err1, err2, err3)
}

// Take gets a promise as it is; Value gets the value that it settles to.
func (l *Peers) Take(ctx context.Context, p vat.Promise) (string, error) {
	l.Log = append(l.Log, "take")
	s, err := vat.Await[string](ctx, p)
	l.Log = append(l.Log, "took "+s)
	return s, err
}

func (l *Peers) Value(s string) string {
	l.Log = append(l.Log, "value "+s)
	return s
}

func (l *Peers) Any(x any) string { return fmt.Sprintf("%T", x) }

func (l *Peers) Later(ctx context.Context) []vat.Promise {
	gate := vat.Send(ctx, l.B, "gate", "g")
	list := []vat.Promise{
		vat.Send(ctx, l, "take", gate), vat.Send(ctx, l, "value", gate), vat.Send(ctx, l, "value", "now"), vat.Send(ctx, l, "any", gate),
	}
	vat.Send(ctx, l.B, "open", "g", "opened")
	return list
}

func (l *Peers) GetLog() []string { return l.Log }

// Guarded holds a lock across an await.
func (l *Peers) Guarded(ctx context.Context, name string) error {
	l.mu.Lock(ctx)
	defer l.mu.Unlock(ctx)
	l.Log = append(l.Log, name+" in")
	_, err := vat.Call[string](ctx, l.B, "echo", name)
	l.Log = append(l.Log, name+" out")
	return err
}

func TestPromises(t *testing.T) {
	for _, c := range []struct{ method, want string }{
		{"pipeline", `"pipe2"`},
		{"pass", `6`},
		{"forwardFailure", `error: no luck`},
		{"all", `["one","two","three"]`},
		{"allRefs", `["x","y"]`},
		{"allFails", `error: early`},
		{"allNone", `[]`},
		{"race", `"fast"`},
		{"local", `9`},
		{"localPassed", `"through"`},
		{"settled", `"[deep deep]"`},
		{"broken", `error: broken`},
		{"circle", `error: a promise was resolved to itself`},
		{"data", `error: [KERNEL:BAD_TARGET] a number 3 cannot be sent a message`},
		{"wrongType", `error: want int, got string "text"`},
		{"unsendable", `error: send echo: argument 1: chan int cannot be passed`},
		{"zero", "error: send x: the target is the zero Ref\nawait of the zero Promise\nsend x: the target is no Ref, Promise or object: int is not an object of this vat"},
	} {
		t.Run(c.method, func(t *testing.T) { want(t, launch(t, NewPeers), c.want, "lab", c.method) })
	}
	t.Run("sum", func(t *testing.T) { want(t, launch(t, NewPeers), "4950", "lab", "sum", "100") })
	// With each that is settled there is less to do, and not twice as much.
	t.Run("all of many", func(t *testing.T) { want(t, launch(t, NewPeers), "200", "lab", "allOfMany", "200") })
	t.Run("forward", func(t *testing.T) { want(t, launch(t, NewPeers), `"hi"`, "lab", "forward", `"hi"`) })
	t.Run("chain", func(t *testing.T) { want(t, launch(t, NewPeers), "42", "lab", "chain", "20") })
}

// A call that waits for its arguments holds nothing up behind it.
func TestArgumentsAreAwaited(t *testing.T) {
	k := launch(t, NewPeers)
	if _, err := k.Call("lab", "later"); err != nil {
		t.Fatal(err)
	}
	want(t, k, `["take","value now","took opened","value opened"]`, "lab", "getLog")
	if n := k.Parked("lab"); n != 0 {
		t.Errorf("%d turns are parked", n)
	}
}

func TestMutexKeepsTurnsOut(t *testing.T) {
	k := launch(t, NewPeers)
	k.Send("lab", "guarded", `"a"`)
	k.Send("lab", "guarded", `"b"`)
	k.Send("lab", "guarded", `"c"`)
	k.Run()
	want(t, k, `["a in","a out","b in","b out","c in","c out"]`, "lab", "getLog")
}

// Callers of a vat that lost its memory get a rejection; the vat goes on from its store.
func TestRestartWhileTurnsWait(t *testing.T) {
	k := launch(t, NewPeers)
	a := k.Send("lab", "sum", "100")
	for range 30 {
		k.Step()
	}
	if k.Parked("lab") != 1 {
		t.Fatalf("%d turns are parked, want 1", k.Parked("lab"))
	}
	k.Restart("lab")
	k.Run()
	if _, err := a.Result(); err == nil || err.Error() != "[KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered" {
		t.Errorf("got %v", err)
	}
	want(t, k, "4950", "lab", "sum", "100")
}

// Only the first settlement of a promise counts, also if that is to follow a promise of another vat, for which a stored
// call waits.
func TestPromiseThatFollowsIsNotSettledAgain(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewOrderly)
			for _, s := range [][]string{{"make", `"p"`}, {"note", `"p"`, `["1"]`}, {"follow", `"p"`, `"g"`}, {"resolve", `"p"`}} {
				m.call(k, "lab", s[0], s[1:]...)
			}
			want(t, k, "[]", "b", "notes")
			m.call(k, "b", "openB")
			want(t, k, `["1"]`, "b", "notes")
		})
	}
}
