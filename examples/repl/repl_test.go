package repl_test

import (
	"testing"

	"ocapkernel.dev/examples/repl"
	"ocapkernel.dev/vat/vattest"
)

// TestLines drives the vat in each of the ways in which it can die between two lines.
func TestLines(t *testing.T) {
	for _, way := range []string{"alive", "killed", "restarted"} {
		t.Run(way, func(t *testing.T) {
			k := vattest.New(t, repl.Modules())
			k.KillAlways = way == "killed"
			console := k.Service("console")
			if err := k.Launch("repl", vattest.Vat{Name: "repl", Module: "repl"}); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct{ line, want string }{
				{"set x 2", "x = 2"},
				{"set y two", "error: two is no number"},
				{"add x 40", "42"},
				{"get x", "2"},
				{"get z", "error: there is no z"},
				{"add 1 z", "error: z is no number, and nothing that was set"},
				{"lines", "7"},
				{"", "set NAME NUMBER, get NAME, add NUMBER|NAME…, lines"},
			} {
				console.Call("read").Unit(`"` + step.line + `"`)
				if way == "restarted" {
					k.Restart("repl") // with the line on its way
				}
				k.Run()
				write := console.Call("write")
				if got := write.Args[0]; got != `"`+step.want+`"` {
					t.Errorf("%q: got %s, want %q", step.line, got, step.want)
				}
				write.Answer(`null`)
				k.Run()
				if n := k.Records("repl"); n != 0 {
					t.Errorf("after %q the vat is not at rest: %d deliveries would be replayed", step.line, n)
				}
			}
			for _, end := range []string{"gone", "lost"} {
				if end == "gone" {
					console.Call("read").Unit(`null`)
				} else {
					console.Call("read").Reject("[KERNEL:CONNECTION_LOST] the client is gone")
				}
				k.Run()
			}
			console.Call("read").Reject("channel console: a line is longer than 1048576 bytes")
			k.Run()
			console.Call("write").Answer(`null`)
			k.Run()
			console.Call("read").Reject("[KERNEL:SERVICE_GONE] the service is gone")
			k.Run()
			if n := len(console.Calls()); n != 0 {
				t.Errorf("%d calls of a channel that is gone", n)
			}
		})
	}
}
