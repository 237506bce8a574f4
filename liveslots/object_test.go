package liveslots_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	v1 "ocapkernel.dev/liveslots/internal/v1/shop"
	v2 "ocapkernel.dev/liveslots/internal/v2/shop"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

type Keeper struct {
	vat.Durable
	First *Item
	Any   any
	Held  vat.Ref
	Table map[string]*Item
}

func NewKeeper() *Keeper { return &Keeper{} }

func (k *Keeper) Bootstrap(vats map[string]vat.Ref) { k.Held = vats["b"] }

func (k *Keeper) Keep(name string) *Item {
	k.First = &Item{Name: name, Next: k.First}
	k.First.Count = 10
	return k.First
}

func (k *Keeper) Get(i int) *Item {
	it := k.First
	for range i {
		it = it.Next
	}
	return it
}

func (k *Keeper) Sum() (sum int) {
	for it := k.First; it != nil; it = it.Next {
		sum += it.Count
	}
	return sum
}

func (k *Keeper) Same(a, b *Item, c vat.Ref) string { return fmt.Sprint(a == b, a == k.First) }

func (k *Keeper) Compare(ctx context.Context, refs []vat.Ref) string {
	it, ok := vat.Local[*Item](ctx, refs[0])
	_, wrong := vat.Local[*Keeper](ctx, refs[0])
	return fmt.Sprint(refs[0] == refs[1], refs[0] == refs[2], refs[0] == vat.RefOf(ctx, k.First), it == k.First, ok, wrong)
}

func (k *Keeper) NewWeak(name string) *Weak { return &Weak{name: name} }

func (k *Keeper) Hold(ctx context.Context, what string) error {
	switch what {
	case "weak":
		k.Any = &Weak{}
	case "weakRef":
		k.Any = vat.RefOf(ctx, &Weak{})
	case "promise":
		p, _ := vat.NewPromise(ctx)
		k.Any = []any{p}
	case "stranger":
		k.Any = make(chan int)
	case "good":
		k.Any = map[string]any{"ref": k.Held, "item": k.First, "list": []any{1, "two", nil}}
	case "copy":
		c := *k.First //nolint
		k.Any = &c
	}
	return nil
}

func (k *Keeper) Held2(ctx context.Context) (any, error) {
	m, ok := k.Any.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a %T", k.Any)
	}
	_, local := vat.Local[*Item](ctx, m["item"].(vat.Ref))
	return []any{m["ref"] == any(k.Held), local, m["list"]}, nil
}

func (k *Keeper) Fill() {
	k.Table = map[string]*Item{"x": {Name: "x"}, "y": {Name: "y"}}
	k.Table["z"] = k.Table["x"]
}

func (k *Keeper) Table2() string {
	return fmt.Sprint(len(k.Table), k.Table["x"] == k.Table["z"], k.Table["y"].Name)
}

func (k *Keeper) Read() string { return "read" }

// refIn finds the reference in an answer.
func refIn(answer string) string { return regexp.MustCompile(`k[op]\d+`).FindString(answer) }

func call(t *testing.T, k *vattest.Kernel, target, method string, args ...string) string {
	t.Helper()
	got, err := k.Call(target, method, args...)
	if err != nil {
		t.Fatalf("%s.%s: %v", target, method, err)
	}
	return got
}

func TestDurableObjectsSurvive(t *testing.T) {
	k := launch(t, NewKeeper)
	a := call(t, k, "lab", "keep", `"a"`)
	b := call(t, k, "lab", "keep", `"b"`)
	if a == b {
		t.Fatal("two objects have one identity")
	}
	for range 3 {
		call(t, k, refIn(a), "hit")
		k.Restart("lab")
	}
	want(t, k, "14", refIn(a), "hit")
	want(t, k, "24", "lab", "sum")
	want(t, k, a, "lab", "get", "1")
	want(t, k, `"true true"`, "lab", "same", b, b, b)
	want(t, k, `"false false"`, "lab", "same", a, b, a)
	want(t, k, `"true false true true true false"`, "lab", "compare", "["+b+","+b+","+a+"]")
	want(t, k, "true", refIn(b), "is", b)
	k.Restart("lab")
	call(t, k, "lab", "fill")
	k.Restart("lab")
	want(t, k, `"3 truey"`, "lab", "table2")
}

