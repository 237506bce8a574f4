package liveslots_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Ruled does what the rules of names decide about. The golden span of testdata/span1.txt has its type and methods.
type Ruled struct {
	vat.Durable
	Texts vat.Map[string, int]
	Old   vat.Map[string, int]
	ByObj vat.Map[*Item, int]
	ByRef vat.Map[vat.Ref, int]
	Kept  *Item

	ref  vat.Ref                 `vat:"-"`
	item vat.Ref                 `vat:"-"`
	weak *Weak                   `vat:"-"`
	open map[string]vat.Resolver `vat:"-"`
}

func NewRuled() *Ruled { return &Ruled{} }

// Gate keeps the vat from rest until Open.
func (r *Ruled) Gate(ctx context.Context, name string) vat.Promise {
	p, done := vat.NewPromise(ctx)
	if r.open == nil {
		r.open = map[string]vat.Resolver{}
	}
	r.open[name] = done
	return p
}

func (r *Ruled) Open(ctx context.Context, name string) { r.open[name].Resolve(ctx, nil) }

// Put stores numbers under keys, one of which may be empty.
func (r *Ruled) Put(ctx context.Context, keys []string) {
	for i, k := range keys {
		_ = r.Texts.Set(ctx, k, i)
		_ = r.Old.Set(ctx, k, i)
	}
}

func (r *Ruled) Remove(ctx context.Context, key string) {
	r.Texts.Delete(ctx, key)
	r.Old.Delete(ctx, key)
}

// List returns the entries of the tables, and how many there are.
func (r *Ruled) List(ctx context.Context) (list []string) {
	for _, m := range []*vat.Map[string, int]{&r.Texts, &r.Old} {
		list = append(list, fmt.Sprint(m.Len(ctx)))
		for k, n := range m.All(ctx) {
			list = append(list, fmt.Sprintf("%q: %d", k, n))
		}
		for k := range m.After(ctx, "") {
			list = append(list, fmt.Sprintf("after: %q", k))
		}
	}
	return list
}

// ListObjects returns the entries whose keys are objects.
func (r *Ruled) ListObjects(ctx context.Context) (list []string) {
	for o, n := range r.ByObj.All(ctx) {
		list = append(list, fmt.Sprintf("nil %t: %d", o == nil, n))
	}
	return append(list, fmt.Sprint(r.ByObj.Len(ctx)))
}

// MarkNil uses nil as a key.
func (r *Ruled) MarkNil(ctx context.Context, n int) { _ = r.ByObj.Set(ctx, nil, n) }

// PutRef uses the zero Ref as a key.
func (r *Ruled) PutRef(ctx context.Context, n int) { _ = r.ByRef.Set(ctx, vat.Ref{}, n) }

func (r *Ruled) ListRefs(ctx context.Context) (list []string) {
	for o, n := range r.ByRef.All(ctx) {
		list = append(list, fmt.Sprintf("zero %t: %d", o.IsZero(), n))
	}
	return append(list, fmt.Sprint(r.ByRef.Len(ctx)))
}

// MarkDeleted uses a deleted object as a key, which had a name before or not, and returns what comes of it.
func (r *Ruled) MarkDeleted(ctx context.Context, named bool) (list []string) {
	o := &Item{Name: "deleted"}
	if named {
		_ = r.ByObj.Set(ctx, o, 1)
	}
	list = append(list, fmt.Sprint(vat.Delete(ctx, o)))
	list = append(list, fmt.Sprint(r.ByObj.Set(ctx, o, 2)))
	n, found := r.ByObj.Get(ctx, o)
	list = append(list, fmt.Sprint(n, found, r.ByObj.Has(ctx, o)))
	r.ByObj.Delete(ctx, o)
	return append(list, fmt.Sprint(r.ByObj.Len(ctx)))
}

// Weak returns an ephemeral object, and Item a durable one. The vat keeps references to both in memory.
func (r *Ruled) Weak(ctx context.Context) *Weak {
	if r.weak == nil {
		r.weak = &Weak{name: "weak"}
		r.ref = vat.RefOf(ctx, r.weak)
	}
	return r.weak
}

func (r *Ruled) Item(ctx context.Context) *Item {
	if r.Kept == nil {
		r.Kept = &Item{Name: "item"}
	}
	r.item = vat.RefOf(ctx, r.Kept)
	return r.Kept
}

// WeakRef passes the reference to the ephemeral object.
func (r *Ruled) WeakRef() vat.Ref { return r.ref }

