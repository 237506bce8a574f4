package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// A vat that is not at rest reads rows of its store that are absent, and writes them: one of a map, and those of
// its first vat.When. Its memory can be made again all the same: after kill -9 of its worker, after a stop of the
// kernel in order, after one by kill -9, and for `kernel replay` of a kernel that runs and of one that does not.
func TestRowsThatWereAbsentAreReadAgainInAReplay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	k := s.run(t)
	sub := s.waiters(t, "test.fickle")
	source := s.source(t)
	answer := s.asking(t, "1", sub, "steady")
	s.atSlow(t, "steady")
	id := s.vats(t)["waiter"].ID
	noted := func(want int, name string) {
		t.Helper()
		if got := strings.TrimSpace(s.must(t, "send", sub, "note", fmt.Sprintf("%q", name))); got != fmt.Sprint(want) {
			t.Errorf("%s was noted %s times, want %d", name, got, want)
		}
	}
	whole := func() {
		t.Helper()
		if out := s.must(t, "replay", id); !strings.Contains(out, "deliveries came out as recorded") {
			t.Errorf("replay says\n%s", out)
		}
	}
	noted(1, "a")
	noted(2, "a")
	noted(1, "b")
	s.must(t, "send", sub, "strike", `"a"`)
	s.must(t, "send", sub, "strike", `"never"`)
	watched := s.asking(t, `"when 2"`, sub, "watch", `"when"`) // the second that the source is asked
	eventually(t, func() error {
		if n := s.vats(t)["source"].Transcript; n < 2 {
			return fmt.Errorf("the source was asked %d times, want 2", n)
		}
		return nil
	})
	whole()
	kill(t, s.vats(t)["waiter"].PID)
	noted(1, "a")
	noted(1, "c")
	k.stop()
	whole()
	s.must(t, "check")
	k = s.run(t)
	noted(2, "c")
	k.kill()
	whole()
	k = s.run(t)
	noted(2, "b")
	s.must(t, "send", source, "release")
	for _, a := range []<-chan error{answer, watched} {
		if err := <-a; err != nil {
			t.Error(err)
		}
	}
	noted(2, "a")
	if log := s.log(t); strings.Contains(log, "diverged") || strings.Contains(log, "memory lost") {
		t.Errorf("the log says\n%s", log)
	}
	k.stop()
	s.must(t, "check")
}
