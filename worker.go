package ocapkernel

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"ocapkernel.dev/control"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// ThisProgram as Options.Worker makes a program that calls [Worker] its own worker program.
const ThisProgram = "(this program)"

// Worker makes this program its own worker program: if a kernel has started it as one, Worker is that worker and
// does not return; otherwise it returns at once. It is called first in main, before anything else is
// done:
//
//	func main() {
//		ocapkernel.Worker(vat.Modules{"greeter": NewGreeter})
//		…
//		k, err := ocapkernel.New(ocapkernel.Options{Dir: dir, Worker: ocapkernel.ThisProgram})
func Worker(modules vat.Modules) {
	isItsWorker.Store(true)
	if vat.IsWorker() {
		vat.Main(modules)
	}
}

// isItsWorker says that Worker was called, as a process does once at its start.
var isItsWorker atomic.Bool

// checkWorker refuses what would have this program start itself without bound: as a worker that is no worker, but runs a
// kernel, which starts a worker.
func checkWorker(name string) error {
	switch {
	case name == ThisProgram && !isItsWorker.Load():
		return control.Errorf(control.CodeInvalid, "Options.Worker is ThisProgram, and main has not called Worker: "+
			"begin main with ocapkernel.Worker(vat.Modules{…})")
	case os.Getenv(wire.CookieKey) == wire.CookieValue:
		return control.Errorf(control.CodeInvalid, "a kernel has started this program as a worker program, and it begins another kernel: "+
			"begin main with ocapkernel.Worker(vat.Modules{…}), or name another program as worker")
	}
	return nil
}

// workerProgram is the path of the worker program that the options name.
func workerProgram(name string) (string, error) {
	if name != "" && name != ThisProgram {
		return filepath.Abs(name)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the worker program: %w", err)
	}
	if name == ThisProgram {
		return self, nil
	}
	return filepath.Join(filepath.Dir(self), "vatworker"), nil
}
