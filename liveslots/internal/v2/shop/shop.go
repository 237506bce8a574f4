// Package shop is the second version of the program.
package shop

import (
	"fmt"

	"ocapkernel.dev/liveslots"
)

// Stock is a root.
type Stock struct {
	liveslots.Durable
	Added   int
	Kept    string
	Retyped string
	Plain   Plain
}

// Plain is passed by copy.
type Plain struct{ A string }

// New makes the root.
func New() *Stock { return &Stock{} }

// Show shows the fields, and changes one.
func (s *Stock) Show() string {
	s.Added++
	return fmt.Sprint(s.Kept, s.Added, s.Retyped)
}
