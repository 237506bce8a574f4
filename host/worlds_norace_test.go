//go:build !race

package host_test

// worldsByDefault is how many worlds TestWorlds makes.
const worldsByDefault = 1000
