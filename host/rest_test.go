package host_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/torture"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
)

const innConfig = `{"bootstrap": "a", "vats": {"a": {"module": "inn"}, "b": {"module": "inn"}}%s}`

// guest is the client of one workload.
type guest struct {
	*world
	sub   kernel.SubID
	calls int
	ids   []string
	what  string
}

// do makes a call, which may be rejected if something dies.
func (g *guest) do(target, method string, args ...any) host.Answer {
	g.calls++
	id := fmt.Sprintf("%s %d", g.what, g.calls)
	g.ids = append(g.ids, id)
	return g.must(id, target, method, args...)
}

func (g *guest) root(method string, args ...any) { g.do(string(g.sub), method, args...) }
func (g *guest) peer(method string, args ...any) { g.do(string(g.sub)+"/b", method, args...) }

// operate does something as an operator, until a kernel has done it.
func (g *guest) operate(do func(k *host.Shell) error) {
	var refusal *kernel.Refusal
	if err := g.until(do); err != nil && !errors.As(err, &refusal) { // an earlier kernel has done it
		g.t.Errorf("%s: %v", g.what, err)
	}
}

func (g *guest) vat(name string) (id kernel.VatID) {
	g.operate(func(k *host.Shell) error {
		v, err := k.FindVat(g.ctx, string(g.sub)+"/"+name)
		id = v.ID
		return err
	})
	return id
}

// other launches another subcluster, has use use it, and terminates it.
func (g *guest) other(config string, use func(o *guest)) {
	cfg, err := cluster.Parse("other.json", []byte(config))
	if err != nil {
		g.t.Error(err)
		return
	}
	var sub host.Ensured
	if err := g.until(func(k *host.Shell) (err error) {
		sub, err = k.Ensure(g.ctx, cfg)
		return err
	}); err != nil {
		var failed *host.LaunchError
		if !errors.As(err, &failed) {
			g.t.Errorf("%s: launch: %v", g.what, err)
		}
		return
	}
	o := &guest{world: g.world, sub: sub.ID, what: g.what + " other"}
	use(o)
	g.ids = append(g.ids, o.ids...)
	g.terminate(o.sub)
}

