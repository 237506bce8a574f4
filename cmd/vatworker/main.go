// Vatworker is the stock worker program: it runs the vats of the examples. The kernel starts one for
// each vat; by hand it only tells what it is.
package main

import (
	"ocapkernel.dev/examples"
	"ocapkernel.dev/vat"
)

func main() { vat.Main(examples.Modules()) }
