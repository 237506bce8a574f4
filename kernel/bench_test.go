package kernel_test

import (
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// BenchmarkCrank measures the machine alone, over layers as the shell uses it: two vats play, each
// round is a message and a notification.
func BenchmarkCrank(b *testing.B) {
	mem := storage.NewMem()
	layers := storage.NewLayers(mem, 1<<20)
	apply := func(c kernel.Commit) { layers.Apply(c.Writes) }
	m, c, err := kernel.Open(layers, mem.Limits(), "E1")
	if err != nil {
		b.Fatal(err)
	}
	apply(c)
	_, c, err = m.Launch(kernel.Launch{Bootstrap: "a", Vats: []kernel.LaunchVat{{Name: "a", MaxQueue: 10}, {Name: "b", MaxQueue: 10}}})
	if err != nil {
		b.Fatal(err)
	}
	apply(c)
	high := uint64(0)
	promise := func() wire.Ref {
		high++
		return wire.Ref("p+" + itoa(high))
	}
	ask := func() []wire.Syscall {
		p := promise()
		return []wire.Syscall{
			wire.Send{Target: "o-1", Message: wire.Message{MethArgs: wire.CapData{Body: `#["ping",[]]`}, Result: p}},
			wire.Subscribe{Promise: p},
		}
	}
	step := func(v kernel.VatID) bool {
		s, err := m.Begin(v, 1, 1, false)
		if err != nil {
			b.Fatal(err)
		}
		switch {
		case s.Commit != nil:
			apply(*s.Commit)
		case s.NeedsWorker:
			_, c, err := m.StartWorker(v)
			if err != nil {
				b.Fatal(err)
			}
			apply(c)
		case s.Crank != nil:
			var out []wire.Syscall
			switch d := s.Crank.Deliver.Delivery.(type) {
			case wire.Call:
				if r := d.Message.Result; r != "" {
					out = append(out, wire.Resolve{Resolutions: []wire.Resolution{{Promise: r, Value: wire.CapData{Body: `#1`}}}})
				}
				if v == "v1" {
					out = append(out, ask()...)
				} else {
					out = append(out, wire.StoreSet{Key: "o.o+0", Value: []byte("count")})
				}
			case wire.Notify:
				out = ask()
			}
			c, err := m.Finish(s.Crank, wire.Done{Syscalls: out}, nil, 1)
			if err != nil {
				b.Fatal(err)
			}
			apply(c)
		default:
			return false
		}
		return true
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for !step("v1") && !step("v2") {
			b.Fatal("nothing to do")
		}
		if n++; n%100 == 0 {
			if err := mem.Commit(layers.Seal()); err != nil {
				b.Fatal(err)
			}
			layers.Committed()
		}
	}
}

func itoa(n uint64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
