package control

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzRequest feeds lines to everything that looks at a request before the backend does.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"version"}`,
		`{"jsonrpc":"2.0","id":"x","method":"queueMessage","params":{"ticket":"e1.a","target":"ko1","method":"m","args":[1,{"$ref":"ko2"},[{"$ref":"kp2"}]],"wait":true,"timeoutMs":5,"raw":true}}`,
		`{"jsonrpc":"2.0","id":null,"method":[],"params":[]}`,
		`[]`, `{`, `{"jsonrpc":"2.0","id":-1e99,"method":"x","params":7}`, "\x00", " \t{}",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if blank(line) {
			return // the reader skips these
		}
		req, rpcErr := parseRequest(line)
		var err error = rpcErr
		if rpcErr == nil {
			var p sendParams
			if err = parseParams(req.params, &p); err == nil {
				var c Call
				if c, err = makeCall(p); err == nil {
					checkCall(t, c)
					return
				}
			}
		}
		answer := appendError(nil, req.id, err)
		if bytes.Count(answer, []byte("\n")) != 1 || answer[len(answer)-1] != '\n' || !json.Valid(answer) {
			t.Errorf("answer to %q is not one line of JSON: %q", line, answer)
		}
		if e := asRPCError(err); e.Data == nil || e.Data.Code == "" || e.Data.Code == CodeInternal {
			t.Errorf("%q is answered with %+v: want a code that says it is the client's fault", line, e)
		}
	})
}

// checkCall checks what Call promises to a backend.
func checkCall(t *testing.T, c Call) {
	t.Helper()
	seen := make(map[string]bool)
	for _, slot := range c.MethArgs.Slots {
		if seen[slot] || !validRef("ko", slot) && !validRef("kp", slot) {
			t.Errorf("slot %q is malformed or not the first: %q", slot, c.MethArgs.Slots)
		}
		seen[slot] = true
	}
	if !validID(c.Ticket.ID) || c.Ticket.Epoch != "" && !validID(c.Ticket.Epoch) {
		t.Errorf("ticket %q is malformed", c.Ticket)
	}
	if _, err := toJSON(c.MethArgs); err != nil {
		t.Errorf("body %q cannot be read again: %v", c.MethArgs.Body, err)
	}
}

func FuzzRejection(f *testing.F) {
	f.Add(`#{"#error":"[KERNEL:REVOKED] ko9","name":"Error"}`)
	f.Add(`#["$0"]`)
	f.Add(`nonsense`)
	f.Fuzz(func(t *testing.T, body string) {
		if e := rejection(Data{Body: body, Slots: []string{"ko1"}}); e.Code == "" {
			t.Errorf("%q is explained without a code", body)
		}
	})
}
