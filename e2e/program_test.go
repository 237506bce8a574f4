package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/programs"
)

// told is a site whose kernel takes the messages of programs. It is a [programs.Cluster].
type told struct{ *site }

// Send is part of being a [programs.Cluster].
func (s told) Send(ctx context.Context, id, vat, method string, args ...json.RawMessage) error {
	return retry(func() error {
		_, err := sendOnce(ctx, s.state, control.SendRequest{Ticket: control.Ticket{ID: id}, Target: "s1/" + vat, Method: method, Args: args})
		return err
	})
}

// Ask is part of being a [programs.Cluster].
func (s told) Ask(ctx context.Context, id, vat, method string, args ...json.RawMessage) (programs.Answer, error) {
	texts := make([]string, len(args))
	for i, a := range args {
		texts[i] = string(a)
	}
	out, err := ask(ctx, s.state, id, "s1/"+vat, method, texts...)
	switch {
	case hasLeft(out, err):
		return programs.Answer{Left: true}, nil
	case err != nil:
		return programs.Answer{}, err
	case out.Error != nil:
		return programs.Answer{Rejected: fmt.Sprintf("%s: %s", out.Error.Code, out.Error.Message)}, nil
	}
	return programs.Answer{Value: out.Value}, nil
}

// hasLeft reports whether a call found a vat that has left. A call that the kernel learns of after that is refused, one
// that was on its way is rejected.
func hasLeft(out control.Outcome, err error) bool {
	if out.Error != nil {
		err = out.Error
	}
	return slices.Contains([]errcode.Code{errcode.ObjectDeleted, errcode.VatTerminated, errcode.NotFound}, control.CodeOf(err))
}

// programSite starts a kernel in a site of its own, with the vats of programs as s1.
func programSite(t *testing.T, over transport) (*site, *daemon) {
	t.Helper()
	s := newSiteOver(t, over)
	vats := map[string]any{}
	for _, name := range programs.Vats {
		vats[name] = map[string]string{"module": "test.program", "worker": "bin/testworker"}
	}
	config, err := json.Marshal(map[string]any{"bootstrap": "a", "vats": vats})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.run(t, s.file(t, "programs.json", string(config)))
}

// TestTortureRandomPrograms runs random programs of Go vats, which read and write rows that are there, are not
// and were there, wait in each way, settle promises in circles and rows, keep objects in memory and leave.
// Their answers and rows under kills of workers and kernel, orderly stops and replays must be those of an
// undisturbed run. KILLS is the number of disturbances; over gRPC there is a fifth of it.
func TestTortureRandomPrograms(t *testing.T) {
	overEach(t, func(t *testing.T, over transport) {
		left := int(envInt(t, "KILLS", 60))
		if over == overGRPC {
			left /= 5
		}
		randomPrograms(t, over, left)
	})
}

func randomPrograms(t *testing.T, over transport, left int) {
	r := dice(t)
	for left > 0 {
		sc := programs.Draw(r, 24)
		left -= disturbed(t, over, r, sc, left)
		if t.Failed() {
			return
		}
	}
}

// disturbed compares a run of a script that is disturbed at most so often with one that is not, and returns how often it
// was.
func disturbed(t *testing.T, over transport, r *rand.Rand, sc programs.Script, most int) (times int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var at atomic.Int64
	quiet, d := programSite(t, over)
	want, err := sc.Run(ctx, told{quiet}, func() { at.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	d.stop()
	total := at.Load()
	for _, row := range want {
		if _, told, ok := strings.Cut(row, " heard end"); ok && !strings.HasSuffix(told, "=left at end") {
			t.Errorf("of the vat that left a vat is told %s", told)
		}
	}

	s, d := programSite(t, over)
	at.Store(0)
	var got []string
	done := during(func() (err error) {
		got, err = sc.Run(ctx, told{s}, func() { at.Add(1) })
		return err
	})
	// At most eight disturbances between two answers: a message that was killed twenty times is poisoned.
	inARow, last := 0, int64(0)
	for len(done) == 0 && times < most {
		if n := at.Load(); n != last {
			inARow, last = 0, n
		}
		if inARow++; inARow <= 8 {
			times++
			d = s.disturb(t, r, d)
		}
		pause(r, 40*time.Millisecond)
	}
	if err := ended(done); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("undisturbed it leaves - , disturbed + :\n%s", diff)
	}
	for _, bad := range []string{"diverged", "poisoned", "invariant", "fault"} {
		if log := s.log(t); strings.Contains(log, bad) {
			t.Errorf("the log says %q", bad)
		}
	}
	t.Logf("%d messages, disturbed %d times", total, times)
	d.stop()
	s.must(t, "check")
	return max(1, times)
}

// disturb does one thing at random that no program may notice, and returns the kernel that runs then.
func (s *site) disturb(t *testing.T, r *rand.Rand, d *daemon) *daemon {
	t.Helper()
	switch n := r.IntN(20); {
	case n < 2:
		d.kill()
		return s.run(t)
	case n == 2:
		d.stop()
		return s.run(t)
	case n < 6:
		vat := fmt.Sprint("v", 1+r.IntN(len(programs.Vats)))
		if out := s.cli("replay", vat); strings.Contains(out.stdout+out.stderr, "diverges") || strings.Contains(out.stderr, "invariant") {
			t.Errorf("kernel replay %s: %v", vat, out)
		}
	default:
		for _, p := range s.workers() {
			if r.IntN(2) == 0 {
				kill(t, p.pid)
			}
		}
	}
	return d
}
