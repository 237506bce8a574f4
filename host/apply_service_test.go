package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// withDoor is the hello example with a channel.
func withDoor(t *testing.T, edit func(*cluster.Channel)) *cluster.Config {
	t.Helper()
	return second(t, func(cfg *cluster.Config) {
		c := cluster.Channel{Name: "door", Type: cluster.ChannelSocket, Direction: cluster.DirectionInOut, Unit: cluster.UnitLine, MaxUnitBytes: 1024, WriteTime: time.Second}
		edit(&c)
		cfg.IO = []cluster.Channel{c}
	})
}

// door is a channel that keeps the configuration that it was made from, and the last one that it got.
type door struct {
	lines
	config atomic.Pointer[[]byte]
}

func doors(configurable bool) (change func(*host.Config), last func() *door) {
	var made atomic.Pointer[door]
	kind := service.Kind{Open: func(o service.Opening) (service.Object, error) {
		d := &door{}
		d.config.Store(&o.Config)
		made.Store(d)
		return d, nil
	}}
	if configurable {
		kind.Configure = func(o service.Object, config []byte) func() {
			return func() { o.(*door).config.Store(&config) }
		}
	}
	return func(c *host.Config) { c.Kinds = map[string]service.Kind{host.KindIO: kind} }, made.Load
}

