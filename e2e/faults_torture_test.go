package e2e_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/torture"
)

// undisturbed is what a workload does if nothing dies: what is kept at the end, how often it passes each point, how often the
// kernel that follows one that was killed does, and how long it takes.
type undisturbed struct {
	workload
	kept             any
	passed, recovery map[fault.Name]int
	took             time.Duration
}

// TestTortureFaultPoints has the real programs die by SIGKILL at each of their fault points (internal/fault), in the midst of
// some workload. The next kernel starts, the workload goes on, and nothing is lost, done twice, or left over.
//
// A failure names the plan of its trial: KERNEL_FAULT, and RECOVERY_FAULT for the kernels after the first that was killed. With
// FAULT_WORKLOAD and these in its environment the test does that trial alone.
func TestTortureFaultPoints(t *testing.T) {
	seed := torture.Seed(t)
	if _, err := faulty(); err != nil {
		t.Fatal(err)
	}
	row := torture.Row{Part: "fault points, real programs", Seed: seed}
	defer func() { torture.Report(t, row) }()
	if name := os.Getenv("FAULT_WORKLOAD"); name != "" {
		alone(t, name)
		return
	}
	profiles := make([]*undisturbed, 0, len(workloads))
	var later []fault.Name // points of workloads that are left out
	inParallel(t, func(yield func(task) bool) {
		for _, w := range workloads {
			if w.long && !torture.Long() {
				later = append(later, w.points...)
				continue
			}
			u := &undisturbed{workload: w}
			profiles = append(profiles, u)
			if !yield(task{w.name + " undisturbed", func(t *testing.T) { u.learn(t) }}) {
				return
			}
		}
	})
	if t.Failed() {
		return
	}
	passed := map[fault.Name]bool{}
	for _, u := range profiles {
		for name := range u.passed {
			passed[name] = true
		}
		for name := range u.recovery {
			passed[name] = true
		}
	}
	later = append(later, fault.WitnessBeforeSync) // a second after a commit: a workload may have ended by then
	for _, name := range slices.Sorted(maps.Values(pointNames(t))) {
		if !passed[name] && !slices.Contains(later, name) {
			t.Errorf("no workload passes the point %s", name)
		}
	}

	r := rand.New(rand.NewPCG(seed, 1))
	end := torture.Until(t, 25, 25*time.Second) // beside the undisturbed runs, and the building of the programs
	var mu sync.Mutex
	died, missed := map[fault.Name]int{}, 0
	inParallel(t, func(yield func(task) bool) {
		for u, p := range plans(r, profiles, torture.Long()) {
			mu.Lock()
			enough := time.Now().After(end) && row.Scenarios >= 10 || row.Findings > 10
			mu.Unlock()
			if enough {
				return
			}
			do := func(t *testing.T) {
				tr := u.disturb(t, p)
				mu.Lock()
				defer mu.Unlock()
				row.Scenarios++
				row.Cranks += tr.passed(0)[fault.CrankDone] + tr.passed(1)[fault.CrankDone]
				for deaths, faults := range [][]chosen{p.first, p.recovery} {
					for _, c := range faults {
						if tr.passed(deaths)[c.point] >= c.pass {
							row.Kills++
							died[c.point]++
						} else {
							missed++
						}
					}
				}
				if t.Failed() {
					row.Findings++
				}
			}
			if !yield(task{u.name + " " + p.String(), do}) {
				return
			}
		}
	})
	if row.Points = len(died); row.Kills == 0 {
		t.Error("nothing died")
	}
	t.Logf("%d points of %d were places of a death, %d deaths in %d trials; %d passes were not reached", len(died), len(passed), row.Kills, row.Scenarios, missed)
	for _, name := range slices.Sorted(maps.Keys(passed)) {
		if died[name] == 0 {
			t.Logf("no process died at %s", name)
		}
	}
}

// alone does the trial that the environment names.
func alone(t *testing.T, name string) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
	if i < 0 {
		t.Fatalf("there is no workload %q", name)
	}
	var p plan
	for key, into := range map[string]*[]chosen{fault.Variable: &p.first, "RECOVERY_FAULT": &p.recovery} {
		for text := range strings.SplitSeq(os.Getenv(key), ",") {
			point, pass, _ := strings.Cut(text, ":")
			if n, err := strconv.Atoi(pass); err == nil {
				*into = append(*into, chosen{fault.Name(point), n})
			} else if text != "" {
				t.Fatalf("%s: %v", key, err)
			}
		}
	}
	u := &undisturbed{workload: workloads[i]}
	t.Run("undisturbed", u.learn)
	t.Run(p.String(), func(t *testing.T) { u.disturb(t, p) })
}

// A task is a subtest.
type task struct {
	name string
	do   func(t *testing.T)
}

