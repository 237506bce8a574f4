package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service/timer"
	"ocapkernel.dev/storage"
)

// withController declares the controller of the examples as a system subcluster.
func withController(t *testing.T) func(*host.Config) {
	t.Helper()
	sys, err := cluster.LoadSystem(filepath.Join("..", "examples", "controller", "kernel.json"))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *host.Config) { c.System, c.Kinds = sys, timer.Kinds() }
}

// there waits until the controller runs, and so many subclusters altogether, and returns its root.
func there(t *testing.T, k *running, subclusters int) (root kernel.KRef) {
	t.Helper()
	err := scripttest.Within(30*time.Second, func() error {
		st, err := k.Status(t.Context())
		if err != nil {
			return err
		}
		list, err := k.SystemList(t.Context())
		if err != nil {
			return err
		}
		for _, s := range st.Subclusters {
			if s.State != kernel.SubRunning {
				return fmt.Errorf("%s is %s", s.ID, s.State)
			}
		}
		if len(st.Subclusters) != subclusters || len(list) != 1 || list[0].State != "running" {
			return fmt.Errorf("got %+v, system %+v, want %d subclusters and the controller", st.Subclusters, list, subclusters)
		}
		root = list[0].Root
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// sweep has a kernel with the controller and one more subcluster do something, again and again, and each time the next
// commit is the one that fails and ends it. check gets the kernel that follows, and whether act had succeeded; with
// that the sweep is over.
func sweep(t *testing.T, act func(ctx context.Context, k *running, root kernel.KRef) error, check func(k *running, done bool)) {
	t.Helper()
	change := withController(t)
	for n := int64(0); ; n++ {
		if n > 60 {
			t.Fatal("it does not come to an end")
		}
		mem := storage.NewMem()
		f := &faulty{Store: mem}
		f.left.Store(1 << 60)
		k := start(t, f, change)
		root := there(t, k, 1)
		launch(t, k, "hello")
		f.left.Store(n)
		err := act(t.Context(), k, root)
		if done := err == nil; done {
			k.stop()
			if err := <-k.ended; err != nil && !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
		} else if err := <-k.ended; !errors.Is(err, errDisk) {
			t.Fatalf("commit %d fails: Run returns %v", n, err)
		}
		again := &faulty{Store: mem}
		again.left.Store(1 << 60)
		k = start(t, again, change)
		check(k, err == nil)
		k.end(t)
		if problems, err := kernel.Check(mem); err != nil || len(problems) > 0 {
			t.Fatalf("commit %d fails: %v, %v", n, problems, err)
		}
		if err == nil {
			t.Logf("%d commits", n)
			return
		}
	}
}

func TestASystemSubclusterIsLaunchedOnceAtWhicheverCommitTheKernelDies(t *testing.T) {
	change := withController(t)
	for n := int64(0); ; n++ {
		mem := storage.NewMem()
		f := &faulty{Store: mem}
		f.left.Store(n)
		k := start(t, f, change)
		err := scripttest.Within(30*time.Second, func() error {
			list, err := k.SystemList(t.Context())
			switch {
			case err != nil:
				return nil // the kernel has ended
			case len(list) == 1 && list[0].State == "running":
				return nil
			}
			return fmt.Errorf("got %+v", list)
		})
		if err != nil {
			t.Fatalf("commit %d: %v", n, err)
		}
		k.stop()
		ended := <-k.ended
		again := &faulty{Store: mem}
		again.left.Store(1 << 60)
		k = start(t, again, change)
		there(t, k, 1)
		k.end(t)
		if ended == nil {
			t.Logf("%d commits", n)
			return
		}
		if n > 60 {
			t.Fatal("it does not come to an end")
		}
	}
}

// A system subcluster whose reload was cut short waits for a run that declares it.
func TestAReloadWaitsForADeclaration(t *testing.T) {
	change := withController(t)
	for n := int64(1); n < 5; n++ {
		mem := storage.NewMem()
		f := &faulty{Store: mem}
		f.left.Store(1 << 60)
		k := start(t, f, change)
		there(t, k, 1)
		f.left.Store(n)
		if _, err := k.Reload(t.Context(), "controller"); err == nil {
			k.end(t)
			break // it has fewer commits
		}
		<-k.ended
		again := &faulty{Store: mem}
		again.left.Store(1 << 60)
		k = start(t, again, func(c *host.Config) { c.Kinds = timer.Kinds() })
		if _, err := k.Collect(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) > 1 {
			t.Fatalf("commit %d: without a declaration there are %+v, %v", n, st.Subclusters, err)
		}
		if list, err := k.SystemList(t.Context()); err != nil || len(list) != 1 || list[0].State != "suspended" {
			t.Fatalf("commit %d: without a declaration: %+v, %v, want the controller suspended", n, list, err)
		}
		if vats, err := k.Vats(t.Context()); err != nil || len(vats) > 0 && vats[0].Pid != 0 {
			t.Fatalf("commit %d: without a declaration something runs: %+v, %v", n, vats, err)
		}
		k.end(t)
		k = start(t, again, change)
		there(t, k, 1)
		k.end(t)
		// A subcluster that is no longer declared is not launched again.
		k = start(t, again, func(c *host.Config) { c.System = &cluster.System{} })
		if _, err := k.Collect(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		k.end(t)
	}
}

func TestAReloadIsFinishedAtWhicheverCommitTheKernelDies(t *testing.T) {
	sweep(t, func(ctx context.Context, k *running, _ kernel.KRef) error {
		_, err := k.Reload(ctx, "")
		return err
	}, func(k *running, _ bool) { there(t, k, 2) })
}

func TestAResetHappensOrNotAtWhicheverCommitTheKernelDies(t *testing.T) {
	epoch := ""
	sweep(t, func(ctx context.Context, k *running, _ kernel.KRef) error {
		st, err := k.Status(ctx)
		if err != nil {
			return err
		}
		epoch = st.Epoch
		return k.Reset(ctx)
	}, func(k *running, done bool) {
		st, err := k.Status(t.Context())
		switch {
		case err != nil:
			t.Fatal(err)
		case st.Epoch != epoch:
			there(t, k, 1)
		case done:
			t.Fatal("it was done, and the epoch is the same")
		default:
			there(t, k, 2)
		}
	})
}

func TestALaunchOfAVatHappensOnceAtWhicheverCommitTheKernelDies(t *testing.T) {
	config := `{"bootstrap":"greeter","vats":{"greeter":{"module":"hello"}}}`
	body := `#["launch",["other",` + config + `]]`
	sweep(t, func(ctx context.Context, k *running, root kernel.KRef) error {
		a, err := k.Call(ctx, "", "launch", string(root), kernel.Data{Body: body}, true)
		if err == nil && a.Rejected {
			t.Errorf("rejected: %s", a.Value.Body)
		}
		return err
	}, func(k *running, _ bool) {
		list, err := k.SystemList(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := k.Call(t.Context(), "", "launch", string(list[0].Root), kernel.Data{Body: body}, true)
		if err != nil || a.Rejected || len(a.Value.Slots) != 1 {
			t.Fatalf("the same call again: %+v, %v, want a root", a, err)
		}
		there(t, k, 3)
		if g, err := send(t.Context(), k, "greet", string(a.Value.Slots[0]), "hello", "world"); err != nil || !strings.Contains(g.Value.Body, "number 1") {
			t.Fatalf("the root answers %+v, %v", g, err)
		}
	})
}

// A system subcluster with rows that contradict each other, or are missing, is held back, and the others run. The reason
// says what is wrong, and what to do: that frees the name, and the next start launches the subcluster anew. A check finds the
// same damage.
func TestADamagedSystemSubclusterIsHeldBack(t *testing.T) {
	replace := func(key, old, with string) func(*testing.T, storage.Store) storage.Write {
		return func(t *testing.T, s storage.Store) storage.Write {
			row, found, err := s.Get(key)
			changed := bytes.Replace(row, []byte(old), []byte(with), 1)
			if err != nil || !found || bytes.Equal(row, changed) {
				t.Fatalf("the row %s is not as the test expects: %q, %v", key, row, err)
			}
			return storage.Write{Key: key, Value: changed}
		}
	}
	remove := func(key string) func(*testing.T, storage.Store) storage.Write {
		return func(t *testing.T, s storage.Store) storage.Write {
			if _, found, err := s.Get(key); err != nil || !found {
				t.Fatalf("there is no row %s: %v", key, err)
			}
			return storage.Write{Key: key}
		}
	}
	for name, damage := range map[string]func(*testing.T, storage.Store) storage.Write{
		"no bootstrap vat":           replace("u.s1", "\xa2v1\xa3ko4", "\xa0\xa3ko4"),
		"no root":                    replace("u.s1", "\xa2v1\xa3ko4", "\xa2v1\xa0"),
		"another root":               replace("u.s1", "\xa2v1\xa3ko4", "\xa2v1\xa3ko3"),
		"no member":                  replace("u.s1", "\x92\xaacontroller\xa2v1", "\x90"),
		"a member that there is not": replace("u.s1", "\x92\xaacontroller\xa2v1", "\x92\xaacontroller\xa2v7"),
		"another name":               replace("u.s1", "\xaacontroller\xa0\x00", "\xaacontrollez\xa0\x00"),
		"no vat":                     remove("v.v1"),
		"a vat of another":           replace("v.v1", "\xa2s1", "\xa2s9"),
		"a vat that does not run":    remove("r.v1"),
		"no root object":             remove("o.ko4"),
		"a root of another vat":      replace("o.ko4", "\xa2v1", "\xa2v9"),
		"no entry of the root":       remove("c.v1.ko4"),
		"no entry back to the root":  remove("c.v1.o+0"),
		"no name":                    remove("g.controller"),
		"a name that leads nowhere":  replace("g.controller", "s1", "s9"),
		"two of a name": func(t *testing.T, s storage.Store) storage.Write {
			row, _, err := s.Get("u.s1")
			if err != nil {
				t.Fatal(err)
			}
			return storage.Write{Key: "u.s9", Value: row}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := storage.NewMem()
			k := start(t, mem, withController(t))
			there(t, k, 1)
			launch(t, k, "pingpong")
			k.end(t)
			reopen(t, mem)
			if problems, err := kernel.Check(mem); err != nil || len(problems) > 0 {
				t.Fatalf("before: %v, %v", problems, err)
			}
			if err := mem.Commit([]storage.Write{damage(t, mem)}); err != nil {
				t.Fatal(err)
			}
			if problems, err := kernel.Check(mem); err == nil && len(problems) == 0 {
				t.Error("a check finds nothing")
			}
			k = start(t, mem, withController(t))
			var failed *host.SystemError
			if err := k.SystemReady(t.Context()); !errors.As(err, &failed) || len(failed.Failed) != 1 {
				t.Fatalf("got %v, want the controller that does not run", err)
			}
			why := failed.Failed[0].Why
			_, hint, ok := strings.Cut(why, "kernel terminate ")
			id, _, _ := strings.Cut(hint, " ")
			sub, isID := kernel.ParseSubID(id)
			if !ok || !isID {
				t.Fatalf("the reason does not say what to do: %s", why)
			}
			if a, err := send(t.Context(), k, "other", "s2", "play", 3.0); err != nil || a.Value.Body != "#3" {
				t.Errorf("another subcluster answers %+v, %v", a, err)
			}
			if st, err := k.Status(t.Context()); err != nil || (st.Held["v1"] == "") != (name == "two of a name") {
				t.Errorf("held are %v, %v", st.Held, err)
			}
			if err := k.Terminate(t.Context(), sub); err != nil {
				t.Fatal(err)
			}
			k.end(t)
			reopen(t, mem)
			problems, err := host.CheckRows(mem)
			if err != nil || slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, "cannot be read") || strings.HasPrefix(p, "I8") }) {
				t.Errorf("check: %q, %v", problems, err)
			}
			k = start(t, mem, withController(t))
			if err := k.SystemReady(t.Context()); err != nil {
				t.Errorf("after it was terminated: %v", err)
			}
			if a, err := send(t.Context(), k, "next", "s2", "play", 2.0); err != nil || a.Value.Body != "#5" {
				t.Errorf("another subcluster answers the next kernel %+v, %v", a, err)
			}
			k.end(t)
		})
	}
}

func TestASubclusterThatIsTerminatedWhileItIsLoadedAnewStaysAway(t *testing.T) {
	mem := storage.NewMem()
	k := start(t, mem, nil)
	sub := launch(t, k, "hello")
	k.end(t)
	reopen(t, mem)
	for i := range 200 { // so that its removal takes many slices, and is under way when it is terminated
		var rows []storage.Write
		for j := range 100 {
			rows = append(rows, storage.Write{Key: fmt.Sprintf("s.v1.%d.%d", i, j), Value: []byte("stored")})
		}
		if err := mem.Commit(rows); err != nil {
			t.Fatal(err)
		}
	}
	k = start(t, mem, nil)
	begun, cancel := context.WithCancel(t.Context())
	cancel() // so that it is begun, and not waited for
	if _, err := k.Reload(begun, string(sub.ID)); !errors.Is(err, context.Canceled) {
		t.Fatalf("reload: %v", err)
	}
	if err := k.Terminate(t.Context(), sub.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) > 0 {
			t.Errorf("got %+v, %v, want no subcluster", st.Subclusters, err)
		}
		k.end(t)
		if err := mem.Reopen(); err != nil {
			t.Fatal(err)
		}
		k = start(t, mem, nil)
	}
	k.end(t)
}
