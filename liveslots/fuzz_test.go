package liveslots_test

import (
	"fmt"
	"testing"
	"unicode/utf8"

	"ocapkernel.dev/wire"
)

// FuzzCall delivers any message that another vat may have sent. The vat answers, or waits for a promise; it is
// never at fault.
func FuzzCall(f *testing.F) {
	for _, body := range []string{
		`#["shape",[{"name":"n","corner":[{"x":1,"y":2}],"paint":"red","also":3}]]`, `#["tree",[{"leaf":1,"kids":[{"leaf":"&0"},null]}]]`,
		`#["any",["$0.Alleged: X"]]`, `#["any",["&1"]]`, `#["echo",[{"#tag":"t","payload":["+1","%s","#NaN","$0"]}]]`,
		`#["error",[{"#error":"e","name":"TypeError"}]]`, `#["bytes",["aGk="]]`, `#["int64",["+9223372036854775808"]]`,
		`#["bootstrap",[1,2,3]]`, `#["map",[{"a":1,"b":"&0"}]]`, `#["ref",["$2"]]`, `#["nonsense",[]]`, `#["array",[[1,2]]]`,
		`#["int",["&0"]]`, `#["list",["&0"]]`, `#["error",["$1"]]`,
	} {
		f.Add(body, uint8(3))
	}
	f.Fuzz(func(t *testing.T, body string, slots uint8) {
		if !utf8.ValidString(body) {
			t.Skip("no frame carries it")
		}
		v := started(t, NewValues, wire.Start{})
		call := wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: wire.CapData{Body: body}, Result: "p-100"}}
		for i := range slots {
			kind := [...]string{"o-", "p-", "o+"}[i%3]
			call.Message.MethArgs.Slots = append(call.Message.MethArgs.Slots, wire.Ref(fmt.Sprint(kind, i)))
		}
		d := v.Deliver(wire.Deliver{Number: 2, Delivery: call})
		if d.Outcome.Fault != "" {
			t.Fatalf("%q: %s", body, d.Outcome.Fault)
		}
		answered, kept := 0, 0
		for _, s := range d.Syscalls {
			switch s := s.(type) {
			case wire.Resolve:
				if s.Resolutions[0].Promise == "p-100" {
					answered++
				}
			case wire.Keep:
				if s.Promise == "p-100" && s.Stored {
					kept++
				}
			}
		}
		if answered+kept+d.Outcome.Parked != 1 {
			t.Fatalf("%q: %d answers, %d calls stored, %d turns parked", body, answered, kept, d.Outcome.Parked)
		}
		if _, err := wire.AppendUp(nil, d); err != nil {
			t.Fatal(err)
		}
	})
}
