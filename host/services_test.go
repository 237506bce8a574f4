package host_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// lines is a channel that has a line for each read but the first, which is the vat's own.
type lines struct{ reads atomic.Int64 }

func (l *lines) Idempotent(method string) bool { return method == "read" }

// reads are the traits of the methods of a channel, closes those of a connection.
func reads(method string) service.Traits {
	return service.Traits{Idempotent: method == "read", WaitsForInput: method == "read"}
}

func closes(method string) service.Traits {
	t := reads(method)
	t.EndsObject = method == "close"
	return t
}

// channelOf returns the last channel of a kernel.
func channelOf(t *testing.T, k *running) (channel kernel.KRef) {
	t.Helper()
	list, err := k.ServiceList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Kind == host.KindIO {
			channel = s.KRef
		}
	}
	return channel
}

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
		c.Kinds = map[string]service.Kind{host.KindIO: {Traits: reads, Open: func(service.Opening) (service.Object, error) {
			if failures.Add(-1) >= 0 {
				return nil, errors.New("the address is taken")
			}
			return &lines{}, nil
		}}}
	}
	k := start(t, mem, channels)
	launch(t, k, "repl")
	channel := channelOf(t, k)
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

// shelf is an object of which look may be done twice, and nothing ends.
type shelf struct{ began chan string }

func (s shelf) Idempotent(method string) bool { return looks(method) }

func (s shelf) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	method, _, _ := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots)) // the test's own
	if method == "now" {
		reply(service.Fulfil("now"))
		return
	}
	s.began <- method
}

func looks(method string) bool { return strings.HasPrefix(method, "look") }

func looksOrReads(method string) service.Traits {
	t := reads(method)
	t.Idempotent = t.Idempotent || looks(method)
	return t
}

// A call that can be done again is not ambiguous: if it cannot be tried now, the answer has the reason.
func TestACallThatCanBeDoneAgainIsNotAmbiguousIfItsObjectCannotBeOpened(t *testing.T) {
	mem := storage.NewMem()
	var absent atomic.Bool
	began := make(chan string, 8)
	shelves := func(c *host.Config) {
		c.Kinds = map[string]service.Kind{host.KindIO: {Traits: looksOrReads, Open: func(service.Opening) (service.Object, error) {
			if absent.Load() {
				return nil, errors.New("it is not mounted")
			}
			return shelf{began}, nil
		}}}
	}
	k := start(t, mem, shelves)
	launch(t, k, "repl")
	channel := channelOf(t, k)
	methods := []string{"look", "lookAgain", "put"}
	for _, method := range methods {
		a, err := k.Call(t.Context(), "", method, string(channel), kernel.Data{Body: `#["` + method + `",[]]`}, false)
		if err != nil || !a.Pending {
			t.Fatalf("%s: %+v, %v", method, a, err)
		}
		for got := <-began; got != method; got = <-began { // the vat reads, too
		}
	}
	k.end(t)
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}

	absent.Store(true)
	k = start(t, mem, shelves)
	for _, method := range methods {
		a, err := k.Await(t.Context(), "", method)
		want := "it is not mounted"
		if method == "put" {
			want = string(errcode.Ambiguous)
		}
		if err != nil || !a.Rejected || !strings.Contains(a.Value.Body, want) {
			t.Errorf("%s: %+v, %v, want %s", method, a, err, want)
		}
	}
	absent.Store(false)
	if a, err := send(t.Context(), k, "now", string(channel), "now"); err != nil || a.Rejected {
		t.Errorf("when it is mounted again: %+v, %v", a, err)
	}
	k.end(t)
}
