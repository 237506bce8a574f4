//go:build race

package liveslots_test

// underRace is set under the race detector. What is large costs many times as much there, and finds no race that the same in small
// does not: `make race` runs this package's tests without the detector, too.
const underRace = true
