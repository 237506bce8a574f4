// Package testvats holds the vats of the end-to-end tests, which run over each transport: vats that misbehave in every way that
// a vat can, and some that only inspect their arguments.
package testvats

import (
	"maps"

	"ocapkernel.dev/internal/programs"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

// Program returns a worker program with the vats of this package, and with more. m is how the hostile ones among them speak
// to the kernel past the SDK.
func Program(m Mouth, more vat.Modules) (worker.Program, error) {
	modules := vat.Modules{
		"test.counter":  newCounter,
		"test.values":   vat.Module(newValues, (*thing)(nil), (*fleeting)(nil)),
		"test.unruly":   newUnruly,
		"test.agent":    newAgent,
		"test.boot":     newBoot,
		"test.waiter":   newWaiter,
		"test.source":   newSource,
		"test.fickle":   newFickle,
		"test.fragile":  newFragile,
		"test.io":       vat.Module(newPort, (*session)(nil)),
		"test.garden":   vat.Module(newGarden, (*plant)(nil)),
		"test.register": newRegister,
		"test.chest":    newChest,
		"test.stale":    newStale,
		"test.program":  programs.Module(),
	}
	maps.Copy(modules, more)
	p, err := vat.Program(modules)
	return withHostile(p, m), err
}
