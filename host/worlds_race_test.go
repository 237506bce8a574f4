//go:build race

package host_test

// worldsByDefault is how many worlds TestWorlds makes: each takes ten times as long under the race detector.
const worldsByDefault = 100