// workloads are what is done, and after which nothing is to be left.
var workloads = []struct {
	name string
	do   func(g *guest)
}{
	{"calls with an answer", func(g *guest) { g.root("ask", 1.0); g.root("ask", "x") }},
	{"calls that fail", func(g *guest) { g.root("fail"); g.root("noSuchMethod") }},
	{"messages without an answer", func(g *guest) { g.root("tell", 20.0) }},
	{"pipelining", func(g *guest) { g.root("pipe"); g.root("pipe") }},
	{"pipelining to an error", func(g *guest) { g.root("pipeNowhere") }},
	{"a promise that is fulfilled", func(g *guest) { g.root("later", false) }},
	{"a promise that is rejected", func(g *guest) { g.root("later", true) }},
	{"a chain of promises", func(g *guest) { g.root("chain") }},
	{"a circle of promises", func(g *guest) { g.root("circle") }},
	{"all and one of several", func(g *guest) { g.root("many") }},
	{"durable objects made and dropped", func(g *guest) { g.peer("fill", 20.0); g.peer("clear") }},
	{"a circle of durable objects", func(g *guest) { g.peer("ring", 40.0) }},
	{"an object deleted by name", func(g *guest) { g.root("destroy") }},
	{"50 sessions", func(g *guest) { g.root("visit", 50.0) }},
	{"an object in memory", func(g *guest) { g.root("carry") }},
	{"a delay", func(g *guest) { g.root("nap") }},
	{"a delay with a continuation", func(g *guest) { g.root("doze") }},
	{"a repetition that is cancelled", func(g *guest) { g.root("wind"); <-time.After(50 * time.Millisecond); g.root("stop") }},
	{"a repetition that is forgotten", func(g *guest) { g.root("wind"); <-time.After(50 * time.Millisecond); g.root("unwind") }},
	{"objects of a service", func(g *guest) { g.root("check", 10.0) }},
	{"calls that wait in the store", func(g *guest) { g.root("wait", 10.0) }},
	{"a continuation in the store", func(g *guest) { g.root("watch"); g.root("watch") }},
	{"answers with references", func(g *guest) {
		g.root("room")
		g.root("echo", "x")
		g.peer("open", 1.0)
		g.peer("shut", 1.0)
	}},
	{"a launch and an end", func(g *guest) {
		g.other(fmt.Sprintf(innConfig, `, "services": ["timer", "desk"]`), func(o *guest) { o.root("ask", 1.0) })
	}},
	{"an end with calls under way", func(g *guest) {
		g.other(fmt.Sprintf(innConfig, `, "services": ["timer", "desk"]`), func(o *guest) {
			for k := range 5 {
				id := fmt.Sprintf("%s under way %d", o.what, k)
				o.ids = append(o.ids, id)
				if _, err := o.call(id, string(o.sub), []string{"nap", "wind", "visit", "wait", "check"}[k], false, 5.0); err != nil {
					g.t.Errorf("%s: %v", id, err)
				}
			}
		})
	}},
	{"a launch that fails", func(g *guest) { g.other(`{"bootstrap": "a", "vats": {"a": {"module": "closed"}}}`, func(*guest) {}) }},
	{"an exit", func(g *guest) {
		g.other(`{"bootstrap": "a", "vats": {"a": {"module": "inn"}, "b": {"module": "inn"}}}`, func(o *guest) { o.peer("leave"); o.root("ask", 1.0) })
	}},
	{"a reload", func(g *guest) {
		g.other(fmt.Sprintf(innConfig, `, "services": ["timer", "desk"]`), func(o *guest) {
			o.root("ask", 1.0)
			o.operate(func(k *host.Shell) error { _, err := k.Reload(o.ctx, string(o.sub)); return err })
			for was := o.sub; o.sub == was; <-time.After(50 * time.Millisecond) { // an earlier kernel has begun with it
				o.operate(func(k *host.Shell) error {
					st, err := k.Status(o.ctx)
					for _, s := range st.Subclusters {
						if s.ID != g.sub && s.ID != was && s.State == kernel.SubRunning {
							o.sub = s.ID
						}
					}
					return err
				})
			}
		})
	}},
	{"another configuration there and back", func(g *guest) {
		g.other(fmt.Sprintf(innConfig, ""), func(o *guest) {
			o.apply(string(o.sub), fmt.Sprintf(innConfig, `, "services": ["timer"]`))
			o.root("ask", 1.0)
		})
	}},
	{"a worker that is started anew", func(g *guest) {
		v := g.vat("b")
		g.operate(func(k *host.Shell) error { return k.Restart(g.ctx, v, false) })
		g.root("ask", 1.0)
	}},
	{"a memory that is given up", func(g *guest) {
		v := g.vat("b")
		g.root("carry")
		g.operate(func(k *host.Shell) error { return k.Restart(g.ctx, v, true) })
		g.root("ask", 1.0)
	}},
	{"a revocation", func(g *guest) {
		a := g.do(string(g.sub)+"/b", "open", 7.0)
		if len(a.Value.Slots) == 1 {
			g.operate(func(k *host.Shell) error { return k.Revoke(g.ctx, a.Value.Slots[0]) })
		}
		g.peer("shut", 7.0)
	}},
	{"a poisoned message", func(g *guest) {
		g.peer("panic")
		g.operate(func(k *host.Shell) error {
			list, _, err := k.Poisoned(g.ctx, 0, 100)
			for _, p := range list {
				err = errors.Join(err, k.Unpoison(g.ctx, p.N, false))
			}
			return err
		})
	}},
	{"a call beyond the limit", func(g *guest) {
		id := g.what + " large"
		_, err := g.call(id, string(g.sub), "echo", true, strings.Repeat("x", 8<<20))
		var refusal *kernel.Refusal
		if !errors.As(err, &refusal) || refusal.Code != errcode.Limit {
			g.t.Errorf("a call of 8 MB gets %v", err)
		}
	}},
	{"a queue that is full", func(g *guest) {
		g.other(`{"bootstrap": "a", "vats": {"a": {"module": "inn"}, "b": {"module": "inn"}}, "limits": {"queue": 3}}`, func(o *guest) { o.root("tell", 200.0) })
	}},
	{"a collection", func(g *guest) {
		g.operate(func(k *host.Shell) error { _, err := k.Collect(g.ctx, g.vat("b")); return err })
	}},
	{"a status and other questions", func(g *guest) {
		g.operate(func(k *host.Shell) error { _, err := k.Status(g.ctx); return err })
		g.operate(func(k *host.Shell) error { _, err := k.Tally(g.ctx); return err })
		g.operate(func(k *host.Shell) error { _, err := k.ServiceList(g.ctx); return err })
		g.operate(func(k *host.Shell) error { _, err := k.Vats(g.ctx); return err })
		v := g.vat("a")
		g.operate(func(k *host.Shell) error { _, err := k.PingVat(g.ctx, v); return err })
		g.operate(func(k *host.Shell) error { _, err := k.Rehearse(g.ctx, v); return err })
	}},
	{"the same call again", func(g *guest) {
		g.root("ask", 5.0)
		g.calls--
		g.root("ask", 5.0)
	}},
}

