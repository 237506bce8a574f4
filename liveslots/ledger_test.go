package liveslots_test

import (
	"context"
	"fmt"

	"ocapkernel.dev/vat"
)

// A Hoard holds references in every way in which durable state can hold them. The golden state of
// testdata/uncounted.json has hoards: their types and methods cannot change.
type Hoard struct {
	vat.Durable
	Named  vat.Map[string, *Thing]
	ByRef  vat.Map[vat.Ref, string]
	ByObj  vat.Map[*Thing, int]
	Plain  vat.Map[string, int]
	Texts  vat.Map[string, any]
	List   []*Thing
	Friend vat.Ref
	Any    any
	Total  int

	waiting map[string]vat.Resolver `vat:"-"`
	weak    *Weak                   `vat:"-"`
}

// A Thing may hold another Thing, a reference, and a table of Things.
type Thing struct {
	vat.Durable
	Name string
	Next *Thing
	Ref  vat.Ref
	Sub  vat.Map[string, *Thing]
}

func NewHoard() *Hoard { return &Hoard{} }

// NewBusyHoard makes a Hoard whose vat is not at rest after its first delivery.
func NewBusyHoard(ctx context.Context) *Hoard {
	h := &Hoard{}
	h.List = []*Thing{{Name: "first"}}
	p, r := vat.NewPromise(ctx)
	h.waiting = map[string]vat.Resolver{"start": r}
	vat.Send(ctx, h.List[0], "take", p)
	return h
}

func (t *Thing) Take(_ vat.Promise)                  {}
func (t *Thing) GetName() string                     { return t.Name }
func (t *Thing) Rename(name string)                  { t.Name = name }
func (t *Thing) SetRef(r vat.Ref)                    { t.Ref = r }
func (t *Thing) SetNext(n *Thing)                    { t.Next = n }
func (t *Thing) Put(ctx context.Context, s string)   { _ = t.Sub.Set(ctx, s, &Thing{Name: s}) }
func (t *Thing) Count(ctx context.Context) int       { return t.Sub.Len(ctx) }
func (t *Thing) On(x vat.Outcome[any], other *Thing) { t.Next = other }

// Put stores a new Thing under a name, Get returns it, and Remove removes the name.
func (h *Hoard) Put(ctx context.Context, name string) error {
	return h.Named.Set(ctx, name, &Thing{Name: name})
}

func (h *Hoard) Get(ctx context.Context, name string) *Thing {
	t, _ := h.Named.Get(ctx, name)
	return t
}
func (h *Hoard) Remove(ctx context.Context, name string) { h.Named.Delete(ctx, name) }

// PutAll and RemoveAll put and remove many.
func (h *Hoard) PutAll(ctx context.Context, from, to int) {
	for i := from; i < to; i++ {
		_ = h.Named.Set(ctx, fmt.Sprint("n", i), &Thing{Name: "n"})
	}
}

func (h *Hoard) RemoveAll(ctx context.Context) {
	for name := range h.Named.All(ctx) {
		h.Named.Delete(ctx, name)
	}
}

// UnmarkAll removes all references that Note and MarkRef have stored.
func (h *Hoard) UnmarkAll(ctx context.Context) {
	for r := range h.ByRef.All(ctx) {
		h.ByRef.Delete(ctx, r)
	}
}

// Swap puts a new Thing and removes it in the same crank.
func (h *Hoard) Swap(ctx context.Context) {
	_ = h.Named.Set(ctx, "swap", &Thing{Name: "swap"})
	h.Named.Delete(ctx, "swap")
}

// Destroy deletes a Thing, whoever holds it.
func (h *Hoard) Destroy(ctx context.Context, name string) error {
	if t := h.Get(ctx, name); t != nil {
		return vat.Delete(ctx, t)
	}
	return nil
}

