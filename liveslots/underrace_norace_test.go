//go:build !race

package liveslots_test

const underRace = false