// A world is at rest as often as it likes: what is stored and what is in memory after a workload is what was before it, whatever is killed
// meanwhile.
func restOf(t *testing.T, seed uint64, deadly bool) (scenarios, kernels, kills int) {
	program := programOf(t, inns())
	d := &desk{}
	o, err := service.New(d)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, seed, program, false)
	w.change = func(c *host.Config) {
		c.Kinds = timer.Kinds()
		c.Services = map[string]service.Registration{"desk": {Object: o}}
		c.KeepAnswers = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	w.ctx = ctx
	w.boot()
	g := &guest{world: w, sub: w.launch(fmt.Sprintf(innConfig, `, "services": ["timer", "desk"]`)), what: "before"}
	for _, load := range workloads {
		scenarios++
		g.what = "before " + load.name
		load.do(g)
		before := g.kept()
		for round := range 2 {
			g.what = fmt.Sprintf("%s %d", load.name, round)
			if deadly {
				through := make(chan struct{})
				go func() {
					defer close(through)
					load.do(g)
				}()
				w.kernels = 0
				w.disturb(through)
				kernels += w.kernels
			} else {
				load.do(g)
			}
			after := g.kept()
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("-world %d: %s (- before, + after):\n%s", seed, g.what, diff)
				before = after
			}
		}
	}
	kills = w.kills
	w.stop()
	if err := <-w.ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	return scenarios, kernels, kills
}

// kept counts what is kept when all is at rest: rows by their kinds, rows of the vats' stores by vat and kind, and entries of the
// shell's tables.
func (g *guest) kept() map[string]int {
	w := g.world
	g.root("check", 1.0) // the objects behind service objects are looked up when they are called first
	g.root("nap")
	for _, id := range g.ids {
		g.operate(func(k *host.Shell) error { return k.Acknowledge(w.ctx, "", id) })
	}
	g.ids = nil
	out := map[string]int{}
	g.operate(func(k *host.Shell) error {
		<-time.After(5 * time.Second) // answers are forgotten, and vats are asked
		collected, err := k.Collect(w.ctx, "")
		if err == nil && len(collected.Busy) > 0 {
			w.t.Errorf("%s: %v have something to do", g.what, collected.Busy)
		}
		if err != nil {
			return err
		}
		<-time.After(time.Minute) // deaths and starts are forgotten
		tables, err := k.Tables(w.ctx)
		for name, n := range tables {
			out["table "+name] = n
		}
		return err
	})
	for _, row := range w.mem.Snapshot() {
		kind, rest, dotted := strings.Cut(row.Key, ".")
		if !dotted {
			continue // of which there is one at most
		}
		name := "row " + kind
		if v, key, _ := strings.Cut(rest, "."); kind == "s" {
			of, _, dotted := strings.Cut(key, ".")
			if !dotted {
				continue // the vat's own bookkeeping, three rows at most, of which some exist only after a death
			}
			name += " " + v + " " + of
		}
		out[name]++
	}
	return out
}

// After each workload there is exactly what was there before it.
func TestTortureBackToRest(t *testing.T) {
	seed := torture.Seed(t)
	row := torture.Row{Part: "back to rest", Seed: seed}
	defer func() {
		if t.Failed() {
			row.Findings++
		}
		torture.Report(t, row)
	}()
	end := torture.Until(t, 10, 8*time.Second)
	dice := rand.New(rand.NewPCG(seed, 3))
	for n := 0; n == 0 || time.Now().Before(end) && !t.Failed(); n++ {
		world := dice.Uint64() >> 1
		if *worldSeed != 0 {
			world = *worldSeed
		}
		synctest.Test(t, func(t *testing.T) {
			scenarios, kernels, kills := restOf(t, world, n > 0 || *worldSeed != 0)
			row.Scenarios += scenarios
			row.Points += kernels
			row.Kills += kills + kernels
		})
	}
}

// Each table that the shell has is counted.
func TestTablesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, programOf(t, inns()), true)
		w.live(func() {
			w.launch(fmt.Sprintf(innConfig, ""))
			tables, err := w.k.Tables(w.ctx)
			if err != nil {
				t.Error(err)
			}
			names := slices.Sorted(maps.Keys(tables))
			t.Logf("%d tables: %v", len(names), names)
			if tables["vats.table"] != 2 {
				t.Errorf("two vats are in %d tables: %v", len(names), tables)
			}
		})
	})
}

// firstWait is the wait for the third worker in a row.
const firstWait = 100 * time.Millisecond

// A vat that is removed while it waits for another worker is gone when the wait is over.
func TestAVatThatIsGoneDoesNotComeBackAfterItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, programOf(t, inns()), true)
		w.live(func() {
			sub := w.launch(fmt.Sprintf(innConfig, ""))
			if _, err := w.call("panic", string(sub), "panic", false); err != nil {
				t.Error(err)
			}
			<-time.After(firstWait / 2) // after the second death of its worker it waits
			w.terminate(sub)
			<-time.After(time.Minute)
			tables, err := w.k.Tables(w.ctx)
			if err != nil || tables["vats.table"] != 0 {
				t.Errorf("%d vats are in the table of vats, %v, and none is there", tables["vats.table"], err)
			}
		})
	})
}
