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

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/control"
)

// An instruction is one step of a random program, as e2e/testworker/program.go reads it.
type instruction struct {
	Do   string        `json:"do"`
	Key  string        `json:"key"`
	N    int           `json:"n"`
	Peer string        `json:"peer"`
	Sub  []instruction `json:"sub"`
}

// A message is a program that one vat gets from outside. Of an aside message the answer is awaited only at the end:
// its turn waits for a promise that a later message settles.
type message struct {
	to    string
	steps []instruction
	aside bool
}

// A script is what a run consists of.
type script struct {
	messages []message
	// heard counts, for each vat, the continuations that it will have been called with at the end.
	heard map[string]int
}

// vats that programs run in. The last one leaves.
var programVats = []string{"a", "b", "c", "leaver"}

// generator draws scripts.
type generator struct {
	*rand.Rand
	script
	keys int
	// open are promises that wait to be settled, of each vat.
	open map[string][]string
}

// draw draws a script of n messages.
func draw(r *rand.Rand, n int) script {
	g := &generator{Rand: r, script: script{heard: map[string]int{}}, open: map[string][]string{}}
	leaver := programVats[3]
	leaves := n/2 + g.IntN(n/2)
	for i := range n {
		to := programVats[g.IntN(len(programVats)-1)]
		switch {
		case i == leaves:
			g.messages = append(g.messages, message{to: leaver, steps: []instruction{{Do: "leave", Key: "end"}}})
			continue
		case g.IntN(16) == 0:
			g.messages = append(g.messages, message{to: leaver, steps: g.local(g.shared)})
			continue
		case i < leaves && g.IntN(10) == 0: // afterwards it depends on the moment what can be told
			key := g.fresh("end")
			g.heard[to]++
			g.messages = append(g.messages, message{to: to, steps: []instruction{{Do: "mourn", Key: key, Peer: leaver}}})
			continue
		case g.IntN(8) == 0:
			key := g.fresh("promise")
			g.open[to] = append(g.open[to], key)
			g.heard[to]++
			g.messages = append(g.messages, message{to: to, steps: []instruction{{Do: "promise", Key: key}}},
				message{to: to, steps: []instruction{{Do: "park", Key: key, Peer: g.peer()}}, aside: true})
			continue
		case len(g.open[to]) > 0 && g.IntN(3) == 0:
			g.messages = append(g.messages, g.close(to))
			continue
		}
		g.messages = append(g.messages, message{to: to, steps: g.steps(to, 2, g.shared)})
	}
	for _, to := range programVats {
		for len(g.open[to]) > 0 {
			g.messages = append(g.messages, g.close(to))
		}
	}
	return g.script
}

// close settles the oldest open promise of a vat.
func (g *generator) close(to string) message {
	key := g.open[to][0]
	g.open[to] = g.open[to][1:]
	return message{to: to, steps: []instruction{{Do: []string{"settle", "settle", "break"}[g.IntN(3)], Key: key, N: g.IntN(100)}}}
}

func (g *generator) peer() string { return programVats[g.IntN(len(programVats)-1)] }

func (g *generator) fresh(what string) string {
	g.keys++
	return fmt.Sprint(what, g.keys)
}

// shared names a row that other messages use, too.
func (g *generator) shared() string { return []string{"s1", "s2", "s3"}[g.IntN(3)] }

// local draws steps that concern the vat alone.
func (g *generator) local(key func() string) (steps []instruction) {
	kinds := []string{
		"get", "ensure", "ensure", "set", "delete", "has", "write", "read", "item", "bump", "forget", "print",
	}
	for range 1 + g.IntN(4) {
		steps = append(steps, instruction{Do: kinds[g.IntN(len(kinds))], Key: key(), N: 1 + g.IntN(90)})
	}
	return append(steps, instruction{Do: "list", Key: "s"})
}

// steps draws a program for a vat. Programs that run beside others use rows of their own, that key names.
func (g *generator) steps(to string, depth int, key func() string) (steps []instruction) {
	kinds := []string{"local", "local", "lend", "spark", "pipe", "circle", "row", "chain", "both", "dice", "keepSpark"}
	if depth > 0 {
		kinds = append(kinds, "call", "call", "watch", "watch")
	}
	for range 1 + g.IntN(3) {
		s := instruction{Do: kinds[g.IntN(len(kinds))], Key: key(), N: 1 + g.IntN(6), Peer: g.peer()}
		switch s.Do {
		case "local":
			local := g.local(key)
			if !strings.HasPrefix(s.Key, "s") {
				local = local[:len(local)-1] // others write the shared rows meanwhile
			}
			steps = append(steps, local...)
			continue
		case "keepSpark":
			if g.IntN(4) > 0 || !strings.HasPrefix(s.Key, "s") {
				continue // a vat does not come to rest after it
			}
		case "call":
			s.Sub = g.steps(s.Peer, depth-1, key)
		case "watch":
			s.Key = g.fresh("watch")
			g.heard[to] += 2
			own := func() string { return s.Key }
			s.Sub = g.steps(s.Peer, depth-1, own)
		}
		steps = append(steps, s)
	}
	return steps
}

