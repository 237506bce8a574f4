package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// waiters launches a vat whose turns wait for a source, both of the test program.
func (s *site) waiters(t testing.TB, module string) string {
	t.Helper()
	config := s.file(t, "waiters.json", fmt.Sprintf(`{"bootstrap": "waiter", "vats": {
		"waiter": {"module": %q, "worker": "bin/testworker"},
		"source": {"module": "test.source", "worker": "bin/testworker"},
	}}`, module))
	var l control.Launched
	s.read(t, &l, "launch", config)
	return l.ID
}

// asking asks in the background, and tells whether the answer was the one that is wanted.
func (s *site) asking(t testing.TB, want, target, method string, args ...string) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	answer := make(chan error, 1)
	go func() {
		out, err := ask(ctx, s.state, method, target, method, args...)
		if err == nil && string(out.Value) != want {
			err = fmt.Errorf("got %+v, want %s", out, want)
		}
		answer <- err
	}()
	return answer
}

// ask calls a method and insists on an answer, however often the kernel goes away meanwhile. An error is a
// refusal of the kernel for good, or the end of ctx.
func ask(ctx context.Context, dir, id, target, method string, args ...string) (control.Outcome, error) {
	r := control.SendRequest{Ticket: control.Ticket{ID: id}, Target: target, Method: method, Wait: true, Timeout: 20 * time.Second}
	for _, a := range args {
		r.Args = append(r.Args, json.RawMessage(a))
	}
	for {
		out, err := sendOnce(ctx, dir, r)
		if err == nil && out.Status != control.Pending {
			return out, nil
		}
		switch control.CodeOf(err) {
		case errcode.ObjectDeleted, errcode.VatTerminated, errcode.Invalid, errcode.NotFound, errcode.Conflict:
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("no answer: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestTurnsThatWaitSurviveKills has two turns of one vat add up thirty answers each, in local variables,
// while the vat, its source and the kernel are killed between and in the middle of all of that. The sums
// are right, nothing was asked twice, and the turns go on after an orderly restart too.
func TestTurnsThatWaitSurviveKills(t *testing.T) { overEach(t, turnsThatWaitSurviveKills) }

func turnsThatWaitSurviveKills(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	k := s.run(t)
	sub := s.waiters(t, "test.waiter")
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	const n = 30
	type answer struct {
		out control.Outcome
		err error
	}
	answers := make(chan answer, 2)
	for i := range 2 {
		go func() {
			out, err := ask(ctx, s.state, fmt.Sprint("sum", i), sub, "sum", fmt.Sprint(n))
			answers <- answer{out, err}
		}()
	}
	// On a busy machine many kills can come before anything is done. Twenty of one message would poison it.
	var cranks uint64
	kills := 0
	for i := 0; len(answers) < 2; i++ {
		if ctx.Err() != nil {
			t.Fatal("the turns do not end")
		}
		switch {
		case i%12 == 5:
			k.kill()
			k = s.run(t)
		case i%12 == 11:
			k.stop() // in order: turns that wait then go on as well
			k = s.run(t)
		default:
			var status control.Status
			if s.read(t, &status, "status"); status.Cranks != cranks {
				cranks, kills = status.Cranks, 0
			}
			for _, v := range s.vats(t) {
				if kills < 8 && v.PID != 0 && (v.Name == "waiter" || i%4 == 0) {
					kill(t, v.PID)
					kills++
				}
			}
		}
		select {
		case <-time.After(15 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	total := 0
	for range 2 {
		a := <-answers
		var x int
		if a.err != nil || json.Unmarshal(a.out.Value, &x) != nil {
			t.Fatalf("got %+v, %v", a.out, a.err)
		}
		total += x
	}
	if want := 2 * n * (2*n + 1) / 2; total != want {
		t.Errorf("the sums are %d together, want %d", total, want)
	}
	config := s.vats(t)["source"]
	out := s.must(t, "send", sub, "sum", "1")
	if strings.TrimSpace(out) != fmt.Sprint(2*n+1) {
		t.Errorf("the source (%s) was asked %s times before, want %d", config.ID, out, 2*n)
	}
	k.stop()
	s.must(t, "check")
}

// TestDivergenceIsNamed kills a vat that differs in a replay while it waits: the log names the delivery, the
// recorded syscall and the new one; its callers are told VAT_RESTARTED; and it works afterwards.
func TestDivergenceIsNamed(t *testing.T) { overEach(t, divergenceIsNamed) }

func divergenceIsNamed(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	s.run(t)
	sub := s.waiters(t, "test.fickle")
	answers, source := make(chan said, 1), s.source(t)
	for _, method := range []string{"steady", "clock", "dice", "map", "package", "goroutine"} {
		if method == "package" {
			go func() { answers <- s.cli("send", sub, method) }()
			s.atSlow(t, method)
			s.must(t, "send", source, "release")
			<-answers // the process has counted to one; the next will begin at nought
		}
		go func() { answers <- s.cli("send", sub, method) }()
		s.atSlow(t, method)
		restarts := s.vats(t)["waiter"].Restarts
		replay := s.must(t, "replay", s.vats(t)["waiter"].ID)
		kill(t, s.vats(t)["waiter"].PID)
		eventually(t, func() error {
			if v := s.vats(t)["waiter"]; v.Restarts == restarts {
				return fmt.Errorf("%s: the death was not seen: %+v", method, v)
			}
			return nil
		})
		s.must(t, "send", source, "release")
		a := <-answers
		diverges := method != "steady"
		if diverged := strings.Contains(replay, "it diverges"); diverged != diverges {
			t.Errorf("%s: kernel replay says\n%s", method, replay)
		}
		if restarted := strings.Contains(a.stderr, "VAT_RESTARTED") && a.exit == 1; restarted != diverges {
			t.Errorf("%s: got %v", method, a)
		}
	}
	log := s.log(t)
	for _, want := range []string{"replay diverged", "was recorded with syscall", "and replayed with syscall", "echo"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	go func() { answers <- s.cli("send", sub, "steady") }()
	s.atSlow(t, "steady")
	s.must(t, "send", source, "release")
	if out := <-answers; out.exit != 0 {
		t.Errorf("afterwards: %v", out)
	}
}

// A turn that waits is there again after an orderly restart of the kernel; its past can be inspected while the
// kernel is stopped, and that changes nothing.
func TestParkedTurnOutlivesTheKernel(t *testing.T) { overEach(t, parkedTurnOutlivesTheKernel) }

func parkedTurnOutlivesTheKernel(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	k := s.run(t)
	sub := s.waiters(t, "test.fickle")
	source := s.source(t)
	answer := s.asking(t, "1", sub, "steady")
	s.atSlow(t, "steady")
	waiter := s.vats(t)["waiter"]
	k.stop()
	for range 2 {
		out := s.must(t, "replay", waiter.ID)
		for _, want := range []string{"message to o+0: #[\"steady\",[]]", "Send {Target:o-1", "Subscribe", "all 2 deliveries came out as recorded"} {
			if !strings.Contains(out, want) {
				t.Errorf("replay does not say %q:\n%s", want, out)
			}
		}
	}
	s.must(t, "check")
	k = s.run(t)
	s.must(t, "send", source, "release")
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if out := s.must(t, "replay", waiter.ID); !strings.Contains(out, "at rest") {
		t.Errorf("afterwards replay says %s", out)
	}
	k.stop()
}

// A vat that waits with When is at rest meanwhile: its process may end, it may be made to begin from its
// store, the kernel may be killed, and the answer still comes.
func TestWhenOutlivesEverything(t *testing.T) { overEach(t, whenOutlivesEverything) }

func whenOutlivesEverything(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	k := s.run(t)
	sub := s.waiters(t, "test.fickle")
	source := s.source(t)
	answer := s.asking(t, `"then 1"`, sub, "watch", `"then"`)
	eventually(t, func() error {
		if v := s.vats(t); v["source"].Transcript == 0 || v["waiter"].Transcript != 0 {
			return fmt.Errorf("the vat does not wait at rest: %+v", v)
		}
		return nil
	})
	waiter := s.vats(t)["waiter"]
	s.must(t, "restart", "--forget", waiter.ID)
	k.kill()
	s.must(t, "check")
	k = s.run(t)
	s.must(t, "send", source, "release")
	if err := <-answer; err != nil {
		t.Error(err)
	}
	k.stop()
	s.must(t, "check")
}

// atSlow waits until the vat has asked the source, was answered, and waits for a second answer.
func (s *site) atSlow(t testing.TB, method string) {
	t.Helper()
	eventually(t, func() error {
		vats := s.vats(t)
		if vats["waiter"].Transcript < 2 || vats["source"].Transcript < 1 {
			return fmt.Errorf("%s: the vat is not waiting: %+v", method, vats)
		}
		return nil
	})
}

// source returns the kernel's name of the source.
func (s *site) source(t testing.TB) string {
	t.Helper()
	var out struct {
		Value struct {
			Ref string `json:"$ref"`
		}
	}
	s.read(t, &out, "send", "s1", "peer")
	return out.Value.Ref
}

// vats returns the output of ps, by the names of the vats.
func (s *site) vats(t testing.TB) map[string]control.Vat {
	t.Helper()
	var list struct{ Vats []control.Vat }
	s.read(t, &list, "ps")
	out := map[string]control.Vat{}
	for _, v := range list.Vats {
		out[v.Name] = v
	}
	return out
}
