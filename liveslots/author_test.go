package liveslots_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Author makes the mistakes of authors, and uses their favourite Go.
type Author struct {
	vat.Durable
	B     vat.Ref
	Table vat.Map[string, int]
	Items vat.Map[*Item, string]

	kept     vat.Promise  `vat:"-"`
	resolver vat.Resolver `vat:"-"`
}

func NewAuthor() *Author { return &Author{} }

func (a *Author) Bootstrap(vats map[string]vat.Ref) { a.B = vats["b"] }

func (a *Author) Keep(ctx context.Context) { a.kept = vat.Send(ctx, a.B, "echo", 1) }

func (a *Author) PassKept(ctx context.Context) vat.Promise { return vat.Send(ctx, a.B, "echo", a.kept) }

func (a *Author) PassInList(ctx context.Context) vat.Promise {
	return vat.Send(ctx, a.B, "echo", []vat.Promise{a.kept})
}

func (a *Author) ReturnKept() vat.Promise { return a.kept }

func (a *Author) ReturnError() (vat.Promise, error) { return vat.Promise{}, errors.New("no promise") }

func (a *Author) TakeNull(ctx context.Context, p vat.Promise) vat.Promise {
	return vat.Send(ctx, a.B, "echo", p)
}

func (a *Author) Resolve(ctx context.Context) string {
	a.resolver.Resolve(ctx, 1)
	a.resolver.Reject(ctx, errors.New("x"))
	return fmt.Sprint(a.resolver)
}

func (a *Author) RejectNil(ctx context.Context) vat.Promise {
	p, r := vat.NewPromise(ctx)
	r.Reject(ctx, nil)
	return p
}

// Print prints values with addresses in them.
func (a *Author) Print(ctx context.Context, p vat.Promise) []string {
	q, r := vat.NewPromise(ctx)
	sent := vat.Send(ctx, a.B, "echo", q)
	own, settled := vat.RefOf(ctx, &Item{}), vat.RefOf(ctx, a)
	r.Resolve(ctx, 1)
	var list []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		text := ""
		for _, x := range []any{a.B, own, settled, vat.Ref{}, p, q, r, sent, vat.Promise{}} {
			text += fmt.Sprintf(verb+"; ", x)
		}
		list = append(list, text)
	}
	return list
}

// Refusal is the reason of another vat's rejection.
type Refusal struct {
	Code int
	Of   vat.Ref
	Item *Item
}

func (a *Author) Refuse(ctx context.Context, code int) error {
	return vat.Reject(Refusal{Code: code, Of: a.B})
}

func (a *Author) RefuseOdd() error { return vat.Reject(make(chan int)) }

func (a *Author) RefuseByResolver(ctx context.Context) vat.Promise {
	p, r := vat.NewPromise(ctx)
	r.Reject(ctx, vat.Reject([]int{1, 2}))
	return p
}

// Refused reads the value of a rejection in several ways.
func (a *Author) Refused(ctx context.Context) (string, error) {
	_, err := vat.Call[vat.None](ctx, a, "refuse", 7)
	var e *vat.Error
	if !errors.As(err, &e) {
		return "", fmt.Errorf("got %w", err)
	}
	var r Refusal
	if err := e.Value(ctx, &r); err != nil {
		return "", err
	}
	var x any
	if err := e.Value(ctx, &x); err != nil {
		return "", err
	}
	var n int
	wrong := e.Value(ctx, &n)
	_, err = vat.Await[vat.None](ctx, vat.When(ctx, vat.Send(ctx, a.B, "echo", 1), a, "OnRefuse"))
	var list []int
	if !errors.As(err, &e) || e.Value(ctx, &list) != nil {
		return "", fmt.Errorf("got %w", err)
	}
	_, err = vat.Call[vat.None](ctx, a.B, "fail", "plain")
	var plain error
	if !errors.As(err, &e) || e.Value(ctx, &plain) != nil {
		return "", fmt.Errorf("got %w", err)
	}
	return fmt.Sprint(r.Code, r.Of == a.B, x.(map[string]any)["code"], wrong != nil, list, plain, e.Value(ctx, r) != nil), nil
}

func (a *Author) OnRefuse(vat.Outcome[int]) error { return vat.Reject([]int{3, 4}) }

// Pass rejects with the rejection that it got.
func (a *Author) Pass(ctx context.Context) error {
	_, err := vat.Call[vat.None](ctx, a, "refuse", 9)
	return err
}

func (a *Author) Set(ctx context.Context, key string, n int) (int, error) {
	err := a.Table.Set(ctx, key, n)
	return a.Table.Len(ctx), err
}

func (a *Author) Delete(ctx context.Context, key string) int {
	a.Table.Delete(ctx, key)
	return a.Table.Len(ctx)
}

func (a *Author) Len(ctx context.Context) int { return a.Table.Len(ctx) }

func (a *Author) LenOfItems(ctx context.Context) ([]int, error) {
	it := &Item{}
	for _, i := range []*Item{it, {}, it} {
		if err := a.Items.Set(ctx, i, "x"); err != nil {
			return nil, err
		}
	}
	n := a.Items.Len(ctx)
	a.Items.Delete(ctx, &Item{})
	a.Items.Delete(ctx, it)
	a.Items.Delete(ctx, it)
	return []int{n, a.Items.Len(ctx)}, nil
}

func (a *Author) TakeItem(*Item) {}

