package testvats

import (
	"log/slog"
	"slices"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

const hostileModule = "test.hostile"

// garblerModule answers everything with what is no value, its bootstrap too.
const garblerModule = "test.garbler"

// A Mouth is how a vat speaks to the kernel past the SDK.
type Mouth interface {
	// Say sends bytes that should be frames.
	Say(bytes []byte)
	// Shut ends the stream, and not the process.
	Shut()
}

// withHostile adds vats to a program that no SDK stands behind: they ask the kernel for what is illegal,
// or do not speak its protocol at all.
func withHostile(p worker.Program, m Mouth) worker.Program {
	sdk := p.New
	p.Modules = append(slices.Clone(p.Modules), hostileModule, garblerModule)
	p.New = func(start wire.Start, store worker.Store, log *slog.Logger) (worker.Vat, error) {
		switch start.Module {
		case hostileModule:
			return hostile{mouth: m}, nil
		case garblerModule:
			return hostile{mouth: m, garbles: true}, nil
		}
		return sdk(start, store, log)
	}
	return p
}

// hostile does with each message what its method says.
type hostile struct {
	mouth   Mouth
	garbles bool
}

func (h hostile) Deliver(d wire.Deliver) wire.Done {
	call, ok := d.Delivery.(wire.Call)
	if !ok {
		return wire.Done{}
	}
	method, _, err := capdata.DecodeCall(call.Message.MethArgs.Body, len(call.Message.MethArgs.Slots))
	if err != nil {
		panic(err)
	}
	answer := wire.Resolve{Resolutions: []wire.Resolution{{
		Promise: call.Message.Result, Value: wire.CapData{Body: `#"` + method + `"`},
	}}}
	if h.garbles {
		answer.Resolutions[0].Value.Body = "{no smallcaps"
	}
	message := func(target wire.Ref) wire.Syscall {
		return wire.Send{Target: target, Message: wire.Message{MethArgs: wire.CapData{Body: `#["hello",[]]`}}}
	}
	raw := func(bytes string) wire.Done {
		h.mouth.Say([]byte(bytes))
		select {}
	}
	switch method {
	// What it was not handed.
	case "forge":
		return wire.Done{Syscalls: []wire.Syscall{message("o-999"), answer}}
	// What it does not decide.
	case "usurp":
		return wire.Done{Syscalls: []wire.Syscall{answer, answer}}
	// A name that it cannot give.
	case "misname":
		answer.Resolutions[0].Value = wire.CapData{Body: `#"$0"`, Slots: []wire.Ref{"o-7"}}
		return wire.Done{Syscalls: []wire.Syscall{answer}}
	// No frame at all.
	case "babble":
		return raw("GET / HTTP/1.1\r\nHost: kernel\r\n\r\n")
	// A frame that claims to be four gigabytes long.
	case "boast":
		return raw("\xff\xff\xff\xff")
	// A frame that claims an array of four billion elements.
	case "inflate":
		return raw("\x05\x00\x00\x00\xdd\xff\xff\xff\xff")
	// Half a frame, and silence.
	case "trail":
		return raw("\x10\x00\x00\x00\x94")
	// The end of the stream, but not of the process.
	case "hang":
		h.mouth.Shut()
		select {}
	}
	return wire.Done{Syscalls: []wire.Syscall{answer}}
}
