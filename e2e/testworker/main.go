// Testworker is the worker program of the end-to-end tests over the descriptor.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/e2e/testvats"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

func main() {
	p, err := testvats.Program(descriptor{}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	worker.Main(p)
}

// descriptor is what the worker says its frames on.
type descriptor struct{}

func (descriptor) Say(bytes []byte) { _, _ = unix.Write(wire.DataFD, bytes) }
func (descriptor) Shut()            { _ = unix.Shutdown(wire.DataFD, unix.SHUT_RDWR) }
