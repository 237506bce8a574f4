//go:build !race

package enumeration_test

import "time"

// bounded is the time of make test for the enumeration.
const bounded = 20 * time.Second
