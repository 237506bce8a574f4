package host_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/workers"
)

// timers counts the timers of a starter that were not stopped.
type timers struct {
	workers.Starter
	mu   sync.Mutex
	left int
}

func (s *timers) AfterRunning(d time.Duration, f func()) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left++
	stop := s.Starter.AfterRunning(d, f)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.left--
		stop()
	})
}

// The limit of a launch, which has the clock of the workers tick, goes with the launch, however that ends.
func TestNothingIsLeftOfALaunchThatIsOver(t *testing.T) {
	t.Parallel()
	var s *timers
	k := start(t, storage.NewMem(), func(c *host.Config) {
		s = &timers{Starter: c.Workers}
		c.Workers = s
	})
	launch(t, k, "pingpong")
	cfg, err := cluster.Parse("failing.json", []byte(`{"bootstrap": "a", "vats": {"a": {"module": "none"}}, "limits": {"bootstrap": "1s"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Launch(t.Context(), cfg); err == nil {
		t.Error("a cluster without a module is launched")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left != 0 {
		t.Errorf("%d timers are left", s.left)
	}
	k.end(t)
}

// A launch that needs a service which the kernel lacks is refused at once, with the reason, and leaves nothing.
func TestALaunchThatNeedsWhatTheKernelLacksIsRefused(t *testing.T) {
	t.Parallel()
	k := start(t, storage.NewMem(), nil)
	for needs, text := range map[string]string{
		`"io": {"line": {"type": "console"}}`: "serves no IO channels", `"services": ["nothing"]`: `no registered kernel service "nothing"`,
	} {
		cfg, err := cluster.Parse("needy.json", []byte(`{"bootstrap": "a", "vats": {"a": {"module": "hello"}}, `+needs+`}`))
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Launch(t.Context(), cfg)
		if refusal, ok := errors.AsType[*kernel.Refusal](err); !ok || refusal.Code != errcode.Invalid || !strings.Contains(refusal.Detail, text) {
			t.Errorf("got %v, want a refusal with %q", err, text)
		}
	}
	if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) > 0 {
		t.Errorf("left are %+v, %v", st.Subclusters, err)
	}
	k.end(t)
}
