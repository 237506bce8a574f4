package supervisor

import (
	"sync"
	"testing"
)

// HoldFamily keeps leftovers of processes from being swept until release is called, or the test ends.
func HoldFamily(t testing.TB) (release func()) {
	ours.mu.Lock()
	release = sync.OnceFunc(ours.mu.Unlock)
	t.Cleanup(release)
	return release
}

// HoldDescendants has this process adopt no orphans, and holds each kill of a process of ours before it finds the
// descendants, until release is called, or the test ends.
func HoldDescendants(t testing.TB) (asked <-chan int, release func()) {
	pids, held := make(chan int, 10), make(chan struct{})
	release = sync.OnceFunc(func() { close(held) })
	adopted := ours.adopts.Swap(false)
	ours.below = func(pid int, list []int) []int {
		pids <- pid
		<-held
		return descendants(pid, list)
	}
	t.Cleanup(func() {
		release()
		ours.below = descendants
		ours.adopts.Store(adopted)
	})
	return pids, release
}
