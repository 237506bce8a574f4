package vattest

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
)

// Sitter asks others, waits for the timer and for a channel, and throws dice.
type Sitter struct {
	vat.Durable
	Peer, Timer, Door vat.Ref
	Seen              []uint64
}

// Bootstrap gets the others.
func (s *Sitter) Bootstrap(vats, services map[string]vat.Ref) {
	s.Peer, s.Timer, s.Door = vats["peer"], services["timer"], services["door"]
}

// Sit uses all of them at once, n times.
func (s *Sitter) Sit(ctx context.Context, n int) error {
	for range n {
		s.Seen = append(s.Seen, vat.Rand(ctx).Uint64()>>32, uint64(vat.Now(ctx).UnixMilli()))
		all := vat.All(ctx, vat.Send(ctx, s.Timer, "delay", 10), vat.Send(ctx, s.Peer, "nod"), vat.Send(ctx, s.Door, "read"))
		if _, err := vat.Await[[]any](ctx, all); err != nil {
			return err
		}
	}
	return nil
}

// Nodder nods.
type Nodder struct {
	vat.Durable
	Nods int
}

// Nod counts.
func (n *Nodder) Nod() int { n.Nods++; return n.Nods }

// The same calls leave the same rows, bit by bit, however the goroutines of the kernel and its workers are scheduled.
func TestTheSameTestLeavesTheSameState(t *testing.T) {
	run := func(procs int) (rows []storage.Write) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		k := New(t, vat.Modules{"sitter": func() *Sitter { return &Sitter{} }, "peer": func() *Nodder { return &Nodder{} }})
		k.Timer("timer")
		door := k.Service("door")
		if err := k.Launch("sitter", Vat{Name: "sitter", Module: "sitter"}, Vat{Name: "peer", Module: "peer"}); err != nil {
			t.Fatal(err)
		}
		a, b := k.Send("sitter", "sit", "12"), k.Send("sitter", "sit", "12")
		for n := 0; !a.Done() || !b.Done(); n++ {
			switch k.Advance(7 * time.Millisecond); n % 5 {
			case 1:
				k.Kill("sitter")
			case 2:
				k.Kill("peer")
			case 3:
				k.RestartKernel()
			}
			if calls := door.Calls(); len(calls) > 0 {
				calls[0].Unit(fmt.Sprint(n))
			}
		}
		return k.mem.Snapshot()
	}
	want := run(1)
	for _, procs := range []int{2, 8} {
		if diff := cmp.Diff(want, run(procs)); diff != "" {
			t.Fatalf("with %d processors:\n%s", procs, diff)
		}
	}
}
