package liveslots_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/wire"
)

// The kernel gives up a notification that kills a vat again and again, and settles its promise for that vat
// alone, as rejected. By then memory is lost, and the store has the calls that wait.
func TestNotificationThatWasGivenUpIsARejection(t *testing.T) {
	poison := rejection("[KERNEL:DELIVERY_POISONED] the worker of v1 died")
	for _, c := range []struct {
		method, want, left string
		args               []any
	}{
		{"result", "", `"log":["g failed: [KERNEL:DELIVERY_POISONED] the worker of v1 died"]`, []any{"g"}},
		{"resultOfValue", "DELIVERY_POISONED", "", []any{"g"}},
		{"chain", "", `"x failed: [KERNEL:DELIVERY_POISONED] the worker of v1 died"`, []any{"g"}},
	} {
		for _, attempt := range []uint64{0, 2} {
			t.Run(fmt.Sprint(c.method, " ", attempt), func(t *testing.T) {
				store := testStore{}
				v := startedOn(t, NewWatcher, store)
				store.apply(v.Deliver(wire.Deliver{Number: 2, Delivery: wire.Call{Target: wire.RootRef, Message: wire.Message{
					MethArgs: wire.CapData{Body: `#["bootstrap",[{"b":"$0","c":"$0"},{}]]`, Slots: []wire.Ref{"o-1"}}, Result: "p-1",
				}}}).Syscalls)
				done := v.Deliver(wire.Deliver{Number: 3, Delivery: message(t, "p-2", c.method, c.args...)})
				store.apply(done.Syscalls)
				gate := done.Syscalls[0].(wire.Send).Message.Result
				m, err := liveslots.Compile("m", NewWatcher)
				if err != nil {
					t.Fatal(err)
				}
				v = newVat(t, m, wire.Start{HighPromise: 100}, store, nil)
				todo := []wire.Deliver{{Delivery: wire.Notify{Resolutions: []wire.Resolution{{Promise: gate, Rejected: true, Value: poison}}}, Attempt: attempt}}
				told := ""
				deliverAll(t, v, store, 4, todo, func(r wire.Resolution) {
					if r.Promise == "p-2" {
						told = r.Value.Body
					}
				})
				if told == "" || !strings.Contains(told, c.want) {
					t.Errorf("whoever waits is told %q, want %q", told, c.want)
				}
				if got := string(store["o.o+0"]); !strings.Contains(got, c.left) {
					t.Errorf("got %s, want %s", got, c.left)
				}
				for key := range store {
					if strings.HasPrefix(key, "w.") || strings.HasPrefix(key, "p.") || strings.HasPrefix(key, "s.") {
						t.Errorf("left in the store: %s", key)
					}
				}
				if !v.AtRest() {
					t.Error("the vat is not at rest")
				}
			})
		}
	}
}
