package liveslots_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
)

// Circler makes promises that lead to each other, in every way there is.
type Circler struct {
	vat.Durable
	B, C vat.Ref

	kept   []vat.Promise `vat:"-"`
	second vat.Resolver  `vat:"-"`
}

func NewCircler() *Circler { return &Circler{} }

func (c *Circler) Bootstrap(vats map[string]vat.Ref) { c.B, c.C = vats["b"], vats["c"] }

// promises makes n promises; with known, another vat is told of each before it is settled.
func (c *Circler) promises(ctx context.Context, n int, known bool) ([]vat.Promise, []vat.Resolver) {
	ps, rs := make([]vat.Promise, n), make([]vat.Resolver, n)
	for i := range n {
		ps[i], rs[i] = vat.NewPromise(ctx)
	}
	for i := 0; known && i < n; i += 100 {
		vat.Send(ctx, c.C, "echo", ps[i:min(i+100, n)])
	}
	return ps, rs
}

// Circle settles n promises, each with the next one, the last with the first, and passes the first on.
func (c *Circler) Circle(ctx context.Context, n int, known bool) vat.Promise {
	ps, rs := c.promises(ctx, n, known)
	for i := range n {
		rs[i].Resolve(ctx, []any{i, ps[(i+1)%n]})
	}
	return vat.Send(ctx, c.B, "size", ps[0])
}

// Answer is as Circle, and answers with the first.
func (c *Circler) Answer(ctx context.Context, n int, known bool) vat.Promise {
	ps, rs := c.promises(ctx, n, known)
	for i := range n {
		rs[i].Resolve(ctx, []any{i, ps[(i+1)%n]})
	}
	return ps[0]
}

// Row settles n promises, each with the one before, from the first to the last or the other way round.
func (c *Circler) Row(ctx context.Context, n int, known, backwards bool) vat.Promise {
	ps, rs := c.promises(ctx, n, known)
	for j := range n {
		i := j
		if backwards {
			i = n - 1 - j
		}
		if i == 0 {
			rs[i].Resolve(ctx, []any{i, "end"})
		} else {
			rs[i].Resolve(ctx, []any{i, ps[i-1]})
		}
	}
	return vat.Send(ctx, c.B, "size", ps[n-1])
}

// Star settles n promises, each with all others.
func (c *Circler) Star(ctx context.Context, n int) vat.Promise {
	ps, rs := c.promises(ctx, n, false)
	for i := range n {
		rs[i].Resolve(ctx, ps)
	}
	return vat.Send(ctx, c.B, "echo", ps)
}

// Begin makes a circle over two cranks, End closes it, and so on.
func (c *Circler) Begin(ctx context.Context) []vat.Promise {
	ps, rs := c.promises(ctx, 2, true)
	rs[0].Resolve(ctx, []any{0, ps[1]})
	c.kept, c.second = ps, rs[1]
	c.stay(ctx)
	return ps
}

// End closes the circle that Begin began, and Again passes it on.
func (c *Circler) End(ctx context.Context) { c.second.Resolve(ctx, []any{1, c.kept[0]}) }

func (c *Circler) Again(ctx context.Context) vat.Promise {
	return vat.Send(ctx, c.B, "size", c.kept[0])
}

// Stay keeps the vat from rest.
func (c *Circler) stay(ctx context.Context) vat.Promise {
	p, _ := vat.NewPromise(ctx)
	vat.Send(ctx, c.C, "echo", p)
	return p
}

// Stored passes a large circle beside a promise that is not settled yet.
func (c *Circler) Stored(ctx context.Context, n, size int) vat.Promise {
	ps, rs := c.promises(ctx, n, false)
	for i := range n {
		rs[i].Resolve(ctx, []any{strings.Repeat("x", size), ps[(i+1)%n]})
	}
	return vat.Send(ctx, c.B, "both", vat.Send(ctx, c.C, "gate", "g"), ps[0])
}

// Both waits for a, and then for b.
func (h *Helper) Both(ctx context.Context, a string, b vat.Promise) (string, error) {
	pair, err := vat.Await[[]any](ctx, b)
	if err != nil {
		return "", err
	}
	return a + fmt.Sprint(len(pair[0].(string))), nil
}

// Large makes a circle of promises whose values do not fit one notification.
func (c *Circler) Large(ctx context.Context, n, size int) vat.Promise {
	ps, rs := c.promises(ctx, n, false)
	for i := range n {
		rs[i].Resolve(ctx, []any{strings.Repeat("x", size), ps[(i+1)%n]})
	}
	return vat.Send(ctx, c.B, "held", ps[0])
}

