package host_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/host"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
)

// hoarder is a vat with many rows, and a method that is poisoned.
type hoarder struct {
	vat.Durable
	Rows vat.Map[int, string]
}

func (h *hoarder) Fill(ctx context.Context, from, to int) error {
	for i := from; i < to; i++ {
		if err := h.Rows.Set(ctx, i, "kept"); err != nil {
			return err
		}
	}
	return nil
}

func (*hoarder) Echo(x any) any { return x }
func (*hoarder) Panic()         { panic("at each attempt") }

// slowly is a store of which each read of a frozen state takes a while.
type slowly struct {
	storage.Store
	reads *atomic.Int64
}

const readTime = 10 * time.Millisecond

func (s slowly) Freeze() storage.Frozen { return frozenSlowly{s.Store.Freeze(), s.reads} }

type frozenSlowly struct {
	storage.Frozen
	reads *atomic.Int64
}

func (f frozenSlowly) Get(key string) ([]byte, bool, error) {
	f.reads.Add(1)
	<-time.After(readTime)
	return f.Frozen.Get(key)
}

func (f frozenSlowly) Next(prefix, after string) (string, []byte, bool, error) {
	f.reads.Add(1)
	<-time.After(readTime)
	return f.Frozen.Next(prefix, after)
}

const (
	hoarded, panicked = 400, 100
	manyRows          = 10_000
)

// withHoard runs a kernel with a vat that has many rows and many poisoned messages. reads counts the reads of frozen states.
func withHoard(t *testing.T, use func(w *world, reads *atomic.Int64)) {
	program := programOf(t, vat.Modules{"hoarder": func() *hoarder { return &hoarder{} }})
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		w := newWorld(t, 1, program, true)
		w.change = func(c *host.Config) { c.Store = slowly{c.Store, &reads} }
		w.live(func() {
			w.launch(`{"bootstrap": "a", "vats": {"a": {"module": "hoarder"}}}`)
			w.must("fill", "s1", "fill", 0.0, float64(hoarded))
			for i := range panicked {
				if a := w.must(fmt.Sprint("panic", i), "s1", "panic"); !a.Rejected {
					t.Errorf("the panic is answered with %+v", a)
				}
			}
			use(w, &reads)
		})
	})
}

// lists are the lists of things of which one vat can have many. Each returns how many there are.
var lists = map[string]func(ctx context.Context, k *host.Shell) (int, error){
	"poisoned": func(ctx context.Context, k *host.Shell) (int, error) {
		list, more, err := k.Poisoned(ctx, 0, manyRows)
		if more {
			err = fmt.Errorf("there are more than %d", len(list))
		}
		return len(list), err
	},
	"stored": func(ctx context.Context, k *host.Shell) (int, error) {
		_, rows, more, err := k.Stored(ctx, "a", "", "", manyRows)
		if more {
			err = fmt.Errorf("there are more than %d", len(rows))
		}
		return len(rows), err
	},
}

// However long a list is, the kernel goes on while it is read, and the list is that of the moment of the question.
func TestALongListHoldsNobody(t *testing.T) {
	for name, list := range lists {
		t.Run(name, func(t *testing.T) {
			withHoard(t, func(w *world, reads *atomic.Int64) {
				want, err := list(w.ctx, w.k)
				if err != nil || want < panicked {
					t.Errorf("got %d, %v", want, err)
				}
				reads.Store(0)
				asked := time.Now()
				got := make(chan int, 1)
				go func() {
					n, err := list(w.ctx, w.k)
					if err != nil {
						t.Error(err)
					}
					got <- n
				}()
				synctest.Wait() // the first read takes its time
				if reads.Load() == 0 {
					t.Error("nothing is read")
				}
				w.must("echo", "s1", "echo", 1.0)
				w.must("more", "s1", "fill", float64(hoarded), float64(2*hoarded))
				w.must("another", "s1", "panic")
				beside := time.Since(asked)
				n := <-got
				took := time.Since(asked)
				if n != want {
					t.Errorf("got %d, want the %d that there were", n, want)
				}
				if least := panicked * readTime; took < least || beside > took/2 {
					t.Errorf("three calls took %v beside a list that took %v, want far less, and the list at least %v", beside, took, least)
				}
				if n, err := list(w.ctx, w.k); err != nil || n <= want {
					t.Errorf("afterwards got %d, %v, want more than %d", n, err, want)
				}
			})
		})
	}
}

// The answer to a question whose caller has left is not read to its end, whichever question it is.
func TestAListThatNobodyWaitsForIsGivenUp(t *testing.T) {
	all := map[string]func(ctx context.Context, k *host.Shell) (int, error){
		"vats": func(ctx context.Context, k *host.Shell) (int, error) {
			list, err := k.Vats(ctx)
			return len(list), err
		},
	}
	for name, list := range lists {
		all[name] = list
	}
	for name, list := range all {
		t.Run(name, func(t *testing.T) {
			withHoard(t, func(w *world, reads *atomic.Int64) {
				ctx, leave := context.WithCancel(w.ctx)
				left := make(chan error, 1)
				reads.Store(0)
				go func() {
					_, err := list(ctx, w.k)
					left <- err
				}()
				synctest.Wait()
				leave()
				if err := <-left; err == nil {
					t.Error("an answer came although nobody waits")
				}
				w.must("echo", "s1", "echo", 1.0)
				<-time.After(time.Minute)
				if n := reads.Load(); n != 1 {
					t.Errorf("%d rows were read, want the one that was being read", n)
				}
			})
		})
	}
}
