// Package quickjs is QuickJS-NG as Go code: the WebAssembly module of the npm package quickjs-wasi, translated by wasm2go.
//
// The Makefile makes module.go, module.dat and id.go, which are not committed, where npm is there; all Go code is then built with the tag
// quickjs. A Module is one instance with its own linear memory. An access outside the memory panics. Only jsvat/engine imports this package.
package quickjs

// MaxPages is the size to which the memory of a Module can grow, in pages of 64 KiB. The Makefile puts it into the translation, which would
// let a memory outgrow the addresses that are reserved for it.
const MaxPages = 8192
