package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// A state or message of a service object beyond the bounds is an error to the object, and nothing else: the kernel goes on,
// and the object stores and sends others that are within the bounds.
func TestAnObjectThatStoresOrSendsTooMuchGetsAnError(t *testing.T) {
	opened := make(chan service.Opening, 1)
	mem := storage.NewMem()
	k := start(t, mem, func(c *host.Config) {
		c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(o service.Opening) (service.Object, error) {
			select {
			case opened <- o:
			default:
			}
			return &lines{}, nil
		}}}
	})
	sub := launch(t, k, "repl")
	o := <-opened
	limits := mem.Limits()
	small, root := service.Data{Body: `#["tick",[]]`}, string(sub.Root)
	state := bytes.Repeat([]byte("s"), limits.Bytes/4+1)
	never := func() { t.Error("a state that was refused is said to be durable") }
	for name, do := range map[string]func() error{
		"a state":                  func() error { return o.Commit(state, never) },
		"a state above any commit": func() error { return o.Commit(bytes.Repeat(state, 8), never) },
		"a state with a message":   func() error { return o.Send(state, root, small) },
		"a message":                func() error { return o.Send(nil, root, service.Data{Body: strings.Repeat("x", limits.Bytes)}) },
		"a message of many references": func() error {
			return o.Send(nil, root, service.Data{Body: small.Body, Slots: strings.Fields(strings.Repeat(root+" ", kernel.MaxSlots+1))})
		},
	} {
		refusal, ok := errors.AsType[*kernel.Refusal](do())
		if !ok || refusal.Code != errcode.Limit || !strings.Contains(refusal.Detail, "the limit is") {
			t.Errorf("%s: got %v, want LIMIT", name, refusal)
		}
	}
	durable := make(chan struct{})
	if err := o.Commit(state[1:], func() { close(durable) }); err != nil {
		t.Error(err)
	}
	<-durable
	if err := o.Send([]byte("end"), root, small); err != nil {
		t.Error(err)
	}
	if err := o.Commit([]byte("end"), nil); err != nil {
		t.Error(err)
	}
	k.end(t)
}

// talker is a channel that has much to store and to say.
type talker struct{}

func (talker) Idempotent(string) bool { return false }

func (talker) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	if c.Vat == "" {
		reply(service.Fulfil(strings.Repeat("y", 3<<20)))
	}
}

// An object whose state is as large as it may be begins its waiting calls, and can be removed.
func TestAnObjectOfALargeStateBeginsWhatWaitsAndEnds(t *testing.T) {
	opened := make(chan service.Opening, 1)
	k := start(t, storage.NewMem(), func(c *host.Config) {
		c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(o service.Opening) (service.Object, error) {
			opened <- o
			return talker{}, nil
		}}}
	})
	sub := launch(t, k, "repl")
	o := <-opened
	durable := make(chan struct{})
	if err := o.Commit(make([]byte, 2<<20), func() { close(durable) }); err != nil {
		t.Fatal(err)
	}
	<-durable
	list, err := k.ServiceList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s host.ServiceStatus) bool { return s.Kind == host.KindIO })
	const n = 6 // more than may be under way, of that size
	answers := make(chan error, n)
	for call := range n {
		go func() {
			_, err := send(t.Context(), k, fmt.Sprint("say ", call), string(list[i].KRef), "say", strings.Repeat("x", 3<<20))
			answers <- err
		}()
	}
	for range n {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := k.Terminate(t.Context(), sub.ID); err != nil {
		t.Error(err)
	}
	k.end(t)
}

// States that wait for a kernel that is at something else are bounded: an object that stores without end is told so.
func TestAnObjectThatStoresWithoutEndGetsAnError(t *testing.T) {
	opened := make(chan service.Opening, 1)
	k := start(t, storage.NewMem(), func(c *host.Config) {
		c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(o service.Opening) (service.Object, error) {
			select {
			case opened <- o:
			default:
			}
			return &lines{}, nil
		}}}
	})
	launch(t, k, "repl")
	o := <-opened
	state := make([]byte, 1<<20)
	for range 1 << 20 {
		if err := o.Commit(state, nil); err != nil {
			if refusal, ok := errors.AsType[*kernel.Refusal](err); !ok || refusal.Code != errcode.Limit {
				t.Errorf("got %v, want LIMIT", err)
			}
			k.end(t)
			return
		}
	}
	t.Error("a million states of 1 MiB wait")
}
