package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/storage"
)

// waiting is a store whose frozen states are read when the test says so.
type waiting struct {
	*storage.Mem
	gate chan struct{}
}

func (s *waiting) Freeze() storage.Frozen { return frozenWaiting{s.Mem.Freeze(), s.gate} }

type frozenWaiting struct {
	storage.Frozen
	gate chan struct{}
}

func (s frozenWaiting) Next(prefix, after string) (string, []byte, bool, error) {
	<-s.gate
	return s.Frozen.Next(prefix, after)
}

// However long it takes to find an answer, the kernel goes on meanwhile, and the answer is of the moment of the question.
func TestAQuestionHoldsNobody(t *testing.T) {
	store := &waiting{storage.NewMem(), make(chan struct{})}
	k := start(t, store, nil)
	first := launch(t, k, "pingpong")
	for name, ask := range map[string]func(ctx context.Context) (int, error){
		"status": func(ctx context.Context) (int, error) {
			st, err := k.Status(ctx)
			return st.Vats, err
		},
		"vats": func(ctx context.Context) (int, error) {
			list, err := k.Vats(ctx)
			return len(list), err
		},
		"services": func(ctx context.Context) (int, error) {
			_, err := k.ServiceList(ctx)
			return len(first.Vats), err
		},
		"holders": func(ctx context.Context) (int, error) {
			in, err := k.Inspect(ctx, first.Root)
			if err == nil && in.Holders == nil {
				t.Error("nobody holds the root")
			}
			return len(first.Vats), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			type answer struct {
				vats int
				err  error
			}
			answers := make(chan answer, 1)
			go func() {
				n, err := ask(t.Context())
				answers <- answer{n, err}
			}()
			store.gate <- struct{}{} // the question is asked, and the answer is looked for
			more := launch(t, k, "pingpong")
			ticket := string(more.ID)
			if a, err := send(t.Context(), k, ticket, ticket, "play", 3.0); err != nil || a.Value.Body != "#3" {
				t.Fatalf("got %+v, %v, want 3", a, err)
			}
			for answered := false; !answered; {
				select {
				case store.gate <- struct{}{}:
				case a := <-answers:
					answered = true
					if a.err != nil || a.vats != len(first.Vats) {
						t.Errorf("got %d vats, %v, want the %d that there were", a.vats, a.err, len(first.Vats))
					}
				}
			}
			if err := k.Terminate(t.Context(), more.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A question whose caller has left does not keep the kernel from ending.
func TestAKernelEndsWhileAQuestionIsAnswered(t *testing.T) {
	store := &waiting{storage.NewMem(), make(chan struct{})}
	k := start(t, store, nil)
	launch(t, k, "pingpong")
	ctx, stop := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := k.Vats(ctx)
		left <- err
	}()
	store.gate <- struct{}{}
	stop()
	if err := <-left; err == nil {
		t.Error("an answer came although nobody waits")
	}
	close(store.gate)
	k.end(t)
}

// passing is a store whose frozen states pass over removed rows without end where a vat's rows would be.
type passing struct {
	*storage.Mem
	steps chan struct{}
}

func (s *passing) Freeze() storage.Frozen { return frozenPassing{s.Mem.Freeze(), s.steps} }

type frozenPassing struct {
	storage.Frozen
	steps chan struct{}
}

func (s frozenPassing) Step(prefix, after string, _ int) (string, []byte, bool, bool, error) {
	for _, endless := range []string{"s.", "v.", "u.", "c."} {
		if strings.HasPrefix(prefix, endless) {
			s.steps <- struct{}{}
			return max(prefix, after) + "0", nil, false, false, nil
		}
	}
	key, value, found, err := s.Next(prefix, after)
	return key, value, found, true, err
}

// A question that passes over removed rows is given up when its caller leaves, and when the kernel ends.
func TestAQuestionIsGivenUpAmongRemovedRows(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *running) error{
		"rows": func(ctx context.Context, k *running) error {
			_, _, _, err := k.Stored(ctx, "v1", "", "", 10)
			return err
		},
		"vats": func(ctx context.Context, k *running) error {
			_, err := k.Vats(ctx)
			return err
		},
		"status": func(ctx context.Context, k *running) error {
			_, err := k.Status(ctx)
			return err
		},
	} {
		for _, ends := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", the kernel ends: ", ends), func(t *testing.T) {
				store := &passing{storage.NewMem(), make(chan struct{})}
				k := start(t, store, nil)
				launch(t, k, "pingpong")
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				given := make(chan error, 1)
				go func() { given <- ask(ctx, k) }()
				for range 3 {
					<-store.steps
				}
				over := make(chan struct{})
				go func() { // the step under way ends
					for {
						select {
						case <-store.steps:
						case <-over:
							return
						}
					}
				}()
				if !ends {
					leave()
					if err := <-given; !errors.Is(err, context.Canceled) {
						t.Errorf("got %v", err)
					}
				}
				k.end(t)
				if ends {
					if err := <-given; !errors.Is(err, host.ErrStopping) {
						t.Errorf("got %v", err)
					}
				}
				close(over)
			})
		}
	}
}
