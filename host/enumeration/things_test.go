package enumeration_test

import (
	"slices"

	"ocapkernel.dev/vat"
)

// thing is a durable object beside the root.
type thing struct {
	vat.Durable
	N    int
	Next *thing
	Held vat.Ref
}

// Bump adds to the thing.
func (t *thing) Bump(by int) int {
	t.N += by
	return t.N
}

// Get returns the number of the thing.
func (t *thing) Get() int { return t.N }

// Hold keeps a reference.
func (t *thing) Hold(r vat.Ref) { t.Held = r }

// spark lives in memory.
type spark struct {
	vat.Ephemeral
	n int
}

// Poke counts.
func (s *spark) Poke() int {
	s.n++
	return s.n
}

// link is passed by copy, and leads to another one.
type link struct {
	N    int
	Next vat.Promise
}

// passing are the methods that pass arguments on, as a list, and how many come before those: the last of them is a method.
var passing = map[string]int{"far": 1, "farOn": 1, "farStored": 1, "farStoredOn": 1, "farUnheard": 1, "manage": 1, "use": 2}

// pack makes a list of the arguments that are passed on.
func pack(method string, args []any) []any {
	n, ok := passing[method]
	if !ok {
		return args
	}
	return append(slices.Clone(args[:n]), pack(args[n-1].(string), args[n:]))
}
