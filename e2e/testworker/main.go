// Testworker is the worker program of the end-to-end tests: vats that misbehave in every way that a vat can,
// and some that only inspect their arguments.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/e2e/testvats"
	"ocapkernel.dev/internal/programs"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

func main() {
	p, err := vat.Program(vat.Modules{
		"test.counter": testvats.NewCounter,
		"test.values":  vat.Module(newValues, (*thing)(nil), (*fleeting)(nil)),
		"test.unruly":  newUnruly,
		"test.agent":   newAgent,
		"test.boot":    newBoot,
		"test.waiter":  newWaiter,
		"test.source":  newSource,
		"test.fickle":  newFickle,
		"test.fragile": newFragile,
		"test.io":      vat.Module(newPort, (*session)(nil)),
		"test.program": programs.Module(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	worker.Main(testvats.WithHostile(p, descriptor{}))
}

// descriptor is what the worker says its frames on.
type descriptor struct{}

func (descriptor) Say(bytes []byte) { _, _ = unix.Write(wire.DataFD, bytes) }
func (descriptor) Shut()            { _ = unix.Shutdown(wire.DataFD, unix.SHUT_RDWR) }
