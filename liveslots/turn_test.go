package liveslots_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

type Turns struct {
	vat.Durable
	Count int
	B     vat.Ref

	kept   context.Context `vat:"-"`
	cached int             `vat:"-"`
}

func NewTurns() *Turns { return &Turns{} }

func (l *Turns) Bootstrap(vats map[string]vat.Ref, services map[string]vat.Ref) { l.B = vats["b"] }

func (l *Turns) Panic() {
	l.Count = 100
	panic("at the disco")
}

func (l *Turns) PanicLater(ctx context.Context) error {
	l.Count = 100
	if _, err := vat.Call[string](ctx, l.B, "echo", "x"); err != nil {
		return err
	}
	panic("later")
}

func (l *Turns) GetCount() int { return l.Count }

// Keep and then Use break a rule.
func (l *Turns) Keep(ctx context.Context) vat.Promise {
	l.kept = ctx
	p, _ := vat.NewPromise(ctx)
	return p
}

func (l *Turns) Use() (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	vat.Send(l.kept, l.B, "echo")
	return "no panic"
}

func (l *Turns) NoTurn() { vat.Now(context.Background()) }

func (l *Turns) Derived(ctx context.Context) (string, error) {
	type key struct{}
	ctx = context.WithValue(ctx, key{}, 1)
	return vat.Call[string](ctx, l.B, "echo", "derived")
}

func (l *Turns) Dice(ctx context.Context) ([]string, error) {
	r := vat.Rand(ctx)
	list := []string{fmt.Sprint(vat.Now(ctx).UnixMilli(), r.IntN(1000), r.IntN(1000))}
	_, err := vat.Call[string](ctx, l.B, "echo", "x")
	return append(list, fmt.Sprint(vat.Now(ctx).UnixMilli(), r.IntN(1000))), err
}

func (l *Turns) Leave(ctx context.Context) string {
	l.Count++
	vat.Exit(ctx, "tired")
	return "bye"
}

func (l *Turns) Cached() int {
	l.cached++
	return l.cached
}

func (l *Turns) Goexit(ctx context.Context) (string, error) { return vat.Name(ctx), nil }

func (l *Turns) Unlock(ctx context.Context) {
	var m vat.Mutex
	m.Unlock(ctx)
}

func TestPanicIsAFault(t *testing.T) {
	k := launch(t, NewTurns)
	want(t, k, "error: [KERNEL:DELIVERY_POISONED] fault: panic in liveslots_test.Turns.panic: at the disco", "lab", "panic")
	want(t, k, "0", "lab", "getCount")
	want(t, k, "error: [KERNEL:DELIVERY_POISONED] fault: panic in liveslots_test.Turns.panicLater: later", "lab", "panicLater")
	want(t, k, "100", "lab", "getCount") // the crank before the await was committed
	want(t, k, "error: [KERNEL:DELIVERY_POISONED] fault: panic in liveslots_test.Turns.unlock: vat: unlock of a Mutex that is not locked", "lab", "unlock")
}

func TestContextOfAnotherTurn(t *testing.T) {
	k := launch(t, NewTurns)
	k.Send("lab", "keep")
	got := result(k.Call("lab", "use"))
	if !strings.Contains(got, "the turn of this context (liveslots_test.Turns.keep) is not running") {
		t.Errorf("got %s", got)
	}
	got = result(k.Call("lab", "noTurn"))
	if !strings.Contains(got, "this context does not come from a turn") {
		t.Errorf("got %s", got)
	}
	want(t, k, `"derived"`, "lab", "derived")
	want(t, k, `"lab"`, "lab", "goexit")
}

func TestTimeAndDiceComeWithTheDelivery(t *testing.T) {
	k := launch(t, NewTurns)
	got := call(t, k, "lab", "dice")
	var a, b, c, d, e int64
	if _, err := fmt.Sscanf(got, `["%d %d %d","%d %d"]`, &a, &b, &c, &d, &e); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if d-a != 2 || b == c {
		t.Errorf("got %s: want the second time two cranks after the first", got)
	}
	// That a replay yields the same is checked by vattest.
}

func TestExit(t *testing.T) {
	k := launch(t, NewTurns)
	want(t, k, `"bye"`, "lab", "leave")
	if got := result(k.Call("lab", "getCount")); !strings.Contains(got, "OBJECT_DELETED") {
		t.Errorf("after the end: got %s", got)
	}
}

// A field that is not saved is lost as soon as the vat is at rest, and not only at a death.
func TestTransientFieldsAreTransient(t *testing.T) {
	k := launch(t, NewTurns)
	want(t, k, "1", "lab", "cached")
	want(t, k, "1", "lab", "cached")
	k.Send("lab", "keep") // decides a promise: not at rest
	want(t, k, "1", "lab", "cached")
	want(t, k, "2", "lab", "cached")
}

type Params struct {
	Name  string
	Level int
}

type Configured struct {
	vat.Durable
	P Params
}

func (c *Configured) Get(ctx context.Context) (string, error) {
	p, err := vat.Parameters[Params](ctx)
	return fmt.Sprint(c.P, p == c.P), err
}

func TestParameters(t *testing.T) {
	withArg := func(p Params) (*Configured, error) {
		if p.Level > 10 {
			return nil, errors.New("level above 10")
		}
		return &Configured{P: p}, nil
	}
	awaits := func(ctx context.Context) (*Configured, error) {
		p, _ := vat.NewPromise(ctx)
		_, err := vat.Await[int](ctx, p)
		return nil, err
	}
	for _, c := range []struct {
		name, parameters, want string
		constructor            any
	}{
		{"argument", `{"name":"n","level":3}`, `"{n 3} true"`, withArg},
		{"none", "", `"{ 0} true"`, withArg},
		{"unknown", `{"nam":"n"}`, `vat v1 (a) did not start: fault: module m: parameters: unknown field "nam"`, withArg},
		{"refused", `{"level":11}`, "vat v1 (a) did not start: fault: module m: level above 10", withArg},
		{"nil", "", "vat v1 (a) did not start: fault: module m: the constructor returned nil", func() *Configured { return nil }},
		{"panic", "", "vat v1 (a) did not start: fault: panic in m: constructor: no", func() *Configured { panic("no") }},
		{"awaits", "", "vat v1 (a) did not start: fault: module m: its constructor awaits a promise; a vat must have its root first: do so in bootstrap", awaits},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := vattest.New(t, vat.Modules{"m": c.constructor})
			got := ""
			if err := k.Launch("a", vattest.Vat{Name: "a", Module: "m", Parameters: c.parameters}); err != nil {
				got = err.Error()
			} else {
				got = call(t, k, "a", "get")
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