func TestAServiceObjectIsConfiguredInPlaceOrAtTheNextStart(t *testing.T) {
	for _, configurable := range []bool{true, false} {
		mem := storage.NewMem()
		change, last := doors(configurable)
		k := start(t, mem, change)
		if _, err := k.Launch(t.Context(), withDoor(t, func(*cluster.Channel) {})); err != nil {
			t.Fatal(err)
		}
		first := last()
		cfg := withDoor(t, func(c *cluster.Channel) { c.WriteTime = time.Minute })
		cfg.Hash = strings.Repeat("3", 64)
		want, err := cluster.MarshalStoredChannel(cfg.IO[0])
		if err != nil {
			t.Fatal(err)
		}
		a, err := k.Apply(t.Context(), "", cfg, host.ApplyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		applies := cluster.ApplyStart
		if configurable {
			applies = cluster.ApplyLive
		}
		if len(a.Changes) != 1 || a.Changes[0].Field != "io.door.writeTime" || a.Changes[0].Applies != applies {
			t.Errorf("configurable %t: the changes are %+v", configurable, a.Changes)
		}
		if last() != first || bytes.Equal(*first.config.Load(), want) != configurable {
			t.Errorf("configurable %t: it works by %s", configurable, *last().config.Load())
		}
		k.end(t)
		if err := mem.Reopen(); err != nil {
			t.Fatal(err)
		}
		k = start(t, mem, change)
		err = scripttest.Within(30*time.Second, func() error {
			if got := *last().config.Load(); !bytes.Equal(got, want) {
				return fmt.Errorf("the next kernel makes it from %s", got)
			}
			return nil
		})
		if err != nil {
			t.Errorf("configurable %t: %v", configurable, err)
		}
		k.end(t)
	}
}

// An object that is being made when its configuration changes has the new one when it is there.
func TestAServiceObjectThatIsBeingMadeTakesTheNewConfiguration(t *testing.T) {
	change, last := doors(true)
	var holds atomic.Bool
	opening, goOn := make(chan struct{}), make(chan struct{})
	k := start(t, storage.NewMem(), func(c *host.Config) {
		change(c)
		kind := c.Kinds[host.KindIO]
		open := kind.Open
		kind.Open = func(o service.Opening) (service.Object, error) {
			if strings.HasSuffix(o.Name, ":late") && holds.CompareAndSwap(false, true) {
				close(opening)
				<-goOn
			}
			return open(o)
		}
		c.Kinds[host.KindIO] = kind
	})
	if _, err := k.Launch(t.Context(), withDoor(t, func(*cluster.Channel) {})); err != nil {
		t.Fatal(err)
	}
	both := func(d time.Duration) *cluster.Config {
		cfg := withDoor(t, func(*cluster.Channel) {})
		late := cfg.IO[0]
		late.Name, late.WriteTime = "late", d
		cfg.IO = append(cfg.IO, late)
		cfg.Hash = strings.Repeat("4", 63) + d.String()[:1]
		return cfg
	}
	applied := make(chan error, 1)
	go func() {
		_, err := k.Apply(t.Context(), "", both(time.Second), host.ApplyOptions{})
		applied <- err
	}()
	<-opening
	cfg := both(2 * time.Second)
	if _, err := k.Apply(t.Context(), "", cfg, host.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	if want, err := cluster.MarshalStoredChannel(cfg.IO[1]); err != nil || !bytes.Equal(*last().config.Load(), want) {
		t.Errorf("it works by %s, %v", *last().config.Load(), err)
	}
	k.end(t)
}

func TestASubclusterIsReplacedOnlyByItsName(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	launch(t, k, "hello")
	launch(t, k, "hello")
	if _, err := send(t.Context(), k, "before", "s1", "hello", "a"); err != nil {
		t.Fatal(err)
	}
	other := second(t, func(c *cluster.Config) { c.Vats[0].Module, c.Vats[0].MaxRestarts = "pingpong.pong", 9 })
	live := second(t, func(c *cluster.Config) { c.Vats[0].MaxRestarts = 9 })
	for _, o := range []host.ApplyOptions{{}, {DryRun: true}, {Replace: "s2"}, {Replace: "s2", DryRun: true}, {Replace: "hello"}, {Replace: "s9", DryRun: true}} {
		if a, err := k.Apply(t.Context(), "s1", other, o); err == nil {
			t.Errorf("%+v: it gave %+v", o, a)
		}
	}
	plan, err := k.Apply(t.Context(), "s1", other, host.ApplyOptions{Replace: "s1", DryRun: true})
	if err != nil || plan.Replaced != "s1" || len(plan.Deleted) != 1 || plan.Deleted[0].Vat != "v1" || len(plan.Changes) != 2 {
		t.Errorf("a dry run gave %+v, %v", plan, err)
	}
	// Changes that can be made in place are made in place, even if the subcluster may be replaced.
	if a, err := k.Apply(t.Context(), "s1", live, host.ApplyOptions{Replace: "s1"}); err != nil || a.Replaced != "" || a.Sub != "s1" {
		t.Errorf("a change in place gave %+v, %v", a, err)
	}
	if a, err := send(t.Context(), k, "after", "s1", "hello", "b"); err != nil || !strings.Contains(a.Value.Body, "2") {
		t.Errorf("it has forgotten its first visitor: %+v, %v", a, err)
	}
	done, err := k.Apply(t.Context(), "s1", other, host.ApplyOptions{Replace: "s1"})
	if err != nil || done.Replaced != "s1" || done.Sub == "s1" || !slices.Equal(done.Deleted, plan.Deleted) {
		t.Fatalf("it gave %+v, %v", done, err)
	}
	if a, err := send(t.Context(), k, "gone", "s1", "hello", "b"); err == nil && !a.Rejected {
		t.Errorf("the old one answers %+v", a)
	}
	if again, err := k.Apply(t.Context(), string(done.Sub), other, host.ApplyOptions{Replace: "s1"}); err != nil || again.Replaced != "" || len(again.Changes) != 0 {
		t.Errorf("again it gave %+v, %v", again, err)
	}
	k.end(t)
}

func TestAReplacementThatCannotBeLaunchedSaysThatTheOldOneIsGone(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	launch(t, k, "hello")
	bad := second(t, func(c *cluster.Config) { c.Vats[0].Module = "no.such.module" })
	var failed *host.LaunchError
	if _, err := k.Apply(t.Context(), "s1", bad, host.ApplyOptions{Replace: "s1"}); !errors.As(err, &failed) || !strings.Contains(err.Error(), "s1 was deleted") {
		t.Errorf("got %v", err)
	}
	if s, err := k.Status(t.Context()); err != nil || len(s.Subclusters) != 0 {
		t.Errorf("left: %+v, %v", s.Subclusters, err)
	}
	k.end(t)
}

func TestAReplacementIsDoneByTheNextKernelAtWhicheverCommitTheKernelDies(t *testing.T) {
	more := second(t, func(c *cluster.Config) { addTwo(c); c.Bootstrap = "second" })
	sweep(t, func(ctx context.Context, k *running, _ kernel.KRef) error {
		if _, err := send(ctx, k, "before", "s2", "hello", "a"); err != nil {
			return err
		}
		_, err := k.Apply(ctx, "s2", more, host.ApplyOptions{Replace: "s2"})
		return err
	}, func(k *running, done bool) {
		if list, err := k.Status(t.Context()); err != nil {
			t.Fatal(err)
		} else if slices.ContainsFunc(list.Subclusters, func(s kernel.Subcluster) bool { return s.ID == "s2" && s.State == kernel.SubRunning }) {
			if a, err := send(t.Context(), k, "old", "s2", "hello", "b"); err != nil || a.Rejected || done {
				t.Errorf("the old one, with all that it had, answers %+v, %v (done: %t)", a, err, done)
			}
		}
		// The second Apply waits for the first one, if that is under way, and deletes nothing twice.
		if a, err := k.Apply(t.Context(), "", more, host.ApplyOptions{Replace: "s2"}); err != nil || a.Replaced != "" && done {
			t.Errorf("applied again: %+v, %v", a, err)
		}
		e, err := k.Ensure(t.Context(), more)
		if err != nil || e.Launched || len(e.Vats) != 3 {
			t.Errorf("what runs is %+v, %v", e, err)
		}
		if a, err := send(t.Context(), k, "new", string(e.ID), "hello", "c"); err != nil || !strings.Contains(a.Value.Body, "1") {
			t.Errorf("the new one answers %+v, %v", a, err)
		}
	})
}
