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

// Large calls, answers and states that come while no file can be opened wait, and nobody who asks or stops the kernel waits
// with them.
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
		for range 20 { // whatever has come in meanwhile
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
