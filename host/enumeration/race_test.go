//go:build race

package enumeration_test

import "time"

// bounded is the time of make test for the enumeration: each run takes ten times as long under the race detector.
const bounded = 5 * time.Second
