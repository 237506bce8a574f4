package vattest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// Guard hears how another vat ends.
type Guard struct {
	vat.Durable
	Ward  vat.Ref
	Heard []string
}

// Bootstrap gets the ward.
func (g *Guard) Bootstrap(vats map[string]vat.Ref) { g.Ward = vats["ward"] }

// Watch waits by the store.
func (g *Guard) Watch(ctx context.Context) { vat.When(ctx, vat.Done(ctx, g.Ward), g, "Ended") }

// Ended hears of it.
func (g *Guard) Ended(ctx context.Context, end vat.Outcome[string]) {
	switch last, err := end.Value, end.Err; {
	case errors.Is(err, vat.ErrVatTerminated):
		g.Heard = append(g.Heard, "terminated")
	case err != nil:
		g.Heard = append(g.Heard, err.Error())
	default:
		g.Heard = append(g.Heard, "exit: "+last)
	}
}

// Await waits in memory.
func (g *Guard) Await(ctx context.Context) (string, error) {
	return vat.Await[string](ctx, vat.Done(ctx, g.Ward))
}

// All are the ends that were notified.
func (g *Guard) All() []string { return g.Heard }

// Ward ends.
type Ward struct{ vat.Durable }

// Leave exits.
func (w *Ward) Leave(ctx context.Context) { vat.Exit(ctx, "so long") }

// Break fails.
func (w *Ward) Break(ctx context.Context) { vat.Fail(ctx, errors.New("broken")) }

// A vat gets the end of another one, whether it waits in memory or by its store, and through any kills.
func TestEndOfAVatIsHeardOf(t *testing.T) {
	for name, test := range map[string]struct {
		end           func(k *vattest.Kernel)
		await, stored string
	}{
		"exit":       {func(k *vattest.Kernel) { k.Send("ward", "leave") }, `"so long"`, `["exit: so long"]`},
		"failure":    {func(k *vattest.Kernel) { k.Send("ward", "break") }, "broken", `["broken"]`},
		"terminated": {func(k *vattest.Kernel) { k.Terminate("ward") }, "VAT_TERMINATED", `["terminated"]`},
	} {
		t.Run(name, func(t *testing.T) {
			k := vattest.New(t, vat.Modules{"guard": func() *Guard { return &Guard{} }, "ward": func() *Ward { return &Ward{} }})
			if err := k.Launch("guard", vattest.Vat{Name: "guard", Module: "guard"}, vattest.Vat{Name: "ward", Module: "ward"}); err != nil {
				t.Fatal(err)
			}
			if _, err := k.Call("guard", "watch"); err != nil {
				t.Fatal(err)
			}
			awaited := k.Send("guard", "await")
			k.Run()
			k.Kill("guard")
			k.RestartKernel()
			k.Kill("ward")
			if k.Run(); awaited.Done() {
				t.Fatal("the death of a worker is heard of as an end")
			}
			test.end(k)
			k.Run()
			got, err := awaited.Result()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.await) {
				t.Errorf("awaited: got %s, want %s", got, test.await)
			}
			if got, err := k.Call("guard", "all"); got != test.stored || err != nil {
				t.Errorf("stored: got %s, %v, want %s", got, err, test.stored)
			}
		})
	}
}

// Hold answers when the ward is let go, which is never.
func (w *Ward) Hold(ctx context.Context) vat.Promise {
	p, _ := vat.NewPromise(ctx)
	return p
}

func TestMessageToATerminatedVatSaysWhen(t *testing.T) {
	k := vattest.New(t, vat.Modules{"ward": func() *Ward { return &Ward{} }})
	if err := k.Launch("ward", vattest.Vat{Name: "ward", Module: "ward"}, vattest.Vat{Name: "other", Module: "ward"}); err != nil {
		t.Fatal(err)
	}
	begun := k.Send("other", "hold")
	k.Run()
	queued := k.Send("other", "hold")
	k.Terminate("other")
	later := k.Send("other", "hold")
	k.Run()
	for _, c := range []struct {
		name   string
		answer *vattest.Answer
		want   string
	}{{"begun", begun, "VAT_TERMINATED"}, {"queued", queued, "OBJECT_DELETED"}, {"later", later, "OBJECT_DELETED"}} {
		if _, err := c.answer.Result(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}
