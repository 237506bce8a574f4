package ocapkernel

import (
	"fmt"
	"os"
	"path/filepath"

	"ocapkernel.dev/vat"
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
	if vat.IsWorker() {
		vat.Main(modules)
	}
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
