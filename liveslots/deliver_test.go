package liveslots_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/wire"
)

// testStore is a vat's store.
type testStore map[string][]byte

func (s testStore) Get(key string) ([]byte, bool, error) {
	v, ok := s[key]
	return v, ok, nil
}

func (s testStore) apply(syscalls []wire.Syscall) {
	for _, x := range syscalls {
		switch x := x.(type) {
		case wire.StoreSet:
			s[x.Key] = x.Value
		case wire.StoreDelete:
			delete(s, x.Key)
		}
	}
}

// deliverAll has a vat do deliveries, from a number on, and the messages that it sends to itself meanwhile. It tells of each
// resolution.
func deliverAll(t *testing.T, v *wired, store testStore, first uint64, todo []wire.Deliver, told func(wire.Resolution)) {
	t.Helper()
	for n := 0; n < len(todo); n++ {
		todo[n].Number = first + uint64(n)
		done := v.Deliver(todo[n])
		if done.Outcome.Fault != "" {
			t.Fatal(done.Outcome.Fault)
		}
		store.apply(done.Syscalls)
		for _, s := range done.Syscalls {
			switch x := s.(type) {
			case wire.Resolve:
				for _, r := range x.Resolutions {
					told(r)
				}
			case wire.Send:
				if strings.HasPrefix(string(x.Target), "o+") {
					todo = append(todo, wire.Deliver{Delivery: wire.Call(x)})
				}
			}
		}
	}
}

// started returns a vat after its first delivery. The test forgets its stored rows; the vat's cache has them.
func started(t testing.TB, constructor any, start wire.Start) *wired {
	t.Helper()
	return startWith(t, constructor, start, testStore{})
}

func startedOn(t testing.TB, constructor any, store testStore) *wired {
	t.Helper()
	return startWith(t, constructor, wire.Start{}, store)
}

func startWith(t testing.TB, constructor any, start wire.Start, store testStore) *wired {
	t.Helper()
	m, err := liveslots.Compile("m", constructor)
	if err != nil {
		t.Fatal(err)
	}
	v := newVat(t, m, start, store, nil)
	d := v.Deliver(wire.Deliver{Number: 1, Delivery: wire.StartVat{}})
	if d.Outcome.Fault != "" {
		t.Fatal(d.Outcome.Fault)
	}
	store.apply(d.Syscalls)
	return v
}

func message(t testing.TB, result wire.Ref, method string, args ...any) wire.Call {
	t.Helper()
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: body}, Result: result}}
}

func rejection(text string) wire.CapData {
	body, err := capdata.Encode(&capdata.Error{Name: "Error", Message: text})
	if err != nil {
		panic(err)
	}
	return wire.CapData{Body: body}
}

