package e2e_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// dice are the random numbers of a test. KILL_SEED replays the choices of one run (not its timing).
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := envInt(t, "KILL_SEED", rand.Uint64())
	t.Logf("KILL_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pause lets a random time pass, in which the work under way comes to a random place.
func pause(r *rand.Rand, most time.Duration) {
	<-time.After(time.Duration(r.Int64N(int64(most))))
}
