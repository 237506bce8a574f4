package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/scripttest"
)

// launch launches a cluster of one vat of the test program, and returns its subcluster.
func (s *site) launch(t testing.TB, name, module, delivery string) string {
	t.Helper()
	config := s.file(t, name+".json", fmt.Sprintf(`{"bootstrap": %q, "vats": {%[1]q: {
		"module": %q, "worker": "bin/testworker", "limits": {"delivery": %q},
	}}}`, name, module, delivery))
	var l control.Launched
	s.read(t, &l, "launch", config)
	return l.ID
}

// The death of a worker is seen when it happens, not when it is next looked at: with a message in its
// hands another one has taken over long before any deadline; with nothing to do it just has no process.
func TestDeathOfWorkerIsSeenAtOnce(t *testing.T) { overEach(t, deathOfWorkerIsSeenAtOnce) }

func deathOfWorkerIsSeenAtOnce(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	s.run(t)
	counter := s.launch(t, "counter", "test.counter", "10s")
	unruly := s.launch(t, "unruly", "test.unruly", "10m")
	c := s.dial(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	answers := make(chan said, 1)
	go func() { answers <- s.cli("send", unruly, "linger", "5000") }()
	var before control.Vat
	eventually(t, func() error {
		if before = running(t, c, "unruly", 0); before.Queue == 0 {
			return errors.New("the message is not there yet")
		}
		return nil
	})
	for range 3 {
		at := time.Now()
		kill(t, before.PID)
		after := running(t, c, "unruly", before.PID)
		t.Logf("a busy worker was replaced after %v", time.Since(at)) // its deadline is ten minutes
		before = after
	}
	if a := <-answers; a.stdout != "1\n" {
		t.Errorf("linger: got %v, want 1", a)
	}

	idle := running(t, c, "counter", 0)
	kill(t, idle.PID)
	at := time.Now()
	eventually(t, func() error {
		vats, err := c.PS(ctx)
		for _, v := range vats {
			if v.Name == "counter" && v.PID == 0 && v.State == control.VatIdle {
				return err
			}
		}
		return fmt.Errorf("counter is not idle: %+v, %v", vats, err)
	})
	t.Logf("the death of an idle worker was seen after %v", time.Since(at))
	if got := s.must(t, "send", counter, "add", "1"); got != "1\n" {
		t.Errorf("add: got %s", got)
	}
}

// A kernel that is killed leaves no worker, in the middle of any work.
func TestDeathOfKernelLeavesNoWorker(t *testing.T) { overEach(t, deathOfKernelLeavesNoWorker) }

func deathOfKernelLeavesNoWorker(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	d := s.run(t)
	counter := s.launch(t, "counter", "test.counter", "10s")
	unruly := s.launch(t, "unruly", "test.unruly", "10m")
	for round := range 3 {
		if round == 0 {
			s.must(t, "send", "--no-wait", unruly, "loop")
		}
		s.must(t, "send", counter, "add", "1")
		running(t, s.dial(t), "unruly", 0)
		if n := len(s.workers()); n != 2 {
			t.Fatalf("there are %d workers, want 2", n)
		}
		d.kill()
		at := time.Now()
		if err := scripttest.Within(patience, func() error { return none("workers", s.workers()) }); err != nil {
			t.Fatal(err)
		}
		t.Logf("no worker was left after %v", time.Since(at))
		d = s.run(t)
	}
	if got := s.must(t, "send", counter, "get"); got != "3\n" {
		t.Errorf("get: got %s, want 3", got)
	}
}

// While one vat loops and another one is slow, the others are served as quickly as before; when the
// deadline has ended the loop, twice, the message is out of the way and the vat serves the next one.
func TestLoopingVatDelaysNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t)
	counter := s.launch(t, "counter", "test.counter", "10s")
	loops := s.launch(t, "loops", "test.unruly", "8s")
	slow := s.launch(t, "slow", "test.unruly", "10m")
	c := s.dial(t)
	measure := func(n int) (median, worst time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		took := make([]time.Duration, n)
		for i := range took {
			at := time.Now()
			o, err := c.Send(ctx, control.SendRequest{Target: counter, Method: "add", Args: []json.RawMessage{[]byte("1")}, Wait: true})
			if err != nil || o.Status != control.Fulfilled {
				t.Fatalf("add: got %+v, %v", o, err)
			}
			took[i] = time.Since(at)
		}
		slices.Sort(took)
		return took[n/2], took[n-1]
	}
	measure(50)
	quietMedian, quietWorst := measure(200)

	s.must(t, "send", "--no-wait", "--id", "loops", loops, "loop")
	s.must(t, "send", "--no-wait", "--id", "next", loops, "add")
	s.must(t, "send", "--no-wait", "--id", "slow", slow, "linger", "6000")
	running(t, c, "loops", 0)
	median, worst := measure(200)
	t.Logf("latency of a vat beside: median %v and at most %v, while nothing loops %v and %v", median, worst, quietMedian, quietWorst)
	// The loop takes one of the processors, which may be all. If it were waited for, it would be its deadline of eight seconds.
	if limit := 10*quietMedian + 50*time.Millisecond; median > limit {
		t.Errorf("the median is %v while another vat loops, and %v while none does", median, quietMedian)
	}
	if limit := quietWorst + 6*time.Second; worst > limit {
		t.Errorf("a call took %v while another vat looped, and at most %v while none did", worst, quietWorst)
	}

	var o control.Outcome
	if got := s.cli("await", "loops", "--json"); json.Unmarshal([]byte(got.stdout), &o) != nil || o.Error == nil || o.Error.Code != "DELIVERY_TIMEOUT" {
		t.Errorf("loop: got %v, want DELIVERY_TIMEOUT", got)
	}
	for _, ticket := range []string{"next", "slow"} {
		if got := s.must(t, "await", ticket); got != "1\n" {
			t.Errorf("await %s: got %s, want 1", ticket, got)
		}
	}
}

// running waits until a vat has a worker that is up, and whose process is not the given one.
func running(t testing.TB, c *control.Client, vat string, not int) control.Vat {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var found control.Vat
	eventually(t, func() error {
		vats, err := c.PS(ctx)
		for _, v := range vats {
			if v.Name == vat && v.State == control.VatRunning && v.PID != not {
				found = v
				return err
			}
		}
		return fmt.Errorf("no other worker of %s is up: %+v, %v", vat, vats, err)
	})
	return found
}

// kill ends a worker with SIGKILL. Since its caller learned of the process, the worker may have ended by an earlier
// kill, or been paged out: that is no failure.
func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}