// Size follows a chain of pairs, which may be a circle, for a while.
func (h *Helper) Size(ctx context.Context, p vat.Promise) (int, error) {
	for n := 0; ; n++ {
		pair, err := vat.Await[[]any](ctx, p)
		if err != nil {
			return n, err
		}
		i, _ := pair[0].(float64)
		next, ok := pair[1].(vat.Promise)
		if !ok || n > 0 && i == 0 || n > 12_000 {
			return n + 1, nil
		}
		p = next
	}
}

// Held does not look at its argument.
func (h *Helper) Held(p vat.Promise) string { return "held" }

func TestCircles(t *testing.T) {
	for _, n := range []int{1, 2, 3, 100, 101, 1000, 1001, 10_000} {
		if underRace && n > 1001 {
			continue
		}
		for _, known := range []bool{false, true} {
			if known && n > 1001 {
				continue // one crank cannot tell others of so many
			}
			t.Run(fmt.Sprint(n, " known ", known), func(t *testing.T) {
				k := launch(t, NewCircler)
				want(t, k, fmt.Sprint(n+1), "lab", "circle", fmt.Sprint(n), fmt.Sprint(known))
				if got := result(k.Call("lab", "answer", fmt.Sprint(n), fmt.Sprint(known))); !strings.HasPrefix(got, `[0,{"$ref":"kp`) {
					t.Errorf("got %s", got)
				}
				wantQuiescent(t, k, "lab")
				wantQuiescent(t, k, "b")
			})
		}
	}
}

func TestPromisesSettledInARow(t *testing.T) {
	for _, n := range []int{99, 100, 101, 1000, 9_000} {
		if underRace && n > 1000 {
			continue
		}
		for _, known := range []bool{false, true} {
			for _, backwards := range []bool{false, true} {
				if known && n > 101 {
					continue // each notification brings all that were settled before
				}
				t.Run(fmt.Sprint(n, " known ", known, " backwards ", backwards), func(t *testing.T) {
					k := launch(t, NewCircler)
					want(t, k, fmt.Sprint(n), "lab", "row", fmt.Sprint(n), fmt.Sprint(known), fmt.Sprint(backwards))
					wantQuiescent(t, k, "lab")
				})
			}
		}
	}
}

func TestPromisesSettledWithEachOther(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewCircler)
			if got := result(m.call(k, "lab", "star", "50").Result()); strings.Count(got, `{"$ref":"kp`) != 50 {
				t.Errorf("got %s", got)
			}
			wantQuiescent(t, k, "lab")
		})
	}
}

// A circle that is closed by a later crank, and one whose members are passed on after they have settled.
func TestCircleOverCranks(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewCircler)
			a := m.call(k, "lab", "begin")
			m.call(k, "lab", "end")
			for range 3 {
				if got := result(m.call(k, "lab", "again").Result()); got != "3" {
					t.Errorf("got %s", got)
				}
			}
			if got := result(a.Result()); !strings.HasPrefix(got, `[{"$ref":"kp`) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// A value that does not fit one crank is refused to the vat that passed it, and no vat loses its memory.
func TestMorePromisesThanACrankCanPassOn(t *testing.T) {
	k := launch(t, NewCircler)
	limit := "error: [KERNEL:LIMIT] the value leads to more settled promises than one crank can pass on: the limit is 10000, of 2097152 bytes"
	want(t, k, limit, "lab", "circle", "10001", "false")
	want(t, k, limit, "lab", "answer", "10001", "false")
	want(t, k, limit, "lab", "large", "5", "500000")
	want(t, k, "3", "lab", "circle", "2", "false")
}

// A notification is cut where it gets too large. A vat that is given a circle which is cut is notified of the
// promises that it asks for, and not of more and more for ever.
func TestCircleThatNotificationsCut(t *testing.T) {
	for _, c := range []struct{ n, size string }{{"2", "200000"}, {"3", "150000"}, {"2500", "10"}} {
		t.Run(c.n, func(t *testing.T) {
			k := launch(t, NewCircler)
			a := k.Send("lab", "large", c.n, c.size)
			steps := 0
			for k.Step() {
				if steps++; steps > 100 {
					t.Fatal("it does not end")
				}
			}
			if got := result(a.Result()); got != `"held"` {
				t.Errorf("got %s", got)
			}
			wantQuiescent(t, k, "b")
		})
	}
}

// A call that waits in the store, with a circle in one of its arguments, does not make the store grow.
func TestCircleInTheStore(t *testing.T) {
	k := launch(t, NewCircler)
	a := k.Send("lab", "stored", "2", "200000")
	steps := 0
	for k.Step() {
		if steps++; steps > 100 {
			t.Fatal("it does not end")
		}
	}
	wantQuiescent(t, k, "b")
	k.Restart("b")
	if _, err := k.Call("c", "open", `"g"`, `"opened"`); err != nil {
		t.Fatal(err)
	}
	if got := result(a.Result()); got != `"opened200000"` {
		t.Errorf("got %s", got)
	}
	wantNothingStored(t, k, "b")
}
