package ocapkernel

import (
	"os"
	"strings"
	"testing"

	"ocapkernel.dev/wire"
)

// A program that would start itself without end gets an error that says how to begin its main.
func TestAProgramThatIsStartedAsAWorkerBeginsNoKernel(t *testing.T) {
	dir := t.TempDir()
	refused := func(worker, want string) {
		t.Helper()
		_, err := New(Options{Dir: dir, Worker: worker})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "begin main with ocapkernel.Worker(vat.Modules{…})") {
			t.Errorf("got %v, want %q and what to write", err, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("it has made %v, %v", entries, err)
		}
	}
	// It begins a kernel where a worker was to be.
	t.Setenv(wire.CookieKey, wire.CookieValue)
	refused("", "a kernel has started this program as a worker program")
	refused(os.Args[0], "a kernel has started this program as a worker program")
}