func TestLongListsLoad(t *testing.T) {
	k := launch(t, NewKeeper)
	for range 300 {
		call(t, k, "lab", "keep", `"n"`)
	}
	k.Restart("lab")
	want(t, k, "3000", "lab", "sum")
}

func TestEphemeralObjectsDoNot(t *testing.T) {
	k := launch(t, NewKeeper)
	w := call(t, k, "lab", "newWeak", `"w"`)
	want(t, k, `"w1"`, refIn(w), "hit")
	want(t, k, `"w2"`, refIn(w), "hit")
	k.Restart("lab")
	want(t, k, "error: OBJECT_DELETED: there is no object "+refIn(w), refIn(w), "hit")
	w2 := call(t, k, "lab", "newWeak", `"w"`)
	want(t, k, `"w1"`, refIn(w2), "hit")
	want(t, k, `error: liveslots_test.Keeper.same: argument 1: want *liveslots_test.Item, got a *liveslots_test.Weak; it takes same(*liveslots_test.Item, *liveslots_test.Item, vat.Ref)`,
		"lab", "same", w2, w2, w2)
}

func TestForeignObjectIsNotOurs(t *testing.T) {
	k := launch(t, NewKeeper)
	x := call(t, k, "b", "make", `"x"`)
	want(t, k, `error: liveslots_test.Keeper.same: argument 1: want *liveslots_test.Item of this vat, got reference, another vat's object; it takes same(*liveslots_test.Item, *liveslots_test.Item, vat.Ref)`,
		"lab", "same", x, x, x)
}

func TestOnlyChangesAreSaved(t *testing.T) {
	k := launch(t, NewKeeper)
	call(t, k, "lab", "keep", `"a"`)
	before := k.Store("lab")
	want(t, k, `"read"`, "lab", "read")
	if after := k.Store("lab"); after != before {
		t.Errorf("a crank that changed nothing changed the store:\n%s\n%s", before, after)
	}
}

func TestWhatCannotBeSavedIsAFault(t *testing.T) {
	for _, c := range []struct{ what, want string }{
		{"weak", "liveslots_test.Keeper.any cannot be saved: liveslots_test.Weak is ephemeral and cannot be saved"},
		{"weakRef", "liveslots_test.Keeper.any cannot be saved: a reference to an ephemeral object of this vat cannot be saved"},
		{"promise", "liveslots_test.Keeper.any cannot be saved: [0]: a promise lives in memory and cannot be saved"},
		{"stranger", "liveslots_test.Keeper.any cannot be saved: chan int cannot be passed"},
		{"copy", "liveslots_test.Keeper.any cannot be saved: liveslots_test.Item was copied: objects are used by pointer only"},
	} {
		t.Run(c.what, func(t *testing.T) {
			k := launch(t, NewKeeper)
			call(t, k, "lab", "keep", `"a"`)
			want(t, k, "error: [KERNEL:DELIVERY_POISONED] fault: "+c.want, "lab", "hold", fmt.Sprintf("%q", c.what))
			want(t, k, "10", "lab", "sum") // nothing of it happened
		})
	}
}

func TestAnyIsSaved(t *testing.T) {
	k := launch(t, NewKeeper)
	call(t, k, "lab", "keep", `"a"`)
	call(t, k, "lab", "hold", `"good"`)
	k.Restart("lab")
	want(t, k, `[true,true,[1,"two",null]]`, "lab", "held2")
}

// A changed program meets the state of its predecessor.

func TestChangedProgram(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"compatible", `"kept1"`, []string{"0", "0", "0"}},
		{"removed", "error: [KERNEL:DELIVERY_POISONED] fault: shop.Stock.gone is stored as int, and the program has no such field", []string{"7", "0", "0"}},
		{"retyped", "error: [KERNEL:DELIVERY_POISONED] fault: shop.Stock.retyped is stored as int, and is string in the program", []string{"0", "7", "0"}},
		{"nested", "error: [KERNEL:DELIVERY_POISONED] fault: shop.Stock.plain.a is stored as int, and is string in the program", []string{"0", "0", "7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := launch(t, v1.New)
			call(t, k, "lab", "set", c.args...)
			k.Upgrade(modules(v2.New))
			want(t, k, c.want, "lab", "show")
			if c.name == "compatible" {
				k.Restart("lab")
				want(t, k, `"kept2"`, "lab", "show")
			}
		})
	}
}

