package vattest

import (
	"strings"
	"testing"

	"ocapkernel.dev/wire"
)

// What the kernel of this package is for is to notice these.
func TestIllegalSyscalls(t *testing.T) {
	text := func(body string, slots ...wire.Ref) wire.CapData { return wire.CapData{Body: body, Slots: slots} }
	call := text(`#["m",[]]`)
	resolve := func(p wire.Ref, v wire.CapData) wire.Syscall {
		return wire.Resolve{Resolutions: []wire.Resolution{{Promise: p, Value: v}}}
	}
	send := func(target, result wire.Ref, args wire.CapData) wire.Syscall {
		return wire.Send{Target: target, Message: wire.Message{MethArgs: args, Result: result}}
	}
	for _, c := range []struct {
		name string
		do   []wire.Syscall
		want string // of the last one
	}{
		{"unknown import", []wire.Syscall{send("o-9", "p+6", call)}, "o-9 is unknown"},
		{"old result", []wire.Syscall{send("o+0", "p+5", call)}, "p+5 is unknown, and not above 5"},
		{"old object", []wire.Syscall{resolve("p-1", text(`#["$0"]`, "o+5"))}, "o+5 is unknown, and not above 5"},
		{"one result for two messages", []wire.Syscall{send("o+0", "p+6", call), send("o+0", "p+6", call)}, "result p+6 is not new"},
		{"result is given away", []wire.Syscall{send("o+0", "p+6", call), resolve("p+6", call)}, "p+6 is not the vat's to resolve"},
		{"resolved twice", []wire.Syscall{resolve("p-1", call), resolve("p-1", call)}, "p-1 is not the vat's to resolve"},
		{"resolved to a promise", []wire.Syscall{resolve("p-1", text(`#"&0"`, "p-2"))}, "p-1 is fulfilled with a promise"},
		{"not the decider", []wire.Syscall{resolve("p-2", call)}, "p-2 is not the vat's to resolve"},
		{"subscription to nothing", []wire.Syscall{wire.Subscribe{Promise: "p+6"}}, "p+6 is not a known promise"},
		{"subscription after resolution", []wire.Syscall{resolve("p-1", call), wire.Subscribe{Promise: "p-1"}}, "p-1 is not a known promise"},
		{"retired name", []wire.Syscall{resolve("p-1", text(`#["&0"]`, "p+6")), resolve("p+6", call), send("o+0", "p+7", text(`#["m",["&0"]]`, "p+6"))}, "p+6 is used for a second thing"},
		{"bad body", []wire.Syscall{resolve("p-1", text(`#["$0"]`))}, "slot"},
		{"fine", []wire.Syscall{resolve("p-1", text(`#["&0"]`, "p+6")), resolve("p+6", call), send("o+0", "p+7", text(`#["m",["$0"]]`, "o+d1/1")), wire.Subscribe{Promise: "p+7"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &Kernel{tb: t, objects: map[kref]*vatState{}, promises: map[kref]*promise{}}
			v := &vatState{byRef: map[wire.Ref]kref{}, byKref: map[kref]wire.Ref{}, high: [2]uint64{5, 5}}
			v.name(k.newObject(v), wire.RootRef)
			v.down(k.newPromise(v))   // p-1, to be decided by the vat
			v.down(k.newPromise(nil)) // p-2, by another
			cr := crank{k: k, v: v, high: v.high}
			for i, s := range c.do {
				err := cr.apply(s)
				if i < len(c.do)-1 || c.want == "" {
					if err != nil {
						t.Fatalf("syscall %d: %v", i, err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
		})
	}
}
