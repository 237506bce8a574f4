//go:build race

package host_test

// worldsByDefault is how many worlds the tests of worlds make: each takes ten times as long under the race detector.
const worldsByDefault = 100
