// Package hello is the smallest useful vat: it greets, and counts its greetings.
package hello

import (
	"fmt"

	"ocapkernel.dev/vat"
)

// Modules returns the modules of this package, for a worker program.
func Modules() vat.Modules { return vat.Modules{"hello": New} }

// Greeter is the root of the vat. Its exported fields survive restarts; its exported methods can be
// called from outside, as hello and so on.
type Greeter struct {
	vat.Durable
	Count int
}

// New makes the greeter, once in the life of its vat.
func New() *Greeter { return &Greeter{} }

// Hello greets name.
func (g *Greeter) Hello(name string) string {
	g.Count++
	return fmt.Sprintf("hello, %s; you are number %d", name, g.Count)
}
