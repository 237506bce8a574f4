package host_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// lines is a channel that has a line for each read but the first, which is the vat's own.
type lines struct{ reads atomic.Int64 }

func (l *lines) Idempotent(method string) bool { return method == "read" }

func (l *lines) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	method, _, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	switch {
	case err != nil:
		reply(service.Fail(err))
	case method == "write":
		reply(service.Fulfil(nil))
	case c.Vat == "":
		reply(service.Fulfil(l.reads.Add(1)))
	}
}

func TestAChannelThatCannotBeMadeAgainIsTriedUntilItCan(t *testing.T) {
	mem := storage.NewMem()
	var failures atomic.Int64
	channels := func(c *host.Config) {
		c.Kinds = map[string]host.Kind{host.KindIO: {Open: func(host.Opening) (service.Object, error) {
			if failures.Add(-1) >= 0 {
				return nil, errors.New("the address is taken")
			}
			return &lines{}, nil
		}}}
	}
	k := start(t, mem, channels)
	launch(t, k, "repl")
	list, err := k.ServiceList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var channel kernel.KRef
	for _, s := range list {
		if s.Kind == host.KindIO {
			channel = s.KRef
		}
	}
	k.end(t)
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}

	failures.Store(4) // at the start, by the vat's read, by the write, and once more
	k = start(t, mem, channels)
	a, err := send(t.Context(), k, "write", string(channel), "write", "hello")
	if err != nil || !a.Rejected || !strings.Contains(a.Value.Body, "io:s1:console c") {
		t.Errorf("a write got %+v, %v, want that the channel cannot be opened", a, err)
	}
	answers := make(chan string, 3)
	for _, id := range []string{"one", "two", "three"} {
		// One after the other, so that their order is known; the first of them waits.
		a, err := k.Call(t.Context(), "", id, string(channel), kernel.Data{Body: `#["read",[]]`}, false)
		if err != nil || !a.Pending {
			t.Errorf("a read got %+v, %v, want that it waits", a, err)
		}
	}
	for _, id := range []string{"one", "two", "three"} {
		a, err := k.Await(t.Context(), "", id)
		if err != nil {
			t.Fatal(err)
		}
		answers <- a.Value.Body
	}
	if got := <-answers + <-answers + <-answers; got != "#1#2#3" {
		t.Errorf("the reads got %s, want #1#2#3", got)
	}
	k.end(t)
}
