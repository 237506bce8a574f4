//go:build !race

package enumeration_test

import "time"

// bounded is the time of make test for the enumeration, and oneIn which part of the scenarios it takes.
const (
	bounded = 18 * time.Second
	oneIn   = 1
)