// inParallel does tasks, four at a time: most of the time they wait for processes.
func inParallel(t *testing.T, tasks func(yield func(task) bool)) {
	list := make(chan task)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for x := range list {
				t.Run(x.name, x.do)
			}
		})
	}
	tasks(func(x task) bool {
		list <- x
		return true
	})
	close(list)
	wg.Wait()
}

// learn runs the workload without a fault, and once more with the death of a kernel in the middle.
func (u *undisturbed) learn(t *testing.T) {
	at := time.Now()
	tr := newTrial(t, u.transport(), plan{})
	u.kept = u.work(tr)
	tr.end()
	tr.must(t, "check")
	u.took, u.passed = time.Since(at), tr.passed(0)
	if tr.deaths() > 0 {
		t.Fatalf("%d kernels died", tr.deaths())
	}
	u.recovery = u.disturb(t, plan{first: u.middle()}).passed(1)
	if len(u.points) > 0 {
		others := func(name fault.Name, _ int) bool { return !slices.Contains(u.points, name) }
		maps.DeleteFunc(u.passed, others)
		maps.DeleteFunc(u.recovery, others)
	}
	t.Logf("it takes %v, passes %d points, and %d in a recovery", u.took, len(u.passed), len(u.recovery))
}

// middle is a pass in the middle of the workload.
func (u *undisturbed) middle() []chosen {
	return []chosen{{fault.GroupDurable, (u.passed[fault.GroupDurable] + 1) / 2}}
}

func (u *undisturbed) transport() transport {
	if u.over == "" {
		return descriptor
	}
	return u.over
}

// disturb runs the workload by a plan. What is kept is as if nothing had died.
func (u *undisturbed) disturb(t *testing.T, p plan) *trial {
	tr := newTrial(t, u.transport(), p)
	kept := u.work(tr)
	tr.end()
	tr.must(t, "check")
	if diff := cmp.Diff(u.kept, kept); diff != "" {
		t.Errorf("what is kept (- undisturbed, + now):\n%s", diff)
	}
	if t.Failed() {
		t.Logf("again: FAULT_WORKLOAD=%s %s", u.name, p)
	}
	return tr
}

// plans returns trials in a random order. First comes each point once, in one of the three quickest workloads that pass it; all others
// follow if long is set, without an end.
func plans(r *rand.Rand, profiles []*undisturbed, long bool) func(yield func(*undisturbed, plan) bool) {
	type trial struct {
		u *undisturbed
		p plan
	}
	passing, recovering := map[fault.Name][]*undisturbed{}, map[fault.Name][]*undisturbed{}
	profiles = slices.Clone(profiles)
	slices.SortFunc(profiles, func(a, b *undisturbed) int { return int(a.took - b.took) })
	for _, u := range profiles {
		for name := range u.passed {
			passing[name] = append(passing[name], u)
		}
		for name := range u.recovery {
			recovering[name] = append(recovering[name], u)
		}
	}
	one := func(list []*undisturbed) *undisturbed { return list[r.IntN(min(len(list), 3))] }
	var first []trial
	for _, name := range slices.Sorted(maps.Keys(passing)) {
		u := one(passing[name])
		first = append(first, trial{u, plan{first: []chosen{choose(r, name, u.passed[name])}}})
	}
	for _, name := range slices.Sorted(maps.Keys(recovering)) {
		if len(passing[name]) == 0 {
			u := one(recovering[name])
			first = append(first, trial{u, plan{u.middle(), []chosen{{name, 1}}}})
		}
	}
	r.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	return func(yield func(*undisturbed, plan) bool) {
		for _, x := range first {
			if !yield(x.u, x.p) {
				return
			}
		}
		for long {
			u := profiles[r.IntN(len(profiles))]
			if len(u.points) > 0 && r.IntN(4) > 0 {
				continue // it takes long
			}
			p := plan{first: []chosen{drawn(r, u.passed)}}
			switch r.IntN(3) {
			case 0: // a worker, too
				if in := inWorker(u.passed); len(in) > 0 {
					p.first = append(p.first, drawn(r, in))
				}
			case 1:
				p.recovery = []chosen{drawn(r, u.recovery)}
			}
			if !yield(u, p) {
				return
			}
		}
	}
}

// inWorker returns the passes of the points that workers have.
func inWorker(passed map[fault.Name]int) map[fault.Name]int {
	in := maps.Clone(passed)
	maps.DeleteFunc(in, func(name fault.Name, _ int) bool { return !strings.HasPrefix(string(name), "in-worker-") })
	return in
}

// drawn chooses some pass of some point.
func drawn(r *rand.Rand, passed map[fault.Name]int) chosen {
	names := slices.Sorted(maps.Keys(passed))
	name := names[r.IntN(len(names))]
	return choose(r, name, passed[name])
}

// choose chooses one of n passes of a point: the first, the one in the middle, the last or any.
func choose(r *rand.Rand, name fault.Name, n int) chosen {
	return chosen{name, []int{1, (n + 1) / 2, n, 1 + r.IntN(n)}[r.IntN(4)]}
}
