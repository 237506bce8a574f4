package host_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// stopping is a channel that has its kernel told to stop in each call from outside, before it replies.
type stopping struct {
	stop  *atomic.Pointer[context.CancelFunc]
	begun *atomic.Int64
}

func (stopping) Idempotent(string) bool { return true }

func (s stopping) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	if c.Vat != "" {
		return // the vat reads, and waits
	}
	s.begun.Add(1)
	(*s.stop.Load())()
	reply(service.Fulfil("done"))
}

// A reply that is there when the kernel is told to stop is kept: the next kernel does not begin the call again, although it might.
func TestAReplyThatIsThereWhenTheKernelStopsIsKept(t *testing.T) {
	t.Parallel()
	mem := storage.NewMem()
	o := stopping{&atomic.Pointer[context.CancelFunc]{}, &atomic.Int64{}}
	next := func() *running {
		k := start(t, mem, func(c *host.Config) {
			c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(service.Opening) (service.Object, error) { return o, nil }}}
		})
		o.stop.Store(&k.stop)
		return k
	}
	k := next()
	launch(t, k, "repl")
	channel := channelOf(t, k)
	body, err := capdata.EncodeCall("say", nil)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 10 // the kernel may take the reply or the stop first
	for i := range rounds {
		ticket := fmt.Sprint("say ", i)
		_, _ = k.Call(context.Background(), "", ticket, string(channel), kernel.Data{Body: body}, true) // in vain, if the stop is first
		if err := <-k.ended; err != nil {
			t.Fatal(err)
		}
		reopen(t, mem)
		k = next()
		if a, err := k.Await(t.Context(), "", ticket); err != nil || a.Value.Body != `#"done"` {
			t.Fatalf("got %+v, %v, want done", a, err)
		}
	}
	if n := o.begun.Load(); n != rounds {
		t.Errorf("%d calls were begun %d times", rounds, n)
	}
	k.end(t)
}
