package host_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
	"ocapkernel.dev/storage"
)

// burst makes n calls of an object at the same time, and counts those that were fulfilled.
func burst(t *testing.T, k *running, ref string, n int, methArgs kernel.Data) (fulfilled int) {
	t.Helper()
	prefix := fmt.Sprintf("%s-%d", ref, n)
	for i := range n {
		if _, err := k.Call(t.Context(), "", fmt.Sprintf("%s.%d", prefix, i), ref, methArgs, false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		a, err := k.Await(t.Context(), "", fmt.Sprintf("%s.%d", prefix, i))
		switch {
		case err != nil:
			t.Fatal(err)
		case !a.Rejected:
			fulfilled++
		case !strings.Contains(a.Value.Body, string(errcode.Limit)):
			t.Fatalf("rejected with %s, want LIMIT", a.Value.Body)
		}
	}
	return fulfilled
}

func TestTheLimitOfRepetitionsHoldsForABurst(t *testing.T) {
	cfg, err := cluster.Parse("/t/a.json", []byte(`{"bootstrap":"a","vats":{"a":{"module":"hello"}},"services":["timer"]}`))
	if err != nil {
		t.Fatal(err)
	}
	mem := storage.NewMem()
	timer := func(c *host.Config) { c.Kinds = timer.Kinds() }
	k := start(t, mem, timer)
	sub, err := k.Launch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ref := refOf(t, k, "timer:s1")
	repeat := kernel.Data{Body: `#["repeat",[3600000,"$0"]]`, Slots: []kernel.KRef{sub.Root}}
	if n := burst(t, k, ref, 1005, repeat); n != 1000 {
		t.Errorf("%d repetitions were made at once, the limit is 1000", n)
	}
	k.end(t)
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
	k = start(t, mem, timer) // which makes them again, and counts
	if n := burst(t, k, ref, 5, repeat); n != 0 {
		t.Errorf("%d more repetitions were made after a restart", n)
	}
	k.end(t)
}

func TestTheLimitOfAKindHoldsAndWhatEndsMakesRoom(t *testing.T) {
	kinds := func(c *host.Config) {
		c.Kinds = map[string]service.Kind{
			host.KindIO: {Traits: reads, Open: func(service.Opening) (service.Object, error) { return &lines{}, nil }},
			"conn":      {Traits: closes, Most: 3, TooMany: "three are enough", Lost: errcode.ConnectionLost, Why: "gone"},
		}
		c.Services = map[string]service.Registration{"maker": {Object: connector{}}}
	}
	mem := storage.NewMem()
	k := start(t, mem, kinds)
	if _, err := k.Launch(t.Context(), parseSlow(t)); err != nil {
		t.Fatal(err)
	}
	ref := refOf(t, k, "maker")
	if n := burst(t, k, ref, 10, kernel.Data{Body: `#["make",[]]`}); n != 3 {
		t.Errorf("%d objects were made at once, the limit is 3", n)
	}
	a, err := k.Await(t.Context(), "", ref+"-10.0")
	if err != nil || len(a.Value.Slots) != 1 {
		t.Fatalf("the first call got %+v, %v", a, err)
	}
	k.end(t)
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
	k = start(t, mem, kinds) // its connections have left only their names
	if _, err := send(t.Context(), k, "close", string(a.Value.Slots[0]), "close"); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ { // until the end of that one is durable
		a, err := send(t.Context(), k, fmt.Sprintf("again.%d", i), ref, "make")
		if err != nil {
			t.Fatal(err)
		}
		if !a.Rejected {
			break
		}
	}
	k.end(t)
}
