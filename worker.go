package ocapkernel

import (
	"ocapkernel.dev/vat"
)

// Worker makes this program its own worker program: if a kernel has started it as one, Worker is that worker and
// does not return; otherwise it returns at once. It is called first in main, before anything else is
// done. The kernel is told with Options.Worker:
//
//	func main() {
//		ocapkernel.Worker(vat.Modules{"greeter": NewGreeter})
//		self, err := os.Executable()
//		…
//		k, err := ocapkernel.New(ocapkernel.Options{Dir: dir, Worker: self})
func Worker(modules vat.Modules) {
	if vat.IsWorker() {
		vat.Main(modules)
	}
}