// run has the vats of s1 run a script, and returns what all of it left: the answers, and what the vats have stored.
// at counts the messages that were sent.
func (sc script) run(ctx context.Context, s *site, at *atomic.Int64) ([]string, error) {
	ask := func(id string, m message) (string, error) {
		steps, err := json.Marshal(m.steps)
		if err != nil {
			return "", err
		}
		out, err := ask(ctx, s.state, id, "s1/"+m.to, "run", string(steps))
		if hasLeft(out, err) {
			return id + ": the vat has left", nil
		}
		if err != nil {
			return "", err
		}
		if out.Error != nil {
			return fmt.Sprintf("%s: %s: %s", id, out.Error.Code, out.Error.Message), nil
		}
		return fmt.Sprintf("%s: %s", id, out.Value), nil
	}
	type answer struct {
		text string
		err  error
	}
	asides := make([]chan answer, len(sc.messages))
	var left []string
	for i, m := range sc.messages {
		id := fmt.Sprintf("m%03d-%s", i, m.to)
		if m.aside {
			asides[i] = make(chan answer, 1)
			// It is accepted before the next message is sent, and so arrives before that.
			err := retry(func() error {
				steps, err := json.Marshal(m.steps)
				if err != nil {
					return err
				}
				_, err = sendOnce(ctx, s.state, control.SendRequest{
					Ticket: control.Ticket{ID: id}, Target: "s1/" + m.to, Method: "run", Args: []json.RawMessage{steps},
				})
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", id, err)
			}
			go func() {
				text, err := ask(id, m)
				asides[i] <- answer{text, err}
			}()
			continue
		}
		text, err := ask(id, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		left = append(left, text)
		at.Add(1)
	}
	for _, aside := range asides {
		if aside == nil {
			continue
		}
		a := <-aside
		if a.err != nil {
			return nil, a.err
		}
		left = append(left, a.text)
		at.Add(1)
	}
	// What one vat watches runs in another, so that all of them have to be through before one is looked at.
	for _, round := range []string{"wait", "look"} {
		for _, name := range programVats {
			rows, err := sc.dump(ctx, s, at, round+"-"+name, name)
			if err != nil {
				return nil, fmt.Errorf("vat %s: %w", name, err)
			}
			if round == "look" {
				for _, row := range rows {
					left = append(left, name+" "+row)
				}
			}
		}
	}
	slices.Sort(left)
	return left, nil
}

// hasLeft reports whether a call found a vat that has left. A call that the kernel learns of after that is refused, one
// that was on its way is rejected.
func hasLeft(out control.Outcome, err error) bool {
	if out.Error != nil {
		err = out.Error
	}
	return slices.Contains([]control.Code{capdata.CodeObjectDeleted, capdata.CodeVatTerminated, control.CodeNotFound}, control.CodeOf(err))
}

// dump waits until all continuations of a vat were called, and returns what it has stored.
func (sc script) dump(ctx context.Context, s *site, at *atomic.Int64, id, name string) ([]string, error) {
	for n := 0; ; n++ {
		out, err := ask(ctx, s.state, fmt.Sprintf("%s-%d", id, n), "s1/"+name, "dump")
		if hasLeft(out, err) {
			return []string{"left"}, nil
		}
		if err != nil || out.Error != nil {
			return nil, fmt.Errorf("%+v, %w", out, err)
		}
		at.Add(1)
		var rows []string
		if err := json.Unmarshal(out.Value, &rows); err != nil {
			return nil, fmt.Errorf("%s: %w", out.Value, err)
		}
		heard := 0
		for _, r := range rows {
			if strings.HasPrefix(r, "heard ") {
				heard++
			}
		}
		if heard >= sc.heard[name] {
			return rows, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d continuations of %s were called: %q", heard, sc.heard[name], name, rows)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// programSite starts a kernel in a site of its own, with the vats of programs as s1.
func programSite(t *testing.T) (*site, *daemon) {
	t.Helper()
	s := newSite(t)
	vats := map[string]any{}
	for _, name := range programVats {
		vats[name] = map[string]string{"module": "test.program", "worker": "bin/testworker"}
	}
	config, err := json.Marshal(map[string]any{"bootstrap": "a", "vats": vats})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.run(t, s.file(t, "programs.json", string(config)))
}

// TestTortureRandomPrograms runs random programs of Go vats, which read and write rows that are there, are not and were
// there, wait in each way, settle promises in circles and rows, keep objects in memory and leave. What they answer and
// store under kills of workers and kernel, orderly stops and replays must be what they do undisturbed. KILLS is the
// number of disturbances.
func TestTortureRandomPrograms(t *testing.T) {
	t.Parallel()
	r := dice(t)
	left := int(envInt(t, "KILLS", 60))
	for left > 0 {
		sc := draw(r, 24)
		left -= disturbed(t, r, sc, left)
		if t.Failed() {
			return
		}
	}
}

// disturbed compares a run of a script that is disturbed at most so often with one that is not, and returns how often it
// was.
func disturbed(t *testing.T, r *rand.Rand, sc script, most int) (times int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var at atomic.Int64
	quiet, d := programSite(t)
	want, err := sc.run(ctx, quiet, &at)
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

	s, d := programSite(t)
	at.Store(0)
	var got []string
	done := during(func() (err error) {
		got, err = sc.run(ctx, s, &at)
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
		vat := fmt.Sprint("v", 1+r.IntN(len(programVats)))
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
