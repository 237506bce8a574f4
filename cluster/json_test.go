package cluster_test

import (
	"testing"

	"ocapkernel.dev/cluster"
)

// A configuration written as JSON is the same when it is read again, with its vats in their order.
func TestAConfigurationInTheFormOfAFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	cfg, err := cluster.Parse(dir+"/c.json", []byte(`{
		"bootstrap": "z", "limits": {"bootstrap": "90s", "queue": 7},
		"vats": {"z": {"module": "m", "parameters": {"b": 1, "a": [2]}}, "a": {"module": "m.n", "sandbox": "best-effort", "restart": "never", "limits": {"delivery": "1m30s"}}},
		"io": {"s": {"type": "socket", "path": "s.sock"}, "l": {"type": "listen", "hostport": "127.0.0.1:0", "unit": "bytes", "direction": "in", "maxUnit": "2KiB"}},
		"services": ["timer", {"name": "f", "service": "fs", "root": ".", "readOnly": true}, {"name": "w", "service": "fetch", "hosts": ["a.example"]}],
	}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := cluster.Parse("/elsewhere/c.json", text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if changes := cluster.Diff(cfg, again); len(changes) > 0 {
		t.Errorf("read again it differs in %+v: %s", changes, text)
	}
	if again.Vats[0].Name != "z" || again.Vats[1].Name != "a" {
		t.Errorf("the order of the vats is lost: %s", text)
	}
	second, err := again.JSON()
	if err != nil || string(second) != string(text) {
		t.Errorf("written again it is %s, %v, want %s", second, err, text)
	}
}
