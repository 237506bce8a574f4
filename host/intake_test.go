package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// scarce is a kernel's room, without descriptors if the test says so. It tells that of itself, or only when files are needed.
type scarce struct{ none, tells atomic.Bool }

func (s *scarce) Lacks() (string, bool) {
	if s.none.Load() && s.tells.Load() {
		return "descriptors", false
	}
	return "", false
}

func (s *scarce) Ready() error {
	if s.none.Load() {
		return errors.New("there are no descriptors")
	}
	return nil
}

// Large calls, answers and states that come while no file can be opened wait, and no question and no stop of the kernel
// waits with them.
func TestAKernelWithoutDescriptorsAnswersAndStops(t *testing.T) {
	t.Parallel()
	for _, tells := range []bool{true, false} {
		room := &scarce{}
		room.tells.Store(tells)
		opened := make(chan service.Opening, 1)
		k := start(t, storage.NewMem(), func(c *host.Config) {
			c.Room = room
			c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(o service.Opening) (service.Object, error) {
				opened <- o
				return talker{}, nil
			}}}
		})
		launch(t, k, "repl")
		o := <-opened
		list, err := k.ServiceList(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var channel string
		for _, s := range list {
			if s.Kind == host.KindIO {
				channel = string(s.KRef)
			}
		}
		body := `#["say",["` + strings.Repeat("x", 3<<20) + `"]]`
		const n = 6
		talk := func(round string) (answers chan error) {
			answers = make(chan error, n)
			for i := range n {
				go func() {
					_, err := k.Call(context.Background(), "", fmt.Sprintf("%s %d", round, i), channel, kernel.Data{Body: body}, true)
					answers <- err
				}()
				if err := o.Commit(make([]byte, 2<<20), nil); err != nil {
					t.Error(err)
				}
			}
			return answers
		}
		room.none.Store(true)
		answers := talk("one")
		waitFor(t, func() bool {
			st, err := k.Status(t.Context())
			return err == nil && len(st.Pauses) > 0
		})
		for range 20 { // further inputs of the loop
			if _, err := k.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		room.none.Store(false)
		for range n {
			if err := <-answers; err != nil {
				t.Errorf("when there are descriptors again, a call: %v", err)
			}
		}
		room.none.Store(true)
		answers = talk("two")
		waitFor(t, func() bool {
			st, err := k.Status(t.Context())
			return err == nil && len(st.Pauses) > 0
		})
		k.stop()
		<-k.ended // in vain, since it cannot commit
		for range n {
			<-answers
		}
	}
}

// A launch and a termination that come while no file can be opened wait, too, and are done when there are descriptors again.
func TestALaunchAndATerminationWaitForDescriptors(t *testing.T) {
	t.Parallel()
	room := &scarce{}
	room.tells.Store(true)
	k := start(t, storage.NewMem(), func(c *host.Config) { c.Room = room })
	old := launch(t, k, "pingpong")
	room.none.Store(true)
	called := make(chan error, 1)
	go func() {
		_, err := send(t.Context(), k, "one", string(old.ID), "play", 2.0)
		called <- err
	}()
	waitFor(t, func() bool {
		st, err := k.Status(t.Context())
		return err == nil && len(st.Pauses) > 0
	})
	launched, ended, unwanted := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	given, give := context.WithCancel(t.Context())
	go func() {
		_, err := k.Launch(given, example(t, "bank"))
		unwanted <- err
	}()
	go func() {
		_, err := k.Launch(t.Context(), example(t, "pingpong"))
		launched <- err
	}()
	go func() { ended <- k.Terminate(t.Context(), old.ID) }()
	for range 20 {
		if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) != 1 || st.Subclusters[0].State != kernel.SubRunning {
			t.Fatalf("without descriptors there are %+v, %v", st.Subclusters, err)
		}
	}
	give()
	if err := <-unwanted; !errors.Is(err, context.Canceled) {
		t.Errorf("a launch that nobody waits for: %v", err)
	}
	room.none.Store(false)
	if err := errors.Join(<-called, <-launched, <-ended); err != nil {
		t.Error(err)
	}
	if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) != 1 || st.Subclusters[0].Source == example(t, "bank").Source {
		t.Errorf("in the end there are %+v, %v", st.Subclusters, err)
	}
	k.end(t)
}

// A termination that waits for descriptors is not done when its caller has left before its turn.
func TestATerminationThatNobodyWaitsForIsNotDone(t *testing.T) {
	t.Parallel()
	room := &scarce{}
	room.tells.Store(true)
	k := start(t, storage.NewMem(), func(c *host.Config) { c.Room = room })
	sub := launch(t, k, "pingpong")
	room.none.Store(true)
	called, unwanted := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := send(t.Context(), k, "one", string(sub.ID), "play", 2.0)
		called <- err
	}()
	waitFor(t, func() bool {
		st, err := k.Status(t.Context())
		return err == nil && len(st.Pauses) > 0
	})
	given, give := context.WithCancel(t.Context())
	go func() { unwanted <- k.Terminate(given, sub.ID) }()
	for range 20 {
		if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) != 1 || st.Subclusters[0].State != kernel.SubRunning {
			t.Fatalf("without descriptors there are %+v, %v", st.Subclusters, err)
		}
	}
	give()
	room.none.Store(false)
	if err := <-unwanted; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that its caller has left", err)
	}
	if err := <-called; err != nil {
		t.Error(err)
	}
	if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) != 1 || st.Subclusters[0].State != kernel.SubRunning {
		t.Errorf("in the end there are %+v, %v", st.Subclusters, err)
	}
	k.end(t)
}
