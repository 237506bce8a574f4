package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// agentSystem is a declaration of a system subcluster of the test program's agent, and counterConfig the
// configuration that it launches.
const (
	agentSystem = `{"system": {"agent": {"bootstrap": "agent", "services": ["kernelFacet", "timer"],
		"vats": {"agent": {"module": "test.agent", "worker": "bin/testworker"}}}}}`
	counterConfig = `{"bootstrap": "counter", "vats": {"counter": {"module": "test.counter", "worker": "bin/testworker"}}}`
)

// settled sends a call under a ticket until there is an answer, through any kills of the kernel.
func (s *site) settled(ctx context.Context, id, target, method string, args ...any) (control.Outcome, error) {
	r := control.SendRequest{Ticket: control.Ticket{ID: id}, Target: target, Method: method, Wait: true, Timeout: 20 * time.Second}
	for _, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			return control.Outcome{}, err
		}
		r.Args = append(r.Args, text)
	}
	for {
		out, err := sendOnce(ctx, s.state, r)
		if err == nil && out.Status != control.Pending {
			return out, nil
		}
		select { // the kernel is away: it comes back
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return control.Outcome{}, fmt.Errorf("%s: no answer: %w", id, err)
		}
	}
}

// subclusters counts those that there are, waiting for the kernel if it is away.
func (s *site) subclusters(ctx context.Context) (int, error) {
	for {
		c, err := control.Dial(ctx, s.state)
		if err == nil {
			var status control.Status
			status, err = c.Status(ctx)
			_ = c.Close() // it was only asked
			if err == nil {
				return status.Subclusters, nil
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, err
		}
	}
}

// Every call that a vat makes of the kernel's facet happens once and is answered, though the kernel is killed
// at any instant of a launch, a message sent on, a reload, a termination: no subcluster is there twice, none is
// lost.
//
// KILLS sets the number of kills, KILL_SEED replays the choices of one run (not its timing).
func TestFacetIsExactlyOnceThroughKills(t *testing.T) { overEach(t, facetIsExactlyOnceThroughKills) }

func facetIsExactlyOnceThroughKills(t *testing.T, over transport) {
	seed := envInt(t, "KILL_SEED", rand.Uint64())
	kills := int(envInt(t, "KILLS", 8))
	t.Logf("KILL_SEED=%d KILLS=%d", seed, kills)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := newSiteOver(t, over)
	system := s.file(t, "kernel.json", agentSystem)
	d := s.run(t, "--system", system)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	eventually(t, func() error { return s.runs(t, "agent") })

	stop, ended := make(chan struct{}), make(chan error, 1)
	rounds := 0
	go func() {
		ended <- func() error {
			for ; ; rounds++ {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := s.useFacet(ctx, "s1", rounds); err != nil {
					return fmt.Errorf("round %d: %w", rounds, err)
				}
			}
		}()
	}()
	for range kills {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Duration(rng.IntN(400)) * time.Millisecond):
		}
		d.kill()
		d = s.run(t, "--system", system)
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds through %d kills", rounds, kills)
	if got := s.must(t, "send", "s1", "failed"); got != "[]\n" && got != "null\n" {
		t.Errorf("calls of the facet failed: %s", got)
	}
	d.stop()
	s.must(t, "check")
}

// useFacet has the agent, a system subcluster, launch a counter, send it messages, load it anew, and end it, all through the
// facet.
func (s *site) useFacet(ctx context.Context, agent string, round int) error {
	var config any
	if err := json.Unmarshal([]byte(counterConfig), &config); err != nil {
		return err
	}
	call := func(step, want, method string, args ...any) error {
		out, err := s.settled(ctx, fmt.Sprintf("r%d-%s", round, step), agent, method, args...)
		if err != nil {
			return err
		}
		if out.Status != control.Fulfilled || (want != "" && string(out.Value) != want) {
			return fmt.Errorf("%s: got %s %s %+v, want %s", step, out.Status, out.Value, out.Error, want)
		}
		return nil
	}
	count := func(want int) error {
		n, err := s.subclusters(ctx)
		if err == nil && n != want {
			err = fmt.Errorf("there are %d subclusters, want %d", n, want)
		}
		return err
	}
	out, err := s.settled(ctx, fmt.Sprintf("r%d-launch", round), agent, "do", "kernelFacet", "launchSubcluster", []any{config})
	if err != nil {
		return err
	}
	var l struct {
		Subcluster string
		Root       map[string]string
	}
	if err := json.Unmarshal(out.Value, &l); err != nil {
		return fmt.Errorf("launch: got %+v: %w", out, err)
	}
	if err := count(2); err != nil {
		return fmt.Errorf("after the launch: %w", err)
	}
	for n := range 3 {
		if err := call(fmt.Sprintf("queue%d", n), fmt.Sprint(n+1), "do", "kernelFacet", "queueMessage", []any{l.Root, "add", []any{1}}); err != nil {
			return err
		}
	}
	if err := call("reload", "", "keep", "child", "kernelFacet", "reloadSubcluster", []any{l.Subcluster}); err != nil {
		return err
	}
	if err := count(2); err != nil {
		return fmt.Errorf("after the reload: %w", err)
	}
	if err := call("fresh", "1", "do", "child", "add", []any{1}); err != nil {
		return err
	}
	// The reload has made the next subcluster, or one after that, if the kernel was killed meanwhile: the one
	// that is not the agent.
	out, err = s.settled(ctx, fmt.Sprintf("r%d-list", round), agent, "do", "kernelFacet", "getSubclusters", []any{})
	if err != nil {
		return err
	}
	var list []struct{ Subcluster string }
	if err := json.Unmarshal(out.Value, &list); err != nil || len(list) != 2 {
		return fmt.Errorf("list: got %+v, %v", out, err)
	}
	for _, sub := range list {
		if sub.Subcluster == agent {
			continue
		}
		if err := call("end", "", "do", "kernelFacet", "terminateSubcluster", []any{sub.Subcluster}); err != nil {
			return err
		}
	}
	if err := count(1); err != nil {
		return fmt.Errorf("after the end: %w", err)
	}
	return nil
}

