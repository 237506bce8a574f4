package liveslots_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// The tests run vats of two kinds: a Lab, which does the work of a test, and a Helper, to which others talk.

type Helper struct {
	vat.Durable
	Log   []string
	Gates vat.Map[string, int]

	waiting map[string]vat.Resolver `vat:"-"`
	kept    vat.Promise             `vat:"-"`
}

func NewHelper() *Helper { return &Helper{} }

func (h *Helper) Echo(x any) any               { return x }
func (h *Helper) Add(a, b int64) int64         { return a + b }
func (h *Helper) Fail(text string) error       { return errors.New(text) }
func (h *Helper) Note(text string)             { h.Log = append(h.Log, text) }
func (h *Helper) Notes() []string              { return h.Log }
func (h *Helper) Self(ctx context.Context) any { return h }
func (h *Helper) Make(name string) *Item       { return &Item{Name: name} }
func (h *Helper) Weak(name string) *Weak       { return &Weak{name: name} }

// Gate returns a promise that Open settles.
func (h *Helper) Gate(ctx context.Context, name string) vat.Promise {
	p, r := vat.NewPromise(ctx)
	if h.waiting == nil {
		h.waiting = map[string]vat.Resolver{}
	}
	h.waiting[name] = r
	return p
}

func (h *Helper) Open(ctx context.Context, name string, x any) error {
	r, ok := h.waiting[name]
	if !ok {
		return fmt.Errorf("no gate %s", name)
	}
	delete(h.waiting, name)
	r.Resolve(ctx, x)
	return nil
}

// OpenIfThere opens a gate, if there is one.
func (h *Helper) OpenIfThere(ctx context.Context, name string, x any) { _ = h.Open(ctx, name, x) }

// Keep keeps a promise, and PassBack passes it on.
func (h *Helper) Keep(p vat.Promise)                       { h.kept = p }
func (h *Helper) PassBack(ctx context.Context, to vat.Ref) { vat.Send(ctx, to, "take", h.kept) }

// Shut rejects the promise that Gate returned.
func (h *Helper) Shut(ctx context.Context, name, why string) error {
	r, ok := h.waiting[name]
	if !ok {
		return fmt.Errorf("no gate %s", name)
	}
	delete(h.waiting, name)
	r.Reject(ctx, errors.New(why))
	return nil
}

// Item is a durable object.
type Item struct {
	vat.Durable
	Name  string
	Count int
	Next  *Item
}

func (i *Item) Hit() int            { i.Count++; return i.Count }
func (i *Item) GetName() string     { return i.Name }
func (i *Item) Link(next *Item)     { i.Next = next }
func (i *Item) GetNext() *Item      { return i.Next }
func (i *Item) Is(other *Item) bool { return i == other }

// Weak is an ephemeral object.
type Weak struct {
	vat.Ephemeral
	name string
	hits int
}

func (w *Weak) Hit() string { w.hits++; return fmt.Sprint(w.name, w.hits) }

// modules makes a program with a lab of one's own and the helper.
func modules(lab any) vat.Modules { return vat.Modules{"lab": lab, "helper": NewHelper} }

// launch runs a lab and two helpers, b and c.
func launch(t testing.TB, lab any) *vattest.Kernel {
	t.Helper()
	k := vattest.New(t, modules(lab))
	k.OnComplaint = func(_, text string) { t.Log(text) } // the lab makes the mistakes of authors on purpose
	err := k.Launch("lab", vattest.Vat{Name: "lab", Module: "lab"}, vattest.Vat{Name: "b", Module: "helper"}, vattest.Vat{Name: "c", Module: "helper"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// want calls a method and compares the answer, or the rejection as "error: …".
func want(t testing.TB, k *vattest.Kernel, want, target, method string, args ...string) {
	t.Helper()
	if got := result(k.Call(target, method, args...)); got != want {
		t.Errorf("%s.%s%v\n got %s\nwant %s", target, method, args, got, want)
	}
}

func result(got string, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return got
}

// OneWeak always passes the same ephemeral object.
type OneWeak struct {
	vat.Durable
	weak *Weak `vat:"-"`
}

func NewOneWeak() *OneWeak { return &OneWeak{} }

func (o *OneWeak) Get() *Weak {
	if o.weak == nil {
		o.weak = &Weak{}
	}
	return o.weak
}

func (o *OneWeak) Hold(ctx context.Context) vat.Promise {
	p, _ := vat.NewPromise(ctx)
	return p
}
