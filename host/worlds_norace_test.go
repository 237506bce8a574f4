//go:build !race

package host_test

// worldsByDefault is how many worlds the tests of worlds make.
const worldsByDefault = 1000
