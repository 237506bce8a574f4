package liveslots_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
	"ocapkernel.dev/wire"
)

// hoards runs two hoards, a and b.
func hoards(t *testing.T) *vattest.Kernel {
	t.Helper()
	k := vattest.New(t, vat.Modules{"hoard": NewHoard})
	k.OnComplaint = func(_, text string) { t.Log(text) }
	if err := k.Launch("a", vattest.Vat{Name: "a", Module: "hoard"}, vattest.Vat{Name: "b", Module: "hoard"}); err != nil {
		t.Fatal(err)
	}
	return k
}

// refOfAnswer returns the reference in a JSON answer.
func refOfAnswer(t *testing.T, answer string) string {
	t.Helper()
	var x struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal([]byte(answer), &x); err != nil || x.Ref == "" {
		t.Fatalf("%s is no reference", answer)
	}
	return x.Ref
}

// done is the answer of a method without a result.
const done = `{"$undefined":true}`

func wantDeleted(t *testing.T, k *vattest.Kernel, target, method string, args ...string) {
	t.Helper()
	if got := result(k.Call(target, method, args...)); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "OBJECT_DELETED") {
		t.Errorf("%s.%s: got %s, want OBJECT_DELETED", target, method, got)
	}
}

func TestDeletedObject(t *testing.T) {
	for name, again := range map[string]func(k *vattest.Kernel){
		"as it is":            func(*vattest.Kernel) {},
		"in another worker":   func(k *vattest.Kernel) { k.Kill("a"); k.Kill("b") },
		"in another memory":   func(k *vattest.Kernel) { k.Restart("a"); k.Restart("b") },
		"in another kernel":   func(k *vattest.Kernel) { k.RestartKernel() },
		"always killed after": func(k *vattest.Kernel) { k.KillAlways = true },
	} {
		t.Run(name, func(t *testing.T) {
			k := hoards(t)
			self := `{"$ref":"` + k.Root("a") + `"}`
			want(t, k, done, "a", "put", `"x"`)
			want(t, k, done, "a", "tree", `"y"`, "3")
			want(t, k, done, "a", "link", `"y"`, `"x"`)
			thing := refOfAnswer(t, result(k.Call("a", "get", `"x"`)))
			want(t, k, done, thing, "put", `"sub"`)
			want(t, k, done, "b", "markRef", `{"$ref":"`+thing+`"}`, `"held"`)
			want(t, k, done, "a", "remember", `"x"`)
			want(t, k, done, "a", "markObj", `"x"`, "1")
			want(t, k, done, "b", "askLater", self, `"gate"`, `"x"`) // continuations that have the Thing
			again(k)

			want(t, k, done, "a", "destroy", `"x"`)
			want(t, k, done, "a", "destroy", `"x"`) // it is nil by now
			again(k)
			wantDeleted(t, k, thing, "getName")
			want(t, k, "null", "a", "get", `"x"`)
			want(t, k, done, "a", "destroy", `"y"`)
			want(t, k, done, "a", "recall", `{"$ref":"`+k.Root("b")+`"}`) // the reference is passed on, and dead
			again(k)
			want(t, k, done, "b", "open", `"gate"`, "1")
			for range 3 {
				want(t, k, done, "a", "put", `"z"`)
				want(t, k, done, "a", "destroy", `"z"`)
			}
			for line := range strings.Lines(k.Store("a")) {
				if strings.HasPrefix(line, "o.o+d2/1 ") {
					t.Errorf("left: %s", line)
				}
			}
		})
	}
}

func TestCallsThatWaitForADeletedObject(t *testing.T) {
	g := newGarden(t, NewHoard, wire.Start{})
	g.call("put", "x")
	thing := g.call("get", "x").Syscalls[0].(wire.Resolve).Resolutions[0].Value.Slots[0]
	p := g.promise()
	g.open = []wire.Ref{p}
	g.callOf(thing, "setNext", p) // waits in the store
	g.call("destroy", "x")
	g.restart()
	g.n++
	done := g.v.Deliver(wire.Deliver{Number: g.n, Delivery: wire.Notify{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: "#null"}}}}})
	if r, ok := done.Syscalls[0].(wire.Resolve); !ok || !strings.Contains(r.Resolutions[0].Value.Body, "[KERNEL:OBJECT_DELETED] its vat has deleted the object") {
		t.Errorf("got %+v", done)
	}
}

func TestDeleteIsRefused(t *testing.T) {
	k := hoards(t)
	want(t, k, `["delete: a vat cannot be without its root","delete: liveslots_test.Weak is ephemeral","delete: <nil> is not an object of this vat",`+
		`"delete: int is not an object of this vat","delete: *liveslots_test.Thing is not an object of this vat",`+
		`"delete: liveslots_test.Thing is not an object of this vat","delete: a vat.Ref is not an object of this vat: Local returns the object"]`, "a", "destroyOdd")
}

func TestDeletedObjectCannotBeUsed(t *testing.T) {
	k := hoards(t)
	want(t, k, `["<nil>","<nil>","send hold: argument 2: this liveslots_test.Thing was deleted","[KERNEL:OBJECT_DELETED] the object does not exist any more",`+
		`"false true true"]`, "a", "destroyTwice")
}

// Under the kernel, too, a vat has as many rows afterwards as before, and others drop what they no longer hold.
func TestNothingIsLeftUnderTheKernel(t *testing.T) {
	for _, kill := range []bool{false, true} {
		k := vattest.New(t, vat.Modules{"hoard": NewHoard})
		k.CollectAlways, k.KillAlways = true, kill
		if err := k.Launch("a", vattest.Vat{Name: "a", Module: "hoard"}, vattest.Vat{Name: "b", Module: "hoard"}); err != nil {
			t.Fatal(err)
		}
		other := `{"$ref":"` + k.Root("b") + `"}`
		rows := 0
		for i := range 8 {
			want(t, k, done, "a", "put", `"x"`)
			want(t, k, done, "a", "tree", `"y"`, "3")
			want(t, k, done, "a", "give", other, `"x"`) // b notes it
			want(t, k, done, "a", "remove", `"x"`)
			want(t, k, done, "a", "remove", `"y"`)
			want(t, k, done, "b", "unmarkAll")
			want(t, k, "0", "a", "add", "0")
			switch n := strings.Count(k.Store("a"), "\n") + strings.Count(k.Store("b"), "\n"); {
			case i == 0:
				rows = n
			case n != rows:
				t.Fatalf("kill %t: %d rows, and %d before:\n%s\n%s", kill, n, rows, k.Store("a"), k.Store("b"))
			}
		}
	}
}
