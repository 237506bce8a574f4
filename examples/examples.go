// Package examples collects the modules of the example vats for the stock worker program.
package examples

import (
	"maps"

	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/examples/controller"
	"ocapkernel.dev/examples/hello"
	"ocapkernel.dev/examples/pingpong"
	"ocapkernel.dev/examples/repl"
	"ocapkernel.dev/vat"
)

// Modules are all modules of the examples.
func Modules() vat.Modules {
	all := vat.Modules{}
	for _, m := range []vat.Modules{bank.Modules(), controller.Modules(), hello.Modules(), pingpong.Modules(), repl.Modules()} {
		maps.Copy(all, m)
	}
	return all
}
