package ocapkernel

import (
	"sync/atomic"

	"ocapkernel.dev/vat"
)

// Worker makes this program the worker program of its own vats: a kernel starts it again, once for each vat. In a process
// that a kernel has started as a worker, Worker is that worker and does not return. In any other process it returns at
// once. Call it first in main, before anything else is done:
//
//	func main() {
//		ocapkernel.Worker(vat.Modules{"greeter": NewGreeter})
//		…
//		k, err := ocapkernel.New(ocapkernel.Options{Dir: dir})
func Worker(modules vat.Modules) {
	isWorkerProgram.Store(true)
	if vat.IsWorker() {
		vat.Main(modules)
	}
}

// isWorkerProgram is set when Worker was called, as a process does once at its start.
var isWorkerProgram atomic.Bool
