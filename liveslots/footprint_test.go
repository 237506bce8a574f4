package liveslots_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Burdened has calls wait whose other arguments are there.
type Burdened struct {
	vat.Durable
	B   vat.Ref
	Log []string

	hold []vat.Resolver `vat:"-"`
}

func NewBurdened() *Burdened { return &Burdened{} }

func (k *Burdened) Bootstrap(vats map[string]vat.Ref) { k.B = vats["b"] }

func (k *Burdened) Take(a, b any) {}

func (k *Burdened) Noted() []string { return k.Log }

// Await waits with When for a value that may hold promises.
func (k *Burdened) Await(ctx context.Context, p vat.Promise) { vat.When(ctx, p, k, "taken") }

func (k *Burdened) Taken(out vat.Outcome[Pair]) { k.Log = append(k.Log, fmt.Sprint(out.Err)) }

// Made is a value with something of this vat inside.
type Made struct {
	Gate vat.Promise
	Weak *Weak
}

// Many has continuations wait for a value that another continuation makes, which holds a promise of this vat, or an object
// that lives in memory.
func (k *Burdened) Many(ctx context.Context, n int, weak bool) {
	p := vat.When(ctx, vat.Send(ctx, k.B, "gate", "g"), k, "make", weak)
	for i := range n {
		vat.When(ctx, p, k, "use", i)
	}
}

func (k *Burdened) Make(ctx context.Context, _ string, weak bool) Made {
	if weak {
		return Made{Gate: vat.Send(ctx, k.B, "echo", ""), Weak: &Weak{name: "w"}}
	}
	p, r := vat.NewPromise(ctx)
	k.hold = append(k.hold, r)
	return Made{Gate: p}
}

// Use counts its arguments.
func (k *Burdened) Use(ctx context.Context, m Made, i int) {
	k.Log = append(k.Log, fmt.Sprint(i))
	if m.Weak != nil {
		m.Weak.hits++
	}
}

// More calls wait for one promise than a crank tries, and the value of the promise leads to objects in memory.
func TestDueCallsGetValuesThatLeadToMemory(t *testing.T) {
	for _, weak := range []bool{false, true} {
		t.Run(fmt.Sprint(weak), func(t *testing.T) {
			k := launch(t, NewBurdened)
			call(t, k, "lab", "many", "600", fmt.Sprint(weak))
			k.Send("b", "open", `"g"`, `"x"`)
			for range 3 {
				k.Step()
			}
			k.Kill("lab")
			k.Run()
			var wanted []string
			for i := range 600 {
				wanted = append(wanted, fmt.Sprintf("%q", fmt.Sprint(i)))
			}
			want(t, k, "["+strings.Join(wanted, ",")+"]", "lab", "noted")
			wantNothingStored(t, k, "lab")
		})
	}
}

// A crank does not store more for a waiting call than the vat's own frame holds: the call is rejected, or its
// continuation gets the error.
func TestCallsWithTooLargeArgumentsDoNotWait(t *testing.T) {
	const frame = 1 << 18
	large := func(bytes int) wire.CapData { return wire.CapData{Body: `#"` + strings.Repeat("x", bytes) + `"`} }
	// leads is a value that leads to n promises, settled, and to one that is not.
	leads := func(first, n int, never wire.Ref) (d wire.CapData, rs []wire.Resolution) {
		var words []string
		for i := range n {
			ref := wire.Ref(fmt.Sprint("p-", first+i))
			words = append(words, fmt.Sprintf(`"&%d"`, i))
			d.Slots = append(d.Slots, ref)
			rs = append(rs, wire.Resolution{Promise: ref, Value: wire.CapData{Body: `#1`}})
		}
		words, d.Slots = append(words, fmt.Sprintf(`"&%d"`, n)), append(d.Slots, never)
		d.Body = `#[` + strings.Join(words, ",") + `]`
		return d, rs
	}
	take := wire.CapData{Body: `#["take",["&0","&1"]]`, Slots: []wire.Ref{"p-1", "p-9"}}
	other := func(p wire.Ref) wire.CapData {
		return wire.CapData{Body: take.Body, Slots: []wire.Ref{p, "p-9"}}
	}
	settled := func(values ...wire.CapData) (rs []wire.Resolution) {
		for i, x := range values {
			rs = append(rs, wire.Resolution{Promise: wire.Ref(fmt.Sprint("p-", i+1)), Value: x})
		}
		return rs
	}
	var many []wire.CapData
	var rest []wire.Resolution
	var slots []wire.Ref
	for i := range 3 {
		d, rs := leads(1000*(i+1), 900, "p-9")
		many, rest, slots = append(many, d), append(rest, rs...), append(slots, wire.Ref(fmt.Sprint("p-", i+1)))
	}
	for _, c := range []struct {
		name   string
		calls  []wire.CapData
		notify []wire.Resolution
		told   string // "" if the call waits on
	}{
		{"a small value", []wire.CapData{take}, settled(large(1000)), ""},
		{"a large value", []wire.CapData{take}, settled(large(frame / 2)), ""},
		{"a value as large as the frame", []wire.CapData{take}, settled(large(frame - 100)), "LIMIT"},
		{"a value larger than the frame", []wire.CapData{take}, settled(large(frame * 2)), "LIMIT"},
		{"values that are too much for one crank", []wire.CapData{take, other("p-2"), other("p-3"), other("p-4")}, settled(large(frame/2), large(frame/2), large(frame/2), large(frame/2)), ""},
		{"many values", []wire.CapData{{Body: `#["take",[["&0","&1","&2"],"&3"]]`, Slots: append(slots, "p-9")}}, append(settled(many...), rest...), "LIMIT"},
		{
			"a continuation with a large value",
			[]wire.CapData{{Body: `#["await",["&0"]]`, Slots: []wire.Ref{"p-1"}}},
			settled(wire.CapData{Body: `#{"a":"` + strings.Repeat("x", frame) + `","b":"&0"}`, Slots: []wire.Ref{"p-9"}}), "[KERNEL:LIMIT]",
		},
	} {
		for _, attempt := range []uint64{0, 1} {
			t.Run(fmt.Sprint(c.name, " ", attempt), func(t *testing.T) {
				store := testStore{}
				v := startWith(t, NewBurdened, wire.Start{MaxFrameBytes: frame}, store)
				var todo []wire.Deliver
				for i, x := range c.calls {
					todo = append(todo, wire.Deliver{Delivery: wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: x, Result: wire.Ref(fmt.Sprint("p-", 5000+i))}}})
				}
				todo = append(todo, wire.Deliver{Delivery: wire.Notify{Resolutions: c.notify}, Attempt: attempt})
				told := ""
				deliverAll(t, v, store, 2, todo, func(r wire.Resolution) {
					if r.Promise == "p-5000" && r.Rejected {
						told = r.Value.Body
					}
				})
				told += string(store["o.o+0"])
				if c.told == "" && strings.Contains(told, "LIMIT") || !strings.Contains(told, c.told) {
					t.Errorf("got %.300s, want %q", told, c.told)
				}
				left := 0
				for key := range store {
					if strings.HasPrefix(key, "w.") {
						left++
					}
				}
				if (left == 0) != (c.told != "") {
					t.Errorf("%d calls wait in the store", left)
				}
				if !v.AtRest() {
					t.Error("the vat is not at rest")
				}
			})
		}
	}
}