// HitWeak sends a message to the object by the reference, and WatchWeak asks for the end of its vat.
func (r *Ruled) HitWeak(ctx context.Context)   { vat.Send(ctx, r.ref, "hit") }
func (r *Ruled) WatchWeak(ctx context.Context) { vat.Done(ctx, r.ref) }

// Same reports whether the references are still those of the objects.
func (r *Ruled) Same(ctx context.Context) []string {
	w, isLocal := vat.Local[*Weak](ctx, r.ref)
	i, _ := vat.Local[*Item](ctx, r.item)
	return []string{
		fmt.Sprint(isLocal, w == r.weak, vat.RefOf(ctx, r.weak) == r.ref),
		fmt.Sprint(i == r.Kept, r.item == vat.RefOf(ctx, r.Kept)),
	}
}

// spanOfRules1 are the deliveries of a span of a vat of module Ruled.
func spanOfRules1(t *testing.T) (list []wire.Delivery) {
	n := 1
	call := func(method string, args ...any) {
		n++
		list = append(list, message(t, wire.Ref(fmt.Sprint("p-", n)), method, args...))
	}
	weak, item := []wire.Ref{"o+1"}, []wire.Ref{"o+d2/2"}
	call("gate", "g")
	call("list")
	call("put", []any{"", "a", "b"})
	call("list")
	call("remove", "")
	call("list")
	call("markNil", 7.0)
	call("listObjects")
	call("markDeleted", false)
	call("markDeleted", true)
	call("listObjects")
	call("weak")
	call("item")
	call("same")
	list = append(list, wire.DropExports{Refs: weak})
	call("weakRef")
	list = append(list, wire.DropExports{Refs: append(weak, item...)}, wire.RetireExports{Refs: append(weak, item...)})
	call("same")
	call("weak")
	call("same")
	call("open", "g")
	return list
}

// ruled is a vat of module Ruled with what the kernel holds of it.
type ruled struct {
	t     *testing.T
	m     *liveslots.Module
	v     *wired
	store testStore
	n     int
}

// restarted returns the vat of a fresh worker.
func (r *ruled) restarted() *wired {
	return newVat(r.t, r.m, wire.Start{HighPromise: 1000, HighObject: 1000}, r.store, nil)
}

func newRuled(t *testing.T) *ruled {
	t.Helper()
	m, err := liveslots.Compile("m", NewRuled)
	if err != nil {
		t.Fatal(err)
	}
	r := &ruled{t: t, m: m, store: testStore{}}
	r.v = newVat(t, m, wire.Start{}, r.store, nil)
	r.deliver(wire.StartVat{})
	return r
}

func (r *ruled) deliver(d wire.Delivery) wire.Done {
	r.t.Helper()
	r.n++
	done := r.v.Deliver(wire.Deliver{Number: uint64(r.n), Delivery: d})
	if done.Outcome.Fault != "" {
		r.t.Fatalf("%+v: %s", d, done.Outcome.Fault)
	}
	r.store.apply(done.Syscalls)
	return done
}

// call returns the answer to a message.
func (r *ruled) call(method string, args ...any) wire.CapData {
	r.t.Helper()
	result := wire.Ref(fmt.Sprint("p-", r.n))
	for _, s := range r.deliver(message(r.t, result, method, args...)).Syscalls {
		if s, ok := s.(wire.Resolve); ok && s.Resolutions[0].Promise == result {
			return s.Resolutions[0].Value
		}
	}
	return wire.CapData{}
}

func (r *ruled) want(want, method string, args ...any) {
	r.t.Helper()
	if got := r.call(method, args...).Body; got != want {
		r.t.Errorf("%s%v: got %s, want %s", method, args, got, want)
	}
}

// A reference to an ephemeral object that a turn holds is good for as long as the turn: also when the kernel has forgotten
// the name meanwhile, it is the same reference, and the object can be passed by it under a new name.
func TestReferenceToAnEphemeralObjectOutlivesItsName(t *testing.T) {
	for name, pass := range map[string]func(r *ruled) wire.Ref{
		"by the reference":         func(r *ruled) wire.Ref { return r.call("weakRef").Slots[0] },
		"by the pointer":           func(r *ruled) wire.Ref { return r.call("weak").Slots[0] },
		"as the target":            func(r *ruled) wire.Ref { return targetIn[wire.Send](r, "hitWeak") },
		"as the target of a watch": func(r *ruled) wire.Ref { return targetIn[wire.Watch](r, "watchWeak") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuled(t)
			r.call("gate", "g")
			r.call("item")
			r.call("weak")
			for n := 1; n < 4; n++ {
				if name == "as the target of a watch" && n > 1 {
					break // one reference is watched once
				}
				ref := []wire.Ref{wire.Ref(fmt.Sprint("o+", n))}
				r.deliver(wire.DropExports{Refs: ref})
				r.deliver(wire.RetireExports{Refs: ref})
				r.want(`#["true true true","true true"]`, "same")
				if got, want := pass(r), wire.Ref(fmt.Sprint("o+", n+1)); got != want {
					t.Fatalf("it is passed as %s, want %s", got, want)
				}
				r.want(`#["true true true","true true"]`, "same")
			}
		})
	}
}

