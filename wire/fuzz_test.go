package wire_test

import (
	"bytes"
	"testing"

	"ocapkernel.dev/wire"
)

func seeds(f *testing.F) {
	for _, u := range []wire.UpFrame{
		wire.Hello{},
		wire.Hello{Error: "é"},
		wire.Get{Key: "k"},
		wire.Next{After: "a", Prefix: "b"},
		wire.Done{Number: 300, Outcome: wire.Outcome{Parked: 3, Fault: "f"}, Syscalls: []wire.Syscall{
			wire.Send{Target: "o-1", Message: wire.Message{MethArgs: wire.CapData{Body: "#[]", Slots: []wire.Ref{"o+1"}}, Result: "p+1"}},
			wire.Subscribe{Promise: "p-1"},
			wire.Subscribe{Promise: "p-2", Stored: true},
			wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p-1", Rejected: true}}},
			wire.Exit{Failure: true},
			wire.DropImports{Refs: []wire.Ref{"o-1"}},
			wire.StoreSet{Key: "k", Value: make([]byte, 300)},
			wire.StoreDelete{Key: "k"},
			wire.Keep{Promise: "p+1", Stored: true},
			wire.Watch{Target: "o-1", Result: "p+2"},
			wire.Collect{},
		}},
	} {
		b, err := wire.AppendUp(nil, u)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[wire.HeaderBytes:])
	}
	for _, d := range []wire.DownFrame{
		wire.Start{Vat: "v1", Incarnation: 1 << 40},
		wire.Bye{},
		wire.Row{Key: "k"},
		wire.Row{Key: "k", Value: []byte{1}, Found: true},
		wire.Deliver{Now: -1, State: []wire.Row{{Key: "k"}}, Delivery: wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-1"}}}},
		wire.Deliver{Delivery: wire.Call{Target: "o+0"}},
		wire.Deliver{Delivery: wire.RetireExports{Refs: []wire.Ref{"o+d1/2"}}},
		wire.Deliver{Delivery: wire.BringOutYourDead{Bare: true}},
		wire.Deliver{Delivery: wire.BringOutYourDead{Known: []wire.Ref{"o-1", "o+d1/2"}, More: true}},
	} {
		b, err := wire.AppendDown(nil, d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[wire.HeaderBytes:])
	}
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{0x91}, 100))
}

// A frame that decodes is the encoding of the decoded value: no two frames say the same.
func FuzzDecodeUp(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		v, err := wire.DecodeUp(frame, wire.Limits{})
		if err != nil {
			return
		}
		again, err := wire.AppendUp(nil, v)
		if err != nil || !bytes.Equal(again[wire.HeaderBytes:], frame) {
			t.Fatalf("%x decodes to %+v, which encodes to %x (%v)", frame, v, again, err)
		}
	})
}

func FuzzDecodeDown(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		v, err := wire.DecodeDown(frame)
		if err != nil {
			return
		}
		again, err := wire.AppendDown(nil, v)
		if err != nil || !bytes.Equal(again[wire.HeaderBytes:], frame) {
			t.Fatalf("%x decodes to %+v, which encodes to %x (%v)", frame, v, again, err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0x90})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for buf := []byte(nil); ; {
			frame, err := wire.ReadFrame(r, buf, 1000)
			if err != nil {
				return
			}
			if len(frame) == 0 || len(frame) > 1000 {
				t.Fatalf("got a frame of %d bytes", len(frame))
			}
			_ = wire.Validate(frame, 16)
			buf = frame
		}
	})
}

func BenchmarkDone(b *testing.B) {
	done := wire.Done{Number: 7, Syscalls: []wire.Syscall{
		wire.Send{Target: "o-12", Message: wire.Message{MethArgs: wire.CapData{Body: `#["deposit",["+100","$0"]]`, Slots: []wire.Ref{"o+3"}}, Result: "p+9"}},
		wire.Subscribe{Promise: "p+9"},
	}}
	buf, err := wire.AppendUp(nil, done)
	if err != nil {
		b.Fatal(err)
	}
	frame := bytes.Clone(buf[wire.HeaderBytes:])
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = wire.AppendUp(buf[:0], done)
		}
	})
	b.Run("validate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = wire.Validate(frame, 16)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = wire.DecodeUp(frame, wire.Limits{})
		}
	})
}