func TestWhatAnAuthorIsTold(t *testing.T) {
	const gone = "the zero Promise cannot be passed: a promise lives in memory, and one that was kept in a field is gone when the vat has been at rest"
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewAuthor)
			call(t, k, "lab", "keep")
			wantQuiescent(t, k, "lab")
			want(t, k, "error: send echo: argument 1: "+gone, "lab", "passKept")
			want(t, k, "error: send echo: argument 1: [0]: "+gone, "lab", "passInList")
			want(t, k, "error: liveslots_test.Author.returnKept: the result cannot be passed: "+gone, "lab", "returnKept")
			want(t, k, "error: no promise", "lab", "returnError")
			want(t, k, "null", "lab", "takeNull", "null")
			want(t, k, `"resolver of no promise"`, "lab", "resolve")
			want(t, k, "error: rejected without an error", "lab", "rejectNil")
			want(t, k, `error: rejected with {"code":7,"item":null,"of":{"$ref":"`+k.Root("b")+`"}}`, "lab", "refuse", "7")
			want(t, k, `error: rejected with {"code":9,"item":null,"of":{"$ref":"`+k.Root("b")+`"}}`, "lab", "pass")
			want(t, k, `error: rejected with [1,2]`, "lab", "refuseByResolver")
			want(t, k, `error: the value of a rejection cannot be passed: chan int cannot be passed`, "lab", "refuseOdd")
			want(t, k, `"7 true 7 true [3 4] plain true"`, "lab", "refused")
			wantQuiescent(t, k, "lab")
		})
	}
}

// The printed form of references and promises follows from the deliveries alone, with any verb.
func TestReferencesPrintTheSame(t *testing.T) {
	const line = `"reference o-1 \"Alleged: vatRoot\"; reference to a new liveslots_test.Item; reference o+0 \"Alleged: Author\"; no reference; ` +
		`promise (fulfilled); promise (fulfilled); resolver of promise (fulfilled); promise p+2; no promise; "`
	k := launch(t, NewAuthor)
	want(t, k, "["+strings.TrimSuffix(strings.Repeat(line+",", 6), ",")+"]", "lab", "print", "1")
}

func TestMapLen(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			k := m.launch(t, NewAuthor)
			for _, c := range []struct{ method, key, want string }{
				{"set", "a", "1"},
				{"set", "b", "2"},
				{"set", "a", "2"},
				{"delete", "x", "2"},
				{"delete", "a", "1"},
				{"delete", "a", "1"},
				{"set", "a", "2"},
				{"delete", "a", "1"},
				{"delete", "b", "0"},
				{"set", "b", "1"},
			} {
				args := []string{fmt.Sprintf("%q", c.key)}
				if c.method == "set" {
					args = append(args, "1")
				}
				if got := result(m.call(k, "lab", c.method, args...).Result()); got != c.want {
					t.Errorf("%s %s: got %s, want %s", c.method, c.key, got, c.want)
				}
			}
			want(t, k, "1", "lab", "len")
			want(t, k, "[2,1]", "lab", "lenOfItems")
		})
	}
}

// A Map that was made before its length was stored is counted, once.
func TestMapLenOfAnOlderStore(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewAuthor, store)
	n := uint64(1)
	do := func(method string, args ...any) string {
		t.Helper()
		n++
		done := v.Deliver(wire.Deliver{Number: n, Delivery: message(t, wire.Ref(fmt.Sprint("p-", n)), method, args...)})
		store.apply(done.Syscalls)
		return done.Syscalls[0].(wire.Resolve).Resolutions[0].Value.Body
	}
	do("set", "a", 1.0)
	do("set", "b", 1.0)
	if string(store["n.1"]) != "2" {
		t.Fatalf("got %q", store)
	}
	delete(store, "n.1")
	m, err := liveslots.Compile("m", NewAuthor)
	if err != nil {
		t.Fatal(err)
	}
	v = newVat(t, m, wire.Start{}, store, nil)
	if got := do("set", "c", 1.0); got != "#3" {
		t.Errorf("got %s", got)
	}
	if got := do("delete", "a"); got != "#2" {
		t.Errorf("got %s", got)
	}
}

// Passer passes the rejections of b on.
type Passer struct {
	vat.Durable
	B vat.Ref
}

func NewPasser() *Passer { return &Passer{} }

func (p *Passer) Bootstrap(vats map[string]vat.Ref) { p.B = vats["b"] }

// Coded is the value of a rejection.
type Coded struct{ Code int }

func (h *Helper) Refuse(code int) error { return vat.Reject(Coded{code}) }

func (p *Passer) PassOn(ctx context.Context, wrap bool) error {
	_, err := vat.Call[vat.None](ctx, p.B, "refuse", 7)
	var e *vat.Error
	switch {
	case !errors.As(err, &e):
		return fmt.Errorf("%T is no *vat.Error", err)
	case wrap:
		return fmt.Errorf("wrapped: %w", e)
	}
	return e
}

func (p *Passer) ReadCode(ctx context.Context) (int, error) {
	_, err := vat.Call[vat.None](ctx, p, "passOn", false)
	var r Coded
	var e *vat.Error
	if errors.As(err, &e) {
		err = e.Value(ctx, &r)
	}
	return r.Code, err
}

// An error that errors.As has found is the rejection with all that it has, also when a method returns it.
func TestErrorThatWasFoundIsPassedOnWhole(t *testing.T) {
	k := launch(t, NewPasser)
	want(t, k, "7", "lab", "readCode")
	if _, err := k.Call("lab", "passOn", "true"); err == nil || !strings.HasPrefix(err.Error(), "wrapped: ") {
		t.Errorf("got %v", err)
	}
}