// Records evolve as objects do, wherever they are stored.
func TestChangedRecords(t *testing.T) {
	const poisoned = "error: [KERNEL:DELIVERY_POISONED] fault: "
	for _, c := range []struct{ what, want string }{
		{"", `"{one 1 [] {10 true \u003cnil\u003e 0}} {two 2 [] {20 false \u003cnil\u003e 0}} {three 0 [] {0 false \u003cnil\u003e 0}} ` +
			`{four 4 [] {40 false \u003cnil\u003e 0}} { 0 [] {0 false \u003cnil\u003e 0}} { 5 [] {0 false \u003cnil\u003e 0}} -6 0.5 7 8 9 {ten 10 [] {100 false \u003cnil\u003e 0}}"`},
		{"one", poisoned + "shop.Ledger.one.gone is stored as string, and the program has no such field"},
		{"inner", poisoned + "shop.Ledger.one.inner.gone is stored as int, and the program has no such field"},
		{"retyped", poisoned + "shop.Ledger.one.inner.odd is stored as string, and is int in the program"},
		{"many", poisoned + "shop.Ledger.many[1].inner.gone is stored as int, and the program has no such field"},
		{"named", poisoned + `shop.Ledger.named["four"].gone is stored as string, and the program has no such field`},
		{"fixed", poisoned + "shop.Ledger.fixed[0].gone is stored as string, and the program has no such field"},
		{"rowRetyped", poisoned + `stored entry "ten" of a Map of shop.Line: want int at inner.odd, got string "odd"`},
		{"row", poisoned + `stored entry "ten" of a Map of shop.Line: inner.gone is stored as number 3, and the program has no such field`},
	} {
		t.Run(c.what, func(t *testing.T) {
			k := launch(t, v1.NewLedger)
			call(t, k, "lab", "fill", fmt.Sprintf("%q", c.what))
			k.Upgrade(modules(v2.NewLedger))
			for range 2 {
				want(t, k, strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(c.want), "lab", "show")
				c.want = strings.Replace(c.want, "-6", "-5", 1)
				k.Restart("lab")
			}
		})
	}
}

// The arguments of a continuation are stored as well.
func TestChangedRecordsOfContinuations(t *testing.T) {
	for _, c := range []struct{ gone, want string }{
		{"", `"true {later 11 [] {110 false <nil> 0}} 7"`},
		{"kept", "error: [KERNEL:DELIVERY_POISONED] fault: shop.Ledger.onGate: argument 2: gone is stored as string \"kept\", and the program has no such field; " +
			"it takes onGate(vat.Outcome[string], shop.Line, *shop.Latter)"},
	} {
		k := launch(t, v1.NewLedger)
		call(t, k, "lab", "fill", `""`)
		a := k.Send("lab", "later", `{"$ref":"`+k.Root("b")+`"}`, fmt.Sprintf("%q", c.gone))
		k.Run()
		k.Upgrade(modules(v2.NewLedger)) // which loses the gate
		k.Run()
		if got := result(a.Result()); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// A type that has another name goes on with the objects that were stored under the former one.
func TestRenamedType(t *testing.T) {
	k := launch(t, v1.NewLedger)
	call(t, k, "lab", "fill", `""`)
	k.Upgrade(modules(v2.NewLedger))
	list := call(t, k, "lab", "make")
	var refs []string
	for ref := range strings.SplitSeq(list, `"`) {
		if strings.HasPrefix(ref, "ko") {
			refs = append(refs, ref)
		}
	}
	if len(refs) != 2 {
		t.Fatalf("got %s", list)
	}
	k.Restart("lab")
	want(t, k, "7", refs[0], "get")
	want(t, k, "12", refs[1], "get")
}

func TestRootOfAnotherType(t *testing.T) {
	k := launch(t, NewKeeper)
	k.Upgrade(modules(NewHelper2))
	want(t, k, "error: [KERNEL:DELIVERY_POISONED] fault: the root is stored as a liveslots_test.Keeper, and is a liveslots_test.Helper2 in the program", "lab", "x")
}

func TestTypeThatIsGone(t *testing.T) {
	k := launch(t, NewKeeper)
	a := call(t, k, "lab", "keep", `"a"`)
	k.Upgrade(modules(NewHelper2))
	_, err := k.Call(refIn(a), "hit")
	if err == nil || !strings.Contains(err.Error(), "stored objects are of type liveslots_test.Item, which module lab does not have") {
		t.Errorf("got %v", err)
	}
}

type Helper2 struct{ vat.Durable }

func NewHelper2() *Helper2 { return &Helper2{} }
