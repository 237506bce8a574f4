package host

import (
	"fmt"
	"testing"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// counted is a store whose reads are counted.
type counted struct {
	*gated
	reads int
}

func (c *counted) Get(key string) ([]byte, bool, error) {
	c.reads++
	return c.gated.Get(key)
}

func (c *counted) Next(prefix, after string) (string, []byte, bool, error) {
	c.reads++
	return c.gated.Next(prefix, after)
}

// populated is a state with n running subclusters of one vat each, the i-th of which is called n<i>, as is its file.
func populated(t *testing.T, n int) *storage.Mem {
	t.Helper()
	mem := storage.NewMem()
	m, first, err := kernel.Open(mem, mem.Limits(), "epoch")
	do := func(c kernel.Commit, err error) {
		t.Helper()
		if err == nil && c.Number != 0 {
			err = mem.Commit(c.Writes)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	do(first, err)
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		stored, err := cluster.MarshalStored(cluster.Vat{Name: name, Module: "hello", Limits: cluster.DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		cfg := &cluster.Config{Bootstrap: name, Source: name, Hash: name}
		whole, err := cluster.MarshalStoredConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		id, c, err := m.Launch(kernel.Launch{
			Bootstrap: name, Source: name, Hash: name, Config: whole,
			Vats: []kernel.LaunchVat{{Name: name, Config: stored, MaxQueue: 10, MaxRestarts: 5, MaxRecords: 10}},
		})
		do(c, err)
		sub, _, err := m.Subcluster(id)
		if err != nil {
			t.Fatal(err)
		}
		v := sub.Vats[0].Vat
		_, c, err = m.StartWorker(v)
		do(c, err)
		for {
			step, err := m.Begin(v, 1, 1, false)
			if err != nil {
				t.Fatal(err)
			}
			if step.Crank == nil {
				break
			}
			var done wire.Done
			if call, ok := step.Crank.Deliver.Delivery.(wire.Call); ok {
				done.Syscalls = []wire.Syscall{wire.Resolve{Resolutions: []wire.Resolution{{Promise: call.Message.Result, Value: wire.CapData{Body: "#null"}}}}}
			}
			do(m.Finish(step.Crank, done, nil, 1))
		}
	}
	return mem
}

// However many subclusters there are, a step of the loop reads the rows of a few of them.
func TestNoStepReadsAllSubclusters(t *testing.T) {
	t.Parallel()
	const n, most = 400, 300
	for name, do := range map[string]func(t *testing.T, k *Shell){
		"the start of system subclusters": func(_ *testing.T, k *Shell) {
			k.cfg.System = &cluster.System{}
			k.system.start()
		},
		"a configuration that runs": func(t *testing.T, k *Shell) {
			k.subs.ensure(t.Context(), &cluster.Config{Source: "n399", Hash: "n399"}, func(e Ensured, err error) {
				if err != nil || e.ID != "s400" || e.Launched {
					t.Errorf("got %+v, %v, want s400", e, err)
				}
			})
		},
		"a configuration that has changed": func(t *testing.T, k *Shell) {
			k.subs.ensure(t.Context(), &cluster.Config{Source: "n399", Hash: "another"}, func(_ Ensured, err error) {
				if codeOf(err) != errcode.Conflict {
					t.Errorf("got %v, want CONFLICT", err)
				}
			})
		},
		"what to apply a configuration to": func(t *testing.T, k *Shell) {
			if s, err := k.subs.toApply("", &cluster.Config{Source: "n7"}); err != nil || s.ID != "s8" {
				t.Errorf("got %+v, %v, want s8", s, err)
			}
		},
		"the name of a vat": func(t *testing.T, k *Shell) {
			if v, err := k.names.vatNamed("n200"); err != nil || v != "v201" {
				t.Errorf("got %s, %v, want v201", v, err)
			}
			if _, err := k.names.vatNamed("nobody"); codeOf(err) != errcode.NotFound {
				t.Errorf("got %v, want NOT_FOUND", err)
			}
		},
		"the name of what has ended": func(t *testing.T, k *Shell) {
			c, err := k.machine.TerminateVat("v201")
			k.input(c, err)
			for more := true; more; {
				c, more, err = k.machine.Work(1)
				k.input(c, err)
			}
			if _, err := k.names.vatNamed("n200"); codeOf(err) != errcode.NotFound {
				t.Errorf("got %v, want NOT_FOUND", err)
			}
		},
		"one that is loaded anew": func(_ *testing.T, k *Shell) {
			k.subs.reloadAll("s77", func([]kernel.Subcluster, error) {})
		},
		"all that are loaded anew": func(_ *testing.T, k *Shell) {
			k.subs.reloadAll("", func([]kernel.Subcluster, error) {})
		},
		"a state that is cleared": func(_ *testing.T, k *Shell) {
			k.subs.reset(false, func() {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := populated(t, n)
			var store *counted
			k, gate := still(t, func(c *Config) {
				g := c.Store.(*gated)
				g.Mem = mem
				store = &counted{gated: g}
				c.Store, c.CacheBytes = store, 1
			})
			settleAll(k, gate)
			step := func(f func()) {
				store.reads = 0
				k.attempt(f)
				if store.reads > most {
					t.Errorf("a step reads %d rows", store.reads)
				}
				settleAll(k, gate)
			}
			step(func() { do(t, k) })
			for len(k.objects.mu.replies) > 0 {
				f := k.objects.mu.replies[0]
				k.objects.mu.replies = k.objects.mu.replies[1:]
				step(f)
			}
			if k.fatal != nil {
				t.Error(k.fatal)
			}
		})
	}
}

// The directory follows each launch, change and end of a subcluster.
func TestDirectoryFollowsSubclusters(t *testing.T) {
	d := newDirectory(nil)
	sub := func(id, source string, vats ...string) kernel.Subcluster {
		s := kernel.Subcluster{ID: kernel.SubID(id), Source: source}
		for i, v := range vats {
			s.Vats = append(s.Vats, kernel.SubclusterVat{Name: v, Vat: kernel.VatID(fmt.Sprintf("v%s%d", id[1:], i))})
		}
		return s
	}
	want := func(all, source, vats string) {
		t.Helper()
		if got := fmt.Sprint(d.all()); got != all {
			t.Errorf("there are %s, want %s", got, all)
		}
		if got := fmt.Sprint(d.sources["f"]); got != source {
			t.Errorf("from f there are %s, want %s", got, source)
		}
		if got := fmt.Sprint(d.vats["a"]); got != vats {
			t.Errorf("a is %s, want %s", got, vats)
		}
	}
	d.put(sub("s10", "f", "a", "b"))
	d.put(sub("s9", "f", "a"))
	want("[s9 s10]", "[s9 s10]", "[{s9 v90} {s10 v100}]")
	d.put(sub("s9", "g", "a", "more"))
	want("[s9 s10]", "[s10]", "[{s9 v90} {s10 v100}]")
	d.remove("s10")
	d.remove("s11")
	want("[s9]", "[]", "[{s9 v90}]")
	d.remove("s9")
	if want("[]", "[]", "[]"); len(d.entries)+len(d.sources)+len(d.vats) > 0 {
		t.Errorf("left: %+v", d)
	}
}
