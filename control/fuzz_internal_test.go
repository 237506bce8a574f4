package control

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"ocapkernel.dev/errcode"
)

// FuzzRequest feeds lines to everything that looks at a request before the backend does.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"version"}`,
		`{"jsonrpc":"2.0","id":"x","method":"queueMessage","params":{"ticket":"e1.a","target":"ko1","method":"m","args":[1,{"$ref":"ko2"},[{"$ref":"kp2"}]],"wait":true,"timeoutMs":5,"raw":true}}`,
		`{"jsonrpc":"2.0","id":null,"method":[],"params":[]}`,
		`{"jsonrpc":"2.0","id":2,"method":"launchSubcluster","params":{"path":"/c.json","config":"{}"}}`,
		`{"jsonrpc":"2.0","id":3,"method":"launchSubcluster","params":{"config":{"bootstrap":"a"}}}`,
		`{"jsonrpc":"2.0","id":4,"method":"reloadSubcluster","params":{"id":""}}`,
		`{"jsonrpc":"2.0","id":4,"method":"reloadSubcluster","params":{"all":true}}`,
		`{"jsonrpc":"2.0","id":5,"method":"reloadSubcluster","params":{"id":"front-door"}}`,
		`{"jsonrpc":"2.0","id":6,"method":"terminateVat","params":{"id":"v3"}}`,
		`{"jsonrpc":"2.0","id":7,"method":"pingVat","params":{"id":"v03"}}`,
		`{"jsonrpc":"2.0","id":8,"method":"inspect","params":{"kref":"kp7"}}`,
		`{"jsonrpc":"2.0","id":9,"method":"revoke","params":{"kref":"ko4"}}`,
		`{"jsonrpc":"2.0","id":10,"method":"isRevoked","params":{"kref":"o+4"}}`,
		`{"jsonrpc":"2.0","id":11,"method":"acknowledge","params":{"ticket":"e1.a"}}`,
		`{"jsonrpc":"2.0","id":12,"method":"ioList"}`, `{"jsonrpc":"2.0","id":13,"method":"services","params":[]}`,
		`{"jsonrpc":"2.0","id":14,"method":"systemList","params":{"all":true}}`, `{"jsonrpc":"2.0","method":"clearState","params":{}}`,
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
			if err = checkParams(t, req); err == nil {
				return
			}
		}
		answer := appendError(nil, req.id, err)
		if bytes.Count(answer, []byte("\n")) != 1 || answer[len(answer)-1] != '\n' || !json.Valid(answer) {
			t.Errorf("answer to %q is not one line of JSON: %q", line, answer)
		}
		if e := asRPCError(err); e.Data == nil || e.Data.Code == "" || e.Data.Code == errcode.Internal {
			t.Errorf("%q is answered with %+v: want a code that says it is the client's fault", line, e)
		}
	})
}

// checkParams parses params as the named method does, or as a call, and checks the promises to a backend.
func checkParams(t *testing.T, req request) error {
	t.Helper()
	switch req.method {
	case methodIO, methodServices, methodSystem, methodTally, methodClear:
		return noParams(req.params)
	case methodCollect:
		var p collectParams
		return parseParams(req.params, &p)
	case methodTerminateVat, methodPing:
		id, err := parseID(req.params, CheckVat)
		if sub, name, _ := strings.Cut(id, "/"); err == nil && (!validID(sub) || name != "" && !validID(name)) {
			t.Errorf("%q is taken for a vat", id)
		}
		return err
	case methodReload:
		p, err := parseReload(req.params)
		if err == nil && p.All == (p.ID != "") || p.ID != "" && err == nil && !validID(p.ID) {
			t.Errorf("%+v is taken for a subcluster, or for all", p)
		}
		return err
	case methodInspect, methodHolds, methodRevoke, methodIsRevoked:
		kref, err := parseKRef(req.params)
		if err == nil && !validRef("ko", kref) && !validRef("kp", kref) {
			t.Errorf("%q is taken for a kref", kref)
		}
		return err
	case methodAcknowledge:
		ticket, err := parseTicket(req.params)
		if err == nil && !validID(ticket.ID) {
			t.Errorf("%q is taken for a ticket", ticket)
		}
		return err
	case methodLaunch:
		var p launchParams
		err := parseParams(req.params, &p)
		if err == nil {
			_, err = configText(p.Config)
		}
		return err
	}
	var p sendParams
	if err := parseParams(req.params, &p); err != nil {
		return err
	}
	c, err := makeCall(p)
	if err == nil {
		checkCall(t, c)
	}
	return err
}

// checkCall checks the promises of Call to a backend.
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
	if _, err := ToJSON(c.MethArgs); err != nil {
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
