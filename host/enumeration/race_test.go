//go:build race

package enumeration_test

import "time"

// bounded is the time of make test for the enumeration, and oneIn which part of the scenarios it takes: each run takes ten times
// as long under the race detector.
const (
	bounded = 4 * time.Second
	oneIn   = 10
)
