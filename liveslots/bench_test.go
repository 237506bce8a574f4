package liveslots_test

import (
	"fmt"
	"testing"

	"ocapkernel.dev/examples/pingpong"
	"ocapkernel.dev/wire"
)

// BenchmarkCall is the worker's part of a crank that calls a method, changes the root and answers.
func BenchmarkCall(b *testing.B) {
	store := testStore{}
	v := startedOn(b, pingpong.NewPong, store)
	call := message(b, "p-1", "ping")
	key := wire.StateKey(wire.RootRef)
	b.ReportAllocs()
	for n := uint64(2); b.Loop(); n++ {
		d := v.Deliver(wire.Deliver{Number: n, Delivery: call, State: []wire.Row{{Key: key, Value: store[key], Found: true}}})
		if len(d.Syscalls) != 2 {
			b.Fatalf("got %+v", d)
		}
		store.apply(d.Syscalls)
	}
	perCrank(b, 1)
}

// BenchmarkAwait is the other side: a turn that is resumed by the answer and asks again.
func BenchmarkAwait(b *testing.B) {
	store := testStore{}
	v := startedOn(b, pingpong.NewPing, store)
	boot := message(b, "p-1", "bootstrap")
	boot.Message.MethArgs = wire.CapData{Body: `#["bootstrap",[{"pong":"$0.Alleged: Pong"},{}]]`, Slots: []wire.Ref{"o-1"}}
	store.apply(v.Deliver(wire.Deliver{Number: 2, Delivery: boot}).Syscalls)
	d := v.Deliver(wire.Deliver{Number: 3, Delivery: message(b, "p-2", "play", 1e9)})
	b.ReportAllocs()
	for n := uint64(4); b.Loop(); n++ {
		p := d.Syscalls[0].(wire.Send).Message.Result
		d = v.Deliver(wire.Deliver{Number: n, Delivery: wire.Notify{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: "#7"}}}}})
		if len(d.Syscalls) != 2 || d.Outcome.Parked != 1 {
			b.Fatalf("got %+v", d)
		}
	}
	perCrank(b, 1)
}

// BenchmarkLoaded is a crank of a vat that has loaded many objects and cannot rest.
func BenchmarkLoaded(b *testing.B) {
	for _, objects := range []int{10, 1000} {
		b.Run(fmt.Sprint(objects), func(b *testing.B) {
			v := startedOn(b, NewKeeper, testStore{})
			v.Deliver(wire.Deliver{Number: 2, Delivery: message(b, "p-1", "newWeak", "w")})
			n := uint64(3)
			for range objects {
				v.Deliver(wire.Deliver{Number: n, Delivery: message(b, "p-2", "keep", "n")})
				n++
			}
			call := message(b, "p-3", "read")
			b.ReportAllocs()
			for ; b.Loop(); n++ {
				v.Deliver(wire.Deliver{Number: n, Delivery: call})
			}
			perCrank(b, 1)
		})
	}
}

func perCrank(b *testing.B, cranks int) {
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*cranks), "µs/crank")
	b.ReportMetric(0, "ns/op")
}
