package supervisor

import (
	"sync"
	"testing"
)

// HoldFamily keeps what processes have left behind from being swept until release is called, or the test ends.
func HoldFamily(t testing.TB) (release func()) {
	ours.mu.Lock()
	release = sync.OnceFunc(ours.mu.Unlock)
	t.Cleanup(release)
	return release
}