// DestroyNew passes and stores a new Thing, and deletes it in the same crank.
func (h *Hoard) DestroyNew(ctx context.Context, to vat.Ref) error {
	t := &Thing{Name: "new"}
	t.Put(ctx, "sub")
	vat.Send(ctx, to, "note", "new", t)
	h.List = append(h.List, t)
	_ = h.Named.Set(ctx, "new", t)
	return vat.Delete(ctx, t)
}

// DestroyOdd tries to delete what cannot be deleted, and returns the errors.
func (h *Hoard) DestroyOdd(ctx context.Context) (list []string) {
	for _, x := range []any{h, h.Weak(), nil, 7, (*Thing)(nil), Thing{}, vat.RefOf(ctx, h)} {
		list = append(list, fmt.Sprint(vat.Delete(ctx, x)))
	}
	return list
}

// DestroyTwice deletes a Thing twice, and tries to use it.
func (h *Hoard) DestroyTwice(ctx context.Context) (list []string) {
	t := &Thing{Name: "twice"}
	_ = h.Named.Set(ctx, "twice", t)
	r := vat.RefOf(ctx, t)
	for range 2 {
		list = append(list, fmt.Sprint(vat.Delete(ctx, t)))
	}
	_, err := vat.Await[any](ctx, vat.Send(ctx, h, "hold", nil, t))
	list = append(list, fmt.Sprint(err))
	_, err = vat.Call[any](ctx, r, "getName")
	_, there := vat.Local[*Thing](ctx, r)
	got, found := h.Named.Get(ctx, "twice")
	return append(list, fmt.Sprint(err), fmt.Sprint(there, got == nil, found))
}

// Recall sends a reference, which may be to a deleted Thing.
func (h *Hoard) Recall(ctx context.Context, to vat.Ref) { vat.Send(ctx, to, "note", "x", h.Any) }

// Remember keeps a reference to a Thing.
func (h *Hoard) Remember(ctx context.Context, name string) {
	if t := h.Get(ctx, name); t != nil {
		h.Any = vat.RefOf(ctx, t)
	}
}

// Forsake replaces a table by an empty one, and Move moves a table from one Thing to another.
func (h *Hoard) Forsake() { h.Texts = vat.Map[string, any]{} }

func (h *Hoard) Move(ctx context.Context, from, to string) {
	if a, b := h.Get(ctx, from), h.Get(ctx, to); a != nil && b != nil && a != b {
		b.Sub, a.Sub = a.Sub, vat.Map[string, *Thing]{}
	}
}

// Tree puts a Thing that holds n others in a row, and in its table.
func (h *Hoard) Tree(ctx context.Context, name string, n int) {
	top := &Thing{Name: name}
	at := top
	for i := range n {
		at.Next = &Thing{Name: fmt.Sprint(name, i)}
		at = at.Next
		_ = top.Sub.Set(ctx, fmt.Sprint(i), &Thing{Name: "sub", Next: at})
	}
	_ = h.Named.Set(ctx, name, top)
}

// Ring puts a Thing that leads to itself.
func (h *Hoard) Ring(ctx context.Context, name string) {
	a, b := &Thing{Name: name}, &Thing{Name: name + "2"}
	a.Next, b.Next = b, a
	_ = b.Sub.Set(ctx, "back", a)
	_ = h.Named.Set(ctx, name, a)
}

func (h *Hoard) Befriend(r vat.Ref)                               { h.Friend = r }
func (h *Hoard) SetAny(x any)                                     { h.Any = x }
func (h *Hoard) MarkRef(ctx context.Context, r vat.Ref, s string) { _ = h.ByRef.Set(ctx, r, s) }
func (h *Hoard) UnmarkRef(ctx context.Context, r vat.Ref)         { h.ByRef.Delete(ctx, r) }
func (h *Hoard) MarkObj(ctx context.Context, name string, n int) {
	_ = h.ByObj.Set(ctx, h.Get(ctx, name), n)
}

func (h *Hoard) UnmarkObj(ctx context.Context, name string) { h.ByObj.Delete(ctx, h.Get(ctx, name)) }