// targetIn returns the target of the syscall of a type that a message makes the vat do.
func targetIn[S wire.Syscall](r *ruled, method string) (target wire.Ref) {
	for _, s := range r.deliver(message(r.t, "p-99", method)).Syscalls {
		if _, ok := s.(S); !ok {
			continue
		}
		switch s := s.(type) {
		case wire.Send:
			target = s.Target
		case wire.Watch:
			target = s.Target
		}
	}
	return target
}

// An ephemeral object that others have dropped and are given again, by whatever holds it, keeps the vat from rest.
func TestEphemeralObjectThatIsPassedAgainIsKept(t *testing.T) {
	for name, pass := range map[string]func(r *ruled){
		"by the reference":         func(r *ruled) { r.call("weakRef") },
		"by the pointer":           func(r *ruled) { r.call("weak") },
		"as the target":            func(r *ruled) { r.deliver(message(r.t, "p-99", "hitWeak")) },
		"as the target of a watch": func(r *ruled) { r.deliver(message(r.t, "p-99", "watchWeak")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuled(t)
			r.call("gate", "g")
			r.call("weak")
			r.deliver(wire.DropExports{Refs: []wire.Ref{"o+1"}})
			pass(r)
			r.deliver(message(t, "p-99", "open", "g"))
			r.deliver(wire.Notify{Resolutions: []wire.Resolution{{Promise: "p+1", Value: wire.CapData{Body: "#null"}}}})
			if r.v.AtRest() {
				t.Fatal("the vat is at rest, and its object is held outside")
			}
			done := r.deliver(wire.Call{Target: "o+1", Message: wire.Message{MethArgs: wire.CapData{Body: `#["hit",[]]`}, Result: "p-98"}})
			if got := fmt.Sprint(done.Syscalls); !strings.Contains(got, `#"weak`) {
				t.Errorf("the object answers %s", got)
			}
			r.deliver(wire.DropExports{Refs: []wire.Ref{"o+1"}})
			if !r.v.AtRest() {
				t.Error("nobody holds the object, and the vat is not at rest")
			}
		})
	}
}

// A durable object whose name the kernel has forgotten is the same object as before, by whatever it is referred to.
func TestReferenceToADurableObjectIsKept(t *testing.T) {
	r := newRuled(t)
	r.call("gate", "g")
	r.call("weak")
	for range 3 {
		ref := r.call("item").Slots
		r.deliver(wire.DropExports{Refs: ref})
		r.deliver(wire.RetireExports{Refs: ref})
		r.want(`#["true true true","true true"]`, "same")
	}
}

// Entries whose keys are empty are entries like others.
func TestEntriesWithEmptyKeys(t *testing.T) {
	r := newRuled(t)
	r.call("put", []any{"", "a"})
	delete(r.store, "n.2") // Old was made by a version that stored no numbers of entries
	r.v = r.restarted()
	table := `"2","!\"\": 0","!\"a\": 1","after: \"a\""`
	r.want("#["+table+","+table+"]", "list")
	r.call("remove", "")
	r.call("remove", "")
	table = `"1","!\"a\": 1","after: \"a\""`
	r.want("#["+table+","+table+"]", "list")
	r.call("markNil", 7.0)
	r.want(`#["nil true: 7","1"]`, "listObjects")
	r.call("putRef", 8.0)
	r.want(`#["zero true: 8","1"]`, "listRefs")

	// A number that an earlier version has stored too low for the empty key does not fall below 0.
	r.store["n.1"], r.store["m.1."] = []byte("0"), []byte("\n#0")
	r.v = r.restarted()
	r.call("remove", "")
	if got := string(r.store["n.1"]); got != "0" {
		t.Errorf("the number of entries is %s", got)
	}
}

// A deleted object is the key of no new entry, and is not taken for nil.
func TestDeletedObjectIsNoKey(t *testing.T) {
	r := newRuled(t)
	r.call("markNil", 7.0)
	r.want(`#["<nil>","this liveslots_test.Item was deleted, and had no name: no Map has it as a key","0 false false","1"]`, "markDeleted", false)
	r.want(`#["nil true: 7","1"]`, "listObjects")
}
