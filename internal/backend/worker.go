package backend

import (
	"fmt"
	"os"
	"path/filepath"

	"ocapkernel.dev/control"
	"ocapkernel.dev/wire"
)

// checkWorker refuses what would have this program start itself without bound: as a worker that is no worker, but runs a
// kernel, which starts a worker.
func checkWorker() error {
	if os.Getenv(wire.CookieKey) != wire.CookieValue {
		return nil
	}
	return control.Errorf(control.CodeInvalid, "a kernel has started this program as a worker program, and it begins another kernel: "+
		"begin main with ocapkernel.Worker(vat.Modules{…}), or name another program as worker")
}

// workerProgram returns the absolute path of a worker program; the empty name is vatworker, beside this program.
func workerProgram(name string) (string, error) {
	if name != "" {
		return filepath.Abs(name)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the worker program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), "vatworker"), nil
}