func (h *Hoard) Number(ctx context.Context, name string, n int) { _ = h.Plain.Set(ctx, name, n) }

func (h *Hoard) Text(ctx context.Context, name string, x any) error { return h.Texts.Set(ctx, name, x) }
func (h *Hoard) Untext(ctx context.Context, name string)            { h.Texts.Delete(ctx, name) }
func (h *Hoard) Push(name string)                                   { h.List = append(h.List, &Thing{Name: name}) }

func (h *Hoard) PushNamed(ctx context.Context, name string) {
	h.List = append(h.List, h.Get(ctx, name))
}

func (h *Hoard) Pop() { h.List = h.List[:max(len(h.List)-1, 0)] }

func (h *Hoard) Add(n int) int                       { h.Total += n; return h.Total }
func (h *Hoard) Self() *Hoard                        { return h }
func (h *Hoard) Fresh(name string) *Thing            { return &Thing{Name: name} }
func (h *Hoard) Hold(p vat.Promise, t *Thing)        {}
func (h *Hoard) Later(x string, t *Thing, r vat.Ref) { h.Friend = r }
func (h *Hoard) Give(ctx context.Context, to vat.Ref, name string) {
	vat.Send(ctx, to, "note", name, h.Get(ctx, name))
}

func (h *Hoard) Link(ctx context.Context, a, b string) {
	if t := h.Get(ctx, a); t != nil {
		t.Next = h.Get(ctx, b)
	}
}

func (h *Hoard) Refer(ctx context.Context, a string, r vat.Ref) {
	if t := h.Get(ctx, a); t != nil {
		t.Ref = r
	}
}

func (h *Hoard) On(x vat.Outcome[any], t *Thing, r vat.Ref) { h.Any = x.Value }
func (h *Hoard) Note(ctx context.Context, s string, r vat.Ref) error {
	return h.ByRef.Set(ctx, r, s)
}

func (h *Hoard) Watch(ctx context.Context, p vat.Promise, s string, r vat.Ref) {
	vat.When(ctx, p, h, "On", h.Get(ctx, s), r)
}

// WatchOn has a new Thing called once p settles, which nothing else holds.
func (h *Hoard) WatchOn(ctx context.Context, p vat.Promise) {
	vat.When(ctx, p, &Thing{Name: "watcher"}, "On", &Thing{Name: "given"})
}

// Await waits in memory, and holds a Thing there.
func (h *Hoard) Await(ctx context.Context, p vat.Promise, name string) (string, error) {
	t := h.Get(ctx, name)
	_, err := vat.Await[any](ctx, p)
	h.List = append(h.List, t)
	return t.Name, err
}

// Gate returns a promise that Open settles.
func (h *Hoard) Gate(ctx context.Context, name string) vat.Promise {
	p, r := vat.NewPromise(ctx)
	if h.waiting == nil {
		h.waiting = map[string]vat.Resolver{}
	}
	h.waiting[name] = r
	return p
}

func (h *Hoard) Open(ctx context.Context, name string, x any) {
	if r, ok := h.waiting[name]; ok {
		delete(h.waiting, name)
		r.Resolve(ctx, x)
	}
}

// Weak returns an object that lives in memory.
func (h *Hoard) Weak() *Weak {
	if h.weak == nil {
		h.weak = &Weak{name: "weak"}
	}
	return h.weak
}

// Ask calls Await of another Hoard with a promise of its own, which Open settles.
func (h *Hoard) Ask(ctx context.Context, of vat.Ref, name string) {
	vat.Send(ctx, of, "await", h.Gate(ctx, name), name)
}

// AskLater has another Hoard wait for a promise with calls and continuations in its store.
func (h *Hoard) AskLater(ctx context.Context, of vat.Ref, gate, name string) {
	p := h.Gate(ctx, gate)
	vat.Send(ctx, of, "watch", p, name, h)
	vat.Send(ctx, of, "later", p, nil, h)
	vat.Send(ctx, of, "watchOn", p)
}
