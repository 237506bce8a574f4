// Package shop is the first version of a program, for tests of what happens to its state.
package shop

import "ocapkernel.dev/liveslots"

// Stock is a root.
type Stock struct {
	liveslots.Durable
	Kept    string
	Gone    int
	Retyped int
	Plain   Plain
}

// Plain is passed by copy.
type Plain struct{ A int }

// New makes the root.
func New() *Stock { return &Stock{} }

// Set sets fields.
func (s *Stock) Set(gone, retyped, a int) {
	s.Kept, s.Gone, s.Retyped, s.Plain.A = "kept", gone, retyped, a
}