// runs says whether a system subcluster runs under its name, and the name leads to its root.
func (s *site) runs(t testing.TB, name string) error {
	var list struct{ Systems []control.System }
	o := s.cli("system", "--json")
	if err := json.Unmarshal([]byte(o.stdout), &list); err != nil {
		return fmt.Errorf("system: %v: %w", o, err)
	}
	if len(list.Systems) != 1 || list.Systems[0].Name != name || list.Systems[0].State != "running" {
		return fmt.Errorf("system: got %+v, want %s, running", list, name)
	}
	root := list.Systems[0].Root
	o = s.cli("send", root, "do", `"kernelFacet"`, `"getSystemSubclusterRoot"`, fmt.Sprintf("[%q]", name))
	if want := fmt.Sprintf(`{"$ref":%q}`, root); strings.TrimSpace(o.stdout) != want {
		return fmt.Errorf("the root of %s: got %v, want %s", name, o, want)
	}
	return nil
}

// A reload that the kernel did not survive is finished by the next one, whenever it was killed: each subcluster is
// there, once, and the name of the system subcluster leads to its root.
func TestReloadIsFinishedThroughKills(t *testing.T) { overEach(t, reloadIsFinishedThroughKills) }

func reloadIsFinishedThroughKills(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	system := s.file(t, "kernel.json", agentSystem)
	d := s.run(t, "--system", system)
	eventually(t, func() error { return s.runs(t, "agent") })
	s.must(t, "launch", s.file(t, "counter.json", counterConfig))
	for n := range 4 {
		done := make(chan said, 1)
		go func() { done <- s.cli("reload", "--all", "--yes") }()
		eventually(t, func() error { // once it is under way
			log := s.log(t)
			if strings.Count(log, "loaded anew: subcluster=") < 2*(n+1) {
				return fmt.Errorf("no reload %d", n)
			}
			return nil
		})
		<-time.After(time.Duration(n*n) * 5 * time.Millisecond)
		d.kill()
		<-done // it may have succeeded or not
		d = s.run(t, "--system", system)
		eventually(t, func() error {
			if err := s.runs(t, "agent"); err != nil {
				return err
			}
			var status control.Status
			s.read(t, &status, "status")
			if status.Subclusters != 2 || status.Vats != 2 {
				return fmt.Errorf("after kill %d: got %+v, want 2 subclusters of a vat each", n, status)
			}
			for _, c := range status.Clusters {
				if o := s.cli("ping", c.Vats["counter"]+c.Vats["agent"]); o.exit != 0 {
					return fmt.Errorf("ping: %v", o)
				}
			}
			return nil
		})
	}
	d.stop()
	s.must(t, "check")
}

// A state that is being cleared when the kernel is killed is cleared by the next one: nothing of it comes back, and
// the system subcluster is launched again.
func TestClearIsFinishedThroughKills(t *testing.T) { overEach(t, clearIsFinishedThroughKills) }

func clearIsFinishedThroughKills(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	system := s.file(t, "kernel.json", agentSystem)
	config := s.file(t, "counter.json", counterConfig)
	d := s.run(t, "--system", system)
	epoch := ""
	for n := range 4 {
		eventually(t, func() error { return s.runs(t, "agent") })
		s.must(t, "launch", config)
		s.must(t, "launch", config)
		var before, after control.Status
		s.read(t, &before, "status")
		if before.Epoch == epoch {
			t.Errorf("the epoch is still %s", epoch)
		}
		done := make(chan said, 1)
		cleared, removed := strings.Count(s.log(t), "the state is cleared"), strings.Count(s.log(t), "subcluster removed")
		go func() { done <- s.cli("clear", "--yes") }()
		// The kill comes when so many of the three subclusters are gone.
		eventually(t, func() error {
			log := s.log(t)
			if strings.Count(log, "the state is cleared") == cleared || strings.Count(log, "subcluster removed") < removed+n {
				return fmt.Errorf("not as far as that")
			}
			return nil
		})
		d.kill()
		<-done
		d = s.run(t, "--system", system)
		// Either it was not durable, or it is finished.
		s.read(t, &after, "status")
		if after.Epoch == before.Epoch {
			t.Logf("clear %d had not begun, durably", n)
			s.must(t, "clear", "--yes")
		}
		eventually(t, func() error {
			s.read(t, &after, "status")
			if after.Subclusters != 1 || after.Vats != 1 || after.Epoch == before.Epoch {
				return fmt.Errorf("after kill %d: got %+v, want the system subcluster alone", n, after)
			}
			return s.runs(t, "agent")
		})
		epoch = before.Epoch
	}
	d.stop()
	s.must(t, "check")
}
