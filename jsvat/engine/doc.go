// Package engine runs JavaScript: QuickJS-NG, whose WebAssembly module is translated to Go once, at build (package
// jsvat/quickjs). It knows nothing of vats.
//
// A [VM] is one JavaScript heap. [VM.Eval] runs a script, [VM.Call] calls a global function, [VM.RunJobs] runs what promises
// have made ready, and the script calls the host by the global function hostCall(operation, text). The heap is one range of
// memory: [VM.WriteImage] writes it, [Restore] and [RestoreFile] make a VM that goes on from it, with its closures, its pending
// promises and its fuel.
//
//	vm, err := engine.New(engine.Options{Host: dispatch})
//	vm.Grant(engine.Grant{Fuel: 100_000_000, Now: now, Seed: seed})
//	_, err = vm.Eval(source, "bundle.js")
//	answer, err := vm.Call("deliver", []byte(`["message"]`))
//	_, err = vm.RunJobs()
//
// # Determinism
//
// All that happens in a VM follows from its image and its inputs: the same calls with the same grants and the same answers of
// the host end with the same answers and the same memory, byte for byte, in any process and on any machine. There is no clock
// and no random source but those of the grant, no file, no environment, and no module loader: import() is rejected.
//
// Text crosses as UTF-8. A lone surrogate, which UTF-8 cannot hold, crosses in both directions as the three bytes that
// WTF-8 has for it.
//
// # Limits
//
// Fuel, memory and stack are limited; a script that exceeds a limit gets an error that ends the call, and the VM goes on. Fuel is
// counted where the engine polls: every 10,000 calls and loops of a script, and steps of a regular expression. Some loops of the
// engine itself do not poll, for instance Array.prototype.reverse on an object that claims a length of 2**53 - 1: only the end of the
// process ends them, so a caller needs a deadline besides.
//
// # Concurrency
//
// A VM belongs to one goroutine at a time. VMs share nothing that changes; any number of them may run at once.
//
// # What is not built
//
// Where npm is missing at build, this package is compiled without the module, and [New] and [Restore] return [ErrNotBuilt].
package engine
