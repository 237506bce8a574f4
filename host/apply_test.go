package host_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// second is the hello example in another version: with more vats, and other limits.
func second(t *testing.T, edit func(*cluster.Config)) *cluster.Config {
	t.Helper()
	cfg := example(t, "hello")
	edit(cfg)
	cfg.Hash = strings.Repeat("2", 64)
	return cfg
}

func addTwo(cfg *cluster.Config) {
	for _, name := range []string{"second", "third"} {
		v := cfg.Vats[0]
		v.Name = name
		cfg.Vats = append(cfg.Vats, v)
	}
	cfg.Vats[0].MaxRestarts = 9
}

func TestAConfigurationIsAppliedWholeOrNotAtWhicheverCommitTheKernelDies(t *testing.T) {
	cfg := second(t, addTwo)
	sweep(t, func(ctx context.Context, k *running, _ kernel.KRef) error {
		if _, err := send(ctx, k, "before", "s2", "hello", "a"); err != nil {
			return err
		}
		_, err := k.Apply(ctx, "", cfg, host.ApplyOptions{})
		return err
	}, func(k *running, done bool) {
		there(t, k, 2)
		before, err := k.Apply(t.Context(), "s2", cfg, host.ApplyOptions{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(before.Changes); n != 0 && n != 3 || done && n != 0 {
			t.Errorf("%d changes are left (done: %t)", n, done)
		}
		// The second Apply makes the remaining changes, and all vats answer.
		if _, err := k.Apply(t.Context(), "s2", cfg, host.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		if after, err := k.Apply(t.Context(), "s2", cfg, host.ApplyOptions{}); err != nil || len(after.Changes) != 0 || len(after.Vats) != 0 {
			t.Errorf("applied again it changes %+v, %v", after, err)
		}
		for _, target := range []string{"s2", "s2/second", "third"} {
			if a, err := send(t.Context(), k, strings.ReplaceAll("after-"+target, "/", "-"), target, "hello", "b"); err != nil || a.Rejected {
				t.Errorf("%s answers %+v, %v", target, a, err)
			}
		}
	})
}

func TestWhatWouldDeleteSomethingIsRefusedByItsField(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	launch(t, k, "hello")
	if _, err := k.Apply(t.Context(), "", second(t, addTwo), host.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		field string
		edit  func(*cluster.Config)
	}{
		{"vats.third", func(c *cluster.Config) { c.Vats = c.Vats[:2] }},
		{"vats.second.module", func(c *cluster.Config) { c.Vats[1].Module = "pingpong.player" }},
		{"bootstrap", func(c *cluster.Config) { c.Bootstrap = "second" }},
	} {
		for _, dryRun := range []bool{true, false} {
			_, err := k.Apply(t.Context(), "s1", second(t, func(c *cluster.Config) { addTwo(c); test.edit(c) }), host.ApplyOptions{DryRun: dryRun})
			var refused *host.ReplaceError
			if !errors.As(err, &refused) || !slices.ContainsFunc(refused.Changes, func(c cluster.Change) bool { return c.Field == test.field }) {
				t.Errorf("%s: got %v", test.field, err)
			}
		}
	}
	if a, err := send(t.Context(), k, "after", "s1/third", "hello", "c"); err != nil || a.Rejected {
		t.Errorf("the vat answers %+v, %v", a, err)
	}
	k.end(t)
}

// A declaration that lacks a name deletes nothing; one that names more is applied; only a name in Replace deletes.
func TestAnUpgradeDeletesOnlyWhatItIsToldByName(t *testing.T) {
	mem := storage.NewMem()
	sys := func(configs map[string]*cluster.Config) *cluster.System {
		out := &cluster.System{Source: filepath.Join("/", "kernel.json")}
		for _, name := range slices.Sorted(maps.Keys(configs)) {
			out.Subclusters = append(out.Subclusters, cluster.SystemSubcluster{Name: name, Config: configs[name]})
		}
		return out
	}
	run := func(configs map[string]*cluster.Config, replace []string, check func(k *running, list map[string]host.SystemStatus)) {
		t.Helper()
		k := start(t, mem, func(c *host.Config) { c.System, c.UpgradeSystem, c.Replace = sys(configs), true, replace })
		if err := k.SystemReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := k.SystemList(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]host.SystemStatus{}
		for _, s := range list {
			byName[s.Name] = s
		}
		check(k, byName)
		k.end(t)
		if err := mem.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	hello, more := example(t, "hello"), second(t, addTwo)
	run(map[string]*cluster.Config{"a": hello, "b": hello}, nil, func(k *running, list map[string]host.SystemStatus) {
		if _, err := send(t.Context(), k, "one", "a", "hello", "x"); err != nil {
			t.Fatal(err)
		}
	})
	run(map[string]*cluster.Config{"a": more}, []string{"other"}, func(k *running, list map[string]host.SystemStatus) {
		if list["a"].Sub != "s1" || list["a"].Changed || list["b"].State != "suspended" {
			t.Errorf("after more vats: %+v", list)
		}
		if a, err := send(t.Context(), k, "two", "a", "hello", "x"); err != nil || !strings.Contains(a.Value.Body, "2") {
			t.Errorf("it has forgotten its first visitor: %+v, %v", a, err)
		}
	})
	run(map[string]*cluster.Config{"a": hello}, nil, func(k *running, list map[string]host.SystemStatus) {
		if list["a"].Sub != "s1" || !list["a"].Changed || list["b"].State != "suspended" {
			t.Errorf("after fewer vats: %+v", list)
		}
	})
	run(map[string]*cluster.Config{"a": hello}, []string{"a", "b"}, func(k *running, list map[string]host.SystemStatus) {
		if _, there := list["b"]; there || list["a"].Sub == "s1" || list["a"].Changed {
			t.Errorf("after --replace: %+v", list)
		}
	})
}
