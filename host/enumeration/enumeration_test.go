package enumeration_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/torture"
)

// A scenario is a short program of a client, of which each point is enumerated at which something can die.
type scenario struct {
	name string
	run  func(p *play)
	// allow are the outcomes that a run with faults may have in place of the usual ones; docs/caveats.md names them.
	allow []allowance
	// noKills says that a worker which is killed makes a difference that is meant.
	noKills bool
	// every is the part of the points that is taken of a long scenario: one in so many. 0 takes all.
	every int
	// repeats are the effects that may happen again after a death, by the beginnings of their names.
	repeats []string
}

// allowance is an outcome of one call that differs from the usual one. If the call has it, the effect may be missing.
type allowance struct{ call, outcome, effect string }

// result is what is left of a run.
type result struct {
	said  map[string]string
	done  map[string]int
	state *state
	// commits and frames are those since the last fault; missed says that not all faults happened.
	commits  int
	frames   []string
	missed   bool
	cranks   int
	failures []string
}

// playOnce runs a scenario in a bubble of its own.
func playOnce(t *testing.T, s *scenario, points []point) (r result) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil { // a deadlock, say
			panic(fmt.Sprintf("%s: %v", again(s.name+"/"+join(points)), p))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t, s, points)
		p.live()
		r = result{
			said: p.said, done: p.out.done, state: canonical(p.mem.Snapshot()), commits: p.sched.commits, frames: p.sched.kinds,
			missed: len(p.sched.points) > 0, cranks: p.cranks, failures: p.failures,
		}
	})
	return r
}

// compare returns what differs between a run with faults and the one without.
func (s *scenario) compare(whole, r result) (wrong []string) {
	wrong = r.failures
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	said, missing := map[string]string{}, map[string]bool{}
	for name, text := range r.said { // into another map
		said[name] = text
	}
	for _, a := range s.allow {
		if said[a.call] == a.outcome {
			said[a.call] = whole.said[a.call]
			missing[a.effect] = true
		}
	}
	if diff := cmp.Diff(sortedLines(whole.said), sortedLines(said)); diff != "" {
		fail("the outcomes are, without faults -, with +:\n%s", diff)
	}
	for what, n := range whole.done { // each by itself
		if got := r.done[what]; got < n && !(missing[what] && got == n-1) {
			fail("outside, %q happened %d times, want %d", what, got, n)
		}
	}
	for what, got := range r.done { // each by itself
		if got > whole.done[what] && !s.repeatable(what) {
			fail("outside, %q happened %d times, want %d", what, got, whole.done[what])
		}
	}
	if diff := r.state.differs(whole.state); diff != "" {
		fail("up to names the state is, without faults -, with +:\n%s", diff)
	}
	return wrong
}

func (s *scenario) repeatable(what string) bool {
	return slices.ContainsFunc(s.repeats, func(prefix string) bool { return strings.HasPrefix(what, prefix) })
}

// points lists the points of a run that was not disturbed, or of a recovery.
func (r result) points() (list []point) {
	list = deaths(r.commits)
	for n, kind := range r.frames {
		list = append(list, point{"frame", n + 1, "before"}, point{"frame", n + 1, "after"})
		if kind != "ready" {
			list = append(list, point{"frame", n + 1, "cut"})
		}
	}
	return list
}

// deaths lists the points at which the kernel dies at one of so many commits.
func deaths(commits int) (list []point) {
	for n := range commits {
		list = append(list, point{"commit", n + 1, "before"}, point{"commit", n + 1, "after"})
	}
	return list
}

// pointsFrom reads what join has written.
func pointsFrom(text string) (list []point, err error) {
	for _, one := range strings.Split(text, "+") {
		parts := strings.Split(one, "/")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%q is no point: want commit/3/before", one)
		}
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			return nil, err
		}
		list = append(list, point{parts[0], n, parts[2]})
	}
	return list, nil
}

// directory is where configurations of the kernel are written.
var directory string

// enumeration is a walk through the points of scenarios.
type enumeration struct {
	t      *testing.T
	row    torture.Row
	dice   *rand.Rand
	end    time.Time
	failed map[string]int // findings by scenario
}

// mostFindings is after how many findings in a scenario the walk passes over the rest of it.
const mostFindings = 3

// try runs a scenario with faults.
func (e *enumeration) try(s *scenario, whole result, points ...point) (r result) {
	if e.failed[s.name] >= mostFindings {
		return result{}
	}
	e.row.Points++
	for _, p := range points {
		if p.what == "frame" {
			e.row.Kills++
		}
	}
	r = playOnce(e.t, s, points)
	e.row.Cranks += r.cranks
	if wrong := s.compare(whole, r); len(wrong) > 0 {
		e.failed[s.name]++
		e.row.Findings++
		e.t.Errorf("%s\n%s", again(s.name+"/"+join(points)), strings.Join(wrong, "\n"))
	}
	return r
}