func TestOddDeliveries(t *testing.T) {
	slots := func(s ...wire.Ref) wire.CapData { return wire.CapData{Body: `#["$0","&1"]`, Slots: s} }
	for _, c := range []struct {
		name string
		in   wire.Delivery
		want []wire.Syscall
	}{
		{
			"notification of an unknown promise, with one for which nothing waits",
			wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-9", Value: slots("o-1", "p-10")}}},
			nil,
		},
		{"notification that mentions itself", wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-9", Value: slots("o-1", "p-9")}}}, nil},
		{"notification of what cannot be read", wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-9", Value: wire.CapData{Body: "#["}}}}, nil},
		{"drop of unknown exports", wire.DropExports{Refs: []wire.Ref{"o+5", "o+d1/7"}}, nil},
		{"retirement of unknown exports", wire.RetireExports{Refs: []wire.Ref{"o+5", "o+d1/7"}}, nil},
		{"retirement of unknown imports", wire.RetireImports{Refs: []wire.Ref{"o-5"}}, nil},
		{"bring out your dead", wire.BringOutYourDead{}, nil},
		{"message without a result", message(t, "", "nonsense"), nil},
		{
			"message to a lost object",
			wire.Call{Target: "o+77", Message: wire.Message{MethArgs: wire.CapData{Body: `#["x",[]]`}, Result: "p-1"}},
			[]wire.Syscall{wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p-1", Rejected: true, Value: rejection("[KERNEL:OBJECT_DELETED] the object lived in memory that is lost")}}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := started(t, NewHelper, wire.Start{})
			got := v.Deliver(wire.Deliver{Number: 2, Delivery: c.in})
			if diff := cmp.Diff(wire.Done{Number: 2, Syscalls: c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreadableMessageIsRejected(t *testing.T) {
	for _, body := range []string{"", "#", "#1", `#["m"]`, `#[1,[]]`, `#["m",["$0"]]`, "x"} {
		v := started(t, NewHelper, wire.Start{})
		d := v.Deliver(wire.Deliver{Number: 2, Delivery: wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: body}, Result: "p-1"}}})
		if len(d.Syscalls) != 1 || d.Outcome.Fault != "" {
			t.Errorf("%q: got %+v", body, d)
			continue
		}
		r := d.Syscalls[0].(wire.Resolve).Resolutions[0]
		if !r.Rejected || !strings.Contains(r.Value.Body, "unreadable message") {
			t.Errorf("%q: got %+v", body, r)
		}
	}
}

// New names are above those of earlier incarnations, and none is spent on a value that is not sent.
func TestNames(t *testing.T) {
	v := started(t, NewHelper, wire.Start{HighObject: 40, HighPromise: 70})
	d := v.Deliver(wire.Deliver{Number: 2, Delivery: message(t, "p-1", "weak", "w")})
	want := wire.CapData{Body: `#"$0.Alleged: Weak"`, Slots: []wire.Ref{"o+41"}}
	if got := d.Syscalls[0].(wire.Resolve).Resolutions[0].Value; !cmp.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	d = v.Deliver(wire.Deliver{Number: 3, Delivery: message(t, "p-2", "gate", "g")})
	if len(d.Syscalls) != 0 {
		t.Errorf("a promise that is only returned takes no syscall: got %+v", d.Syscalls)
	}
}

func TestLimits(t *testing.T) {
	v := started(t, NewHelper, wire.Start{MaxFrameBytes: 200})
	d := v.Deliver(wire.Deliver{Number: 2, Delivery: message(t, "p-1", "note", strings.Repeat("x", 300))})
	if want := "the limit is 200"; !strings.Contains(d.Outcome.Fault, want) || len(d.Syscalls) > 0 {
		t.Errorf("got %+v, want a fault with %q", d, want)
	}
	if again := v.Deliver(wire.Deliver{Number: 3, Delivery: wire.BringOutYourDead{}}); again.Outcome.Fault != d.Outcome.Fault {
		t.Errorf("after a fault: got %+v", again)
	}
	v = started(t, NewHelper, wire.Start{MaxSyscalls: 3})
	d = v.Deliver(wire.Deliver{Number: 2, Delivery: message(t, "p-1", "note", "x")})
	if d.Outcome.Fault != "" {
		t.Errorf("got %+v", d)
	}
}

func TestVatWithoutStateIsAFault(t *testing.T) {
	m, err := liveslots.Compile("m", NewHelper)
	if err != nil {
		t.Fatal(err)
	}
	v := newVat(t, m, wire.Start{}, testStore{}, nil)
	d := v.Deliver(wire.Deliver{Number: 2, Delivery: message(t, "p-1", "notes")})
	if want := "liveslots_test.Helper has no stored state for o+0"; d.Outcome.Fault != want {
		t.Errorf("got %+v, want %s", d, want)
	}
}

// A dropped ephemeral object that is passed again is the same, a retired one is new.
func TestDropAndRetire(t *testing.T) {
	v := started(t, NewOneWeak, wire.Start{})
	n := uint64(1)
	pass := func() wire.Ref {
		t.Helper()
		n++
		d := v.Deliver(wire.Deliver{Number: n, Delivery: message(t, "p-1", "get")})
		return d.Syscalls[len(d.Syscalls)-1].(wire.Resolve).Resolutions[0].Value.Slots[0]
	}
	deliver := func(d wire.Delivery) {
		t.Helper()
		n++
		if got := v.Deliver(wire.Deliver{Number: n, Delivery: d}); got.Outcome.Fault != "" {
			t.Fatal(got.Outcome.Fault)
		}
	}
	deliver(message(t, "p-9", "hold")) // decides a promise, so that the vat does not rest
	if got := pass(); got != "o+1" {
		t.Fatalf("got %s", got)
	}
	deliver(wire.DropExports{Refs: []wire.Ref{"o+1"}})
	if got := pass(); got != "o+1" {
		t.Errorf("after a drop: got %s", got)
	}
	deliver(wire.DropExports{Refs: []wire.Ref{"o+1"}})
	deliver(wire.RetireExports{Refs: []wire.Ref{"o+1"}})
	if got := pass(); got != "o+2" {
		t.Errorf("after retirement: got %s", got)
	}
}
