package ocapkernel_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/logging"
)

// atOpening is a log that tells when the database is being opened.
type atOpening func()

func (do atOpening) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("tables opened")) {
		do()
	}
	return len(line), nil
}

// A state may take minutes to examine. A client that asks meanwhile is told at once that no kernel answers yet, and need not
// wait.
func TestNobodyCanConnectBeforeTheStateIsOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var looks, connected atomic.Int64
	log := logging.NewText(atOpening(func() {
		looks.Add(1)
		client, err := control.Dial(t.Context(), dir)
		if err == nil {
			connected.Add(1)
			_ = client.Close()
		} else if control.CodeOf(err) != errcode.NotRunning {
			t.Error(err)
		}
	}), logging.Trace)
	k := start(t, ocapkernel.Options{Dir: dir, Control: true, Logger: log})
	if looks.Load() == 0 || connected.Load() > 0 {
		t.Errorf("of %d attempts while the state was opened %d connected", looks.Load(), connected.Load())
	}
	client, err := control.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Status(t.Context()); err != nil {
		t.Error(err)
	}
	k.end(t)
}

func TestASocketThatCannotBeMadeIsFoundBeforeAnythingIsDone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k := start(t, ocapkernel.Options{Dir: dir})
	sub := k.ensure(t, `[]`)
	k.end(t)
	if err := os.Mkdir(filepath.Join(dir, control.SocketName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ocapkernel.New(ocapkernel.Options{Dir: dir, Control: true, Reset: true}); err == nil {
		t.Fatal("a kernel whose socket cannot be made starts")
	}
	k = start(t, ocapkernel.Options{Dir: dir})
	if again := k.ensure(t, `[]`); again.ID != sub.ID {
		t.Errorf("got %s, want %s: the state was wiped", again.ID, sub.ID)
	}
}
