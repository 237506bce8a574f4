package kernel_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// schemaOf returns the version of the schema that a state says it has.
func schemaOf(t *testing.T, mem *storage.Mem) byte {
	t.Helper()
	b, found, err := mem.Get("schema")
	if err != nil || !found || len(b) != 8 {
		t.Fatalf("got %q, %t, %v", b, found, err)
	}
	return b[7]
}

// older is a world with a state that a kernel of schema 2 has written: vats that wait in their memory, that are to be told
// of objects, and that wait for the end of another.
func older(t *testing.T) *world {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "storage", "testdata", "schema2.json"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]byte{}
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	return worldOf(t, rows)
}

// worldOf is a world with a state of these rows, which is not open yet.
func worldOf(t *testing.T, rows map[string][]byte) *world {
	t.Helper()
	w := newWorld(t)
	w.mem = storage.NewMem()
	var writes []storage.Write
	for key, value := range rows { // in any order
		writes = append(writes, storage.Write{Key: key, Value: value})
	}
	if err := w.mem.Commit(writes); err != nil {
		t.Fatal(err)
	}
	return w
}

// A state of schema 2 opens, goes on, is collected, and comes to nothing. An older kernel can open it until the first commit.
func TestStateOfSchema2GoesOn(t *testing.T) {
	t.Parallel()
	w := older(t)
	if problems, err := kernel.Check(w.mem); err != nil || len(problems) > 0 {
		t.Fatalf("check: %q, %v", problems, err)
	}
	w.open()
	if got := schemaOf(t, w.mem); got != 2 {
		t.Errorf("to open it has made schema %d of it", got)
	}
	w.reopen()
	if got := schemaOf(t, w.mem); got != kernel.SchemaVersion {
		t.Errorf("the first commit leaves schema %d", got)
	}
	w.check()
	w.run(nil)
	w.call("E1.on", "ko5", "on")
	w.do(w.m.Collect("v3", true))
	w.run(nil)
	w.do(w.m.Restart("v2", true))
	w.run(nil)
	w.do(w.m.Terminate("s2"))
	w.run(nil)
	w.check()
	out := w.flush()
	for _, want := range []string{"answer E1.on: fulfilled null", "answer E1.queued: fulfilled null", "answer E1.waits: rejected error [KERNEL:VAT_RESTARTED]", "p+9!=error [KERNEL:VAT_TERMINATED]", "bring out your dead"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// The first commit of any kind raises the number of the schema, and a schema that is too old, or too new, is refused.
func TestFirstCommitRaisesTheSchema(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(w *world){
		"a call":      func(w *world) { w.call("E1.x", "ko4", "x") },
		"another vat": func(w *world) { w.cluster(nil, "z") },
		"an epoch":    func(w *world) { w.do(w.m.NewEpoch("E2")) },
		"a death":     func(w *world) { w.died("v2", kernel.CauseKilled, "") },
		"work":        func(w *world) { w.do(w.m.Terminate("s2")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := older(t)
			w.open()
			first(w)
			if got := schemaOf(t, w.mem); got != kernel.SchemaVersion {
				t.Errorf("the state is of schema %d", got)
			}
		})
	}
}
