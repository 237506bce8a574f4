package e2e_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// A kernel that is killed at some moment of the first launch of CONFIG, or of its removal, is started with it
// again: a subcluster that is reported to run does run.
func TestStartAfterAKillRunsWhatItSays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.file(t, "counter.json", `{"bootstrap": "counter", "vats": {
		"counter": {"module": "test.counter", "worker": "bin/testworker"}, "other": {"module": "hello"}}}`)
	start := func() (d *daemon, launched, sub string) {
		t.Helper()
		d, line := s.begin(t, config)
		select {
		case text, ok := <-line:
			var r struct{ Launched, Already *control.Subcluster }
			switch {
			case !ok:
				t.Fatalf("it ends: %s", tail(s.log(t), 10))
			case json.Unmarshal(text, &r) != nil || (r.Launched == nil) == (r.Already == nil):
				t.Fatalf("it says %s, want one of launched and already", text)
			case r.Launched != nil:
				return d, r.Launched.ID, r.Launched.ID
			}
			return d, "", r.Already.ID
		case <-time.After(patience):
			t.Fatal("it does not run")
		}
		return nil, "", ""
	}
	counts := func(sub string) {
		t.Helper()
		if got := strings.TrimSpace(s.must(t, "send", sub, "add", "1")); got == "" || got == "0" {
			t.Errorf("%s counts %q", sub, got)
		}
	}
	for delay := 10 * time.Millisecond; delay < time.Second; delay = delay * 3 / 2 {
		d, _ := s.begin(t, "--reset", "--yes", config)
		someMoment(t, delay)
		d.kill()
		d, _, sub := start()
		counts(sub)
		d.kill()
		d, launched, again := start()
		if launched != "" || again != sub {
			t.Errorf("killed after %v: it launched %q, and runs %s, want %s as before", delay, launched, again, sub)
		}
		counts(again)

		removed := make(chan said, 1)
		go func() { removed <- s.cli("terminate", sub) }()
		someMoment(t, delay/8)
		d.kill()
		<-removed
		d, _, sub = start()
		counts(sub)
		d.stop()
	}
}

// someMoment waits for a random moment.
func someMoment(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}