func (e *enumeration) over() bool { return time.Now().After(e.end) }

// aCase is a scenario with a first point.
type aCase struct {
	s     *scenario
	whole result
	first point
}

// Each scenario is run again and again, while something dies: the kernel right before or right after a commit, or a worker
// before, after or in the middle of a frame; once, or the kernel a second time while what had died is made again. What is left
// is the same as if nothing had died: the answers, the stored state up to names, and what happened outside.
//
// In the time of make test that is a part of all points. With TORTURE_MINUTES all first points come first, and then second
// ones until the time is over. TORTURE_POINT names a scenario, or one of its points, which is run alone, with a log.
func TestTortureCrashEnumeration(t *testing.T) {
	directory = t.TempDir()
	if text := os.Getenv("TORTURE_POINT"); text != "" {
		runPoint(t, text)
		return
	}
	seed := torture.Seed(t)
	e := &enumeration{
		t: t, row: torture.Row{Part: "crash enumeration", Seed: seed}, dice: rand.New(rand.NewPCG(seed, 1)),
		failed: map[string]int{},
	}
	defer func() { torture.Report(t, e.row) }()
	var cases []aCase
	for i := range scenarios {
		if !torture.Long() && uint64(i)%oneIn != seed%oneIn {
			continue
		}
		s := &scenarios[i]
		e.row.Scenarios++
		whole := playOnce(t, s, nil)
		if len(whole.failures) > 0 {
			t.Errorf("%s\n%s", again(s.name), strings.Join(whole.failures, "\n"))
			continue
		}
		points := whole.points()
		if s.noKills {
			points = deaths(whole.commits)
		}
		for i, p := range points {
			if s.every == 0 || i%s.every == int(seed%uint64(s.every)) {
				cases = append(cases, aCase{s, whole, p})
			}
		}
	}
	e.dice.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	t.Logf("%d first points", len(cases))
	e.end = torture.Until(t, 30, bounded)
	if torture.Long() {
		e.all(cases)
	} else {
		e.some(cases)
	}
	if e.row.Points == 0 {
		t.Error("nothing died")
	}
}

// some runs first points until the time is over, and after every fifth of them one second point.
func (e *enumeration) some(cases []aCase) {
	for i, c := range cases {
		if e.over() {
			return
		}
		r := e.try(c.s, c.whole, c.first)
		if list := deaths(r.commits); i%5 == 0 && len(list) > 0 {
			e.try(c.s, c.whole, c.first, list[e.dice.IntN(len(list))])
		}
	}
}

// all runs all first points, then the kernel's death at the commit after each, and then at all other commits after it.
func (e *enumeration) all(cases []aCase) {
	walked, total := 0, 0
	recoveries := make([]int, len(cases)) // the commits of each
	for i, c := range cases {
		recoveries[i] = e.try(c.s, c.whole, c.first).commits
		total += 2 * recoveries[i]
	}
	for _, later := range []bool{false, true} {
		for i, c := range cases {
			for _, p := range deaths(recoveries[i]) {
				if e.over() {
					e.t.Logf("the time is over after %d of %d second points", walked, total)
					return
				}
				if later == (p.n > 1) && (c.s.every == 0 || p.n%c.s.every < 2) {
					walked++
					e.try(c.s, c.whole, c.first, p)
				}
			}
		}
	}
}

// runPoint runs a scenario without a fault, and tells its steps, or at one point.
func runPoint(t *testing.T, text string) {
	name, rest, _ := strings.Cut(text, "/")
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 {
		t.Fatalf("there is no scenario %q", name)
	}
	s := &scenarios[i]
	whole := playOnce(t, s, nil)
	if rest == "" {
		t.Logf("%d commits, frames %v\n%s\n%v\n%s", whole.commits, whole.frames, strings.Join(sortedLines(whole.said), "\n"), whole.done,
			strings.Join(whole.state.at(0), "\n"))
		if len(whole.failures) > 0 {
			t.Error(strings.Join(whole.failures, "\n"))
		}
		return
	}
	points, err := pointsFrom(rest)
	if err != nil {
		t.Fatal(err)
	}
	r := playOnce(t, s, points)
	if r.missed {
		t.Errorf("the run ends before %s", join(points))
	}
	if wrong := s.compare(whole, r); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
}
